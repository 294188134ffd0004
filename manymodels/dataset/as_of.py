"""``data.as_of``: the moment after which no row is seen, as if it were then."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.columntypes import plain_name
from manymodels.dataset.sql import identifier, literal
from manymodels.exceptions import DataError

__all__ = ["AsOf"]

_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class AsOf:
    """The newest moment of which rows are seen.

    Attributes:
        text: As the job has it.
        last: Microseconds since 1970 UTC, or the position.
        condition: An SQL expression over the time column: true for the rows that are seen. Rows without a time are let through,
            to be complained about as ever.
    """

    text: str
    last: int
    condition: str

    @classmethod
    def of(cls, value: str | int, time: str, type: pa.DataType) -> AsOf:
        """What a job's ``data.as_of`` means for its time column.

        Args:
            value: A date, whose whole day is seen; a date with a time of day (without an offset it is UTC); or a position.
            time: The time column.
            type: Its type.

        Raises:
            DataError: It is no moment, or none of this column.
        """
        column = identifier(time)
        if pt.is_integer(type):
            if not isinstance(value, int):
                raise _wrong(value, f"time column {time!r} has positions; give a whole number")
            return cls(str(value), value, f"coalesce({column} <= {value}, true)")
        if not (pt.is_date(type) or pt.is_timestamp(type)):
            raise _wrong(
                value,
                f"time column {time!r} is {plain_name(type)}; only dates, timestamps and positions have an order in time",
            )
        if not isinstance(value, str):
            raise _wrong(value, f"time column {time!r} has dates; write a date like 2024-06-30")
        moment, whole_day = _parsed(value)
        last = moment + dt.timedelta(days=1) - _MICROSECOND if whole_day else moment
        if pt.is_date(type):
            if not whole_day:
                raise _wrong(value, f"time column {time!r} has dates without a time of day; give a date")
            bound = f"DATE {literal(moment.date().isoformat())}"
            return cls(value, (moment - _EPOCH) // _MICROSECOND, f"coalesce({column} <= {bound}, true)")
        after = f"TIMESTAMP {literal((last + _MICROSECOND).isoformat(sep=' '))}"
        # Below the next microsecond: a time in nanoseconds is not after what it is cut to.
        return cls(value, (last - _EPOCH) // _MICROSECOND, f"coalesce({column} < {after}, true)")


def _parsed(text: str) -> tuple[dt.datetime, bool]:
    """The moment in UTC, without a zone, and whether it is a date alone."""
    text = text.strip()
    try:
        day = dt.date.fromisoformat(text)
        return dt.datetime(day.year, day.month, day.day), True
    except ValueError:
        pass
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(text, "write a date like 2024-06-30, or 2024-06-30T18:00:00") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return moment, False


def _wrong(value: object, what: str) -> DataError:
    return DataError(f"`data.as_of` is {value!r}: {what}")
