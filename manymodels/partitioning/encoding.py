"""The canonical encoding of a key: typed, documented, and the same from one value or a whole column.

A key is the tuple of its ``partition_by`` values. Its canonical form is one piece per value: a tag (1 byte),
the length of the payload (4 bytes, big-endian) and the payload.

=========  ===  =======================================================================================
kind       tag  payload
=========  ===  =======================================================================================
null       N    empty; NaN and NaT are null
bool       B    1 byte, 0 or 1
int        I    two's complement, big-endian: 8 bytes, 16 beyond 64 bits
float      F    IEEE 754 binary64, big-endian; -0.0 is 0.0
string     S    UTF-8 as it is: no normalisation, so NFC and NFD twins stay two keys
bytes      Y    as they are
date       D    days since 1970-01-01, 4 bytes, two's complement, big-endian
timestamp  T    microseconds since 1970 UTC, 8 bytes, two's complement, big-endian; 2 more bytes with the
                nanoseconds (1 to 999) when there are any
decimal    M    coefficient without trailing zeros, ``E``, exponent (1.10 and 1.1 are ``11E-1``), ASCII
=========  ===  =======================================================================================

Kinds are kept apart (``1``, ``"1"``, ``1.0`` and ``True`` are four keys); width, unit and dictionary encoding
are not. A timestamp is an instant: equal instants in two zones are one key; one without a zone is in UTC,
and all come back so. A rung of the fallback ladder starts with a piece of its own: tag ``L``, its name.
"""

from __future__ import annotations

import calendar
import datetime as dt
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manymodels.exceptions import DamagedError, DataError
from manymodels.records import KeyValue

__all__ = ["KINDS", "canonical", "canonical_array", "column_kind", "decode"]

KINDS = ("null", "bool", "int", "float", "string", "bytes", "date", "timestamp", "decimal")
"""Every kind of key value."""

_EPOCH = dt.datetime(1970, 1, 1)  # UTC without a zone, as everywhere in the product
_EPOCH_DAY = _EPOCH.toordinal()


def column_kind(type_: pa.DataType) -> str:
    """The kind of a column's values; dictionary encoding is looked through.

    Raises:
        DataError: The type is none of the kinds (a list, a duration …).
    """
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    for kind, test in _KIND_TESTS:
        if test(type_):
            return kind
    raise DataError(
        f"expected a type that is one of {', '.join(KINDS)}, found {type_}; "
        "cast the column, or name it in `data.ignore`"
    )


_KIND_TESTS: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("null", pa.types.is_null),
    ("bool", pa.types.is_boolean),
    ("int", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("string", lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t)),
    (
        "bytes",
        lambda t: (
            pa.types.is_binary(t)
            or pa.types.is_large_binary(t)
            or pa.types.is_binary_view(t)
            or pa.types.is_fixed_size_binary(t)
        ),
    ),
    ("date", pa.types.is_date),
    ("timestamp", pa.types.is_timestamp),
    ("decimal", pa.types.is_decimal),
)


def canonical(values: Iterable[Any], level: str = "") -> bytes:
    """The canonical form of a key: see the module's table.

    Raises:
        DataError: A value of no kind, or a string that is not Unicode text (a lone surrogate).
    """
    head = _piece(b"L", level.encode()) if level else b""
    return head + b"".join(_encode(value) for value in values)


def decode(encoded: bytes) -> tuple[KeyValue, ...]:
    """The values of a canonical form; a rung's name is passed over.

    Timestamps come back in UTC, without a zone; as ``pandas.Timestamp`` when they have nanoseconds.

    Raises:
        DamagedError: This is no canonical form.
    """
    values: list[KeyValue] = []
    position = 0
    try:
        while position < len(encoded):
            tag, length = struct.unpack_from(">cI", encoded, position)
            start, position = position + 5, position + 5 + length
            payload = encoded[start:position]
            if len(payload) != length:
                raise ValueError("truncated")
            if tag != b"L":
                values.append(_DECODERS[tag](payload))
    except (struct.error, KeyError, ValueError, InvalidOperation, OverflowError) as error:
        raise DamagedError(f"expected a key's canonical form, found {encoded[:40]!r} ({error})") from None
    return tuple(values)


def _piece(tag: bytes, payload: bytes) -> bytes:
    return tag + struct.pack(">I", len(payload)) + payload


_NULL = _piece(b"N", b"")


def _encode(value: Any) -> bytes:
    if isinstance(value, np.generic):
        if isinstance(value, np.datetime64):
            return _encode_datetime64(value)
        value = value.item()
    if value is None or type(value).__name__ == "NAType":
        return _NULL
    if isinstance(value, bool):
        return _piece(b"B", b"\1" if value else b"\0")
    if isinstance(value, int):
        return _piece(b"I", _int_bytes(value))
    if isinstance(value, float):
        return _NULL if math.isnan(value) else _piece(b"F", struct.pack(">d", value + 0.0))
    if isinstance(value, str):
        try:
            return _piece(b"S", value.encode())
        except UnicodeEncodeError:
            raise DataError(
                f"a key must be Unicode text, found a lone surrogate in {value!r}; repair the file's encoding"
            ) from None
    if isinstance(value, bytes | bytearray | memoryview):
        return _piece(b"Y", bytes(value))
    if isinstance(value, dt.datetime):
        if value != value:  # NaT
            return _NULL
        micros = calendar.timegm(value.utctimetuple()) * 1_000_000 + value.microsecond
        return _piece(b"T", _timestamp_bytes(micros, getattr(value, "nanosecond", 0)))
    if isinstance(value, dt.date):
        return _piece(b"D", struct.pack(">i", value.toordinal() - _EPOCH_DAY))
    if isinstance(value, Decimal):
        return _NULL if value.is_nan() else _piece(b"M", _decimal_bytes(value))
    raise DataError(
        f"a key's value must be one of {', '.join(KINDS)}; found {value!r} ({type(value).__name__}); "
        "cast the column, or leave it out of `partition_by`"
    )


