"""Skewed fleets: wall time against the best possible packing of the same fits.

    python benchmarks/skew.py [--keys 300] [--rows 150000] [--trees 30] [--workers 2] [--repeats 1]

One key with half of all rows, and a fleet whose keys shrink as 1/rank (Zipf), each fitted by a random forest in the child
process, one by one. No packing can end before the longest fit is done, nor before the work is shared evenly: the bound is
max(longest fit, sum of all / workers), of the seconds that the fits of keys and of the ladder's rungs (the pooled model has all
rows) really took in that run. The wall time is that of the fan-out: from the first batch handed out to the last receipt
journalled, cluster start and split left out. Each fleet is run twice: the first run guesses costs, the second knows them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import manymodels as mm
from manymodels.training import engine


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--trees", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    fleets: dict[str, Callable[[int, int], Any]] = {"one key with half of all rows": half, "Zipf": zipf}
    walls = _timed_fan_outs()
    for name, lengths in fleets.items():
        with tempfile.TemporaryDirectory() as folder:
            data = _write(Path(folder) / "rows.parquet", lengths(asked.keys, asked.rows))
            for run in ("first run", "second run"):
                job = _job(data, Path(folder) / "store", asked.trees, asked.workers)
                path = Path(folder) / "store" / "runs" / mm.train(job).id / "outcomes.parquet"
                seconds = pd.read_parquet(path, columns=["seconds"])["seconds"].dropna()  # the rungs' too
                best = max(seconds.max(), seconds.sum() / asked.workers)
                print(
                    f"{name}, {run}: wall {walls[-1]:.1f} s, longest fit {seconds.max():.1f} s, "
                    f"all / workers {seconds.sum() / asked.workers:.1f} s: {walls[-1] / best:.3f} x the best possible",
                    flush=True,
                )


def half(keys: int, rows: int) -> Any:
    """Rows of each key: the first has half of all."""
    return np.array([rows // 2, *[rows // 2 // (keys - 1)] * (keys - 1)])


def zipf(keys: int, rows: int) -> Any:
    """Rows of each key: in proportion to 1/rank, at least 20."""
    share = 1 / np.arange(1, keys + 1)
    return np.maximum(20, (rows * share / share.sum()).astype(int))


def _write(path: Path, lengths: Any) -> Path:
    rng = np.random.default_rng(0)
    key = np.repeat(rng.permutation(len(lengths)), lengths)
    features = rng.normal(size=(len(key), 4))
    frame = pd.DataFrame(features, columns=["a", "b", "c", "d"])
    frame["y"] = features[:, 0] * features[:, 1] + np.sin(3 * features[:, 2]) + rng.normal(0, 0.1, len(key))
    frame["key"] = key
    frame.sample(frac=1.0, random_state=0).to_parquet(path, index=False)
    return path


def _job(data: Path, store: Path, trees: int, workers: int) -> mm.Job:
    forest = {"n_estimators": trees, "min_samples_leaf": 5}
    return mm.Job.from_dict(
        {
            "name": "skew",
            "task": "regression",
            "data": {"path": str(data), "partition_by": ["key"], "target": "y"},
            "models": [{"sklearn.ensemble.RandomForestRegressor": forest}],
            "training": {"only": "all", "timeout": "1h"},
            "compute": {"workers": workers},
            "store": str(store),
        }
    )


def _timed_fan_outs() -> list[float]:
    """Wall seconds of every fan-out from now on."""
    walls: list[float] = []
    fan_out = engine._fan_out

    def timed(*arguments: Any) -> None:
        began = time.perf_counter()
        fan_out(*arguments)
        walls.append(time.perf_counter() - began)

    engine._fan_out = timed
    return walls


if __name__ == "__main__":  # workers import this module
    main()
