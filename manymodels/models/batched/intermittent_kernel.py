"""The compiled part of Croston's method and that of Teunter, Syntetos and Babai."""

from __future__ import annotations

import math

import numpy as np

from manymodels.models.batched.contract import Ints
from manymodels.models.compiled import compiled
from manymodels.models.contract import Floats

__all__ = ["smooth_demands"]


@compiled
def _quantile(ordered: Floats, share: float) -> float:
    """NumPy's linear quantile of sorted values."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    found: float = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
    return found


@compiled
def smooth_demands(
    target: Floats, offsets: Ints, alpha: float, beta: float, shares: Floats
) -> tuple[Floats, Floats, Ints, Floats, Floats]:
    """Smooth size, interval and chance of the demands of some series.

    Args:
        target: The series one after the other.
        offsets: Where each is. Shape (series + 1,).
        alpha: Weight of the newest size and interval.
        beta: Weight of the newest period in the chance.
        shares: Of the quantiles wanted.

    Returns:
        Smoothed sizes and intervals, NaN before a demand; periods since the last demand; smoothed chances, from each
        history's share of periods with demand; quantiles of each demand's ratio to the size before it, shape (series,
        shares), NaN below two demands.
    """
    count = len(offsets) - 1
    sizes, intervals, chances = np.full(count, np.nan), np.full(count, np.nan), np.empty(count)
    waited, quantiles = np.zeros(count, dtype=np.int64), np.full((count, len(shares)), np.nan)
    for n in range(count):
        values = target[offsets[n] : offsets[n + 1]]
        ratios = np.empty(len(values))
        size, interval, waits, demands = math.nan, math.nan, 0, 0
        for value in values:
            waits += 1
            if value == 0:
                continue
            if demands == 0:
                size, interval = value, float(waits)
            else:
                ratios[demands - 1] = value / size
                size += alpha * (value - size)
                interval += alpha * (waits - interval)
            demands += 1
            waits = 0
        chance = demands / len(values)
        for value in values:
            chance += beta * ((1.0 if value > 0 else 0.0) - chance)
        sizes[n], intervals[n], waited[n], chances[n] = size, interval, waits, chance
        if demands > 1:
            ordered = np.sort(ratios[: demands - 1])
            for j in range(len(shares)):
                quantiles[n, j] = _quantile(ordered, shares[j])
    return sizes, intervals, waited, chances, quantiles
