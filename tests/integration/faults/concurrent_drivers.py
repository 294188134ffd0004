"""Many processes that train, promote and roll back one model set at once: python concurrent_drivers.py STORE REGISTRY.

Prints what each of them did, as one JSON list.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

import numpy as np
import pandas as pd

import manymodels as mm
from manymodels.exceptions import NotFoundError
from manymodels.progress import NoProgress

DRIVERS = 8
RUNS = 4
KEYS = 24


class Listening(NoProgress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def rows(variant: int) -> pd.DataFrame:
    """Half of the keys; there are a few variants, so that several drivers split the same rows at once."""
    rng = np.random.default_rng(variant)
    keys = np.sort(rng.choice(KEYS, KEYS // 2, replace=False))
    frame = pd.DataFrame({"well": np.repeat(keys, 12), "x": rng.normal(size=6 * KEYS)})
    return frame.assign(y=frame["x"] + rng.normal(0, 1, len(frame)))


def job(store: str, registry: str | None) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"partition_by": ["well"], "target": "y"},
            "models": ["sklearn.linear_model.LinearRegression"],
            "training": {"isolation": "none"},
            "fallback": ["naive"],
            "compute": {"target": "serial"},
            "store": {"path": store, "registry": registry},
        }
    )


def drive(store: str, registry: str | None, number: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(100 + number)
    done: list[dict[str, Any]] = []
    with mm.Registry.open(job(store, registry).store, create=True) as opened:
        for _ in range(RUNS):
            progress = Listening()
            run = mm.train(
                job(store, registry), data=rows(int(rng.integers(4))), only="all", progress=progress
            )
            done.append({"run": run.id, "summary": run.summary, "said": progress.said})
            try:
                if rng.random() < 0.3:
                    opened.rollback("wells", by=f"driver {number}")
                elif rng.random() < 0.3:
                    opened.promote("wells", run=run.id, by=f"driver {number}")
            except NotFoundError:
                pass  # nothing left to roll back: others were faster
    return done


def main() -> None:
    store, registry = sys.argv[1], sys.argv[2] or None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["manymodels.training.engine", "sklearn.linear_model", "duckdb"])
    with context.Pool(DRIVERS) as pool:
        done = pool.starmap(drive, [(store, registry, number) for number in range(DRIVERS)], chunksize=1)
    print(json.dumps([run for runs in done for run in runs]))


if __name__ == "__main__":
    main()
