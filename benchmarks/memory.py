"""How much memory a fit takes, by family, as a multiple of its rows' size (8 bytes a value): python benchmarks/memory.py.

Each family is evaluated and refitted on one key in a process of its own (Linux: the peak of its resident size is read from
/proc). What ``planning/memory.py`` assumes is rounded up from what this prints.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

FORECAST = {
    "mean": 1_000_000, "naive": 1_000_000, "seasonal_naive": 1_000_000, "drift": 1_000_000, "croston": 300_000,
    "tsb": 300_000, "theta": 300_000, "ets": 100_000, "holt_winters": 100_000, "sarimax": 5_000,
    "lag_regression": 300_000, "aggregated": 300_000,
}  # fmt: skip
ANOMALY = {"robust_zscore": 1_000_000, "ewma": 1_000_000, "isolation_forest": 300_000}
TABULAR = {
    "sklearn.linear_model.Ridge": 1_000_000,
    "sklearn.linear_model.LinearRegression": 1_000_000,
    "sklearn.ensemble.HistGradientBoostingRegressor": 500_000,
    "sklearn.ensemble.RandomForestRegressor": 30_000,
    "sklearn.neighbors.KNeighborsRegressor": 100_000,
    "sklearn.svm.SVR": 5_000,
    "sklearn.neural_network.MLPRegressor": 30_000,
}


def rows_of(task: str, count: int) -> pd.DataFrame:
    """One key's rows: time, target and four features; forecasts have one known-future feature."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": np.arange(count), "y": 50 + rng.normal(size=count).cumsum() * 0.01})
    frame["y"] += 5 * np.sin(np.arange(count) * 2 * np.pi / 7)
    for place in range(1 if task == "forecast" else 4):
        frame[f"x{place}"] = rng.normal(size=count)
    return frame


def measure(task: str, family: str, count: int) -> float:
    """Peak bytes beyond the warm process, by the bytes of the rows."""
    from manymodels.evaluation.metrics import default_metric, resolve_metric
    from manymodels.evaluation.spec import EvaluationSpec
    from manymodels.models.contract import FitSpec
    from manymodels.models.families import build
    from manymodels.models.spec import CandidateSpec
    from manymodels.records import Rows
    from manymodels.selection.choose import fit_key

    known = ("x0",) if task == "forecast" else ("x0", "x1", "x2", "x3")
    spec = FitSpec(task, ("k",), "y", "t", "step", 7, 14, (80.0,) if task == "forecast" else (), features=known,
                   known_future=known if task == "forecast" else ())  # fmt: skip
    candidate = CandidateSpec(name=family, family=family)
    made = [(candidate, build(candidate, task))]  # type: ignore[arg-type]
    metric = None if task == "anomaly" else resolve_metric(default_metric(task), task)  # type: ignore[arg-type]

    def fit(frame: pd.DataFrame) -> None:
        steps = fit_key(Rows(frame), made, spec, EvaluationSpec(), metric)
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            if stop.value.state != "trained":
                sys.exit(f"{family}: {stop.value.reason}")

    fit(rows_of(task, 500))
    with tempfile.TemporaryDirectory() as folder:
        rows_of(task, count).to_parquet(f"{folder}/rows.parquet")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = _status("VmRSS")
        frame = pd.read_parquet(f"{folder}/rows.parquet")
    fit(frame)
    return (_status("VmHWM") - before) / (frame.size * 8)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {name} in /proc/self/status: this needs Linux")


def main() -> None:
    """Measure all families, or the one named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", nargs="*", help="task, family, rows")
    one = parser.parse_args().one
    if one:
        print(f"{measure(one[0], one[1], int(one[2])):.1f}")
        return
    print("| family | rows | times the rows' size |\n| --- | ---: | ---: |")
    for task, families in (("forecast", FORECAST), ("anomaly", ANOMALY), ("regression", TABULAR)):
        for family, count in families.items():
            command = [sys.executable, __file__, task, family, str(count)]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            said = found.stdout.strip() or found.stderr.strip().splitlines()[-1]
            print(f"| `{family}` | {count:,} | {said} |", flush=True)


if __name__ == "__main__":
    main()
