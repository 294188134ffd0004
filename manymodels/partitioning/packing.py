"""Pack keys into batches for the workers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import UsageError

__all__ = ["pack"]

_PER_WORKER = 4  # batches each worker gets when there is little work: enough to even out
_OVERHEAD = 0.05  # seconds a batch costs by itself: there is no use in smaller ones


def pack(
    costs: npt.NDArray[np.float64],
    *,
    workers: int,
    low: float = 1.0,
    high: float = 10.0,
    limit: int = 5000,
    sizes: npt.NDArray[np.float64] | None = None,
    room: float = np.inf,
) -> list[npt.NDArray[np.int64]]:
    """Pack keys into batches of about ``low`` to ``high`` seconds, longest batch first.

    A key that costs more than ``low`` is a batch of its own. The others are packed in the given order, so
    that a batch reads neighbouring row groups. Batches are smaller than ``low`` where a worker would get none
    otherwise.

    Args:
        costs: Seconds each key will take, in the order of the partition store.
        workers: Processes that will share the batches.
        low: Seconds of the smallest batch worth sending, when there is work enough.
        high: Seconds that a batch should not exceed.
        limit: Keys that a batch does not exceed.
        sizes: Bytes of each key's rows: a worker holds those of a whole batch.
        room: Bytes that a batch does not exceed, unless it is one key.

    Returns:
        Indices into ``costs``, ascending within a batch; every key is in exactly one batch.

    Raises:
        UsageError: A cost that is negative or not finite, or fewer than one worker.
    """
    costs = np.asarray(costs, np.float64)
    if workers < 1 or not (np.isfinite(costs) & (costs >= 0)).all():
        raise UsageError(
            f"packing needs finite costs of at least 0 and at least one worker, found {workers} workers"
        )
    total = float(costs.sum())
    target = min(max(total / (workers * _PER_WORKER), low), high)
    target = max(min(target, total / workers), min(low, _OVERHEAD))
    alone = costs > min(low, target)
    batches = [np.array([index]) for index in np.flatnonzero(alone)]
    small = np.flatnonzero(~alone)
    if len(small):
        batches.extend(np.split(small, _cuts(costs[small], target, limit)))
    if sizes is not None:
        batches = [part for batch in batches for part in _roomy(batch, sizes[batch], room)]
    sums = np.array([costs[batch].sum() for batch in batches])
    return [batches[index] for index in np.argsort(-sums, kind="stable")]


def _cuts(costs: npt.NDArray[np.float64], target: float, limit: int) -> npt.NDArray[np.int64]:
    """Where to cut keys in a row into batches of equal cost, about ``target``, and at most ``limit`` keys."""
    spent = np.cumsum(costs)
    batches = max(1, round(float(spent[-1]) / target))
    # The middle of a key's cost decides its batch, so that none is far from the target.
    share = (spent - costs / 2) / max(float(spent[-1]), np.finfo(np.float64).tiny)
    number = (share * batches).astype(np.int64)
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    lengths = np.diff(np.append(starts, len(costs)))
    place = np.arange(len(costs)) - np.repeat(starts, lengths)
    pieces = np.repeat(-(-lengths // limit), lengths)
    piece = place * pieces // np.repeat(lengths, lengths)
    cuts: npt.NDArray[np.int64] = np.flatnonzero((np.diff(number) != 0) | (np.diff(piece) != 0)) + 1
    return cuts


def _roomy(
    batch: npt.NDArray[np.int64], sizes: npt.NDArray[np.float64], room: float
) -> list[npt.NDArray[np.int64]]:
    """A batch in parts of at most ``room`` bytes; a key of more than half of that is a part of its own."""
    if float(sizes.sum()) <= room:
        return [batch]
    large = sizes > room / 2
    rest, theirs = batch[~large], sizes[~large]
    # A part's keys have their middles within half the room, and reach beyond it by less than the other half.
    number = ((np.cumsum(theirs) - theirs / 2) // (room / 2)).astype(np.int64)
    parts = np.split(rest, np.flatnonzero(np.diff(number)) + 1) if len(rest) else []
    return [*(batch[place : place + 1] for place in np.flatnonzero(large)), *parts]
