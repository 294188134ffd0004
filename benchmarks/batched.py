"""Batched trainers beside fits one by one, and exponential smoothing beside statsmodels and statsforecast.

    python benchmarks/batched.py [--keys 1000] [--rows 365] [--sample 20] [--peers PYTHON]

Fits only, no files and no cluster. What is slow is timed on a sample of the keys, and shown for all of them. The second table
compares the sum of squared one-step errors too; statsforecast takes part with ``--peers PYTHON``, the Python of an environment
with peers/requirements.txt, in two processes that are warm as then are ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from options import sized

from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import FitSpec
from manymodels.models.families import build
from manymodels.models.forecast.smoothing import Form, smooth
from manymodels.models.spec import CandidateSpec
from manymodels.records import Rows

FORECASTS: dict[str, tuple[str, dict[str, Any]]] = {
    "simple exponential smoothing": ("ets", {"seasonal": None}),
    "Holt": ("ets", {"trend": "add", "seasonal": None}),
    "damped": ("ets", {"trend": "add", "damped": True, "seasonal": None}),
    "Holt-Winters, additive": ("holt_winters", {}),
    "Holt-Winters, multiplicative": ("holt_winters", {"seasonal": "mul"}),
    "theta": ("theta", {}),
    "Croston": ("croston", {}),
    "TSB": ("tsb", {}),
    "lag regression, ridge": ("lag_regression", {}),
}
ANOMALY: dict[str, tuple[str, dict[str, Any]]] = {
    "EWMA": ("ewma", {}),
    "robust z-score": ("robust_zscore", {"expectation": "median"}),
    "robust z-score, rolling": ("robust_zscore", {"expectation": "rolling"}),
}
FORMS = {
    "Holt-Winters, additive": Form("add", "add", False, "add", 7),
    "Holt-Winters, additive, damped": Form("add", "add", True, "add", 7),
    "Holt-Winters, multiplicative": Form("add", "add", False, "mul", 7),
    "simple exponential smoothing": Form(),
}


def main() -> None:
    parser = sized(__doc__, keys=1_000, rows=365)
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--peers", help="Python of the environment with peers/requirements.txt")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    values = _series(asked.keys, asked.rows)
    stops = np.arange(1, asked.keys + 1) * asked.rows
    days = np.tile(pd.date_range("2024-01-01", periods=asked.rows).to_numpy(), asked.keys)
    frame = pd.DataFrame({"day": days, "y": values.ravel()})
    panel = Panel(Rows(frame), stops - asked.rows, stops)
    print(f"{asked.keys:,} keys x {asked.rows} rows, one process, median of {asked.repeats}:")
    print(f"{'':<32}{'one by one, s':>14}{'batched, s':>12}{'ratio':>8}")
    forecast = FitSpec(
        "forecast", target="y", time="day", frequency="D", season_length=7, horizon=14, levels=(80.0,)
    )
    anomaly = FitSpec("anomaly", time="day", features=("y",))
    for spec, families in ((forecast, FORECASTS), (anomaly, ANOMALY)):
        for label, (name, params) in families.items():
            _compare(label, CandidateSpec(name=name, family=name, params=params), panel, spec, asked)
    _smoothing(values, asked)


def _series(keys: int, rows: int) -> np.ndarray[Any, Any]:
    """Positive daily series: a wandering level, a week that grows with it in half of them, noise."""
    rng = np.random.default_rng(0)
    at = np.arange(rows)
    level = rng.uniform(50, 150, (keys, 1)) + rng.normal(0, 0.5, (keys, rows)).cumsum(axis=1)
    week = rng.normal(0, 0.1, (keys, 7))[:, at % 7]
    return np.maximum(level * (1 + week) + rng.normal(0, 4, (keys, rows)), 1.0)


def _median(repeats: int, work: Callable[[], Any]) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _compare(
    label: str, candidate: CandidateSpec, panel: Panel, spec: FitSpec, asked: argparse.Namespace
) -> None:
    family = build(candidate, spec.task)
    trainer = trainer_of(family)
    assert trainer is not None
    seeds = np.arange(len(panel))
    few = panel.take(np.arange(asked.sample))
    trainer.fit_batch(few, seeds[: asked.sample], spec)  # loads or compiles

    def alone() -> None:
        for place in range(asked.sample):
            family.fit(few.key(place), spec)

    one = _median(asked.repeats, alone) * len(panel) / asked.sample
    all_ = _median(asked.repeats, lambda: trainer.fit_batch(panel, seeds, spec))
    print(f"{label:<32}{one:>14.2f}{all_:>12.3f}{one / all_:>7.0f}x", flush=True)


def _smoothing(values: np.ndarray[Any, Any], asked: argparse.Namespace) -> None:
    print(
        f"\n{'':<32}{'statsmodels, s':>16}{'batched, s':>12}{'ratio':>8}{'squared error, ours / theirs':>30}"
    )
    offsets = np.arange(len(values) + 1) * asked.rows
    for label, form in FORMS.items():
        theirs: list[float] = []

        def statsmodels(form: Form = form, theirs: list[float] = theirs) -> None:
            theirs[:] = [_statsmodels(one, form) for one in values[: asked.sample]]

        slow = _median(1, statsmodels) * len(values) / asked.sample
        fast = _median(asked.repeats, lambda form=form: smooth(values.ravel(), offsets, form))
        errors = smooth(values.ravel(), offsets, form).errors.reshape(values.shape)[: asked.sample]
        share = float((errors**2).sum()) / sum(theirs)
        print(f"{label:<32}{slow:>16.1f}{fast:>12.2f}{slow / fast:>7.0f}x{share:>30.6f}", flush=True)
    if asked.peers:
        _beside_statsforecast(values, asked)


def _beside_statsforecast(values: np.ndarray[Any, Any], asked: argparse.Namespace) -> None:
    """Both in two processes that are warm, in turns."""
    ours: list[float] = []
    theirs: list[float] = []
    halves = np.array_split(values, 2)
    with tempfile.TemporaryDirectory() as name, get_context("spawn").Pool(2) as pool:
        series = Path(name) / "values.npy"
        np.save(series, values)
        pool.map(_holt_winters, [half[:2] for half in halves], chunksize=1)  # loads or compiles
        for _ in range(asked.repeats):
            began = time.perf_counter()
            squares = sum(pool.map(_holt_winters, halves, chunksize=1))
            ours.append(time.perf_counter() - began)
            command = [asked.peers, str(Path(__file__).parent / "peers" / "holt_winters.py"), str(series)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            theirs.append(found["seconds"])
    slow, fast = statistics.median(theirs), statistics.median(ours)
    print(
        f"Holt-Winters, additive, two processes: statsforecast {found['version']} {slow:.2f} s, batched {fast:.2f} s, "
        f"{slow / fast:.1f}x; squared error, ours / theirs: {squares / found['squares']:.6f}"
    )


def _statsmodels(values: np.ndarray[Any, Any], form: Form) -> float:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    model = ExponentialSmoothing(
        values,
        trend=form.trend,
        damped_trend=form.damped,
        seasonal=form.seasonal,
        seasonal_periods=form.season if form.seasonal else None,
        initialization_method="estimated",
        bounds={"damping_trend": (0.8, 0.98)} if form.damped else None,
    )
    return float(model.fit().sse)


def _holt_winters(values: np.ndarray[Any, Any]) -> float:
    offsets = np.arange(len(values) + 1) * values.shape[1]
    return float((smooth(values.ravel(), offsets, FORMS["Holt-Winters, additive"]).errors ** 2).sum())


if __name__ == "__main__":
    main()
