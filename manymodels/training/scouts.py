"""Scouts: the few keys that are tried first, so that a wrong column does not cost a night.

The first batch of a run that is to try more than ``FEW`` keys is a seeded sample of ``SCOUTS`` of them. When every scout fails,
whatever the causes, and nothing else has trained meanwhile, the run stops: the other keys are skipped, and the gate counts as
not passed. It goes on where ``training.max_failed`` lets half of the keys fail: the scouts would prove too little there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from manymodels.job.gate import too_many
from manymodels.registry.signatures import normalised

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FEW", "SCOUTS", "failed_scouts", "scouts"]

SCOUTS = 20
FEW = 40

_ROW_GROUPS = 4  # to read for the scouts: each is read whole


def scouts(manifest: pa.Table, training: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Which of the keys to try go first; none where there are few.

    Args:
        manifest: Of the partition store.
        training: Its rows that are to be tried.
        seed: Of the run.

    Returns:
        Places in ``training``, ascending.
    """
    if len(training) <= FEW:
        return np.empty(0, dtype=np.int64)
    keys = manifest.take(training)
    lots = [
        blake2b(f"scout {seed}:{key_id}".encode(), digest_size=8).digest()
        for key_id in keys.column("key_id").to_pylist()
    ]
    drawn = sorted(range(len(lots)), key=lots.__getitem__)
    groups = list(zip(keys.column("file").to_pylist(), keys.column("row_group").to_pylist(), strict=True))
    near = list(dict.fromkeys(groups[place] for place in drawn))[:_ROW_GROUPS]
    chosen = [place for place in drawn if groups[place] in near][:SCOUTS]
    return np.sort(np.array(chosen, dtype=np.int64))


def failed_scouts(limit: int | float, planned: int, batches: Iterable[pa.Table]) -> str:
    """Why a run should stop after its scouts; empty when it should go on.

    Args:
        limit: ``training.max_failed``.
        planned: Keys that the run is to try.
        batches: Outcomes of the keys so far, the scouts' first.
    """
    if planned <= FEW or not too_many(limit, planned // 2, planned):
        return ""
    first, *others = batches
    failed = [
        line for line in first.select(["state", "error", "message"]).to_pylist() if line["state"] == "failed"
    ]
    if len(failed) < first.num_rows or any("trained" in part.column("state").to_pylist() for part in others):
        return ""
    errors = Counter(f"{line['error']}: {normalised(line['message'])}" for line in failed)
    error, count = errors.most_common(1)[0]
    return (
        f"stopped early: {first.num_rows} keys of {planned:,}, drawn at random, were tried first and all failed, "
        f"{count} with {error}"
    )
