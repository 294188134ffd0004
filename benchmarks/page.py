"""Run the benchmarks and write what they print into the pages of docs/ that have marks for it, each between its own.

    make bench                                     # everything, at the documented sizes: about an hour on two cores
    make bench BENCH='--only ridge,split'          # some of it
    make bench BENCH='--small'                     # everything at small sizes, printed only

Text outside of the marks is written by people and stays.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGES = tuple(HERE.parent / "docs" / f"{name}.md" for name in ("benchmarks", "performance", "scaling"))
SLOW = "ours,joblib_files,dask_tasks,dask_groupby,ray_tasks,ray_groups,spark"

BLOCKS: dict[str, tuple[str, str]] = {
    "ridge": (
        "suite.py --peers PEERS --work ridge --keys 10000 --repeats 3 --only ours,ours_process,joblib_files,loop",
        "suite.py --peers PEERS --work ridge --keys 200 --repeats 1 --only ours,ours_process,joblib_files,loop",
    ),
    "ridge-clusters": (
        f"suite.py --peers PEERS --work ridge --keys 10000 --repeats 3 --only {SLOW}",
        f"suite.py --peers PEERS --work ridge --keys 200 --repeats 1 --only {SLOW}",
    ),
    "mean": (
        "suite.py --peers PEERS --work mean --keys 10000 --repeats 3 --only ours,ours_process,joblib_files,nixtla,loop",
        "suite.py --peers PEERS --work mean --keys 200 --repeats 1 --only ours,ours_process,joblib_files,nixtla,loop",
    ),
    "mean-clusters": (
        f"suite.py --peers PEERS --work mean --keys 10000 --repeats 3 --only {SLOW}",
        f"suite.py --peers PEERS --work mean --keys 200 --repeats 1 --only {SLOW}",
    ),
    "forest": (
        "suite.py --peers PEERS --work forest --keys 300 --repeats 3 --only ours,joblib_files",
        "suite.py --peers PEERS --work forest --keys 20 --repeats 1 --only ours,joblib_files",
    ),
    "holt-winters": (
        "suite.py --peers PEERS --work holt_winters --keys 1000 --repeats 3 --only ours,joblib_files,nixtla",
        "suite.py --peers PEERS --work holt_winters --keys 50 --repeats 1 --only ours,joblib_files,nixtla",
    ),
    "lag-ridge": (
        "suite.py --peers PEERS --work lag_ridge --keys 10000 --repeats 3 --only ours,joblib_files,mlforecast_files",
        "suite.py --peers PEERS --work lag_ridge --keys 50 --repeats 1 --only ours,joblib_files,mlforecast_files",
    ),
    "batched": (
        "batched.py --keys 1000 --sample 20 --peers PEERS",
        "batched.py --keys 50 --sample 2 --repeats 1 --peers PEERS",
    ),
    "overhead": ("overhead.py --keys 10000", "overhead.py --keys 200 --repeats 1"),
    "registering": (
        "loading.py --keys 10000 --peers PEERS",
        "loading.py --keys 200 --loads 50 --repeats 1 --peers PEERS",
    ),
    "loading": (
        "loading.py --keys 1000000 --rows 10 --repeats 1 --loads 5000",
        "loading.py --keys 2000 --rows 10 --repeats 1 --loads 100",
    ),
    "split": ("splitting.py --keys 100000 --rows 120", "splitting.py --keys 1000 --rows 120 --repeats 1"),
    "estimates": ("estimates.py", "estimates.py --size 0.05 --repeats 1"),
    "skew": ("skew.py --rows 40000 --keys 200", "skew.py --rows 4000 --keys 60 --trees 5 --repeats 1"),
    "startup": ("startup.py", "startup.py --repeats 2"),
    "profile-ridge": ("profile.py --work ridge", "profile.py --work ridge --keys 200"),
    "profile-mean": ("profile.py --work mean", "profile.py --work mean --keys 200"),
}
"""Name to the command at the documented sizes, and at small ones."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", required=True, help="Python of the environment with peers/requirements.txt"
    )
    parser.add_argument("--only", help=f"with commas: {', '.join(BLOCKS)}", default=",".join(BLOCKS))
    parser.add_argument("--small", action="store_true", help="small sizes; nothing is written")
    asked = parser.parse_args()
    for name in asked.only.split(","):
        command = BLOCKS[name][1 if asked.small else 0]
        words = [sys.executable, str(HERE / command.split()[0]), *command.split()[1:]]
        words = [asked.peers if word == "PEERS" else word for word in words]
        said = subprocess.run(
            words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        ).stdout
        print(f"\n{name}: {command}\n{said}", flush=True)
        if not asked.small:
            write(name, said)


def write(name: str, said: str) -> None:
    """Put what a benchmark printed between its marks on the page."""
    text = said.strip() if "| --- |" in said else f"```text\n{said.strip()}\n```"
    block = f"<!-- bench: {name} -->\n\n`python benchmarks/{BLOCKS[name][0]}`\n\n{text}\n\n<!-- end -->"
    marks = re.compile(rf"<!-- bench: {re.escape(name)} -->.*?<!-- end -->", re.DOTALL)
    for page in PAGES:
        text = page.read_text()
        if marks.search(text):
            page.write_text(marks.sub(lambda _: block, text))
            return
    raise SystemExit(f"no page has marks for {name}")


if __name__ == "__main__":
    main()
