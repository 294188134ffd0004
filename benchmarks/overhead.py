"""What the engine costs a key, all but fitting: split, plan, fan-out, segments, journal, publication, promotion.

    python benchmarks/overhead.py [--keys 10000] [--rows 60]

The model is the mean, which costs next to nothing. Overhead is wall time less the time inside fits shared by the
workers. ``process`` fits key by key in the child process, ``auto`` uses the batched trainer.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from pathlib import Path

from options import sized
from sales import write_sales

import manymodels as mm


def main() -> None:
    parser = sized(__doc__, keys=10_000, rows=60)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_sales(folder / "sales.parquet", asked.keys, asked.rows)
        found: dict[str, list[float]] = {"auto": [], "process": []}
        for repeat in range(asked.repeats):
            for isolation, overheads in found.items():
                run = mm.train(_job(data, folder / f"{isolation}{repeat}", isolation))
                fitting = run.outcomes()["fit_seconds"].sum() / 2
                overheads.append((run.summary["seconds"] - fitting) / asked.keys * 1e3)
    print(f"{asked.keys:,} keys x {asked.rows} rows, two workers, median of {asked.repeats}:")
    for isolation, overheads in found.items():
        print(f"  isolation {isolation:<8} {statistics.median(overheads):.3f} ms a key")


def _job(data: Path, store: Path, isolation: str) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "overhead",
            "task": "forecast",
            "data": {
                "path": str(data),
                "partition_by": ["store"],
                "time": "date",
                "target": "sales",
                "features": [],
            },
            "models": ["mean"],
            "fallback": [],
            "training": {"isolation": isolation},
            "compute": {"target": "local", "workers": 2},
            "store": str(store),
        }
    )


if __name__ == "__main__":  # workers import this module
    main()
