"""Runs that need no workers, and what runs leave for the plans to come."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import manymodels as mm
from manymodels.compute.sandbox import InProcess
from manymodels.job.job import Job
from manymodels.planning.costs import Candidate, Effort
from manymodels.planning.receipts import costs_path, read_costs
from manymodels.progress import NoProgress
from manymodels.records import BatchReceipt
from manymodels.scoring.engine import score
from manymodels.scoring.preparation import ScoreRequest
from manymodels.training.engine import train
from manymodels.training.layout import lay_out
from manymodels.training.meter import Meter
from manymodels.training.prepare import Selection, prepare

MODELS = ["sklearn.linear_model.Ridge", "sklearn.tree.DecisionTreeRegressor"]


class Said(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def say(self, message: str) -> None:
        self.words.append(message)


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where workers are started, the test fails."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("workers were started")

    monkeypatch.setattr("manymodels.compute.local.LocalWorkers", refuse)
    monkeypatch.setattr("manymodels.compute.here._PATIENCE", math.inf)  # however busy the machine is


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 200, 12)
    frame = pd.DataFrame(
        {"shop": np.repeat([f"s{n}" for n in range(12)], lengths), "x": rng.normal(size=lengths.sum())}
    )
    frame["y"] = 3 * frame["x"] + rng.normal(size=len(frame))
    return frame


def job(folder: Path, rows: pd.DataFrame, **changes: Any) -> Job:
    rows.to_parquet(folder / "rows.parquet", index=False)
    content = {
        "name": "shops",
        "task": "regression",
        "data": {"path": str(folder / "rows.parquet"), "partition_by": ["shop"], "target": "y"},
        "models": MODELS,
        "fallback": ["naive"],
        "store": str(folder / "store"),
    }
    (folder / "job.yaml").write_text(json.dumps({**content, **changes}))
    return Job.from_yaml(folder / "job.yaml")


class Kept:
    """A store that keeps the last file."""

    def write(self, path: str, content: bytes) -> None:
        self.content = content


def receipt(batch: int, keys: int, seconds: float) -> BatchReceipt:
    """Of keys that trained, all of whose time is the mean's."""
    each = seconds / keys
    score = pa.struct([("candidate", pa.string()), ("seconds", pa.float64())])
    outcomes = pa.table(
        {
            "state": ["trained"] * keys,
            "rows": pa.array([100] * keys, pa.int64()),
            "seconds": [each] * keys,
            "scores": pa.array([[{"candidate": "mean", "seconds": each}]] * keys, pa.list_(score)),
        }
    )
    return BatchReceipt("run", batch, 1, (), outcomes, "", seconds, "here:1")


def costs(folder: Path, run_id: str) -> Any:
    return read_costs((folder / "store" / costs_path(run_id)).read_bytes())


@pytest.mark.usefixtures("no_workers")
def test_small_work_is_done_in_this_process_and_said_so(tmp_path: Path, rows: pd.DataFrame) -> None:
    small = job(tmp_path, rows)
    said = Said()
    result = train(prepare(small), said)
    assert (result.counts["trained"], result.startup_seconds) == (12, 0.0)
    assert [word for word in said.words if word.startswith("in this process: ")]
    said = Said()
    scored = score(small, ScoreRequest(str(tmp_path / "out"), data=str(tmp_path / "rows.parquet")), said)
    assert scored.scored == 12
    assert [word for word in said.words if word.startswith("in this process: ")]


@pytest.mark.usefixtures("no_workers")
def test_the_models_are_those_of_a_serial_run(tmp_path: Path, rows: pd.DataFrame) -> None:
    found = []
    for compute in ("serial", "local"):
        folder = tmp_path / compute
        folder.mkdir()
        run = mm.train(job(folder, rows, compute=compute), progress=False)
        found.append(
            run.outcomes().sort_values("shop")[["shop", "candidate", "metric"]].reset_index(drop=True)
        )
    pd.testing.assert_frame_equal(*found, check_exact=True)


