"""A large fleet through split, plan, train, register and score: wall time, cost per key, memory of every process.

    python benchmarks/scale.py [--work seasonal_naive] [--keys 10000,100000,1000000] [--rows 30] [--folder SCRATCH]

Every step is the command that a user would give, in a process of its own: ``train`` (split, plan, fits, registry, promotion),
``plan`` of the unchanged data, ``train`` of it, and ``score`` (forecasts of 14 periods, or 5 new rows a key). The input is
shuffled Parquet. `compute.memory` is 2 GiB: what the split does not sort within that goes to disk. Memory is the highest
resident size that a process of each role had. Costs are wall time without imports and the start of the cluster.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from peaks import Watched, mebibytes, watched
from sales import write_sales_in_pieces

WORKS: dict[str, dict[str, Any]] = {
    "seasonal_naive": {
        "task": "forecast",
        "models": [{"seasonal_naive": {"season_length": 7}}],
        "forecast": {"horizon": 14},
    },
    "ridge": {"task": "regression", "models": [{"sklearn.linear_model.Ridge": {"alpha": 1.0}}]},
}
_NEW = 5
_LIMIT = 2 * 2**30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", choices=sorted(WORKS), action="append")
    parser.add_argument("--keys", default="10000,100000,1000000", help="sizes, with commas")
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    asked = parser.parse_args()
    for work in asked.work or sorted(WORKS):
        first: dict[str, float] = {}
        for keys in map(int, asked.keys.split(",")):
            with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
                settings = {"compute": {"workers": asked.workers, "memory": "2GiB"}}
                steps = measure(work, keys, asked.rows, Path(folder), settings)
            report(work, keys, asked.rows, steps, first, _LIMIT)


def measure(
    work: str, keys: int, rows: int, folder: Path, settings: dict[str, Any], files: int = 1
) -> dict[str, Watched]:
    """Every step on one fleet; ``settings`` are further sections of the job."""
    features = 2 if work == "ridge" else 0
    (folder / "train").mkdir()
    write_sales_in_pieces(folder / "train", keys, rows, features=features, files=files)
    job: dict[str, Any] = {
        "name": "scale",
        "data": {"path": "train", "partition_by": ["store"], "time": "date", "target": "sales"},
        **WORKS[work],
        **settings,
    }
    (folder / "job.yaml").write_text(json.dumps(job))
    scoring = ["score", "job.yaml", "-o", "scores"]
    if job["task"] != "forecast":
        (folder / "new").mkdir()
        write_sales_in_pieces(folder / "new", keys, _NEW, features=features, first_day=rows)
        scoring += ["--data", "new"]
    steps = {
        "train": ["train", "job.yaml"],
        "plan again": ["plan", "job.yaml"],
        "train again": ["train", "job.yaml"],
        "score": scoring,
    }
    found = {}
    for name, arguments in steps.items():
        found[name] = watched([sys.executable, "-m", "manymodels", *arguments, "--json"], folder)
        print(f"  {name}: {found[name].seconds:.1f} s; {mebibytes(found[name].peaks)}", file=sys.stderr)
    answers = {name: step.answer for name, step in found.items()}
    if answers["train"]["trained"] != keys or answers["train again"]["reused"] != keys:
        raise RuntimeError(f"keys went missing: {answers}")
    if answers["score"]["scored"] != keys:
        raise RuntimeError(f"keys were not scored: {answers['score']}")
    size = sum(path.stat().st_size for path in (folder / ".manymodels").rglob("*") if path.is_file())
    print(
        f"  {size / 2**20:,.0f} MiB in the store; {shutil.disk_usage(folder).free / 2**30:.0f} GiB free",
        file=sys.stderr,
    )
    return found


def report(
    work: str, keys: int, rows: int, steps: dict[str, Watched], first: dict[str, float], limit: int
) -> None:
    """Print a fleet's lines; ``first`` takes the costs of the smallest, ``limit`` is what a process may occupy."""
    print(f"{work}, {keys:,} keys x {rows} rows")
    for name, step in steps.items():
        seconds = float(step.answer.get("seconds", step.seconds))
        cost = seconds / keys * 1e6
        ratio = cost / first.setdefault(name, cost)
        over = [role for role, size in step.peaks.items() if size > limit]
        print(
            f"  {name:<12} {seconds:7.1f} s  {cost:7.1f} us a key  {ratio:5.2f} x the smallest  CPU {step.cpu:6.1f} s  "
            f"{mebibytes(step.peaks)}{f'  OVER THE CAP: {over}' if over else ''}"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
