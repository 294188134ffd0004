"""How long ``manymodels --help`` and ``import manymodels`` take, as processes of their own.

python benchmarks/startup.py [--repeats 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    for name, command in {
        "python -c pass": ["-c", "pass"],
        "import manymodels": ["-c", "import manymodels"],
        "manymodels --help": ["-m", "manymodels", "--help"],
    }.items():
        seconds = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - began)
        print(f"{name:<18} {statistics.median(seconds[1:]):.3f} s, median of {repeats} after a first one")


if __name__ == "__main__":
    main()
