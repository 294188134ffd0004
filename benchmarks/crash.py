"""A long random walk of crashes: train, promote and score, killed at random calls again and again.

    python benchmarks/crash.py [--rounds 50] [--seed 0]

Each round kills every step at a random call of store or registry, up to three times in a row, does it again undisturbed, and
compares what is left with a calm run: states, versions, what the models predict, what was scored.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from manymodels.testing.crash import Crasher

ACTIONS = Path(__file__).parents[1] / "tests" / "integration" / "faults"
STEPS = ("train", "promote", "score")
MOST_CALLS = 80


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sys.path.insert(0, str(ACTIONS))
    from crash_actions import MODULES

    rng = np.random.default_rng(asked.seed)
    kills = 0
    with Crasher(MODULES, [str(ACTIONS)]) as crasher, tempfile.TemporaryDirectory() as work:

        def do(folder: Path, action: str, kill_at: int | None = None) -> bool:
            return crasher.attempt(f"crash_actions:{action}", str(folder), kill_at=kill_at).killed

        def seen(folder: Path) -> list[object]:
            looks = ("inspect", "read_scores")
            return [crasher.attempt(f"crash_actions:{look}", str(folder)).value for look in looks]

        calm = Path(work) / "calm"
        for action in ("prepare", *STEPS):
            do(calm, action)
        expected = seen(calm)
        for number in range(asked.rounds):
            folder = Path(work) / str(number)
            do(folder, "prepare")
            for step in STEPS:
                for _ in range(int(rng.integers(1, 4))):
                    kills += do(folder, step, int(rng.integers(1, MOST_CALLS)))
                do(folder, step)
            assert seen(folder) == expected, f"round {number} of seed {asked.seed} ended differently"
            shutil.rmtree(folder)
            print(f"round {number + 1} of {asked.rounds}: as the calm run, {kills} kills so far", flush=True)


if __name__ == "__main__":
    main()
