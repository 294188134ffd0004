"""Frequencies: their names, the numbering of their periods, and the times of future periods.

A period has a number such that consecutive periods differ by one, so that gaps, lags and horizons are plain
integer arithmetic. Times are microseconds since 1970-01-01 UTC (``datetime64[us]``), or positions when the
frequency is ``step``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import DataError, JobError

__all__ = [
    "cutoff_value",
    "future_times",
    "infer_frequency",
    "normalise_frequency",
    "period_days",
    "period_index",
    "period_times",
    "season_length",
    "time_values",
]

Ints = npt.NDArray[np.int64]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_FIXED = {"us": 1, "ms": 1000, "s": _SECOND, "min": 60 * _SECOND, "h": 3600 * _SECOND, "D": _DAY}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
# Spellings of older pandas releases, and of people, in today's pandas spelling.
_TODAY = {
    "M": "ME", "Q": "QE", "Y": "YE", "A": "YE", "AS": "YS", "H": "h", "T": "min", "Min": "min", "MIN": "min",
    "t": "min", "S": "s", "L": "ms", "l": "ms", "U": "us", "u": "us", "d": "D", "w": "W", "b": "B",
}  # fmt: skip


@dataclass(frozen=True)
class _Grid:
    """A frequency, taken apart.

    Attributes:
        kind: How periods are numbered.
        size: Of a period: microseconds, weeks, business days or months; 1 for steps.
        anchor: Week: weekday of the last day, Monday 0. Months: the first period's month, from 0.
        at_end: Months: whether a period's time is its last day rather than its first.
    """

    kind: Literal["step", "fixed", "week", "business", "months"]
    size: int
    anchor: int = 0
    at_end: bool = False


def normalise_frequency(frequency: str) -> str:
    """A frequency in today's pandas spelling: ``M`` is ``ME``, ``H`` is ``h``, ``W`` is ``W-SUN``.

    Raises:
        JobError: Not a frequency that forecasts know.
    """
    text = frequency.strip()
    if text == "step":
        return text
    match = re.fullmatch(r"([0-9]*)([A-Za-z]+)(?:-([A-Za-z]{3}))?", text)
    if match is not None:
        count, unit, anchor = int(match[1] or 1), _TODAY.get(match[2], match[2]), (match[3] or "").upper()
        if unit == "W":
            anchor = anchor or "SUN"
            known = anchor in _WEEKDAYS
        elif unit in ("QE", "YE", "QS", "YS"):
            anchor = anchor or ("DEC" if unit.endswith("E") else "JAN")
            known = anchor in _MONTH_NAMES
        else:
            known = not anchor and (unit in _FIXED or unit in ("ME", "MS", "B"))
        if known and count > 0:
            return (str(count) if count > 1 else "") + unit + (f"-{anchor}" if anchor else "")
    raise JobError(
        "data.frequency: expected a pandas offset alias (s, min, h, D, B, W, W-MON, MS, ME, QS, QE, YS, YE, "
        f"or a multiple like 15min) or `step`, found {frequency!r}"
    )


@cache
def _grid(frequency: str) -> _Grid:
    """The parts of a normalised frequency."""
    if frequency == "step":
        return _Grid("step", 1)
    match = re.fullmatch(r"([0-9]*)([A-Za-z]+)(?:-([A-Z]{3}))?", normalise_frequency(frequency))
    assert match is not None  # noqa: S101 - what normalise_frequency returns
    count, unit, anchor = int(match[1] or 1), match[2], match[3]
    if unit in _FIXED:
        return _Grid("fixed", count * _FIXED[unit])
    if unit == "W":
        return _Grid("week", count, _WEEKDAYS.index(anchor))
    if unit == "B":
        return _Grid("business", count)
    months = _MONTHS[unit[0]]
    at_end = unit.endswith("E")
    first = (_MONTH_NAMES.index(anchor) + at_end) % months if anchor else 0
    return _Grid("months", count * months, first, at_end)


def time_values(times: npt.NDArray[Any]) -> Ints:
    """Times as integers: microseconds since 1970 UTC, or the positions of an integer column.

    Args:
        times: ``datetime64`` of any unit, integers, or objects (dates, datetimes, timestamps with a zone).

    Raises:
        DataError: Not times.
    """
    kind = times.dtype.kind
    if kind == "M":
        return times.astype("datetime64[us]").view(np.int64)
    if kind in "iu":
        return times.astype(np.int64, copy=False)
    if kind == "O":
        import pandas as pd

        try:
            utc = pd.to_datetime(pd.Series(times), utc=True).dt.tz_localize(None)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"expected times in the time column, found {times[:1].tolist()}: {error}"
            ) from error
        found: Ints = utc.to_numpy().astype("datetime64[us]").view(np.int64)
        return found
    raise DataError(f"expected times or whole numbers in the time column, found {times.dtype}")


def cutoff_value(time: Any) -> int:
    """One time as an integer: microseconds since 1970 UTC, or the position."""
    if isinstance(time, int | np.integer):
        return int(time)
    if not isinstance(time, np.datetime64):
        return int(time_values(np.array([time], dtype=object))[0])
    return int(time.astype("datetime64[us]").astype(np.int64))


def period_index(times: npt.NDArray[Any], frequency: str) -> Ints:
    """Numbers of the periods that contain some times; consecutive periods differ by one.

    Args:
        times: ``datetime64`` or, for ``step``, integers. Shape (n,).
        frequency: A normalised frequency. Business days: a weekend counts as the Friday before.
    """
    grid, values = _grid(frequency), time_values(times)
    if grid.kind == "step":
        return values
    if grid.kind == "fixed":
        return values // grid.size
    days = values // _DAY
    if grid.kind == "week":
        return _weeks(days, grid.anchor) // grid.size
    if grid.kind == "business":
        dates = np.busday_offset(days.astype("datetime64[D]"), 0, roll="backward")
        return np.asarray(np.busday_count("1970-01-01", dates), dtype=np.int64) // grid.size
    months: Ints = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return (months - grid.anchor) // grid.size


def _weeks(days: Ints, weekday: int) -> Ints:
    first = (weekday - 3) % 7  # 1970-01-01 was a Thursday
    return (days - first + 6) // 7


def period_times(numbers: Ints, frequency: str) -> npt.NDArray[Any]:
    """The times that pandas gives to periods: ``datetime64[us]``, shape (n,); integers for ``step``."""
    grid = _grid(frequency)
    if grid.kind == "step":
        return numbers
    if grid.kind == "fixed":
        return (numbers * grid.size).view("datetime64[us]")
    if grid.kind == "week":
        last = (grid.anchor - 3) % 7 + 7 * (numbers * grid.size + grid.size - 1)
        return last.astype("datetime64[D]").astype("datetime64[us]")
    if grid.kind == "business":
        return np.busday_offset("1970-01-01", numbers * grid.size, roll="forward").astype("datetime64[us]")
    months = (numbers * grid.size + grid.anchor).astype("datetime64[M]")
    if grid.at_end:
        months = _last_days(months + np.timedelta64(grid.size - 1, "M"))
    return months.astype("datetime64[us]")


def period_days(numbers: Ints, frequency: str) -> tuple[Ints, Ints]:
    """The days that periods cover, as days since 1970: the first, and one past the last.

    Periods shorter than a day have the day that they begin on.

    Args:
        numbers: Shape (n,).
        frequency: A normalised frequency, not ``step``.

    Returns:
        Shapes (n,) and (n,).
    """
    grid = _grid(frequency)
    if grid.kind == "fixed":
        first = numbers * grid.size // _DAY
        return first, np.maximum(first + 1, (numbers + 1) * grid.size // _DAY)
    if grid.kind == "week":
        first = (grid.anchor - 3) % 7 + 1 + 7 * (numbers * grid.size - 1)
        return first, first + 7 * grid.size
    if grid.kind == "business":
        first = period_times(numbers, frequency).astype("datetime64[D]").astype(np.int64)
        return first, first + 1
    edges = [
        ((numbers + ahead) * grid.size + grid.anchor)
        .astype("datetime64[M]")
        .astype("datetime64[D]")
        .astype(np.int64)
        for ahead in (0, 1)
    ]
    return edges[0], edges[1]


def _last_days(months: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")


def future_times(cutoff: int | Ints, frequency: str, horizon: int) -> npt.NDArray[Any]:
    """Times of the periods after a cutoff: ``datetime64[us]``, integers for ``step``.

    They keep the cutoff's place in its period (weekday, hour, first or last day of the month), so that weekly
    data on Mondays go on with Mondays whatever the frequency's anchor is.

    Args:
        cutoff: The last time (``cutoff_value``), or many of shape (n,).
        frequency: A normalised frequency.
        horizon: Periods.

    Returns:
        Shape (horizon,), or (n, horizon).
    """
    grid = _grid(frequency)
    ahead = np.arange(1, horizon + 1, dtype=np.int64)
    last = np.asarray(cutoff, dtype=np.int64)[..., None]
    if grid.kind == "step":
        return last + ahead
    if grid.kind == "fixed":
        return (last + ahead * grid.size).view("datetime64[us]")
    if grid.kind == "week":
        return (last + ahead * (7 * _DAY * grid.size)).view("datetime64[us]")
    days, clock = np.divmod(last, _DAY)
    date = days.astype("datetime64[D]")
    if grid.kind == "business":
        dates = np.busday_offset(date, ahead * grid.size, roll="backward")
    else:
        month = date.astype("datetime64[M]")
        months = month + (ahead * grid.size).astype("timedelta64[M]")
        starts, lasts = months.astype("datetime64[D]"), _last_days(months)
        place = date - month.astype("datetime64[D]")
        dates = np.where(date == _last_days(month), lasts, np.minimum(starts + place, lasts))
    times: npt.NDArray[Any] = dates.astype("datetime64[us]") + clock.astype("timedelta64[us]")
    return times


def season_length(frequency: str) -> int:
    """Periods in the usual season of a frequency; 1 where there is none.

    The minute for seconds, the day for minutes and hours, the week for days, the year for weeks, months and
    quarters.
    """
    grid = _grid(frequency)
    if grid.kind == "step":
        return 1
    if grid.kind == "months":
        return 12 // grid.size if 12 % grid.size == 0 else 1
    if grid.kind == "business":
        return 5 if grid.size == 1 else 1
    size = 7 * _DAY * grid.size if grid.kind == "week" else grid.size
    if size >= 7 * _DAY:
        return round(52 * 7 * _DAY / size)
    cycle = 60 * _SECOND if size < 60 * _SECOND else _DAY if size < _DAY else 7 * _DAY
    return cycle // size if cycle % size == 0 else 1


def infer_frequency(times: Sequence[npt.NDArray[Any]]) -> str:
    """The frequency of some keys' times: the distance that all others are multiples of.

    Args:
        times: A sample of keys' time columns, each sorted; gaps and repeated times are allowed.

    Raises:
        DataError: There is none.
    """
    if any(array.dtype.kind in "iu" for array in times):
        return "step"
    keys = [np.unique(time_values(array)) for array in times]
    gaps = np.concatenate([np.diff(key) for key in keys]) if keys else np.empty(0, dtype=np.int64)
    if len(gaps) == 0:
        raise DataError(
            "could not infer the frequency: no key of the sample has two times; set data.frequency (D, h, MS)"
        )
    every = np.concatenate(keys)
    days = every // _DAY
    if (gaps >= 27 * _DAY).all() and len(np.unique(every % _DAY)) == 1:
        found = _calendar(days, [key // _DAY for key in keys])
        if found is not None:
            return found
    counts = Counter(gaps.tolist())
    common = int(np.gcd.reduce(gaps))
    usual = counts.most_common(1)[0][0]
    # A store open on Tuesdays and Thursdays has distances of 2 and 5 days; event times have a tiny divisor.
    if common * 7 < usual:
        shown = ", ".join(str(np.timedelta64(gap, "us").item()) for gap, _ in counts.most_common(3))
        raise DataError(
            f"could not infer the frequency: times are not evenly spaced (distances like {shown}); "
            "set data.frequency"
        )
    weekdays = np.unique((days + 3) % 7)
    if common == _DAY and weekdays.tolist() == [0, 1, 2, 3, 4] and 3 * _DAY in counts:
        return "B"
    if common % (7 * _DAY) == 0:
        weekday = Counter(((days + 3) % 7).tolist()).most_common(1)[0][0]
        return normalise_frequency(f"{common // (7 * _DAY)}W-{_WEEKDAYS[weekday]}")
    for unit, size in reversed(_FIXED.items()):
        if common % size == 0:
            return normalise_frequency(f"{common // size}{unit}")
    raise AssertionError("unreachable: every number of microseconds is a multiple of one")


def _calendar(days: Ints, keys: list[Ints]) -> str | None:
    """Months, quarters or years, when all days have one place in their month."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    at_end = bool((dates == _last_days(months)).all())
    if not at_end and len(np.unique(dates - months.astype("datetime64[D]"))) > 1:
        return None
    size = 0
    for key in keys:
        numbers = key.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        size = gcd(size, int(np.gcd.reduce(np.diff(numbers), initial=0)))
    month = int(months[0].astype(np.int64) % 12)
    edge = "E" if at_end else "S"
    if size % 12 == 0:
        return normalise_frequency(f"{size // 12}Y{edge}-{_MONTH_NAMES[month]}")
    if size % 3 == 0:
        # One name of the four that mean the same: JAN, FEB or MAR for starts, OCT, NOV or DEC for ends.
        anchor = _MONTH_NAMES[month % 3 + (9 if at_end else 0)]
        return normalise_frequency(f"{size // 3}Q{edge}-{anchor}")
    return normalise_frequency(f"{size}M{edge}")
