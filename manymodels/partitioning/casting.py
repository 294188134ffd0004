"""Bring the keys of new rows to the kinds that training recorded, without loss, or not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from manymodels.exceptions import DataError
from manymodels.partitioning.keys import canonical_array, column_kind

__all__ = ["cast_keys"]


def cast_keys(table: pa.Table, columns: Sequence[str], kinds: Mapping[str, str]) -> pa.Table:
    """The table with its key columns cast to the recorded kinds.

    A cast is lossless when the value can be had back: ``"7"`` and ``7.0`` become ``7``; ``"007"``, ``7.5``
    and ``True`` do not. Nulls stay null.

    Args:
        table: Distinct keys, one a row.
        columns: Its key columns.
        kinds: Key column to the kind that training recorded.

    Raises:
        DataError: A value cannot be cast without loss (names column and value), or two keys would become one.
    """
    changed = False
    for name in columns:
        found, wanted = column_kind(table.column(name).type), kinds[name]
        if found != wanted:
            index = table.schema.get_field_index(name)
            table = table.set_column(index, name, _cast(table.column(name), name, found, wanted))
            changed = True
    if changed:
        encoded = canonical_array(table, columns)
        counts = encoded.value_counts()
        twice = [pair["values"] for pair in counts.to_pylist() if pair["counts"] > 1]
        if twice:
            row = encoded.index(pa.scalar(twice[0], encoded.type)).as_py()
            example = {name: table.column(name)[row].as_py() for name in columns}
            raise DataError(
                f"{len(twice):,} keys are written in several ways, such as {example}; "
                f"write the key columns {', '.join(columns)} in one way, or type them in `data.types`"
            )
    return table


def _cast(column: pa.ChunkedArray, name: str, found: str, wanted: str) -> pa.Array:
    cast = _CASTS.get((found, wanted))
    values = column.to_pylist()
    out: list[Any] = []
    for value in values:
        if value is None or value != value:
            out.append(None)
            continue
        try:
            if cast is None:
                raise ValueError("no cast between these kinds")
            out.append(cast(value))
        except (ValueError, OverflowError, InvalidOperation):
            raise DataError(
                f"key column {name!r} was recorded as {wanted} and is {found} here: {value!r} is no {wanted} "
                "without loss; give the column its type in `data.types`"
            ) from None
    if wanted == "int" and any(value is not None and value >= 2**63 for value in out):
        return pa.array(out, pa.uint64())
    return pa.array(out, _TYPES[wanted])


def _exactly(cast: Callable[[Any], Any], back: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        result = cast(value)
        if back(result) != value:
            raise ValueError("lossy")
        return result

    return checked


def _text_to_float(text: str) -> float:
    value = float(text)
    if text not in (repr(value), repr(value).removesuffix(".0")):
        raise ValueError("lossy")
    return value


def _text_to_bool(text: str) -> bool:
    if text not in ("true", "false", "True", "False"):
        raise ValueError("lossy")
    return text in ("true", "True")


def _text_to_timestamp(text: str) -> dt.datetime:
    return _utc(dt.datetime.fromisoformat(text))


def _utc(stamp: dt.datetime) -> dt.datetime:
    return stamp if stamp.tzinfo is None else stamp.astimezone(dt.UTC).replace(tzinfo=None)


def _timestamp_to_date(stamp: dt.datetime) -> dt.date:
    utc = _utc(stamp)
    if utc.time() != dt.time() or getattr(stamp, "nanosecond", 0) != 0:
        raise ValueError("lossy")
    return utc.date()


def _float_to_decimal(value: float) -> Decimal:
    return Decimal(repr(value))


_CASTS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("int", "float"): _exactly(float, int),
    ("int", "string"): str,
    ("int", "decimal"): Decimal,
    ("float", "int"): _exactly(int, float),
    ("float", "decimal"): _exactly(_float_to_decimal, float),
    ("decimal", "int"): _exactly(int, Decimal),
    ("decimal", "float"): _exactly(float, _float_to_decimal),
    ("string", "int"): _exactly(int, str),
    ("string", "float"): _text_to_float,
    ("string", "bool"): _text_to_bool,
    ("string", "bytes"): str.encode,
    ("string", "date"): _exactly(dt.date.fromisoformat, dt.date.isoformat),
    ("string", "timestamp"): _text_to_timestamp,
    ("string", "decimal"): Decimal,
    ("bytes", "string"): bytes.decode,
    ("date", "string"): dt.date.isoformat,
    ("date", "timestamp"): lambda day: dt.datetime(day.year, day.month, day.day),
    ("timestamp", "date"): _timestamp_to_date,
}

_TYPES: dict[str, pa.DataType | None] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "decimal": None,  # as narrow as the values are
}
