"""The gate, and the scouts: a run in which nothing trains stops early, what was live stays live and is marked stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import manymodels as mm
from manymodels.training.outcome_table import outcome_schema
from manymodels.training.scouts import FEW, SCOUTS, failed_scouts, scouts


def outcomes(trained: int = 0, failed: int = 0) -> pa.Table:
    failure = {"state": "failed", "cause": "timeout", "error": "timeout", "message": "60 s", "frame": ""}
    return pa.Table.from_pylist(
        [{"state": "trained"}] * trained + [failure] * failed, schema=outcome_schema()
    )


@pytest.mark.parametrize(
    ("limit", "planned", "first", "trained_beside", "stops"),
    [
        (0.01, 1_000, outcomes(failed=SCOUTS), False, True),
        (0.01, 1_000, outcomes(failed=SCOUTS), True, False),
        (0.01, 1_000, outcomes(trained=1, failed=SCOUTS - 1), False, False),
        (0.01, FEW, outcomes(failed=SCOUTS), False, False),
        (0, 1_000, outcomes(failed=SCOUTS), False, True),
        (499, 1_000, outcomes(failed=SCOUTS), False, True),
        (500, 1_000, outcomes(failed=SCOUTS), False, False),
        (0.49, 1_000, outcomes(failed=SCOUTS), False, True),
        (0.5, 1_000, outcomes(failed=SCOUTS), False, False),
    ],
)
def test_a_run_stops_when_all_scouts_fail(
    limit: float, planned: int, first: pa.Table, trained_beside: bool, stops: bool
) -> None:
    assert bool(failed_scouts(limit, planned, first, trained_beside=trained_beside)) == stops


def test_scouts_are_a_seeded_sample_of_a_few_row_groups() -> None:
    manifest = pa.table(
        {
            "key_id": [f"key {number}" for number in range(1_000)],
            "file": [f"part-{number // 100}" for number in range(1_000)],
            "row_group": [number // 50 % 2 for number in range(1_000)],
        }
    )
    training = np.arange(0, 1_000, 2)
    chosen = scouts(manifest, training, seed=1)
    assert len(set(chosen.tolist())) == SCOUTS
    assert len({training[place] // 50 for place in chosen}) <= 4
    assert chosen.tolist() == sorted(chosen.tolist()) == scouts(manifest, training, seed=1).tolist()
    assert chosen.tolist() != scouts(manifest, training, seed=2).tolist()
    assert len(scouts(manifest, training[:FEW], seed=1)) == 0


MODEL = """
import numpy as np


class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return np.full(len(frame), self.value)


def fit(frame, spec):
    with open("fitted.txt", "a") as file:
        file.write("x")
    return Mean(frame["y"].mean() + frame[COLUMN].mean())
"""

KEYS = 300


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    wells = np.repeat(np.arange(KEYS), 12)
    frame = pd.DataFrame({"well": wells, "x": rng.normal(size=len(wells)), "y": rng.normal(size=len(wells))})
    frame.to_parquet("wells.parquet", index=False)
    return tmp_path


def write_model(folder: Path, column: str) -> None:
    (folder / "wells_model.py").write_text(f"COLUMN = {column!r}\n{MODEL}")


def job(**training: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"path": "wells.parquet", "partition_by": ["well"], "target": "y"},
            "models": ["wells_model:fit"],
            "evaluation": {"holdout": 0},
            "training": {"isolation": "none", **training},
            "fallback": [],
            "compute": {"target": "serial"},
        }
    )


def test_a_wrong_column_costs_a_few_keys_and_the_old_champions_stay_and_are_stale(folder: Path) -> None:
    write_model(folder, "x")
    good = mm.train(job(), progress=False)
    assert (good.state, good.summary["promoted"]) == ("completed", KEYS)
    write_model(folder, "pressure")
    (folder / "fitted.txt").unlink()

    stopped = mm.train(job(), progress=False)

    tried = len((folder / "fitted.txt").read_text())
    summary = stopped.summary
    assert stopped.state == "failed_gate"
    assert tried == SCOUTS
    assert (summary["failed"], summary["skipped"], summary["trained"]) == (tried, KEYS - tried, 0)
    assert summary["promoted"] == 0
    states = stopped.outcomes()
    assert len(states) == KEYS
    assert set(states.loc[states["state"] == "skipped", "reason"]) == {"not tried: the run stopped early"}
    registry = mm.Registry(".manymodels")
    reason = registry.run(stopped.id).reason
    assert reason.endswith("tried first and all failed, 20 with KeyError: '…'")
    # Everybody has the champion of before; those that failed are marked.
    models = registry.models("wells", limit=None).to_pandas()
    assert set(models["version"]) == {1}
    assert (models["stale_since"] == stopped.id).sum() == tried
    scores = mm.score(job(), progress=False)
    assert set(scores["status"]) == {"ok"}
    told = scores[scores["reason"].notna()]
    assert told["well"].nunique() == tried
    assert set(told["reason"]) == {f"stale: training failed in {stopped.id}"}
    # What was not tried is tried by the next run.
    write_model(folder, "x")
    assert len(mm.plan(job()).training) == tried
    again = mm.train(job(), progress=False)
    assert (again.state, again.summary["trained"]) == ("completed", tried)


def test_where_all_may_fail_nothing_stops_early(folder: Path) -> None:
    write_model(folder, "pressure")
    run = mm.train(job(max_failed="100%"), progress=False)
    assert (run.state, run.summary["failed"]) == ("completed", KEYS)


@pytest.mark.parametrize(
    ("limit", "state"),
    [("50%", "completed"), ("49%", "failed_gate"), (150, "completed"), (149, "failed_gate")],
)
def test_max_failed_counts_or_is_a_fraction_of_the_attempted(folder: Path, limit: Any, state: str) -> None:
    frame = pd.read_parquet("wells.parquet")
    frame["x"] = frame["x"].where(frame["well"] % 2 == 0)  # no number for the odd wells
    frame.to_parquet("wells.parquet", index=False)
    (folder / "wells_model.py").write_text(
        f"COLUMN = 'x'\n{MODEL}".replace("return Mean", "assert frame['x'].notna().all()\n    return Mean")
    )
    run = mm.train(job(max_failed=limit), progress=False)
    assert (run.state, run.summary["failed"], run.summary["trained"]) == (state, KEYS // 2, KEYS // 2)
    assert run.summary["promoted"] == (KEYS // 2 if state == "completed" else 0)
    allowed = limit if isinstance(limit, str) else f"{limit:,}"
    told = f"150 of 300 keys failed, more than `training.max_failed` allows ({allowed})"
    assert mm.Registry(".manymodels").run(run.id).reason == (told if state == "failed_gate" else "")
