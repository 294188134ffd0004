"""The season of a fleet, from the autocorrelation of some of its series.

Each series is differenced, which takes trends off; its season is the lag with the largest significant peak of the
autocorrelation, or a shorter one whose peak is nearly as large. The fleet's is that of most series.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import season_length

__all__ = ["detect_season"]

_LONGEST = 400
"""Periods of the longest season that is looked for where the frequency suggests none."""
_NEARLY = 0.85
"""Share of the largest peak from which on a shorter season is preferred: multiples of a season peak as well."""
_AGREED = 1 / 3
"""Share of the series that must have a season for the fleet to have it."""
_SIGNIFICANT = 1.645
_DAYS = (24, 48, 96, 144, 288, 1440)


def detect_season(series: Sequence[Floats], frequency: str) -> int:
    """Periods in the season of most of some series; 1 where there is none.

    Where the frequency suggests seasons (a week of days, a day or week of hours), it is one of them or none.

    Args:
        series: Without NaN, at least one.
        frequency: A normalised frequency.
    """
    usual = season_length(frequency)
    wanted = None if frequency == "step" else {usual, 7 * usual} if usual in _DAYS else {usual}
    found = Counter(_season(values, wanted) for values in series)
    del found[1]
    season, count = max(found.items(), key=lambda item: (item[1], -item[0]), default=(1, 0))
    return season if count >= _AGREED * len(series) else 1


def _season(values: Floats, wanted: set[int] | None) -> int:
    longest = min(len(values) // 3, _LONGEST if wanted is None else max(wanted) + 1)
    if longest < 3:
        return 1
    correlation = _autocorrelation(np.diff(values), longest)
    inner = correlation[2:-1]  # lags from 2 to one before the last
    limits = _SIGNIFICANT * np.sqrt((1 + 2 * np.cumsum(correlation[1:-2] ** 2)) / (len(values) - 1))
    peaks = (inner > limits) & (inner >= correlation[1:-2]) & (inner >= correlation[3:])
    lags = np.flatnonzero(peaks) + 2
    if wanted is not None:
        lags = lags[np.isin(lags, list(wanted))]
    if len(lags) == 0:
        return 1
    near = correlation[lags] >= _NEARLY * correlation[lags].max()
    return int(lags[near][0])


def _autocorrelation(values: Floats, longest: int) -> Floats:
    """Of lags 0 to ``longest``; zeros where the values are constant."""
    around = values - values.mean()
    size = 2 ** math.ceil(math.log2(2 * len(values)))
    power = np.abs(np.fft.rfft(around, size)) ** 2
    products: Floats = np.fft.irfft(power, size)[: longest + 1]
    return (
        products / products[0] if products[0] > 1e-12 * max(float(values @ values), 1e-300) else products * 0
    )
