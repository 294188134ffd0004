"""Typed keys: their ids, their order, how people read and write them, and lossless casts between kinds.

``encoding`` has the canonical form that all of it rests on.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manymodels.exceptions import DataError
from manymodels.partitioning.encoding import canonical, canonical_array, column_kind, decode
from manymodels.records import Key, KeyValue

__all__ = [
    "canonical",
    "canonical_array",
    "cast_keys",
    "column_kind",
    "decode",
    "display",
    "display_array",
    "key_ids",
    "key_order",
    "make_key",
    "parse_key",
    "parse_value",
    "show",
]

_BULK_ROWS = 1 << 18  # bounds the memory of encoding millions of keys


def make_key(values: Iterable[Any], level: str = "") -> Key:
    """The key of these values, which may be Python's, NumPy's or pandas' scalars.

    Args:
        values: One per key column, in the order of ``partition_by``.
        level: The rung's name, for the models of the fallback ladder.

    Raises:
        DataError: A value of no kind, or a string that is not Unicode text (a lone surrogate).
    """
    encoded = canonical(values, level)
    return Key(values=decode(encoded), canonical=encoded, key_id=_key_id(encoded), level=level)


def _key_id(encoded: bytes | memoryview) -> str:
    return blake2b(encoded, digest_size=16).hexdigest()


def key_ids(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """The key_id of every row, as 32 hex digits; rows should be distinct, one per key.

    Raises:
        DataError: A column of no kind, or a value that cannot be a key.
    """
    ids: list[str] = []
    for start in range(0, table.num_rows, _BULK_ROWS):
        encoded = canonical_array(table.slice(start, _BULK_ROWS), columns)
        _, offsets, data = encoded.buffers()
        view = memoryview(data) if data is not None else memoryview(b"")
        ends = np.frombuffer(offsets, np.int64)[encoded.offset :][: len(encoded) + 1].tolist()
        ids.extend([blake2b(view[a:b], digest_size=16).hexdigest() for a, b in pairwise(ends)])
    return pa.array(ids, pa.string())


def key_order(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.int64]:
    """The row numbers in ascending order of these columns, nulls first: the order of the store; stable."""
    arrays: list[Any] = []
    for column in (table.column(name) for name in columns):
        if column.null_count:
            arrays.append(column.is_valid())
        arrays.append(column)
    names = [str(number) for number in range(len(arrays))]
    order = pc.sort_indices(pa.table(arrays, names), sort_keys=[(name, "ascending") for name in names])
    return order.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


# What people read and write


def display(values: Iterable[Any], columns: Sequence[str]) -> str:
    """A key for people: ``store=17, region=N``; text that could be misread is quoted and escaped."""
    return ", ".join(f"{name}={show(value)}" for name, value in zip(columns, values, strict=True))


def display_array(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """The keys of every row for people, as ``display`` has them."""
    parts = [pc.binary_join_element_wise(f"{name}=", _shown(table.column(name)), "") for name in columns]
    return pc.binary_join_element_wise(*parts, ", ").combine_chunks()


def _shown(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a key column for people, as ``show`` has them; each different one is made once."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return pc.fill_null(column.cast(pa.string()), "null")
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    texts = pa.array([show(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([texts.take(encoded.indices)])


def show(value: Any) -> str:
    """One value of a key for people."""
    if value is None or value != value:
        return "null"
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, dt.date):
        return value.isoformat()
    text = str(value)
    plain = text.isprintable() and text == text.strip() and text not in ("", "null")
    if isinstance(value, str) and (not plain or any(c in text for c in ',="')):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped) + '"'
    return text


def parse_key(text_pairs: Mapping[str, str], kinds: Mapping[str, str]) -> Key:
    """The key that a person wrote as ``column=value``, one pair per key column.

    Text is taken as it is for the kind ``string``; for every other kind ``null`` is the null key.

    Args:
        text_pairs: Column to text.
        kinds: Key column to its recorded kind, in the order of ``partition_by``.

    Raises:
        DataError: A column too many or missing, or text that is not of the column's kind.
    """
    for name in text_pairs:
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"expected the key columns {', '.join(kinds)}, found {name!r}{hint}")
    absent = [name for name in kinds if name not in text_pairs]
    if absent:
        raise DataError(f"a key needs a value for each of {', '.join(kinds)}; missing: {', '.join(absent)}")
    return make_key(parse_value(text_pairs[name], kind, name) for name, kind in kinds.items())


def parse_value(text: str, kind: str, column: str) -> KeyValue:
    """One value of a key from text.

    Raises:
        DataError: The text is not of this kind.
    """
    if kind == "string":
        return text
    if text == "null":
        return None
    try:
        return _PARSERS[kind](text)
    except (ValueError, KeyError, InvalidOperation):
        raise DataError(
            f"expected {_EXAMPLES[kind]} for key column {column!r}, which is of kind {kind}; found {text!r}"
        ) from None


def _parse_bytes(text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError("no 0x")
    return bytes.fromhex(text[2:])


_PARSERS: dict[str, Callable[[str], KeyValue]] = {
    "bool": {"true": True, "false": False}.__getitem__,
    "int": int,
    "float": float,
    "bytes": _parse_bytes,
    "date": dt.date.fromisoformat,
    "timestamp": dt.datetime.fromisoformat,
    "decimal": Decimal,
}
_EXAMPLES = {
    "null": "`null`",
    "bool": "`true` or `false`",
    "int": "a whole number",
    "float": "a number",
    "bytes": "hex digits like `0x1f`",
    "date": "a date like `2026-01-31`",
    "timestamp": "a timestamp like `2026-01-31T12:00:00+00:00`",
    "decimal": "a decimal number",
}


# Lossless casts


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
