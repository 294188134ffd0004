"""Scoring is as safe as training: hostile models and bad rows cost themselves, a killed scoring continues, a gate counts."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import manymodels as mm
from manymodels.exceptions import UsageError
from manymodels.registry import adopt_store
from manymodels.registry.drivers import Driver
from manymodels.storage import Storage

pytestmark = pytest.mark.integration

MODEL = """
import ctypes
import os
import pathlib
import signal
import sys

import numpy as np


class Model:
    def __init__(self, kind, value):
        self.kind, self.value = kind, value

    def predict(self, frame):
        values = np.full(len(frame), self.value) + 0 * frame["x"].to_numpy()
        if self.kind == "raise":
            raise ValueError("this well is cursed")
        if self.kind == "exit":
            sys.exit(3)
        if self.kind == "crash":
            ctypes.string_at(0)
        if self.kind == "hang":
            while True:
                pass
        if self.kind == "memory":
            hoard = []
            while True:
                hoard.append(np.ones(2**22))
        if self.kind == "none":
            return None
        if self.kind == "short":
            return values[:-1]
        if self.kind == "text":
            return ["high"] * len(frame)
        if self.kind == "table":
            return np.ones((len(frame), 2))
        if self.kind == "nan":
            return values * np.nan
        if self.kind == "spoil":
            frame.loc[:, "x"] = 1e9
            os.environ["PATH"] = ""
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open("predicted.txt", "a") as file:
            file.write(f"{int(self.value)}\\n")
        killed = pathlib.Path("killed")
        if int(self.value) == int(os.environ.get("WELL", -1)) and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), int(os.environ["KILL"]))
        return values


def fit(frame, spec):
    return Model(str(frame["kind"].iloc[0]), float(frame["well"].iloc[0]))
