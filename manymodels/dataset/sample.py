"""The first rows of a source, and what can be counted in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.roles import is_storable
from manymodels.dataset.sources import Source
from manymodels.dataset.sql import identifier, text_as

__all__ = ["Pace", "Sample"]

_ROWS = 1_000_000
_TELLING_ROWS = 10_000


@dataclass(frozen=True)
class Pace:
    """How often a key has a row.

    Attributes:
        name: Plural, for messages.
        least: Seconds from one time to the next, or steps.
        most: The same.
        horizon: Periods worth forecasting.
    """

    name: str
    least: float
    most: float
    horizon: int


_HOUR, _DAY = 3600.0, 86_400.0
_PACES = (  # seconds from one time to the next
    Pace("minutes", 1, 0.9 * _HOUR, 60),
    Pace("hours", 0.9 * _HOUR, 0.9 * _DAY, 24),
    Pace("days", 0.9 * _DAY, 4 * _DAY, 14),
    Pace("weeks", 6 * _DAY, 8 * _DAY, 8),
    Pace("months", 28 * _DAY, 31 * _DAY, 12),
    Pace("quarters", 89 * _DAY, 92 * _DAY, 4),
    Pace("years", 365 * _DAY, 366 * _DAY, 3),
)
_STEPS = Pace("steps", 1, 1, 10)


class Sample:
    """The first rows of a source, in DuckDB; columns of types that jobs cannot use are left out.

    Args:
        source: The data.
        connection: Where the rows are kept.

    Attributes:
        types: Column to type.
        rows: How many there are.
        filled: Column to the number of rows that have a value.
        distinct: Column to about the number of values.
    """

    def __init__(self, source: Source, connection: duckdb.DuckDBPyConnection) -> None:
        self.source = source
        self.types = {name: type for name, type in source.columns.items() if is_storable(type)}
        self._connection = connection
        rows = source.relation(connection, list(self.types))
        connection.execute(f"CREATE TEMP TABLE sample AS SELECT * FROM {rows} LIMIT {_ROWS}")  # noqa: S608 - quoted
        counted = ", ".join(
            f"count({identifier(n)}), approx_count_distinct({identifier(n)})" for n in self.types
        )
        self.rows, *counts = self.first(f"SELECT count(*), {counted} FROM sample")  # noqa: S608 - quoted
        self.filled = dict(zip(self.types, counts[::2], strict=True))
        self.distinct = dict(zip(self.types, counts[1::2], strict=True))

    def first(self, query: str) -> tuple[Any, ...]:
        """The first row of a query."""
        return tuple(self._connection.execute(query).fetchall()[0])

    def are_times(self, name: str) -> bool:
        """Whether every text of a column is a time in ISO 8601."""
        x = identifier(name)
        parsed = text_as(name, pa.timestamp("us"))
        try:
            self.first(f"SELECT count({parsed}) FROM (SELECT {x} FROM sample LIMIT {_TELLING_ROWS})")  # noqa: S608 - quoted
        except duckdb.Error:
            return False
        return bool(self.filled[name])

    def uniqueness(self, columns: Sequence[str]) -> float:
        """Distinct combinations of values, as a share of the rows."""
        listed = ", ".join(identifier(name) for name in columns)
        (found,) = self.first(f"SELECT count(*) FROM (SELECT DISTINCT {listed} FROM sample)")  # noqa: S608 - quoted
        return float(found / max(1, self.rows))

    def pace(self, keys: Sequence[str], time: str) -> Pace | None:
        """How often most keys have a row, if it is regular."""
        listed, t = ", ".join(identifier(name) for name in keys), identifier(time)
        if pt.is_string(self.types[time]):
            t = str(text_as(time, pa.timestamp("us")))
        is_position = pt.is_integer(self.types[time])
        moment = t if is_position else f"epoch(CAST({t} AS TIMESTAMP))"
        moments = f"SELECT ({listed}) AS key, {moment} AS moment FROM sample"  # noqa: S608 - quoted
        gaps = f"SELECT moment - lag(moment) OVER (PARTITION BY key ORDER BY moment) AS gap FROM ({moments})"  # noqa: S608
        usual, total = self.first(f"SELECT median(gap), count(gap) FROM ({gaps})")  # noqa: S608 - quoted
        if not total:
            return None
        pace = next((p for p in _PACES if p.least <= usual <= p.most), None)
        if is_position:
            pace = _STEPS if usual == 1 else None
        if pace is None:
            return None
        # Months differ in days, and a closed day makes a longer gap; event times have gaps of every length.
        low, high = (pace.least, pace.most) if pace.least >= 28 * _DAY else (usual, usual)
        (regular,) = self.first(f"SELECT count(*) FROM ({gaps}) WHERE gap BETWEEN {low} AND {high}")  # noqa: S608 - quoted
        return pace if regular >= 0.5 * total else None

    def is_level(self, name: str, keys: Sequence[str]) -> bool:
        """Whether a column of strings groups the keys: constant within each, with few values over all."""
        if not pt.is_string(self.types.get(name, pa.null())) or self.filled[name] < self.rows:
            return False
        listed, x = ", ".join(identifier(key) for key in keys), identifier(name)
        inside = f"SELECT count(DISTINCT {x}) AS values FROM sample GROUP BY {listed}"  # noqa: S608 - quoted
        most, groups = self.first(f"SELECT max(values), count(*) FROM ({inside})")  # noqa: S608 - quoted
        return bool(most == 1 and 2 <= self.distinct[name] <= groups / 2)

    def frame(self, columns: Sequence[str]) -> Any:
        """Some rows as a pandas DataFrame."""
        listed = ", ".join(identifier(name) for name in columns)
        return self._connection.sql(f"SELECT {listed} FROM sample LIMIT {_TELLING_ROWS}").df()  # noqa: S608 - quoted
