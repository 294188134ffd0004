"""How far what ``manymodels plan`` expects is from what the run then takes: a first run, and a second one that learned from it.

    python benchmarks/estimates.py [--jobs NAME …] [--size 1.0]
    python benchmarks/estimates.py --calibrate [--families NAME …]

Each job is planned (which splits its rows) and trained, twice, in a store of its own; both times are wall time without
start-up. A first run should be within a factor of 2, a second one within 25 %. ``--calibrate`` prints what the first guesses in
``planning/costs.py`` are made of: processor seconds of one fit and its predictions, a constant and a part for each row.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sales import write_sales

_FORECAST = ("mean", "naive", "seasonal_naive", "drift", "croston", "tsb", "theta", "ets", "holt_winters",
             {"lag_regression": {"lags": [1, 7, 14]}}, "sarimax")  # fmt: skip
_ANOMALY = ("robust_zscore", "ewma", "isolation_forest")
_TABULAR = tuple(
    f"sklearn.{name}"
    for name in (
        "linear_model.Ridge", "linear_model.LinearRegression", "linear_model.Lasso", "tree.DecisionTreeRegressor",
        "neighbors.KNeighborsRegressor", "ensemble.RandomForestRegressor", "ensemble.ExtraTreesRegressor",
        "ensemble.GradientBoostingRegressor", "ensemble.HistGradientBoostingRegressor", "neural_network.MLPRegressor",
    )
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="*", default=[], help="only these")
    parser.add_argument("--size", type=float, default=1.0, help="of each job: a factor of its keys")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--families", nargs="*", default=[], help="with --calibrate: only these")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        if asked.calibrate:
            calibrate(Path(name), asked.families)
        else:
            compare(Path(name), asked.jobs, asked.size)


def compare(folder: Path, names: list[str], size: float) -> None:
    """Print what was expected of each job, what it took, and the ratio."""
    from manymodels.job.job import Job
    from manymodels.progress import NoProgress
    from manymodels.training.engine import train
    from manymodels.training.layout import lay_out
    from manymodels.training.prepare import Selection, prepare

    print(f"{'job':<28}{'run':>4}{'where':>14}{'expected':>11}{'took':>10}{'ratio':>8}")
    for name, content in jobs(folder, size):
        if names and name not in names:
            continue
        # What this process imports and compiles, it does before it is measured.
        warm = Job.from_dict({**content, "store": str(folder / f"warm-{name}")})
        train(prepare(warm, selection=Selection(limit=2)), NoProgress())
        job = Job.from_dict({**content, "store": str(folder / f"store-{name}")})
        for run in (1, 2):
            prepare(job)
            began = time.perf_counter()
            prepared = prepare(job, selection=Selection("all"))
            expected = lay_out(prepared).estimate
            took = train(prepared, NoProgress(), began=began).seconds
            where = "this process" if expected.here else f"{expected.workers} workers"
            print(
                f"{name:<28}{run:>4}{where:>14}{expected.seconds:>9.2f} s{took:>8.2f} s{expected.seconds / took:>8.2f}",
                flush=True,
            )


def jobs(folder: Path, size: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and job file of each job; its data are written when it comes up."""

    def keys(count: int) -> int:
        return max(2, round(count * size))

    def sales(name: str, count: int, rows: int) -> str:
        return str(write_sales(folder / f"{name}.parquet", keys(count), rows))

    def forecast(path: str, *models: Any, **changes: Any) -> dict[str, Any]:
        data = {"path": path, "partition_by": ["store"], "time": "date", "target": "sales"}
        data |= {"features": ["x0", "x1"], "known_future": ["x0", "x1"]}
        return {"name": "job", "task": "forecast", "data": data, "models": list(models), **changes}

    def regression(path: str, *models: Any, **changes: Any) -> dict[str, Any]:
        data = {"path": path, "partition_by": ["store"], "time": "date", "target": "sales"}
        return {"name": "job", "task": "regression", "data": data, "models": list(models), **changes}

    two = {"compute": {"workers": 2}}
    tree = "sklearn.tree.DecisionTreeRegressor"
    forest = {"sklearn.ensemble.RandomForestRegressor": {"n_estimators": 50}}
    yield "small", forecast(sales("small", 20, 365), "seasonal_naive", "theta")
    yield "seasonal_naive", forecast(sales("naive", 5000, 365), "seasonal_naive", **two)
    yield "holt_winters", forecast(sales("smooth", 600, 365), {"holt_winters": {"season_length": 7}}, **two)
    yield "ridge", regression(sales("ridge", 5000, 365), "sklearn.linear_model.Ridge", **two)
    alone = {**two, "training": {"isolation": "process"}}
    yield "ridge one by one", regression(sales("alone", 1000, 365), "sklearn.linear_model.Ridge", **alone)
    yield "forest", regression(sales("forest", 60, 365), forest, **two)
    yield "mixed", regression(sales("mixed", 150, 365), "sklearn.linear_model.Ridge", tree, forest, **two)
    lags = {"lag_regression": {"estimator": tree, "lags": [1, 7, 14]}}
    yield "mixed forecasts", forecast(sales("lags", 150, 365), "seasonal_naive", "theta", lags, **two)
    yield "skewed", regression(skewed(folder / "skewed.parquet", keys(300)), tree, forest, **two)


