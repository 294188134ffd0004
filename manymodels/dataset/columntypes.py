"""The types that columns have when they leave: what files of different types have in common, and how one gets there.

A column leaves as null, bool, int64, uint64 (keys only), float64, string, binary, date32, timestamp[us] (UTC where the
input knew its zone) or decimal128 (keys only). Key columns are never changed into something that could make two keys
one; everything else takes the type that models work with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.files import nearest
from manymodels.exceptions import DataError

__all__ = [
    "DECLARED",
    "check_names",
    "common_type",
    "declared_type",
    "departing_type",
    "final_type",
    "plain_name",
]

MICROSECONDS = pa.timestamp("us")
ZONED = pa.timestamp("us", "UTC")  # Until files are compared: a zone on one side only is drift.

DECLARED: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": MICROSECONDS,
}
"""The types that ``data.types`` may name."""


def check_names(names: Sequence[str], where: str) -> None:
    """Check that columns can be told apart (SQL does not look at case).

    Raises:
        DataError: Two columns of one name, or a name with a NUL.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(
                f"column {name!r} occurs {count} times in {where}; every column needs its own name"
            )
        if "\0" in name:
            raise DataError(f"column {name!r} in {where} has a NUL in its name; rename it")
    lower: dict[str, str] = {}
    for name in names:
        twin = lower.setdefault(name.lower(), name)
        if twin != name:
            raise DataError(
                f"columns {twin!r} and {name!r} in {where} differ only in case; rename one of them"
            )


def declared_type(column: str, name: str) -> pa.DataType:
    """The type that ``data.types`` asks for.

    Raises:
        DataError: There is no such type.
    """
    found = DECLARED.get(name)
    if found is None:
        raise DataError(
            f"`data.types.{column}` is {name!r}; expected one of {', '.join(DECLARED)}{nearest(name, DECLARED)}"
        )
    return found


def departing_type(raw: pa.DataType, *, key: bool) -> pa.DataType:
    """The type in which a column of one file would leave if there were only this file.

    Args:
        raw: The column's type in the file.
        key: Whether it is a key column, whose values must stay distinct.
    """
    if pt.is_dictionary(raw):
        return departing_type(raw.value_type, key=key)
    if pt.is_uint64(raw):
        return raw if key else pa.int64()
    if pt.is_integer(raw):
        return pa.int64()
    if pt.is_floating(raw):
        return pa.float64()
    if pt.is_decimal(raw):
        return raw if key else pa.float64()
    if pt.is_timestamp(raw):
        unit = "ns" if key and raw.unit == "ns" else "us"
        return pa.timestamp(unit, None if raw.tz is None else "UTC")
    if pt.is_date(raw):
        return pa.date32()
    if pt.is_string(raw) or pt.is_large_string(raw) or pt.is_string_view(raw):
        return pa.string()
    if pt.is_binary(raw) or pt.is_large_binary(raw) or pt.is_binary_view(raw) or pt.is_fixed_size_binary(raw):
        return pa.binary()
    return raw


def common_type(one: pa.DataType, other: pa.DataType, *, key: bool) -> pa.DataType | None:
    """The type that holds both departing types without loss, or None when they have drifted apart.

    Integers and floats meet as float64, in key columns as int64 (a fraction there is an error when it is read).
    """
    if one.equals(other) or pt.is_null(other):
        return one
    if pt.is_null(one):
        return other
    if pt.is_integer(one) and pt.is_integer(other):
        return pa.int64()
    if _is_number(one) and _is_number(other):
        return pa.int64() if key else pa.float64()
    if pt.is_decimal(one) and pt.is_decimal(other):
        return pa.decimal128(38, max(one.scale, other.scale))
    if pt.is_timestamp(one) and pt.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp("ns" if "ns" in (one.unit, other.unit) else "us", one.tz)
    if {one, other} == {pa.date32(), MICROSECONDS}:
        return MICROSECONDS
    return None


def final_type(common: pa.DataType, *, key: bool, time: bool) -> pa.DataType:
    """The type in which the column leaves: zones become UTC without a zone, strings become times in the time column.

    A column without any value is float64 (a feature that is always missing), in keys and times what is usual there.
    """
    if pt.is_null(common):
        return MICROSECONDS if time else pa.string() if key else pa.float64()
    if pt.is_timestamp(common):
        return pa.timestamp(common.unit)
    if time and pt.is_string(common):
        return MICROSECONDS
    return common


def plain_name(type: pa.DataType) -> str:
    """The type as people write it in ``data.types``: ``date`` for ``date32[day]``, ``float64`` for ``double``."""
    return next((name for name, known in DECLARED.items() if type.equals(known)), str(type))


def _is_number(type: pa.DataType) -> bool:
    return bool(pt.is_integer(type) or pt.is_floating(type))
