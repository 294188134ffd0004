"""Registering many models and loading one of them at random, beside MLflow.

    python benchmarks/loading.py [--keys 10000] [--rows 60] [--loads 1000] [--repeats 3] [--peers PYTHON]

Registering is what the registry does of a run: its start, the receipts' journal, publication and promotion. MLflow
registers models one by one, on SQLite, with pinned requirements: 100 are enough to know what one takes.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from options import sized
from sales import write_sales

import manymodels as mm
from manymodels.registry import Registry


def main() -> None:
    parser = sized(__doc__, keys=10_000, rows=60)
    parser.add_argument("--peers", help="Python of the environment with peers/requirements.txt")
    parser.add_argument("--loads", type=int, default=1_000)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    spent = _timed(Registry, ("start_run", "journal", "publish_run"))
    registering, loads = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_sales(folder / "sales.parquet", asked.keys, asked.rows)
        for repeat in range(asked.repeats):
            spent.clear()
            job = _job(data, folder / f"store{repeat}")
            mm.train(job, progress=False)
            registering.append(sum(spent))
        registry = mm.Registry(job.store.path)
        registry.load("loading", store=0)  # opens what stays open
        for store in np.random.default_rng(0).integers(0, asked.keys, asked.loads).tolist():
            began = time.perf_counter()
            registry.load("loading", store=store)
            loads.append((time.perf_counter() - began) * 1e3)
    ours = statistics.median(registering)
    print(
        f"registering {asked.keys:,} models: {ours:.2f} s, median of {asked.repeats}, {ours / asked.keys * 1e6:.0f} µs a model"
    )
    p50, p99 = np.percentile(loads, [50, 99])
    print(
        f"loading one of {asked.keys:,} at random, {asked.loads:,} times: {p50:.2f} ms (50th percentile), {p99:.2f} ms (99th)"
    )
    if asked.peers:
        script = Path(__file__).parent / "peers" / "mlflow_models.py"
        with tempfile.TemporaryDirectory() as name:
            said = subprocess.run(
                [asked.peers, str(script)],
                cwd=name,
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        theirs = json.loads(said.stdout.splitlines()[-1])
        print(
            f"MLflow {theirs['version']}, 100 models: {theirs['registering'] * 1e3:.0f} ms to log and register one, "
            f"{theirs['registering'] / ours * asked.keys:,.0f} times as long; {theirs['loading'] * 1e3:.1f} ms to load one; "
            f"{theirs['files']:.1f} files and {theirs['bytes']:,.0f} bytes a model"
        )


def _timed(owner: type[Any], names: tuple[str, ...]) -> list[float]:
    """Seconds of every call of these methods from now on."""
    spent: list[float] = []

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **arguments)
            finally:
                spent.append(time.perf_counter() - began)

        return call

    for name in names:
        setattr(owner, name, wrapped(getattr(owner, name)))
    return spent


def _job(data: Path, store: Path) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "loading",
            "task": "forecast",
            "data": {"path": str(data), "partition_by": ["store"], "time": "date", "target": "sales"},
            "models": ["seasonal_naive"],
            "fallback": [],
            "compute": {"target": "serial"},
            "store": str(store),
        }
    )


if __name__ == "__main__":
    main()