def skewed(path: Path, keys: int) -> str:
    """Sales of stores whose numbers of days fall like 1/rank, the largest having 20,000."""
    days = np.maximum(30, 20_000 // np.arange(1, keys + 1))
    rng = np.random.default_rng(0)
    rows = int(days.sum())
    frame = pd.DataFrame(
        {
            "store": np.repeat(np.arange(keys), days),
            "date": np.datetime64("1970-01-01") + np.concatenate([np.arange(count) for count in days]),
            "x0": rng.normal(size=rows),
            "x1": rng.normal(size=rows),
        }
    )
    frame["sales"] = frame["x0"] + 2 * frame["x1"] + rng.normal(size=rows)
    frame.to_parquet(path, index=False)
    return str(path)


def calibrate(folder: Path, only: list[str]) -> None:
    """Print the costs of one fit of each family, key by key and for many keys at once."""
    time.perf_counter = (
        time.process_time
    )  # what other processes do is not measured; everything runs in this one
    import manymodels.training.panel as panel

    trainers_of = panel.trainers_of
    print(f"{'seconds of a fit':<48}{'constant':>10}{'a row':>10}{'other':>10}{'a row':>10}")
    for task, families in (("forecast", _FORECAST), ("regression", _TABULAR), ("anomaly", _ANOMALY)):
        for family in families:
            name = family if isinstance(family, str) else next(iter(family))
            if only and not any(part in name for part in only):
                continue
            for at_once in (True, False):
                panel.trainers_of = trainers_of if at_once else lambda settings: None
                slow = any(part in name for part in ("sarimax", "ensemble", "neural", "forest"))
                if slow and at_once:
                    continue
                keys = 600 if at_once else 4 if slow else 100
                found = [measured(folder, task, family, keys, rows) for rows in (60, 730)]
                fits = 1 if task == "anomaly" else 2
                (short, short_other), (long, long_other) = found
                slope, slope_other = (long - short) / 670 / fits, (long_other - short_other) / 670 / fits
                constants = short / fits - 60 * slope, short_other / fits - 60 * slope_other
                print(
                    f"{name + (', at once' if at_once else ''):<48}{constants[0]:>10.1e}{slope:>10.1e}"
                    f"{constants[1]:>10.1e}{slope_other:>10.1e}",
                    flush=True,
                )


def measured(folder: Path, task: str, family: Any, keys: int, rows: int) -> tuple[float, float]:
    """Mean seconds a key: of the candidate, and of everything else."""
    import manymodels as mm

    data: dict[str, Any] = {"partition_by": ["store"], "time": "date", "features": ["x0", "x1"]}
    data["path"] = str(write_sales(folder / f"{keys}-{rows}.parquet", keys, rows))
    if task != "anomaly":
        data["target"] = "sales"
    if task == "forecast":
        data["known_future"] = ["x0", "x1"]
    content = {"name": "job", "task": task, "data": data, "models": [family], "fallback": [],
               "training": {"isolation": "none"}, "compute": "serial", "store": str(folder / "store")}  # fmt: skip
    for _ in range(2):  # the second time, loops are compiled and libraries imported
        outcomes = mm.train(mm.Job.from_dict(content), only="all", progress=False).outcomes()
    fitted = outcomes["scores"].map(lambda scores: sum(score["seconds"] for score in scores))
    return float(fitted.mean()), float((outcomes["seconds"] - fitted).mean())


if __name__ == "__main__":
    sys.exit(main())
