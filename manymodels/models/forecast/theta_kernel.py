"""The compiled part of the theta method: the season and the trend line of series, one after the other."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from manymodels.models.compiled import compiled
from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints

__all__ = ["decompose_each", "season_of", "seasonal_each"]

_SEASONALITY = 1.645
"""Critical value of the test for a season, 90 %, as in the M4 competition's benchmark."""


@compiled
def is_seasonal(target: Floats, season: int) -> bool:
    """Whether the autocorrelation at the season is significant; not of a series shorter than two seasons."""
    length = len(target)
    around = target - target.mean()
    power = (around * around).sum()
    if season == 1 or length < 2 * season or power == 0:
        return False
    others, last = 0.0, 0.0
    for lag in range(1, season + 1):
        others += last * last
        last = 0.0
        for t in range(lag, length):
            last += around[t] * around[t - lag]
        last /= power
    return abs(last) > _SEASONALITY * math.sqrt((1 + 2 * others) / length)


@compiled
def seasonal_each(target: Floats, offsets: Ints, season: int) -> npt.NDArray[np.bool_]:
    """Which of some series, one after the other, are seasonal. Shape (series,)."""
    found = np.empty(len(offsets) - 1, dtype=np.bool_)
    for n in range(len(found)):
        found[n] = is_seasonal(target[offsets[n] : offsets[n + 1]], season)
    return found


@compiled
def season_of(target: Floats, factors: bool, places: Floats) -> None:
    """Set ``places`` to the classical decomposition's season, neutral where there is none that is significant."""
    length, season = len(target), len(places)
    places[:] = 1.0 if factors else 0.0
    if not is_seasonal(target, season):
        return
    # A centred moving average over one season; over an even one its ends count half.
    half = season // 2
    totals, counts = np.zeros(season), np.zeros(season)
    for t in range(half, length - half):
        trend = 0.0
        for near in range(t - half, t + half + 1):
            trend += target[near] * (0.5 if season % 2 == 0 and abs(near - t) == half else 1.0)
        trend /= season
        totals[t % season] += target[t] / trend if factors else target[t] - trend
        counts[t % season] += 1
    profile = totals / np.maximum(counts, 1.0)
    mean = profile.mean()
    for j in range(season):
        places[j] = profile[j] / mean if factors else profile[j] - mean


@compiled
def decompose_each(
    target: Floats, offsets: Ints, season: int
) -> tuple[Floats, Floats, npt.NDArray[np.bool_], Floats]:
    """Take the season off some series, and find the slope of what is left.

    Args:
        target: The series one after the other.
        offsets: Where each is. Shape (series + 1,).
        season: Periods in a season.

    Returns:
        The deseasonalised series; their seasons, the first period's place first, shape (series, season); whether each
        multiplies, shape (series,); the slope of each least-squares line, shape (series,).
    """
    count = len(offsets) - 1
    plain, places = np.empty(len(target)), np.empty((count, season))
    factors, slopes = np.empty(count, dtype=np.bool_), np.empty(count)
    for n in range(count):
        start, length = offsets[n], offsets[n + 1] - offsets[n]
        values = target[start : offsets[n + 1]]
        factors[n] = values.min() > 0
        season_of(values, factors[n], places[n])
        middle, cross, spread = (length - 1) / 2, 0.0, 0.0
        for t in range(length):
            place = places[n, t % season]
            plain[start + t] = values[t] / place if factors[n] else values[t] - place
            cross += (t - middle) * plain[start + t]
            spread += (t - middle) * (t - middle)
        slopes[n] = cross / spread
    return plain, places, factors, slopes
