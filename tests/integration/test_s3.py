"""A store on S3: everything that works in a folder works there, through failing requests and a killed driver."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from s3_server import SECRET, Proxy

import manymodels as mm
from manymodels.api import export_models
from manymodels.artifacts.export import load_exported
from manymodels.exceptions import NotFoundError, UsageError
from manymodels.registry import Registry, rebuild
from manymodels.storage import Storage

pytestmark = pytest.mark.integration

WELLS = 12

MODEL = """
import os, pathlib, signal

class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return [self.value] * len(frame)

def fit(frame, spec):
    well = int(frame["well"].iloc[0])
    with open("fitted.txt", "a") as file:
        file.write(f"{well}\\n")
    if well == 9 and os.environ.get("KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    return Mean(float(frame["y"].mean()))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame({"well": well, "x": rng.normal(size=15), "y": rng.normal(well, 1, 15)})
        for well in range(WELLS)
    ]
    pd.concat(frames).to_parquet(tmp_path / "wells.parquet", index=False)
    (tmp_path / "ensemble_model.py").write_text(MODEL)  # the name makes the first guess of its cost high
    return tmp_path


def job(folder: Path, url: str, registry: str | None = None, **changes: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"path": str(folder / "wells.parquet"), "partition_by": ["well"], "target": "y"},
            "models": ["sklearn.linear_model.LinearRegression"],
            "compute": {"target": "serial"},
            "training": {
                "isolation": "none"
            },  # a child that is warm still speaks to an earlier test's server
            "store": {"path": f"{url}/store", "registry": registry or f"sqlite:///{folder}/registry.db"},
            **changes,
        }
    )


def scored(url: str) -> pd.DataFrame:
    """An output folder, as its manifest has it."""
    place = Storage.at(url)
    manifest = json.loads(place.read("_manifest.json"))
    assert place.listing("") == sorted(["_manifest.json", *manifest["parts"]])
    parts = [pd.read_parquet(io.BytesIO(place.read(part))) for part in manifest["parts"]]
    return pd.concat(parts).sort_values("well")


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_store_on_s3_does_what_one_in_a_folder_does(
    folder: Path, s3_url: str, database: str, request: pytest.FixtureRequest
) -> None:
    registry_url = request.getfixturevalue("postgres_url") if database == "postgres" else None
    mine = job(folder, s3_url, registry_url)
    first = mm.train(mine, progress=False)
    assert (first.state, first.summary["trained"]) == ("completed", WELLS)
    assert mm.train(mine, progress=False).summary["reused"] == WELLS
    again = mm.train(mine, only="all", keys=[{"well": well} for well in range(7)], progress=False)
    assert again.summary["trained"] == 7
    assert len(first.outcomes()) == WELLS

    here = job(folder, s3_url, store=str(folder / "store"))
    assert mm.train(here, progress=False).summary["trained"] == WELLS
    expected = mm.score(here, progress=False)
    for _ in range(2):
        mm.score(mine, output=f"{s3_url}/out", overwrite=True, progress=False)
    found = scored(f"{s3_url}/out").reset_index(drop=True)
    pd.testing.assert_frame_equal(
        found.drop(columns="model_version"), expected.drop(columns="model_version"), check_like=True
    )
    with pytest.raises(UsageError, match="overwrite"):
        mm.score(mine, output=f"{s3_url}/out", progress=False)
    mm.score(mine, output=f"{s3_url}/one.csv", progress=False)
    assert len(pd.read_csv(io.BytesIO(Storage.at(s3_url).read("one.csv")))) == len(found)
    assert not Storage.at(s3_url).listing("one.csv.wells-score-000003.partial")

    with Registry.open(mine.store) as registry:
        event = registry.promote("wells", alias="live", run=first.id)
        assert event.moved == WELLS  # and the rungs
        assert registry.load("wells", alias="live", well=3).describe()
        assert export_models(registry, "wells", f"{s3_url}/exported") == WELLS + 2
        assert load_exported(f"{s3_url}/exported", well=3).describe()
        report = registry.verify(deep=True)
        assert (report.damaged, report.unusable) == ((), ())

        registry.promote("wells", alias="live", from_alias="champion")
        registry.promote("wells", alias="live", from_alias="champion", key_ids=None)
        registry.storage.write("settings.yaml", b"retention: {versions: 1}")
        registry.storage.write("tmp/left/part", b"")
        registry.storage.write(f"runs/{first.id}/segments/lost.parquet", b"")
        before = registry.storage.listing("")
        assert registry.gc(grace=0.0).removed["attempts"]["files"] == 1
        assert registry.storage.listing("") == before
        registry.compact(apply=True, below=1.0)
        removed = registry.gc(apply=True, grace=0.0).removed
        assert {"attempts", "temporary"} <= removed.keys()
        assert len(registry.storage.listing("")) < len(before)
        assert registry.verify(deep=True).unusable == ()
        assert registry.load("wells", well=3).describe()
    assert (mm.score(mine, progress=False)["status"] == "ok").all()
    storage = Storage.at(f"{s3_url}/store")
    for file in storage.files():
        assert SECRET.encode() not in storage.read(file.path), file.path
    report = rebuild(storage, f"sqlite:///{folder}/rebuilt.db")
    assert (report.runs, report.damaged) == (3, ())


