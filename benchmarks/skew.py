"""Skewed fleets: wall time against the best possible packing of the same fits.

    python benchmarks/skew.py [--keys 300] [--rows 150000] [--trees 30] [--workers 2] [--repeats 3]

One key with half of all rows, and a fleet whose keys shrink as 1/rank (Zipf), each fitted by a random forest in the child
process, one by one. No packing can end before the longest fit is done, nor before the work is shared evenly: the bound is
max(longest fit, sum of all / workers), of the seconds that the fits of keys and of the ladder's rungs (the pooled model has all
rows) really took in that run. The wall time is that of the fan-out: from the first batch handed out to the last receipt
journalled, cluster start and split left out. Each fleet is run twice: the first run guesses costs, the second knows them.

What the wall time has beyond the bound is told apart, as the run kept it (``costs.json``): what the batches take beside the
fits (reading rows, handing models over, compressing and writing them), what the order of the batches leaves a worker waiting
at the end, and the pauses between batches.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from options import sized

import manymodels as mm
from manymodels.planning.receipts import costs_path, read_costs
from manymodels.training import engine


def main() -> None:
    parser = sized(__doc__, keys=300, rows=150_000)
    parser.add_argument("--trees", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    fleets: dict[str, Callable[[int, int], Any]] = {"one key with half of all rows": half, "Zipf": zipf}
    walls = _timed_fan_outs()
    print(f"median of {asked.repeats}; seconds a worker, of {asked.workers} workers")
    print(
        f"{'fleet':<32}{'run':>4}{'wall':>8}{'longest':>9}{'fits':>7}{'beside':>8}{'order':>7}{'pauses':>8}{'x best':>9}"
    )
    for name, lengths in fleets.items():
        found: dict[int, list[Any]] = {1: [], 2: []}
        for _ in range(asked.repeats):
            with tempfile.TemporaryDirectory() as folder:
                data = _write(Path(folder) / "rows.parquet", lengths(asked.keys, asked.rows))
                job = _job(data, Path(folder) / "store", asked.trees, asked.workers)
                for lines in found.values():
                    lines.append(_parts(job, walls, asked.workers))
        for run, lines in found.items():
            wall, longest, fits, beside, order, pauses, ratio = map(
                statistics.median, zip(*lines, strict=True)
            )
            print(
                f"{name:<32}{run:>4}{wall:>8.2f}{longest:>9.2f}{fits:>7.2f}{beside:>8.2f}{order:>7.2f}{pauses:>8.2f}{ratio:>9.3f}",
                flush=True,
            )


def _parts(job: mm.Job, walls: list[float], workers: int) -> tuple[float, ...]:
    """A run's wall time; its longest fit, and its fits a worker; what is beside them; and the ratio to the best possible."""
    folder = Path(job.store.path)
    run_id = mm.train(job, progress=False).id
    costs = read_costs((folder / costs_path(run_id)).read_bytes())
    outcomes = pd.read_parquet(folder / "runs" / run_id / "outcomes.parquet", columns=["seconds"])
    seconds = outcomes["seconds"].dropna()  # the rungs' too
    longest, fits, wall = seconds.max(), seconds.sum() / workers, walls[-1]
    work = (costs.batch_seconds + costs.rung_seconds) / workers
    return (
        wall,
        longest,
        fits,
        work - fits,
        costs.packed - work,
        wall - costs.packed,
        wall / max(longest, fits),
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
