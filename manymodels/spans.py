"""Lengths of history: how far back from a time a window reaches, by the calendar or in periods."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["History", "Span", "WindowSetting"]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_UNITS = {
    "s": ("microseconds", _SECOND),
    "m": ("microseconds", 60 * _SECOND),
    "h": ("microseconds", 3600 * _SECOND),
    "d": ("microseconds", _DAY),
    "w": ("microseconds", 7 * _DAY),
    "mo": ("months", 1),
    "y": ("months", 12),
}
_LIKE = "written like 2y, 18mo, 26w, 90d or 36h, or is a number of periods"
_MOST = {"periods": 10**9, "months": 12 * 10**4, "microseconds": 10**4 * 366 * _DAY}


@dataclass(frozen=True)
class Span:
    """A length of history.

    Attributes:
        unit: ``periods``; ``months`` of the calendar; or ``microseconds``.
        count: How many, at least 1.
    """

    unit: Literal["periods", "months", "microseconds"]
    count: int

    @classmethod
    def parse(cls, value: Any) -> Span:
        """A span as job files have it: ``2y``, ``18mo``, ``26w``, ``90d``, ``36h``, ``30m``, ``10s``, or a number of periods.

        Raises:
            ValueError: It is none.
        """
        if isinstance(value, int) and not isinstance(value, bool):
            unit, count = "periods", value
        else:
            match = (
                re.fullmatch(r"\s*([0-9]{1,12})\s*(mo|[smhdwy])\s*", value)
                if isinstance(value, str)
                else None
            )
            if match is None:
                raise ValueError(f"a length of history is {_LIKE}; found {value!r}")
            unit, size = _UNITS[match[2]]
            count = int(match[1]) * size
        if not 0 < count <= _MOST[unit]:
            raise ValueError(
                f"a length of history is more than zero, and no more than can be counted; found {value!r}"
            )
        return cls(unit, count)  # type: ignore[arg-type]

    def before(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The moments that lie so far before some times: what came after them is within the span.

        A span of months goes to the same day of an earlier month, the last one where that is shorter; and from the last day
        of a month to the last of another, so that a month before the end of February is all of February.

        Args:
            times: Microseconds since 1970. Shape (n,).

        Raises:
            ValueError: The span is in periods, which only who knows the periods can count.
        """
        import numpy as np

        if self.unit == "periods":
            raise ValueError("a span in periods is no length of time")
        if self.unit == "microseconds":
            return times - self.count
        days, clock = np.divmod(times, _DAY)
        dates = days.astype("datetime64[D]")
        months = dates.astype("datetime64[M]")
        earlier = months - np.timedelta64(self.count, "M")
        place, last = dates - months.astype("datetime64[D]"), _last_days(earlier)
        found = np.minimum(earlier.astype("datetime64[D]") + place, last)
        found = np.where(dates == _last_days(months), last, found)
        whole: npt.NDArray[np.int64] = found.astype("datetime64[us]").astype(np.int64) + clock
        return whole


def _last_days(months: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return (months + 1).astype("datetime64[D]") - 1


def _checked(value: Any) -> int | str:
    Span.parse(value)
    return value.strip() if isinstance(value, str) else int(value)


def _checked_window(value: Any) -> int | str:
    return value if value == "expanding" else _checked(value)


_WRITTEN = {
    "anyOf": [{"type": "string"}, {"type": "integer", "minimum": 1}],
    "examples": ["2y", "26w", "90d"],
    "kind": "length of history",
}

History = Annotated[int | str, BeforeValidator(_checked), WithJsonSchema(_WRITTEN)]
"""A span as it is written; ``Span.parse`` reads it."""

WindowSetting = Annotated[
    int | str,
    BeforeValidator(_checked_window),
    WithJsonSchema({"anyOf": [{"const": "expanding"}, _WRITTEN]}),
]
"""``expanding``, or a span as it is written."""