def test_requests_that_fail_do_not_fail_a_run(folder: Path, faulty_url: str, s3_proxy: Proxy) -> None:
    mine = job(folder, faulty_url)
    kinds = ["503", "cut", "500"]
    s3_proxy.fault = lambda method, path, number: kinds[number // 5 % 3] if number % 5 == 0 else None
    assert mm.train(mine, progress=False).summary["trained"] == WELLS
    mm.score(mine, output=f"{faulty_url}/out", progress=False)
    with Registry.open(mine.store) as registry:
        assert registry.verify(deep=True).unusable == ()
        assert registry.gc(apply=True, grace=0.0).removed.keys() == {"datasets"}  # the rows that were scored
    assert set(s3_proxy.injected) == set(kinds)
    assert (scored(f"{faulty_url}/out")["status"] == "ok").all()


SMALL_BATCHES = """
import functools
from manymodels.cli import main
from manymodels.training import layout
layout.pack = functools.partial(layout.pack, limit=3)
main()
"""


def verb(folder: Path, *words: str, kill: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KILL": "1" if kill else ""}
    program = ["-c", SMALL_BATCHES] if kill else ["-m", "manymodels"]
    return subprocess.run(
        [sys.executable, *program, *words, "--json"], cwd=folder, env=environment, capture_output=True,
        text=True, check=False, timeout=200,
    )  # fmt: skip


def test_a_killed_driver_is_resumed_on_s3_and_nothing_of_half_a_run_is_seen(
    folder: Path, s3_url: str
) -> None:
    text = {
        "name": "wells",
        "task": "regression",
        "data": {"path": "wells.parquet", "partition_by": ["well"], "target": "y"},
        "models": ["ensemble_model:fit"],
        "evaluation": {"holdout": 0},
        "training": {"isolation": "none"},
        "fallback": [],
        "compute": "serial",
        "store": {"path": f"{s3_url}/store", "registry": f"sqlite:///{folder}/registry.db"},
    }
    (folder / "job.yaml").write_text(json.dumps(text))
    died = verb(folder, "train", "job.yaml", kill=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    where = ("--store", f"{s3_url}/store")
    with Registry(f"{s3_url}/store") as registry:
        assert registry.storage.listing("runs/wells-000001/segments")
        with pytest.raises(NotFoundError):
            registry.load("wells", well=1)
        assert registry.gc(grace=0.0).paths == ()
    before = (folder / "fitted.txt").read_text().split()
    done = verb(folder, "runs", "resume", "latest", *where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trained"] == WELLS
    after = (folder / "fitted.txt").read_text().split()[len(before) :]
    assert set(before) | set(after) == {str(well) for well in range(WELLS)}
    assert len(after) < WELLS
    assert json.loads(verb(folder, "store", "verify", "--deep", *where).stdout)["loaded"] == WELLS


def test_the_parts_of_a_scoring_that_died_are_collected(folder: Path, s3_url: str) -> None:
    mine = job(folder, s3_url)
    mm.train(mine, progress=False)
    mm.score(mine, output=f"{s3_url}/out", progress=False)
    place = Storage.at(f"{s3_url}/out")
    before = place.listing("")
    with Registry.open(mine.store) as registry:
        died = registry.start_score(model_set="wells", input="i", output=place.root, alias="champion")
        place.write(
            "_scoring/claim.json", json.dumps({"score_id": died.id, "plan": "p", "driver": "{}"}).encode()
        )
        place.write("part-000000-another.parquet", b"half")
        registry.end_score(died.id, state="failed", counts={}, seconds=0.0, startup_seconds=0.0)
        registry.storage.write("settings.yaml", b"retention: {unfinished: 1ms}")
        time.sleep(0.01)
        assert registry.gc(apply=True, grace=0.0).removed["scores"]["files"] == 2
    assert place.listing("") == before
