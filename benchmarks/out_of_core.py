"""Input larger than memory: every process stays under a cap while much more than that is split, trained and scored.

    python benchmarks/out_of_core.py [--rows 60000000] [--keys 100000] [--memory 2GiB] [--folder SCRATCH]

A ridge regression on two features; 40 bytes a row, in 12 Parquet files of shuffled rows. `compute.memory` and
`training.memory` are the cap. The exit code is 1 when a process went beyond it: memory is the kernel's own highest resident
size of each process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from pydantic import TypeAdapter
from scale import measure, report

from manymodels.specs import Size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=60_000_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--memory", default="2GiB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    asked = parser.parse_args()
    limit = TypeAdapter(Size).validate_python(asked.memory)
    settings = {
        "compute": {"workers": asked.workers, "memory": asked.memory},
        "training": {"memory": asked.memory},
    }
    rows = asked.rows // asked.keys
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        steps = measure("ridge", asked.keys, rows, Path(folder), settings, files=12)
    print(
        f"{asked.keys * rows:,} rows of 40 bytes: {asked.keys * rows * 40 / 2**30:.1f} GiB; cap {asked.memory}"
    )
    report("ridge", asked.keys, rows, steps, {}, limit)
    sys.exit(any(size > limit for step in steps.values() for size in step.peaks.values()))


if __name__ == "__main__":
    main()