def test_only_the_naive_rung_needs_no_child(
    tmp_path: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def here(*arguments: Any, isolated: bool, **options: Any) -> InProcess:
        asked.append(isolated)
        return InProcess()

    monkeypatch.setattr("manymodels.training.worker.runner_for", here)
    ridge = job(tmp_path, rows, models=MODELS[:1], fallback=["pooled", "naive"], compute="serial")
    result = train(prepare(ridge), NoProgress())
    assert (result.counts["trained"], result.failed_rungs) == (12, {})
    assert asked == [True, False]  # the keys are fitted at once, by the product's own code


def test_a_number_of_workers_is_what_the_plan_counts_on(tmp_path: Path, rows: pd.DataFrame) -> None:
    estimate = lay_out(prepare(job(tmp_path, rows, compute={"workers": 2}))).estimate
    assert (estimate.here, estimate.workers) == (False, 2)


def test_more_work_than_workers_take_to_start_goes_to_workers(tmp_path: Path, rows: pd.DataFrame) -> None:
    forest = {"sklearn.ensemble.RandomForestRegressor": {"n_estimators": 5000}}
    assert not lay_out(prepare(job(tmp_path, rows, models=[forest]))).estimate.here


def test_what_is_not_known_goes_to_workers_until_a_run_has_shown_what_it_takes(
    tmp_path: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manymodels.training.layout.is_small", lambda *costs, threads: True)
    (tmp_path / "own_mean.py").write_text(
        "class Mean:\n"
        "    def predict(self, frame):\n        return [1.0] * len(frame)\n\n\n"
        "def fit(frame, spec):\n    return Mean()\n"
    )
    own = {"models": ["own_mean:fit"]}
    assert not lay_out(prepare(job(tmp_path, rows, **own))).estimate.here
    train(prepare(job(tmp_path, rows, **own, compute="serial")), NoProgress())
    assert lay_out(prepare(job(tmp_path, rows, **own), selection=Selection("all"))).estimate.here


def test_a_second_run_is_estimated_by_the_first(tmp_path: Path, rows: pd.DataFrame) -> None:
    serial = job(tmp_path, rows, compute="serial")
    first = train(prepare(serial), NoProgress())
    took = costs(tmp_path, first.run_id)
    assert (took.keys, took.tried, took.evaluations, took.here) == (12, 12, 1, True)
    assert 0 < took.key_seconds <= took.batch_seconds <= took.fan_out <= first.seconds
    again = prepare(serial, selection=Selection("all"))
    expected = lay_out(again).estimate.seconds - again.seconds
    assert expected == pytest.approx(took.fan_out + took.outside, rel=0.1)


def test_the_first_of_several_batches_says_nothing_of_more_keys() -> None:
    what = Effort((Candidate("mean", "mean", {}),), evaluations=0, batched=True)
    meter, storage = Meter(what, 0.0, starts=0.0, rungs=0.0), Kept()
    for batch, took in enumerate([5.0, 0.1]):
        meter.add(receipt(batch, keys=10, seconds=took), rung=False)
    meter.write(storage, "run", [0, 1], 20, 6.0)  # type: ignore[arg-type]
    kept = read_costs(storage.content)
    assert kept is not None
    assert (kept.key_seconds, kept.tried) == (pytest.approx(5.1), 20)
    assert sum(size.seconds for size in kept.sizes["mean {}"]) == pytest.approx(0.1)


def test_the_only_batch_is_what_keys_cost() -> None:
    what = Effort((Candidate("mean", "mean", {}),), evaluations=0, batched=True)
    meter, storage = Meter(what, 0.0, starts=0.0, rungs=0.0), Kept()
    meter.add(receipt(0, keys=10, seconds=5.0), rung=False)
    meter.write(storage, "run", [0], 10, 6.0)  # type: ignore[arg-type]
    kept = read_costs(storage.content)
    assert kept is not None
    assert sum(size.seconds for size in kept.sizes["mean {}"]) == pytest.approx(5.0)


def test_damaged_costs_are_passed_over(tmp_path: Path, rows: pd.DataFrame) -> None:
    serial = job(tmp_path, rows, compute="serial")
    first = train(prepare(serial), NoProgress())
    path = tmp_path / "store" / costs_path(first.run_id)
    content = json.loads(path.read_bytes())
    for damaged in (b"", json.dumps({**content, "format": 99}).encode()):
        path.write_bytes(damaged)
        assert prepare(serial).past == ()
    path.unlink()
    assert prepare(serial).past == ()
