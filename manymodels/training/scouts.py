"""Scouts: the few keys that are tried first, so that a wrong column does not cost a night.

The first batch of a run that is to try more than ``FEW`` keys is a seeded sample of ``SCOUTS`` of them. When every scout fails,
whatever the causes, and nothing else has trained meanwhile, the run stops: the other keys are skipped, and the gate counts as
not passed. It goes on where ``training.max_failed`` lets half of the keys fail: the scouts would prove too little there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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
_AT_ONCE = 65_536


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
    import pyarrow as pa

    keys = manifest.select(["key_id", "file", "row_group"]).take(pa.array(training))
    lots = np.fromiter(
        (_lot(seed, key_id) for key_id in _texts(keys.column("key_id"))), np.uint64, len(training)
    )
    drawn = np.argsort(lots, kind="stable")
    files = keys.column("file").combine_chunks().dictionary_encode()
    group = files.indices.to_numpy().astype(np.int64) << 32 | keys.column("row_group").to_numpy()
    near = list(dict.fromkeys(group[drawn].tolist()))[:_ROW_GROUPS]
    return np.sort(drawn[np.isin(group[drawn], near)][:SCOUTS])


def _lot(seed: int, key_id: str) -> int:
    return int.from_bytes(blake2b(f"scout {seed}:{key_id}".encode(), digest_size=8).digest(), "big")


def _texts(column: pa.ChunkedArray) -> Iterator[str]:
    """The strings of a column, some thousands at a time."""
    for batch in column.chunks:
        for start in range(0, len(batch), _AT_ONCE):
            yield from batch.slice(start, _AT_ONCE).to_pylist()


def failed_scouts(limit: int | float, planned: int, first: pa.Table, *, trained_beside: bool) -> str:
    """Why a run should stop after its scouts; empty when it should go on.

    Args:
        limit: ``training.max_failed``.
        planned: Keys that the run is to try.
        first: Outcomes of the scouts.
        trained_beside: Whether a key of another batch has trained meanwhile.
    """
    if trained_beside or planned <= FEW or not too_many(limit, planned // 2, planned):
        return ""
    failed = [
        line for line in first.select(["state", "error", "message"]).to_pylist() if line["state"] == "failed"
    ]
    if len(failed) < first.num_rows:
        return ""
    errors = Counter(f"{line['error']}: {normalised(line['message'])}" for line in failed)
    error, count = errors.most_common(1)[0]
    return (
        f"stopped early: {first.num_rows} keys of {planned:,}, drawn at random, were tried first and all failed, "
        f"{count} with {error}"
    )
