"""The fleet report of a large run: how long it takes, and how large the page is.

    python benchmarks/report_size.py [--keys 100000]

Two runs of one model set, so that there is something to compare with; exit code 1 where the page is 20 MB or more.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from sales import write_sales

import manymodels as mm
from manymodels.report import report

LIMIT = 20_000_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=100_000)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_sales(folder / "sales.parquet", asked.keys, 60, features=0)
        for models in (["mean"], ["seasonal_naive", "mean", "drift"]):
            run = mm.train(_job(data, folder / "store", models), progress=False)
            print(f"{run}: {run.summary['seconds']:.1f} s")
        began = time.perf_counter()
        with mm.Registry(folder / "store") as registry:
            made = report(registry, run.id)
        page = folder / "report.html"
        size = made.write(str(page))
        seconds = time.perf_counter() - began
        kept = folder / "store" / "runs" / run.id / "backtests"
        held = sum(path.stat().st_size for path in kept.iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"report of {asked.keys:,} keys: {seconds:.1f} s, {size / 1e6:.2f} MB, peak of {peak / 1e9:.1f} GB resident"
    )
    print(f"backtests of {run.id}: {held / asked.keys:.0f} bytes a key")
    sys.exit(size >= LIMIT)


def _job(data: Path, store: Path, models: list[str]) -> mm.Job:
    fields: dict[str, Any] = {
        "name": "fleet",
        "task": "forecast",
        "data": {
            "path": str(data),
            "partition_by": ["store"],
            "time": "date",
            "target": "sales",
            "frequency": "D",
        },
        "models": models,
        "forecast": {"horizon": 7, "levels": [80]},
        "compute": {"target": "local", "workers": os.cpu_count() or 1},
        "store": str(store),
    }
    return mm.Job(**fields)


if __name__ == "__main__":
    main()
