"""Pack keys into batches for the workers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import UsageError

__all__ = ["pack"]

_PER_WORKER = 2  # a batch is this part of what is left for a worker: the last ones are small, and even out
_LEAST_PART = 20  # the smallest batch's part of a worker's work, where that is long enough
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
    that a batch reads neighbouring row groups: each batch takes a part of what is left (guided self-scheduling:
    Polychronopoulos and Kuck, IEEE Transactions on Computers 36(12), 1987), so that workers end together although batches are
    long.
    Batches are smaller than ``low`` where there is little work, lest a worker get none.

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
    least = min(low, max(low / 4, total / workers / _LEAST_PART))
    least = max(min(least, total / workers), min(low, _OVERHEAD))
    alone = costs > least
    batches = [np.array([index]) for index in np.flatnonzero(alone)]
    small = np.flatnonzero(~alone)
    if len(small):
        steps = _steps(float(costs[small].sum()), workers, least, high)
        batches.extend(np.split(small, _cuts(costs[small], steps, limit)))
    if sizes is not None:
        batches = [part for batch in batches for part in _roomy(batch, sizes[batch], room)]
    sums = np.array([costs[batch].sum() for batch in batches])
    return [batches[index] for index in np.argsort(-sums, kind="stable")]


def _steps(total: float, workers: int, least: float, most: float) -> npt.NDArray[np.float64]:
    """Seconds of work at which batches end: each is a part of what is left, between ``least`` and ``most``."""
    ends: list[float] = []
    left = total
    while left >= 2 * least:
        left -= min(max(left / (workers * _PER_WORKER), least), most, left - least)
        ends.append(total - left)
    return np.array([*ends, total])


def _cuts(costs: npt.NDArray[np.float64], ends: npt.NDArray[np.float64], limit: int) -> npt.NDArray[np.int64]:
    """Where to cut keys in a row into batches that end near ``ends``, of at most ``limit`` keys."""
    # The middle of a key's cost decides its batch, so that none is far from its end.
    number = np.searchsorted(ends[:-1], np.cumsum(costs) - costs / 2, side="right")
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
