"""The compiled loops of anomaly detection: order, moving averages and moving medians of many keys."""

from __future__ import annotations

import numpy as np

from manymodels.models.batched.contract import Ints
from manymodels.models.compiled import compiled
from manymodels.models.contract import Floats

__all__ = ["moving_averages", "moving_medians", "sort_each"]


@compiled
def moving_averages(
    values: Floats, offsets: Ints, smoothing: float, average: Floats, seen: Ints
) -> tuple[Floats, Ints]:
    """Exponentially weighted averages as pandas' ``ewm(adjust=False, ignore_na=True)`` has them, to the last bit.

    Args:
        values: The keys' rows. Shape (rows, columns).
        offsets: Where each key's are. Shape (keys + 1,).
        smoothing: Weight of the newest row.
        average: What each key's averages go on from. Shape (keys, columns).
        seen: Values that they rest on. Shape (keys, columns).

    Returns:
        The averages after each row, and the values that they rest on. Shapes (rows, columns).
    """
    averages, counts = np.empty(values.shape), np.empty(values.shape, dtype=np.int64)
    newest = 1 / (1 + (1 / smoothing - 1))
    others = 1 - newest
    for n in range(len(offsets) - 1):
        for column in range(values.shape[1]):
            latest, count = average[n, column], seen[n, column]
            for t in range(offsets[n], offsets[n + 1]):
                value = values[t, column]
                if value == value:
                    count += 1
                    if value != latest:
                        latest = (others * latest + newest * value) / (others + newest)
                averages[t, column], counts[t, column] = latest, count
    return averages, counts


@compiled
def moving_medians(
    values: Floats, offsets: Ints, window: int, before: Floats, before_offsets: Ints
) -> Floats:
    """The median of the rows before each row; NaN where none of them has a value.

    Args:
        values: The keys' rows. Shape (rows, columns).
        offsets: Where each key's are. Shape (keys + 1,).
        window: Rows that a median is taken of.
        before: What came before them. Shape (earlier rows, columns).
        before_offsets: Where each key's are. Shape (keys + 1,).
    """
    medians = np.full(values.shape, np.nan)
    for n in range(len(offsets) - 1):
        early, late = before_offsets[n], before_offsets[n + 1]
        start, length = offsets[n], offsets[n + 1] - offsets[n] + late - early
        whole, ordered = np.empty(length), np.empty(window)
        for column in range(values.shape[1]):
            for t in range(length):
                row = early + t
                whole[t] = before[row, column] if row < late else values[start + row - late, column]
            count = 0
            for t in range(length):
                if early + t >= late and count > 0:
                    middle = count // 2
                    median = ordered[middle]
                    if count % 2 == 0:
                        median = (median + ordered[middle - 1]) / 2
                    medians[start + early + t - late, column] = median
                if t >= window and whole[t - window] == whole[t - window]:
                    place = np.searchsorted(ordered[:count], whole[t - window])
                    count -= 1
                    for j in range(place, count):
                        ordered[j] = ordered[j + 1]
                if whole[t] == whole[t]:
                    place = count
                    while place > 0 and ordered[place - 1] > whole[t]:
                        ordered[place] = ordered[place - 1]
                        place -= 1
                    ordered[place] = whole[t]
                    count += 1
    return medians


@compiled
def sort_each(column: Floats, offsets: Ints) -> Floats:
    """Each key's values in order, missing ones last; ``offsets`` say where they are. Shape (rows,)."""
    ordered = np.empty(len(column))
    for n in range(len(offsets) - 1):
        ordered[offsets[n] : offsets[n + 1]] = np.sort(column[offsets[n] : offsets[n + 1]])
    return ordered
