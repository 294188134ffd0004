"""Trust as a user meets it: scoring by policy, and secrets that are nowhere to be found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

import manymodels as mm
from manymodels.exceptions import TrustError
from manymodels.registry import schema
from manymodels.registry.database import parse_url

pytestmark = pytest.mark.integration

KEY = "MANYMODELS_SIGNING_KEY"
SECRETS = ("tok-in-query-77", "pw-in-userinfo-77", "signing-key-of-77-bytes")


def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frames = [
        pd.DataFrame(
            {
                "store": store,
                "date": pd.date_range("2026-01-01", periods=40),
                "sales": rng.normal(store, 1, 40),
            }
        )
        for store in range(6)
    ]
    return pd.concat(frames)


def _job(folder: Path, **changes: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {"partition_by": ["store"], "time": "date", "target": "sales"},
            "models": ["mean"],
            "forecast": {"horizon": 3},
            "fallback": ["naive"],
            "compute": {"target": "serial"},
            "store": str(folder / "store"),
            **changes,
        }
    )


@pytest.mark.parametrize(("isolation", "source"), [("auto", "key"), ("process", "naive")])
def test_only_columns_are_served_where_only_columns_are_trusted(
    tmp_path: Path, isolation: str, source: str
) -> None:
    job = _job(tmp_path, training={"isolation": isolation})
    mm.train(job, data=_rows(), progress=False)
    scores = mm.score(job, trust="columns-only", progress=False)
    assert set(scores["model_source"]) == {source}
    assert scores["prediction"].notna().all()
    if source == "naive":
        assert scores["reason"].str.contains("columns-only").all()
    assert set(mm.score(job, trust="hashes", progress=False)["model_source"]) == {"key"}


def test_scoring_wants_signatures_where_the_reader_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _job(tmp_path)
    mm.train(job, data=_rows(), progress=False)
    monkeypatch.setenv(KEY, "the key of our team, long enough")
    with pytest.raises(TrustError, match="is not signed"):
        mm.score(job, trust="signed", progress=False)
    mm.train(job, data=_rows(), only="all", progress=False)
    assert set(mm.score(job, trust="signed", progress=False)["model_source"]) == {"key"}


MODEL = """
import os

class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return [self.value] * len(frame)

def fit(frame, spec):
    if int(frame["well"].iloc[0]) == 3:
        raise ValueError("no 3")
    return Mean(float(frame["y"].mean()))
"""

JOB = """
name: wells
task: regression
data: {{path: "{data}", partition_by: [well], target: y}}
models: ["mean_model:fit"]
evaluation: {{holdout: 0}}
training: {{max_failed: 3}}
compute: {{target: local, workers: 1}}
store: {{path: store, registry: "{registry}"}}
"""


def test_secrets_are_nowhere_in_what_a_run_writes_and_says(tmp_path: Path, postgres_url: str) -> None:
    token, password, key = SECRETS
    secrets = [*SECRETS, str(sa.make_url(postgres_url).password)]
    work = tmp_path / "work"
    work.mkdir()
    rng = np.random.default_rng(0)
    wells = [pd.DataFrame({"well": w, "x": rng.normal(size=15), "y": rng.normal(w, 1, 15)}) for w in range(6)]
    pd.concat(wells).to_parquet(work / "wells.parquet", index=False)
    data = f"http://reader:{password}@127.0.0.1:1/wells.parquet?token={token}"
    (work / "mean_model.py").write_text(MODEL)
    (work / "job.yaml").write_text(JOB.format(data="wells.parquet", registry=postgres_url))
    (work / "gone.yaml").write_text(JOB.format(data=data, registry=postgres_url.replace("test_", "gone_")))
    environment = {**os.environ, KEY: key, "PYTHONWARNINGS": "default"}

    def verb(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "manymodels", *words], cwd=work, env=environment, capture_output=True, text=True,
            check=False, timeout=200,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    said = [
        verb("train", "job.yaml", "--json", "--debug"),
        verb("score", "job.yaml", "-o", "scores", "--trust", "signed", "--debug"),
        verb("train", "gone.yaml", "--debug"),
        verb("score", "gone.yaml", "-o", "more", "--debug"),
        verb("plan", "gone.yaml", "--json", "--debug", "--set", f"store.registry={postgres_url}"),
        verb("replay", "latest", "--key", "well=3", "--store", "store", "--debug"),
    ]
    assert [code for code, _ in said[:5]] == [0, 0, 1, 1, 2], said
    for code, text in said:
        assert not [secret for secret in secrets if secret in text], (code, text)

    places = [
        path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".yaml"
    ]  # the jobs say them
    assert len(places) > 10
    for path in places:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path
    engine = sa.create_engine(parse_url(postgres_url))
    with engine.connect() as connection:
        for table in schema.metadata.tables.values():
            rows = str(connection.execute(sa.select(table)).all())
            assert not [secret for secret in secrets if secret in rows], table.name
        (job,) = connection.execute(sa.select(schema.runs.c.job)).scalars()
    engine.dispose()
    assert json.loads(job)["store"]["registry"].count("***") == 1
