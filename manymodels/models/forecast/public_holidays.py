"""Public holidays of a country as features of periods, from the ``holidays`` package."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints, period_days

__all__ = ["WIDTH", "check_country", "holiday_features"]

WIDTH = 3
"""Columns: holidays in the period, on the day before it, and on the day after it."""


def check_country(country: str) -> None:
    """Refuse what is no country, or no part of one.

    Args:
        country: ISO 3166 code of a country (``DE``), or of a part of it (``DE-BY``).

    Raises:
        ValueError: The package does not know it.
    """
    _days(country, 2000, 2000)


def holiday_features(country: str, periods: Ints, frequency: str) -> Floats:
    """How many days of some periods are public holidays, and whether the days around each are.

    Args:
        country: See ``check_country``.
        periods: Numbers of periods, in any order. Shape (n,).
        frequency: A normalised frequency, not ``step``.

    Returns:
        Shape (n, 3).
    """
    if len(periods) == 0:
        return np.empty((0, WIDTH))
    first, stop = period_days(periods, frequency)
    years = np.array([first.min() - 1, stop.max() + 1]).astype("datetime64[D]").astype("datetime64[Y]")
    low, high = (years.astype(np.int64) + 1970).tolist()
    days = np.array(_days(country, low, high), dtype=np.int64)

    def between(start: Ints, end: Ints) -> Floats:
        counts: Floats = (np.searchsorted(days, end) - np.searchsorted(days, start)).astype(np.float64)
        return counts

    return np.stack([between(first, stop), between(first - 1, first), between(stop, stop + 1)], axis=1)


@lru_cache(maxsize=64)
def _days(country: str, first: int, last: int) -> tuple[int, ...]:
    """Days since 1970 of the holidays of some years, ascending; weekends that are holidays anyway are among them."""
    import holidays

    code, _, part = country.partition("-")
    try:
        found = holidays.country_holidays(code, subdiv=part or None, years=range(first, last + 1))
    except NotImplementedError as error:
        raise ValueError(
            f"`holidays` is the ISO code of a country, or of a part of one, like DE or DE-BY; found {country!r}: {error}"
        ) from None
    return tuple(sorted(int(np.datetime64(day, "D").astype(np.int64)) for day in found))
