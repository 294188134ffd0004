"""manymodels, in its own environment: the same work through ``train`` and ``score``."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

import manymodels as mm
from manymodels.records import BatchReceipt
from manymodels.training.outcomes import RunOutcomes

_MODELS: dict[str, tuple[str, Any]] = {
    "mean": ("forecast", "mean"),
    "ridge": ("regression", {"sklearn.linear_model.Ridge": {"alpha": 1.0}}),
    "forest": (
        "regression",
        {
            "sklearn.pipeline.Pipeline": {
                "steps": [{"sklearn.ensemble.RandomForestRegressor": {"n_estimators": 50, "random_state": 0}}]
            }
        },
    ),
    "lag_ridge": (
        "forecast",
        {"lag_regression": {"lags": [1, 7, 14], "calendar": False, "params": {"alpha": 1e-6}}},
    ),
    "holt_winters": ("forecast", {"holt_winters": {"season_length": 7, "seasonal": "add"}}),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--work", "--train", "--new", "--models", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--isolation", default="auto")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # imports are start-up, not work
        _warm_up(asked, Path(folder))
    startup = time.perf_counter() - began
    job = _job(asked.work, asked.train, asked.models, asked.isolation)
    receipts = _receipts()
    run = mm.train(job, progress=False)
    fitting, fan_out = _while_all_run(receipts)
    _score(job, asked.new, asked.out)
    score = mm.Registry(asked.models).scores("bench")[0]
    outcomes = run.outcomes()
    again = mm.train(job, progress=False)
    assert again.summary["reused"] == len(outcomes)
    times = {
        "startup": startup + run.summary["startup_seconds"] + score.startup_seconds,
        "train": run.summary["seconds"],
        "score": score.seconds,
        "fitting": float(outcomes["fit_seconds"].sum()),
        "fitting_while_all_run": fitting,
        "workers_while_all_run": fan_out,
        "again": again.summary["seconds"],
    }
    print(json.dumps(times), flush=True)


def _receipts() -> list[tuple[float, BatchReceipt]]:
    """The receipts from now on, with when they came."""
    came: list[tuple[float, BatchReceipt]] = []
    add = RunOutcomes.add

    def noted(outcomes: RunOutcomes, receipt: BatchReceipt) -> None:
        came.append((time.perf_counter(), receipt))
        add(outcomes, receipt)

    RunOutcomes.add = noted  # type: ignore[method-assign]
    return came


def _while_all_run(receipts: list[tuple[float, BatchReceipt]]) -> tuple[float, float]:
    """Seconds inside fit and predict while all workers run, and those workers' seconds.

    All run from the first batch's begin until one of them has done its last. Of a batch that goes on beyond that, the part
    before it counts.
    """
    began = min(end - receipt.seconds for end, receipt in receipts)
    last: dict[str, float] = {}
    if len({receipt.worker for _, receipt in receipts}) == 1:
        last = _threads(receipts)
    else:
        for end, receipt in receipts:
            last[receipt.worker] = max(end, last.get(receipt.worker, 0.0))
    until = min(last.values())
    fitting = 0.0
    for end, receipt in receipts:
        fits = float(receipt.outcomes.column("fit_seconds").to_numpy().sum())
        within = 1 - max(0.0, end - until) / receipt.seconds
        fitting += fits * max(0.0, within)
    return fitting, len(last) * (until - began)


def _threads(receipts: list[tuple[float, BatchReceipt]]) -> dict[str, float]:
    """The end of what each thread of one process did: a batch is of the first thread that was free when it began."""
    last: dict[str, float] = {}
    for end, receipt in sorted(receipts, key=lambda both: both[0] - both[1].seconds):
        free = (name for name, done in last.items() if done <= end - receipt.seconds + 0.005)
        last[next(free, f"thread {len(last)}")] = end
    return last


def _warm_up(asked: argparse.Namespace, folder: Path) -> None:
    """The same job on two stores, in this process."""
    train, new = (
        pd.read_parquet(path, filters=[("store", "in", [0, 1])]) for path in (asked.train, asked.new)
    )
    train.to_parquet(folder / "train.parquet")
    new.to_parquet(folder / "new.parquet")
    job = _job(asked.work, str(folder / "train.parquet"), str(folder / "store"), "none", target="serial")
    mm.train(job, progress=False)
    _score(job, str(folder / "new.parquet"), str(folder / "scores"))


def _score(job: mm.Job, new: str, output: str) -> None:
    mm.score(job, data=None if job.task == "forecast" else new, output=output, progress=False)


def _job(work: str, train: str, store: str, isolation: str, *, target: str = "local") -> mm.Job:
    task, model = _MODELS[work]
    forecast = task == "forecast"
    data = {"path": train, "partition_by": ["store"], "time": "date", "target": "sales"}
    return mm.Job.from_dict(
        {
            "name": "bench",
            "task": task,
            "data": {**data, **({"frequency": "D", "features": []} if forecast else {})},
            "models": [model],
            "fallback": [],
            # The peers fit once and keep what they fit; judging a candidate as well would be twice the work.
            "evaluation": {"backtest": {"windows": 1}} if forecast else {"holdout": 0},
            "training": {"isolation": isolation},
            "compute": {"target": target, "workers": "auto"},
            "store": store,
        }
    )


if __name__ == "__main__":  # workers import this module
    main()
