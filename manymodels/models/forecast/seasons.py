"""Seasons: what a family's ``season_length`` means, and the season of a fleet, looked for in some of its series.

To look for it, each series is differenced, which takes trends off; its season is the lag with the largest significant peak of
the autocorrelation, or a shorter one whose peak is nearly as large. The fleet's is that of most series.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.frequency import season_length

__all__ = ["DAYS", "SeasonLength", "detect_season", "season_of", "week_of"]

SeasonLength = Annotated[int, Field(ge=1)] | Literal["week"] | None
"""Periods in a season as a family takes it: a number, the job's season when null, or the week that it is a day of."""

DAYS = (24, 48, 96)
"""Seasons that are days of hours or parts of them, so that the week is a season too."""

_LONGEST = 400
"""Periods of the longest season that is looked for where the frequency suggests none."""
_NEARLY = 0.85
"""Share of the largest peak from which on a shorter season is preferred: multiples of a season peak as well."""
_AGREED = 1 / 3
"""Share of the series that must have a season for the fleet to have it."""
_SIGNIFICANT = 1.645


def week_of(season: int) -> int:
    """Periods in the week of a season that is a day; of another, its own."""
    return 7 * season if season in DAYS else season


def season_of(asked: SeasonLength, spec: FitSpec) -> int:
    """Periods in a family's season, given the job's."""
    return week_of(spec.season_length) if asked == "week" else asked or spec.season_length


def detect_season(series: Sequence[Floats], frequency: str) -> int:
    """Periods in the season of most of some series; 1 where there is none.

    Where the frequency suggests seasons (a week of days, a day or week of hours), it is one of them or none.

    Args:
        series: Without NaN, at least one.
        frequency: A normalised frequency.
    """
    usual = season_length(frequency)
    wanted = None if frequency == "step" else {usual, week_of(usual)}
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
