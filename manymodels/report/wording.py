"""Numbers, times and sentences as the page writes them."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any

import pandas as pd

__all__ = ["FILTERS", "count", "duration", "number", "percent", "shortened", "times", "unnumbered"]

_LONGEST = 400
_VARIABLE = r"\b\d(?:[\w.:,+-]*\w)?"
NOTHING = "–"  # noqa: RUF001 - a dash in an empty cell


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value)) or value != value


def count(value: Any) -> str:
    """A whole number with separators."""
    return NOTHING if _missing(value) else f"{int(value):,}"


def number(value: Any, digits: int = 4) -> str:
    """A number with so many significant digits."""
    if _missing(value):
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return text.replace("-", "−") if "e" not in text else text  # noqa: RUF001 - a true minus sign


def percent(value: Any, digits: int = 0) -> str:
    """A fraction in percent; what would round to all or nothing, and is neither, says so."""
    if _missing(value):
        return NOTHING
    if digits == 0 and (0 < value < 0.005 or 0.995 < value < 1):
        return "<1 %" if value < 0.5 else ">99 %"
    shown = round(100 * value, digits) + 0.0  # no minus before a zero
    return f"{shown:,.{digits}f} %".replace("-", "−")  # noqa: RUF001


def duration(seconds: Any) -> str:
    """Seconds as people say them."""
    if _missing(seconds):
        return NOTHING
    for limit, unit, scale in ((1e-3, "µs", 1e6), (1, "ms", 1e3), (120, "s", 1), (7200, "min", 1 / 60)):
        if seconds < limit:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds / 3600:,.1f} h"


def times(moment: dt.datetime | None) -> str:
    """A moment in UTC, to the minute."""
    return NOTHING if moment is None else f"{moment:%d %B %Y, %H:%M} UTC"


def shortened(text: str) -> str:
    """A text that fits a cell; of a fingerprint the first twelve digits."""
    if re.fullmatch("[0-9a-f]{32,64}", text):
        return f"{text[:12]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def unnumbered(reasons: pd.Series) -> pd.Series:
    """Reasons with their numbers and times replaced: the same with other numbers is the same reason."""
    return reasons.fillna("").str.replace(_VARIABLE, "n", regex=True)


FILTERS = {
    "count": count,
    "number": number,
    "percent": percent,
    "duration": duration,
    "times": times,
}
"""By their names in the page's template."""
