"""What the crash tests do in processes that are killed: a small job, and a look at what it left."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

import manymodels as mm
from manymodels.exceptions import NotFoundError
from manymodels.progress import NoProgress
from manymodels.records import Rows
from manymodels.training import layout
from manymodels.training.engine import resume

MODULES = [
    "pandas", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.fs", "duckdb", "sqlalchemy", "alembic.command",
    "alembic.autogenerate", "fsspec", "mako.template", "sklearn.linear_model", "statsmodels.api", "manymodels.api",
    "manymodels.compute.serial", "manymodels.training.engine", "manymodels.training.panel", "manymodels.scoring.engine",
    "manymodels.scoring.panel", "manymodels.selection.choose", "manymodels.models.rungs", "manymodels.models.custom",
    "manymodels.models.forecast.pooled", "manymodels.models.tabular.family", "manymodels.models.batched.trainers",
    "manymodels.job.resolve", "crash_actions",
]  # fmt: skip
"""Imported before the forks."""

KEYS = 9
POISON = """
import numpy as np

class Level:
    def __init__(self, level):
        self.level = level

    def predict(self, frame):
        return np.full(len(frame), self.level)

def fit(frame, spec):
    if frame["store"].iloc[0] == 4:
        raise ValueError("store 4 is closed")
    return Level(frame["sales"].mean())
"""

layout.pack = functools.partial(layout.pack, limit=3)  # several batches of few keys


def prepare(folder: str) -> None:
    """Write the job's data."""
    rng = np.random.default_rng(5)
    frames = []
    for store in range(KEYS):
        days = 30 if store != 7 else 3  # too short to be tried
        frame = pd.DataFrame(
            {
                "store": store,
                "date": pd.date_range("2026-01-01", periods=days),
                "sales": 10 * store + rng.normal(0, 1, days).round(3),
            }
        )
        frames.append(frame)
    Path(folder).mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(f"{folder}/sales.parquet")
    Path(folder, "levels.py").write_text(POISON)


def _job(folder: str) -> mm.Job:
    os.chdir(folder)  # where the job's own module is
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {
                "path": "sales.parquet",
                "partition_by": ["store"],
                "time": "date",
                "target": "sales",
                "min_rows": 5,
            },
            "models": ["levels:fit"],
            "forecast": {"horizon": 3},
            "fallback": ["naive"],
            "training": {"isolation": "none", "max_failed": 1, "retries": 0},
            "compute": {"target": "serial"},
            "store": "store",
        }
    )


def train(folder: str) -> None:
    """Train; or continue the run that was killed; or see that it was done."""
    job = _job(folder)
    runs = mm.Registry("store").runs() if Path("store", "store.json").exists() else []
    if not runs:
        mm.train(job, progress=False)
    elif not runs[0].published:
        resume(runs[0].id, mm.Registry("store"), NoProgress())


def promote(folder: str) -> None:
    """Move every key to the alias ``live``."""
    mm.Registry(f"{folder}/store").promote("sales", alias="live", from_alias="champion")


def score(folder: str) -> None:
    """Score everything."""
    mm.score(_job(folder), output="scores", overwrite=True, progress=False)


def retrain(folder: str) -> None:
    """Train some keys twice more, in a store that keeps each key's newest version only."""
    job = _job(folder)
    Path("store/settings.yaml").write_text("retention: {versions: 1}\n")
    for _ in range(2):
        mm.train(job, only="all", keys=[{"store": 0}, {"store": 5}], progress=False)


def collect(folder: str) -> None:
    """Compact, and collect garbage."""
    registry = mm.Registry(f"{folder}/store")
    registry.compact(apply=True, below=1.0)
    registry.gc(apply=True, grace=0.0)


def inventory(folder: str) -> dict[str, Any]:
    """What is left after a collection."""
    registry = mm.Registry(f"{folder}/store")
    served = registry.served("sales").filter(pc.field("level") == "").to_pylist()
    left = registry.gc(grace=0.0)
    return {
        "versions": {line["display"]: line["version"] for line in served},
        "levels": [
            registry.load("sales", key_id=line["key_id"]).predict(_ahead())["prediction"].tolist()
            for line in served
        ],
        "segments": sum("/segments/" in path for path in registry.storage.listing("runs")),
        "verified": [registry.verify(deep=True).loaded, len(registry.verify(deep=True).unusable)],
        "garbage": [left.retired["segments"], len(left.paths)],
    }


def inspect(folder: str) -> dict[str, Any]:
    """What is to be the same however often the job was killed."""
    registry = mm.Registry(f"{folder}/store")
    (run,) = registry.runs("sales")
    outcomes = pq.read_table(f"{folder}/store/{run.outcomes_path}").to_pandas()
    keys = outcomes[outcomes["level"] == ""]
    assert keys["key_id"].is_unique
    found: dict[str, Any] = {
        "state": run.state,
        "counts": dict(run.counts),
        "states": dict(sorted(zip(keys["key_id"], keys["state"], strict=True))),
        "reasons": dict(sorted(zip(keys["key_id"], keys["reason"], strict=True))),
        "damaged": [damage.path for damage in registry.verify().damaged],
    }
    for alias in ("champion", "live"):
        try:
            served = registry.served("sales", alias).to_pylist()
        except NotFoundError:
            continue
        found[alias] = sorted([line["level"], line["display"], line["version"]] for line in served)
        for line in served:
            model = registry.load("sales", alias=alias, key_id=line["key_id"]) if not line["level"] else None
            if model is not None:
                found[f"{alias} {line['display']}"] = model.predict(_ahead())["prediction"].tolist()
    return found


def _ahead() -> Rows:
    return Rows(pd.DataFrame({"store": [0], "date": [pd.Timestamp("2026-03-01")]}))


def read_scores(folder: str) -> list[list[Any]]:
    """The scores, as plain values."""
    frame = pd.read_parquet(f"{folder}/scores").sort_values(["store", "date"])
    return json.loads(frame.astype({"date": str}).to_json(orient="values"))
