"""The ladder's models: which rows each rung is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from manymodels.job.job import Job
from manymodels.job.resolve import level_name
from manymodels.partitioning.keys import make_key
from manymodels.records import Key
from manymodels.training.batch import Rung

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SAMPLE_ROWS", "RungTask", "rung_tasks"]

SAMPLE_ROWS = 100_000
"""Rows that a rung is fitted on, at most (whole keys; at least one key)."""


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


def rung_tasks(job: Job, manifest: pa.Table) -> list[RungTask]:
    """Every rung of the job's ladder, with a seeded sample of whole keys each.

    Keys are drawn in the order of a hash of seed and key, so that a sample does not depend on the other keys' order.
    """
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
    for entry in job.fallback:
        if isinstance(entry, str):
            key = make_key((), level=entry)
            rung = Rung(level=entry, key_id=key.key_id, kind=entry)
            tasks.append(RungTask(rung, key, manifest.take(_sample(order, rows))))
            continue
        level = level_name(entry.level)
        columns = [manifest.column(f"level:{name}").to_pylist() for name in entry.level]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place in order.tolist():
            groups.setdefault(tuple(column[place] for column in columns), []).append(place)
        for values in sorted(groups, key=repr):
            key = make_key(values, level=level)
            sample = _sample(np.array(groups[values]), rows)
            tasks.append(RungTask(Rung(level, key.key_id, "pooled"), key, manifest.take(sample)))
    return [task for task in tasks if task.keys.num_rows]


def _sample(order: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first keys of an order that together stay within ``SAMPLE_ROWS``, in the store's order."""
    if len(order) == 0:
        return order
    within = np.cumsum(rows[order]) <= SAMPLE_ROWS
    within[0] = True
    return np.sort(order[within])
