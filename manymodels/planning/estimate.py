"""What a run will take: wall time, memory of a worker, disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from manymodels.planning.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Estimate", "estimate"]

_LIBRARIES = 240 * 2**20  # resident size of a process that imported pandas, scikit-learn and statsmodels
_COPIES = 4  # of the largest key's rows alive in a fit: read, frame, features, the estimator's own
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


def estimate(plan: Plan, schema: pa.Schema, workers: int | Literal["auto"]) -> Estimate:
    """Add up a plan; the longest key bounds the wall time from below.

    Args:
        plan: The plan.
        schema: Of the rows.
        workers: Of the job; ``auto`` is one per core.
    """
    count = workers if isinstance(workers, int) else os.cpu_count() or 1
    work = plan.seconds + _PER_KEY * len(plan.training)
    longest = float(plan.table["seconds"].max()) if len(plan.table) else 0.0
    training = plan.table["rows"].to_numpy()[plan.training]
    widest = int(training.max()) if len(training) else 0
    return Estimate(
        seconds=max(work / count, longest),
        workers=count,
        memory=_LIBRARIES + _COPIES * widest * 8 * len(schema),
        disk=plan.disk,
    )
