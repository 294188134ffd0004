"""How far what ``manymodels plan`` expects is from what the run then takes: a first run, and a second one that learned from it.

    python benchmarks/estimates.py [--jobs NAME …] [--size 1.0] [--repeats 3]
    python benchmarks/estimates.py --calibrate [--families NAME …]

Each job is planned (which splits its rows) and trained, twice, in a store of its own, by the command line: every step is a
process of its own, as a user's is. Both times are wall time without start-up, medians of the repeats. A first run should be
within a factor of 2, a second one within 25 %. ``--calibrate`` prints what the first guesses in ``planning/costs.py`` are made
of: processor seconds of one fit and its predictions, a constant and a part for each row.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
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

_FACTOR = {1: 2.0, 2: 1.25}
"""How far off an estimate may be, by run."""
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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--families", nargs="*", default=[], help="with --calibrate: only these")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        if asked.calibrate:
            calibrate(Path(name), asked.families)
        else:
            compare(Path(name), asked.jobs, asked.size, asked.repeats)


def compare(folder: Path, names: list[str], size: float, repeats: int) -> None:
    """Print what was expected of each job, what it took, and the ratio."""
    print(f"median of {repeats}; load {os.getloadavg()[0]:.1f} at the begin")
    print(f"{'job':<30}{'keys':>7}{'run':>5}{'where':>14}{'expected':>11}{'took':>10}{'ratio':>8}")
    within = {run: [0, 0] for run in _FACTOR}
    for name, content in jobs(folder, size):
        if names and name not in names:
            continue
        expected: dict[int, list[float]] = {run: [] for run in _FACTOR}
        took: dict[int, list[float]] = {run: [] for run in _FACTOR}
        where: dict[int, str] = {}
        for repeat in range(repeats):
            store = folder / f"store{repeat}"
            job = folder / "job.yaml"
            job.write_text(json.dumps({**content, "store": str(store)}))
            for run in _FACTOR:
                plan = _said("plan", str(job), "--only", "all")
                estimate = plan["estimate"]
                expected[run].append(estimate["seconds"])
                where[run] = "this process" if estimate["in_process"] else f"{estimate['workers']} workers"
                took[run].append(_said("train", str(job), "--only", "all")["seconds"])
            shutil.rmtree(store)
        for run, most in _FACTOR.items():
            guess, wall = statistics.median(expected[run]), statistics.median(took[run])
            good = 1 / most <= guess / wall <= most
            within[run][not good] += 1
            print(
                f"{name:<30}{plan['keys']:>7,}{run:>5}{where[run]:>14}{guess:>9.2f} s{wall:>8.2f} s{guess / wall:>8.2f}"
                f"{'' if good else '  *'}",
                flush=True,
            )
    for run, most in _FACTOR.items():
        print(f"run {run}: {within[run][0]} of {sum(within[run])} jobs within a factor of {most:g}")


def _said(*words: str) -> Any:
    """What a verb printed."""
    command = [sys.executable, "-m", "manymodels", *words, "--json", "--quiet"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)


def jobs(folder: Path, size: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and job file of each job; its data are written when it comes up."""

    def sales(count: int) -> str:
        return str(write_sales(folder / "sales.parquet", max(2, round(count * size)), 365))

    def job(task: str, path: str, *models: Any, **changes: Any) -> dict[str, Any]:
        data: dict[str, Any] = {"path": path, "partition_by": ["store"], "time": "date"}
        if task == "forecast":
            data |= {"features": ["x0", "x1"], "known_future": ["x0", "x1"]}
        if task != "anomaly":
            data["target"] = "high" if task == "classification" else "sales"
        return {"name": "job", "task": task, "data": data, "models": list(models), **changes}

    ridge, tree = "sklearn.linear_model.Ridge", "sklearn.tree.DecisionTreeRegressor"
    logistic = "sklearn.linear_model.LogisticRegression"
    forest = {"sklearn.ensemble.RandomForestRegressor": {"n_estimators": 50}}
    classes = {"sklearn.ensemble.RandomForestClassifier": {"n_estimators": 20}}
    piped = {"sklearn.pipeline.Pipeline": {"steps": ["sklearn.preprocessing.StandardScaler", forest]}}
    alone = {"training": {"isolation": "process"}}
    lags = {"lag_regression": {"estimator": tree, "lags": [1, 7, 14]}}

    for count in (20, 5000):
        yield "seasonal naive, theta", job("forecast", sales(count), "seasonal_naive", "theta")
    yield "Holt-Winters", job("forecast", sales(600), {"holt_winters": {"season_length": 7}})
    for count in (50, 500):
        yield "forecasts of trees on lags", job("forecast", sales(count), "seasonal_naive", lags)
    ensemble = {"selection": {"ensemble": {}}}
    yield "ensemble of forecasts", job("forecast", sales(100), "drift", "theta", "seasonal_naive", **ensemble)
    for count in (100, 5000):
        yield "ridge", job("regression", sales(count), ridge)
    for count in (100, 1000):
        yield "ridge one by one", job("regression", sales(count), ridge, **alone)
    yield "forest", job("regression", sales(60), forest)
    yield "forest in a pipeline", job("regression", sales(60), piped)
    yield "ridge, tree, forest", job("regression", sales(150), ridge, tree, forest)
    yield (
        "tree, forest, skewed",
        job("regression", skewed(folder / "skewed.parquet", round(300 * size)), tree, forest),
    )
    for count in (100, 5000):
        yield "logistic", job("classification", _classes(sales(count)), logistic)
    yield "forest of classes", job("classification", _classes(sales(200)), classes)
    for count in (100, 5000):
        yield "robust z-score", job("anomaly", sales(count), "robust_zscore")
    yield "isolation forest", job("anomaly", sales(60), "isolation_forest")


def _classes(path: str) -> str:
    """Sales with a column that says whether they were high."""
    frame = pd.read_parquet(path)
    frame["high"] = np.where(frame.pop("sales") > 100, "yes", "no")
    frame.to_parquet(path, index=False)
    return path


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
