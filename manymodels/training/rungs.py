"""The ladder's models: which rows each rung is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from manymodels.job.job import Job
from manymodels.job.resolve import blended_levels, level_name
from manymodels.partitioning.keys import make_key
from manymodels.records import Key
from manymodels.training.batch import Rung

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SAMPLE_ROWS", "RungTask", "rung_levels", "rung_tasks"]

SAMPLE_ROWS = 100_000
"""Rows that a rung is fitted on, at most (whole keys; at least one key); a level of the hierarchy has its own limit."""


@dataclass(frozen=True)
class RungTask:
    """One rung's model to fit.

    Attributes:
        rung: What is fitted.
        key: The rung's own key: the values of its level columns.
        keys: Rows of the manifest: the sample of keys whose rows it sees.
    """

    rung: Rung
    key: Key
    keys: Any


def rung_levels(job: Job) -> set[str]:
    """The levels that a job has models of many keys for."""
    ladder = (entry if isinstance(entry, str) else level_name(entry.level) for entry in job.fallback)
    return {*ladder, *map(level_name, blended_levels(job))}


def rung_tasks(job: Job, manifest: pa.Table) -> list[RungTask]:
    """Every model of many keys (levels that keys are blended with, rungs of the ladder), each with a seeded sample of keys.

    Keys are drawn in the order of a hash of seed and key, so that a sample does not depend on the other keys' order.
    """
    if not rung_levels(job):
        return []
    usable = np.flatnonzero(
        (manifest.column("null_targets").to_numpy() < manifest.column("rows").to_numpy())
        & (manifest.column("infinite_targets").to_numpy() == 0)
    )
    draw = [
        blake2b(f"{job.training.seed}:{key_id}".encode(), digest_size=8).digest()
        for key_id in manifest.column("key_id").take(usable).to_pylist()
    ]
    order = usable[np.argsort(np.array(draw, dtype="S8"), kind="stable")]
    rows = manifest.column("rows").to_numpy()
    tasks: list[RungTask] = []
    parents = blended_levels(job)
    wanted: dict[str, list[str]] = {level_name(columns): columns for columns in parents}
    for entry in job.fallback:
        source, columns = (entry, []) if isinstance(entry, str) else (level_name(entry.level), entry.level)
        wanted.setdefault(source, columns)
    for level, names in wanted.items():
        parent = level_name(names) == level and names in parents
        most = job.hierarchy.rows if parent and job.hierarchy is not None else SAMPLE_ROWS
        if not names:
            key = make_key((), level=level)
            rung = Rung(level, key.key_id, level, parent)
            tasks.append(RungTask(rung, key, manifest.take(_sample(order, rows, most))))
            continue
        columns = [manifest.column(f"level:{name}").to_pylist() for name in names]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place in order.tolist():
            groups.setdefault(tuple(column[place] for column in columns), []).append(place)
        for values in sorted(groups, key=repr):
            key = make_key(values, level=level)
            sample = _sample(np.array(groups[values]), rows, most)
            tasks.append(RungTask(Rung(level, key.key_id, "pooled", parent), key, manifest.take(sample)))
    return [task for task in tasks if task.keys.num_rows]


def _sample(order: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], most: int) -> np.ndarray[Any, Any]:
    """The first keys of an order that together stay within so many rows, in the store's order."""
    if len(order) == 0:
        return order
    within = np.cumsum(rows[order]) <= most
    within[0] = True
    return np.sort(order[within])
