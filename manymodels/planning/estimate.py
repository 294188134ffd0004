"""What a run will take: wall time, memory of a worker, disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from manymodels.planning.memory import needed
from manymodels.planning.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Estimate", "estimate"]

_PER_KEY = 3e-4  # seconds of everything but fitting: what the engine is designed for


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Wall time without start-up.
        workers: That it counts on.
        memory: Bytes of one worker.
        disk: Bytes of the new models.
    """

    seconds: float
    workers: int
    memory: int
    disk: int


def estimate(
    plan: Plan,
    schema: pa.Schema,
    workers: int | Literal["auto"],
    *,
    families: Sequence[str],
    max_rows: int | None,
) -> Estimate:
    """Add up a plan; the longest key bounds the wall time from below.

    Args:
        plan: The plan.
        schema: Of the rows.
        workers: Of the job; ``auto`` is one per core.
        families: The job's candidates.
        max_rows: Rows of a key that are fitted, at most; None is all.
    """
    count = workers if isinstance(workers, int) else os.cpu_count() or 1
    work = plan.seconds + _PER_KEY * len(plan.training)
    longest = float(plan.table["seconds"].max()) if len(plan.table) else 0.0
    training = plan.table["rows"].to_numpy()[plan.training]
    widest = np.array([training.max() if len(training) else 0], dtype=np.int64)
    kept = widest if max_rows is None else np.minimum(widest, max_rows)
    return Estimate(
        seconds=max(work / count, longest),
        workers=count,
        memory=max(int(needed(widest, kept, len(schema), family)[0]) for family in families),
        disk=plan.disk,
    )