"""

KINDS = ["raise", "exit", "crash", "hang", "memory", "none", "short", "text", "table", "nan", "spoil"]
WELLS = 30


def job(folder: Path, **fields: Any) -> mm.Job:
    training = {"timeout": "5s", "memory": "1GiB", "retries": 0, "isolation": "process"}
    return mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"partition_by": ["well"], "target": "y", "features": ["x", "kind"], "min_rows": 1},
            "models": ["hostile_model:fit"],
            "evaluation": {"holdout": 0},
            "fallback": [],
            "compute": {"target": "serial"},
            "store": str(folder / "store"),
            **fields,
            "training": training | fields.get("training", {}),
        },
        folder=str(folder),
    )


def rows(kinds: list[str], count: int = 5) -> pd.DataFrame:
    wells = np.repeat(np.arange(len(kinds)), count)
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"well": wells, "x": rng.normal(size=len(wells)), "kind": np.repeat(kinds, count), "y": wells + 0.5}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    (place / "hostile_model.py").write_text(MODEL)
    kinds = KINDS + ["good"] * (WELLS - len(KINDS))
    run = mm.train(job(place), data=rows(kinds), progress=False)
    assert run.summary["trained"] == WELLS
    return place


def test_hostile_models_cost_their_own_rows_only_and_the_gate_counts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    kinds = KINDS + ["good"] * (WELLS - len(KINDS))
    out = tmp_path / "scores"
    mm.score(job(folder), rows(kinds).drop(columns="y"), output=str(out), progress=False)
    scores = pd.read_parquet(out)
    assert len(scores) == 5 * WELLS
    bad = KINDS[:-1]
    healthy = scores[~scores["kind"].isin(bad)]
    assert set(healthy["status"]) == {"ok"}
    assert (healthy["prediction"] == healthy["well"]).all()
    failed = scores[scores["kind"].isin(bad)]
    assert set(failed["status"]) == {"failed"}
    assert failed["prediction"].isna().all()
    reasons = failed.groupby("kind")["reason"].first()
    for kind, words in {
        "raise": "ValueError: this well is cursed",
        "exit": "SystemExit",
        "crash": "key: ",
        "hang": "key: ",
        "memory": "occupied",
        "none": "None",
        "short": "4",
        "text": "key: ",
        "table": "key: ",
        "nan": "all 5 predictions are NaN",
    }.items():
        assert words in reasons[kind], (kind, reasons[kind])
    registry = mm.Registry(folder / "store")
    record = registry.scores("wells")[0]
    assert (record.state, record.counts["failed"], record.counts["scored"]) == ("failed_gate", 10, 20)
    assert record.reason == "10 of 30 keys failed, more than `training.max_failed` allows (1%)"
    assert json.loads((out / "_manifest.json").read_text())["state"] == "failed_gate"


def test_the_ladder_serves_where_a_model_is_hostile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    laddered = job(folder, fallback=["naive"], training={"max_failed": "100%"})
    scores = mm.score(laddered, rows(["raise", "exit", "crash"]).drop(columns="y"), progress=False)
    assert set(scores["model_source"]) == {"naive"}
    assert (scores["prediction"] == scores["well"] + 0.5).all()


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_a_bad_row_costs_itself(tmp_path: Path, isolation: str) -> None:
    rng = np.random.default_rng(0)
    train = pd.DataFrame(
        {"well": np.repeat(np.arange(6), 20), "x": rng.normal(size=120), "z": rng.normal(size=120)}
    )
    train["y"] = 2 * train["x"] + train["well"]
    fields: dict[str, Any] = {
        "data": {"partition_by": ["well"], "target": "y", "features": ["x", "z"]},
        "models": ["sklearn.linear_model.Ridge"],
        "training": {"isolation": isolation, "max_failed": "50%"},
    }
    mm.train(job(tmp_path, **fields), data=train, progress=False)
    new = train.drop(columns="y").groupby("well").head(4).reset_index(drop=True)
    new["id"] = new.index
    calm = mm.score(job(tmp_path, **fields), new, progress=False).set_index("id").sort_index()
    bad = new.astype({"x": object})
    bad.loc[5, "x"] = "n.v. 17"
    bad.loc[9, "x"] = ""
    bad.loc[13, "z"] = np.inf
    bad.loc[17, "z"] = np.nan
    bad.to_csv(tmp_path / "bad.csv", index=False)
    scores = mm.score(job(tmp_path, **fields), str(tmp_path / "bad.csv"), progress=False)
    assert len(scores) == len(new)
    scores = scores.set_index("id").sort_index()
    assert scores["status"].tolist() == ["failed" if place == 5 else "ok" for place in range(len(new))]
    assert (
        scores.loc[5, "reason"]
        == "no value for this row: a feature that it needs is missing, or is no number"
    )
    assert scores.loc[5, "x"] == "n.v. 17"
    touched = [5, 9, 13, 17]
    pd.testing.assert_series_equal(
        scores["prediction"].drop(touched), calm["prediction"].drop(touched), rtol=1e-12
    )


MANY = 2_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("trained")
    (place / "hostile_model.py").write_text(MODEL)
    calm = job(place, data={"path": "wells.parquet", "partition_by": ["well"], "target": "y", "min_rows": 1},
               training={"isolation": "none"}, store=".manymodels")  # fmt: skip
    (place / "job.yaml").write_text(calm.to_yaml())
    rows(["good"] * MANY, 1).to_parquet(place / "wells.parquet", index=False)
    assert verb(place, "train", "job.yaml").returncode == 0
    return place


@pytest.fixture
def fleet(trained: Path, tmp_path: Path) -> Path:
    copied = Path(shutil.copytree(trained, tmp_path / "fleet"))
    adopt_store(Storage.at(copied / ".manymodels"))
    return copied


def verb(folder: Path, *words: str, kill: int = 0, well: int = -1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "manymodels", *words, "--json"],
        cwd=folder,
        env={**os.environ, "KILL": str(kill), "WELL": str(well)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        # Whoever runs the tests in the background has Ctrl-C ignored, and so would the verb.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def predicted(folder: Path) -> list[int]:
    found = [int(line) for line in (folder / "predicted.txt").read_text().split()]
    (folder / "predicted.txt").unlink()
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_scoring_that_was_stopped_continues_with_the_same_command(fleet: Path, number: int) -> None:
    command = ("score", "job.yaml", "-o", "scores")
    stopped = verb(fleet, *command, kill=number, well=1_300)
    assert stopped.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert "the same command continues it" in json.loads(stopped.stdout)["error"]["message"]
    assert not (fleet / "scores").exists()
    before = predicted(fleet)
    (staging,) = fleet.glob("scores.*.partial")
    parts = [pd.read_parquet(path) for path in sorted((staging / "parts").glob("part-*"))]
    assert parts
    done = {int(well) for part in parts for well in part["well"]}
    assert done < set(before)

    continued = verb(fleet, *command)

    assert continued.returncode == 0, continued.stderr
    result = json.loads(continued.stdout)
    assert (result["score_id"], result["scored"], result["keys"]) == ("wells-score-000001", MANY, MANY)
    assert sorted(predicted(fleet)) == sorted(set(range(MANY)) - done)  # what was scored is not scored again
    assert not list(fleet.glob("scores.*"))
    with mm.Registry(fleet / ".manymodels") as registry:
        assert [record.state for record in registry.scores("wells")] == ["completed"]
    verb(fleet, "score", "job.yaml", "-o", "calm.parquet")
    calm = pd.read_parquet(fleet / "calm.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(fleet / "scores"), calm)


def test_what_another_command_left_is_not_continued(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("score", "job.yaml", "-o", "scores")
    assert verb(fleet, *command, kill=signal.SIGKILL, well=1_300).returncode == -signal.SIGKILL
    (claim,) = fleet.glob("scores.*.partial/claim.json")
    predicted(fleet)
    monkeypatch.chdir(fleet)
    changed = mm.Job.from_yaml("job.yaml")
    # Somebody else works on it: our parent process, as far as the claim says.
    content = json.loads(claim.read_text())
    parent = psutil.Process(os.getppid())
    other = Driver(Driver.here().host, parent.pid, parent.create_time())
    claim.write_text(json.dumps(content | {"driver": other.to_json()}))
    with pytest.raises(UsageError, match=f"is being made by process {parent.pid} on "):
        mm.score(changed, output="scores", progress=False)
    claim.write_text(json.dumps(content))
    # Other rows are another scoring, and what the first one left is removed.
    fewer = pd.read_parquet("wells.parquet").head(100).drop(columns="y")
    mm.score(changed, fewer, output="scores", progress=False)
    assert len(pd.read_parquet("scores")) == 100
    assert not list(fleet.glob("scores.*"))
    assert len(predicted(fleet)) == 100