def _int_bytes(value: int) -> bytes:
    try:
        return value.to_bytes(8 if -(2**63) <= value < 2**63 else 16, "big", signed=True)
    except OverflowError:
        raise DataError(
            f"a key's integer must fit 128 bits, found {value}; make the column a string"
        ) from None


def _encode_datetime64(value: np.datetime64) -> bytes:
    if np.isnat(value):
        return _NULL
    micros = value.astype("datetime64[us]")
    nanos = int((value - micros).astype("timedelta64[ns]").astype(np.int64))
    return _piece(b"T", _timestamp_bytes(int(micros.astype(np.int64)), nanos))


def _timestamp_bytes(micros: int, nanos: int) -> bytes:
    return struct.pack(">q", micros) + (struct.pack(">H", nanos) if nanos else b"")


def _decimal_bytes(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise DataError(f"a key's decimal must be finite, found {value}; filter these rows with `data.where`")
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped:
        return b"0E0"
    return f"{'-' if sign else ''}{stripped}E{exponent + len(text) - len(stripped)}".encode()


def _decode_timestamp(payload: bytes) -> dt.datetime:
    (micros,) = struct.unpack_from(">q", payload)
    if len(payload) > 8:
        import pandas as pd

        (nanos,) = struct.unpack(">H", payload[8:])
        stamp: dt.datetime = pd.Timestamp(micros * 1000 + nanos, unit="ns")
        return stamp
    return _EPOCH + dt.timedelta(microseconds=micros)


def _decode_null(payload: bytes) -> None:
    return None


_DECODERS: dict[bytes, Callable[[bytes], KeyValue]] = {
    b"N": _decode_null,
    b"B": lambda payload: payload == b"\1",
    b"I": lambda payload: int.from_bytes(payload, "big", signed=True),
    b"F": lambda payload: float(struct.unpack(">d", payload)[0]),
    b"S": lambda payload: payload.decode(),
    b"Y": bytes,
    b"D": lambda payload: dt.date.fromordinal(struct.unpack(">i", payload)[0] + _EPOCH_DAY),
    b"T": _decode_timestamp,
    b"M": lambda payload: Decimal(payload.decode("ascii")),
}


# A column of keys


def canonical_array(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """The canonical form of every row's key, as ``large_binary``: what ``canonical`` makes of each, in bulk.

    Raises:
        DataError: A column of no kind, or a value that cannot be a key.
    """
    pieces: list[Any] = []
    for name in columns:
        column = table.column(name)
        kind = _column_kind(name, column.type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        pieces.extend(_encode_array(array, kind))
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))


def _column_kind(name: str, type_: pa.DataType) -> str:
    try:
        return column_kind(type_)
    except DataError as error:
        raise DataError(f"key column {name!r}: {error.message}") from None


def _encode_array(array: pa.Array, kind: str) -> list[pa.Array]:
    """Arrays whose row-wise concatenation is the column's pieces."""
    large = pa.large_binary()
    missing = array.is_null(nan_is_null=True)
    if kind == "null" or missing.true_count == len(array):
        return [pa.repeat(pa.scalar(_NULL, large), len(array))]
    if kind in ("string", "bytes"):
        if pa.types.is_fixed_size_binary(array.type):
            array = array.cast(pa.binary())
        payload = array.cast(pa.large_string() if kind == "string" else large).cast(large).fill_null(b"")
        lengths = pc.binary_length(payload).to_numpy()
        heads = _packed(b"S" if kind == "string" else b"Y", lengths, None)
        return [pc.if_else(missing, pa.scalar(_NULL, large), heads), payload]
    fixed = _fixed_width(array, kind)
    if fixed is None:  # decimals, integers beyond 64 bits, nanoseconds: rare as keys
        return [pa.array([_encode(value) for value in array.to_pylist()], large)]
    return [pc.if_else(missing, pa.scalar(_NULL, large), fixed) if missing.true_count else fixed]


def _fixed_width(array: pa.Array, kind: str) -> pa.Array | None:
    if kind == "bool":
        return _packed(b"B", 1, array.fill_null(False).cast(pa.uint8()).to_numpy().view("u1"))
    if kind == "int":
        if array.type == pa.uint64() and pc.max(array).as_py() >= 2**63:
            return None
        return _packed(b"I", 8, array.cast(pa.int64()).fill_null(0).to_numpy().astype(">i8"))
    if kind == "float":
        return _packed(b"F", 8, (array.cast(pa.float64()).fill_null(0).to_numpy() + 0.0).astype(">f8"))
    if kind == "date":
        return _packed(
            b"D", 4, array.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy().astype(">i4")
        )
    if kind == "timestamp":
        try:
            micros = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
        except pa.ArrowInvalid:
            return None
        return _packed(b"T", 8, micros.fill_null(0).to_numpy().astype(">i8"))
    return None


def _packed(tag: bytes, lengths: Any, payload: Any) -> pa.Array:
    """Tag, length and (fixed-width) payload of every row, as ``large_binary``."""
    fields = [("tag", "S1"), ("length", ">u4")]
    rows = len(lengths) if payload is None else len(payload)
    if payload is not None:
        fields.append(("payload", payload.dtype.str))
    packed = np.empty(rows, np.dtype(fields))
    packed["tag"], packed["length"] = tag, lengths
    if payload is not None:
        packed["payload"] = payload
    width = packed.dtype.itemsize
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(packed)])
    return array.cast(pa.binary()).cast(pa.large_binary())
