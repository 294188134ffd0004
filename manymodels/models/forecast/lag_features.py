"""What a lag regression sees of a period besides covariates: lags, rolling means and the calendar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints, period_times
from manymodels.models.forecast.public_holidays import WIDTH, holiday_features
from manymodels.models.forecast.seasons import DAYS, week_of

__all__ = [
    "CalendarFeature",
    "Design",
    "LagRule",
    "calendar_features",
    "fill_back",
    "lags_by",
    "usual_calendar",
    "usual_lags",
]

CalendarFeature = Literal[
    "season", "hour", "weekday", "monthpart", "month", "quarter", "yearly", "trend", "closure", "holiday"
]

Bools = npt.NDArray[np.bool_]

_WIDTHS: dict[str, int] = {
    "hour": 24, "weekday": 7, "monthpart": 6, "month": 12, "quarter": 4, "yearly": 6, "trend": 1, "closure": 2,
    "holiday": WIDTH,
}  # fmt: skip
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Design:
    """The columns that come from the target and the calendar.

    Attributes:
        lags: Periods back.
        windows: Periods of each rolling mean, which ends one period back.
        calendar: Calendar features.
        season: Periods in a season.
        frequency: A normalised frequency.
        start: Number of the period at which the trend is 0.
        length: Periods in which the trend grows by 1.
        country: Whose public holidays count; empty without such a feature.
    """

    lags: tuple[int, ...]
    windows: tuple[int, ...]
    calendar: tuple[CalendarFeature, ...]
    season: int
    frequency: str
    start: int
    length: int
    country: str = ""

    @property
    def reach(self) -> int:
        """How many periods back the farthest one is."""
        return max(self.lags + self.windows, default=0)

    @property
    def block(self) -> int:
        """Periods that can be forecast at once, since none of them is a lag of another."""
        return 1 if self.windows else min(self.lags, default=1 << 30)

    def width(self, name: CalendarFeature) -> int:
        """Columns of a calendar feature."""
        return self.season if name == "season" else _WIDTHS[name]

    def recent(self, values: Floats, start: int, stop: int) -> Floats:
        """Lags and rolling means of some periods.

        Args:
            values: Consecutive periods of one or several series, without NaN. Shape (series, n).
            start: The first period wanted; at least ``reach``.
            stop: One past the last.

        Returns:
            Shape (series, stop - start, lags + windows).
        """
        parts = [values[:, start - lag : stop - lag] for lag in self.lags]
        for window in self.windows:
            part = values[:, start - window : stop - 1]
            parts.append(sliding_window_view(part, window, axis=1).mean(axis=2))
        if not parts:
            return np.empty((len(values), stop - start, 0))
        return np.stack(parts, axis=2)

    def kernel(self, weights: Floats) -> Floats:
        """What linear weights of ``recent`` are as weights of the ``reach`` periods before. Shape (reach,)."""
        kernel = np.zeros(self.reach)
        for lag, weight in zip(self.lags, weights, strict=False):
            kernel[-lag] += weight
        for window, weight in zip(self.windows, weights[len(self.lags) :], strict=True):
            kernel[-window:] += weight / window
        return kernel


def calendar_features(design: Design, periods: Ints, closed: Bools) -> Floats:
    """The calendar of some consecutive periods.

    One column a category for ``season`` (the place in it), ``hour``, ``weekday``, ``monthpart`` (six parts
    of five days), ``month`` and ``quarter``; three waves for ``yearly``; one column for ``trend``; two for
    ``closure`` (the period after a closed one, and the one before); three for ``holiday`` (``holiday_features``).

    Args:
        design: Names the features.
        periods: Shape (n,).
        closed: Which of them have no row although their place in the season usually has one. Shape (n,).

    Returns:
        Shape (n, columns).
    """
    widths = [design.width(name) for name in design.calendar]
    matrix = np.zeros((len(periods), sum(widths)))
    times = period_times(periods, design.frequency) if design.calendar else None
    each = np.arange(len(periods))
    at = 0
    for name, width in zip(design.calendar, widths, strict=True):
        if name == "trend":
            matrix[:, at] = (periods - design.start) / design.length
        elif name == "closure":
            matrix[1:, at] = closed[:-1]
            matrix[:-1, at + 1] = closed[1:]
        elif name == "holiday":
            matrix[:, at : at + width] = holiday_features(design.country, periods, design.frequency)
        elif name == "yearly":
            turns = np.outer(_year_share(times), 2 * np.pi * np.arange(1, width // 2 + 1))
            matrix[:, at : at + width] = np.concatenate([np.sin(turns), np.cos(turns)], axis=1)
        else:
            place = periods % width if name == "season" else _place(name, times)
            matrix[each, at + place] = 1.0
        at += width
    return matrix


def _year_share(times: Any) -> Floats:
    years = times.astype("datetime64[Y]")
    share: Floats = (times - years.astype(times.dtype)) / (np.timedelta64(31_557_600, "s"))
    return share


def _place(name: str, times: Any) -> Ints:
    """The number, from 0, of each time's hour, weekday and so on."""
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    if name == "hour":
        places = (times - days) // np.timedelta64(1, "h")
    elif name == "weekday":
        places = (days.astype(np.int64) + 3) % 7
    elif name == "monthpart":
        places = np.minimum((days - months.astype("datetime64[D]")) // (5 * _DAY), 5)
    elif name == "month":
        places = months.astype(np.int64) % 12
    else:
        places = months.astype(np.int64) % 12 // 3
    return np.asarray(places, dtype=np.int64)


def usual_lags(season: int, length: int) -> tuple[int, ...]:
    """The lags used when none are given.

    The last two periods, the same place in the last two seasons and the period before it; where seasons are
    days (24, 48 or 96 periods), also the week's. None longer than a third of the history.
    """
    wanted = [1, 2, 3]
    if season > 1:
        wanted = [1, 2, season, season + 1, 2 * season, 2 * season + 1]
    if season in DAYS:
        wanted += [week_of(season), week_of(season) + 1]
    return tuple(sorted({lag for lag in wanted if lag <= max(length // 3, 1)}))


LagRule = Literal["neighbours", "dense"]


def lags_by(rule: LagRule, season: int, length: int) -> tuple[int, ...]:
    """The lags of a named rule, none longer than a third of the history.

    ``neighbours``: the last three periods; of the last two seasons the same place and those beside it, as the terms of a
    multiplicative seasonal autoregression have it (Box and Jenkins, 1970); where seasons are days (24, 48 or 96 periods), also
    of the last week. ``dense``: every period of the last season and one more, the same place in the season before, and, where
    seasons are days, in the last week.
    """
    longer = (week_of(season),) if season in DAYS else ()
    if rule == "neighbours":
        places = (season, 2 * season, *longer) if season > 1 else ()
        wanted = {1, 2, 3} | {place + beside for place in places for beside in (-1, 0, 1)}
    else:
        wanted = {*range(1, season + 2), 2 * season, *longer}
    return tuple(sorted(lag for lag in wanted if 0 < lag <= max(length // 3, 1)))


def usual_calendar(
    frequency: str, season: int, length: int, *, holidays: bool = False
) -> tuple[CalendarFeature, ...]:
    """The calendar features used when none are named: those whose cycle the history covers twice.

    Hour and weekday for periods shorter than a day, weekday and month for days, waves over the year for
    weeks, month or quarter for those; the place in the season for positions. Holidays, where the country is known, when the
    history covers a year.
    """
    if frequency == "step":
        return ("season",) if 1 < season <= length // 2 else ()
    first, last = period_times(np.array([0, length]), frequency)
    days = float((last - first) / _DAY)
    size = days / length
    found: list[CalendarFeature] = []
    if size < 1 and days >= 2:
        found.append("hour")
    if size < 2 and days >= 14:
        found.append("weekday")
    if days >= 2 * 365 and size < 300:
        found.append("quarter" if size > 80 else "yearly" if 2 < size < 25 else "month")
    if holidays and days >= 365 and size < 80:
        found.append("holiday")
    return tuple(found)


def fill_back(values: Floats, known: Bools, season: int, start: int, stop: int) -> None:
    """Fill, in place, unknown periods: one or two seasons before if known then, else the last value.

    Looks back only, so that what a model is trained on is what it sees when it forecasts.

    Args:
        values: Filled before ``start``. Shape (series, n).
        known: Which of them were observed, or forecast. Shape (series, n).
        season: Periods in a season.
        start: The first period to fill; at least 1.
        stop: One past the last.
    """
    settled = known[:, start - 1 : stop].copy()
    settled[:, 0] = True
    for back in (season, 2 * season) if season > 1 else ():
        first = max(start, back)
        if first >= stop:
            continue
        late = settled[:, first - start + 1 :]
        take = known[:, first - back : stop - back] & ~late
        np.copyto(values[:, first:stop], values[:, first - back : stop - back], where=take)
        late |= take
    latest = np.maximum.accumulate(np.where(settled, np.arange(start - 1, stop), 0), axis=1)
    values[:, start:stop] = np.take_along_axis(values, latest[:, 1:], axis=1)
