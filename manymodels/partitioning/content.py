"""What the rows say: canonical values, row hashes, and fingerprints that no engine or file layout changes.

Every value becomes a 64-bit word: an integer, a date (days) or a timestamp (microseconds since 1970 UTC) its
two's complement, a float its bits (-0.0 is 0.0), a bool 0 or 1; a string, bytes or a decimal (as in ``keys``)
its BLAKE2b. A timestamp with nanoseconds adds them, times an odd constant. A word is mixed with a seed
derived from its column's name and kind, so neither the order nor the width of columns matters. NaN is null,
and null is a word of its own. A row's words add up in two 64-bit lanes, which are mixed once more: the row
hash. The fingerprint of a key's rows is the sum of their row hashes with their number: independent of order,
and duplicates count. Key columns are not hashed: the key_id has them.

The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
2014).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manymodels.exceptions import DataError
from manymodels.partitioning.encoding import canonical, column_kind

__all__ = [
    "canonical_columns",
    "dataset_fingerprint",
    "key_contents",
    "row_hashes",
    "stored_type",
]

Words = npt.NDArray[np.uint64]

_BLOCK = 1 << 14  # rows mixed at a time: the working set stays in the processor's cache
_NULL_WORD = np.uint64(0x9E3779B97F4A7C15)
_NANOSECONDS = np.uint64(0xD1B54A32D192ED03)
_SECOND_LANE = np.uint64(0x2545F4914F6CDD1D)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stored_type(column: str, type_: pa.DataType) -> pa.DataType:
    """The one Arrow type that the store uses for a kind, whatever the input's width, unit or encoding.

    Args:
        column: Its name, for the message.
        type_: The input's type.

    Raises:
        DataError: The type is none of the kinds.
    """
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    try:
        kind = column_kind(type_)
    except DataError as error:
        raise DataError(f"column {column!r}: {error.message}") from None
    if kind == "int":
        return pa.uint64() if pa.types.is_uint64(type_) else pa.int64()
    if kind == "timestamp":
        return pa.timestamp("ns" if type_.unit == "ns" else "us")
    return type_ if kind == "decimal" else _STORED[kind]


_STORED = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "float": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
}


def canonical_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the store's column order and types, each column one chunk; NaN is null, and -0.0 is 0.0.

    Raises:
        DataError: A value does not fit its column's stored type.
    """
    arrays = []
    for field in schema:
        column = table.column(field.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.type != field.type:
            try:
                column = column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(
                    f"column {field.name!r}: expected {field.type}, found {column.type} with a value that "
                    f"does not fit ({error}); give the column its type in `data.types`"
                ) from None
        array = column.chunk(0) if column.num_chunks == 1 else _joined(column)
        arrays.append(_canonical_floats(array) if pa.types.is_float64(field.type) else array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _joined(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        return pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    return array


def _canonical_floats(array: pa.Array) -> pa.Array:
    values = array.to_numpy(zero_copy_only=False)  # nulls come as NaN
    values = values + 0.0
    missing = np.isnan(values)
    return pa.array(values, mask=missing if missing.any() else None)


def row_hashes(table: pa.Table, columns: Iterable[str]) -> tuple[Words, Words]:
    """Two independent 64-bit hashes of every row.

    Args:
        table: Of ``canonical_columns``.
        columns: The columns that count, in any order.
    """
    rows = table.num_rows
    first, second = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
    for name in columns:
        column = table.column(name)
        kind = column_kind(column.type)
        _add_column(column.chunk(0), kind, _seeds(name, kind), first, second)
    scratch = np.empty(min(rows, _BLOCK), np.uint64)
    for start in range(0, rows, _BLOCK):
        a, b = first[start : start + _BLOCK], second[start : start + _BLOCK]
        spare = scratch[: len(a)]
        _mix(a, spare)
        b += a
        _mix(b, spare)
    return first, second


def _seeds(name: str, kind: str) -> tuple[np.uint64, np.uint64]:
    digest = blake2b(canonical((name, kind)), digest_size=16, person=b"manymodels col").digest()
    first, second = struct.unpack("<QQ", digest)
    return np.uint64(first), np.uint64(second)


def _add_column(
    array: pa.Array, kind: str, seeds: tuple[np.uint64, np.uint64], first: Words, second: Words
) -> None:
    """Add a column's mixed words to both lanes."""
    null_lanes = _lanes(np.array([_NULL_WORD]), seeds)
    if array.null_count == len(array):
        first += null_lanes[0]
        second += null_lanes[1]
        return
    missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    if kind in (
        "bool",
        "string",
        "bytes",
        "decimal",
    ):  # few distinct values, or words that cost: once per value
        encoded = array.dictionary_encode()
        lanes = _lanes(_distinct_words(encoded.dictionary, kind), seeds)
        indices = encoded.indices.fill_null(0).to_numpy()
        first_words, second_words = lanes[0][indices], lanes[1][indices]
        if missing is not None:
            first_words[missing], second_words[missing] = null_lanes[0], null_lanes[1]
        first += first_words
        second += second_words
        return
    words = _fixed_words(array, kind)
    for start in range(0, len(words), _BLOCK):
        stop = min(start + _BLOCK, len(words))
        lanes = _lanes(words[start:stop], seeds)
        if missing is not None:
            part = missing[start:stop]
            lanes[0][part], lanes[1][part] = null_lanes[0], null_lanes[1]
        first[start:stop] += lanes[0]
        second[start:stop] += lanes[1]


def _fixed_words(array: pa.Array, kind: str) -> Words:
    if kind == "timestamp" and array.type.unit == "ns":
        nanos = array.cast(pa.int64()).fill_null(0).to_numpy()
        micros, rest = np.divmod(nanos, 1000)
        words: Words = micros.view(np.uint64) + rest.astype(np.uint64) * _NANOSECONDS
        return words
    if kind == "date":
        array = array.cast(pa.int32())
    if kind in ("timestamp", "date"):
        array = array.cast(pa.int64())
    if array.null_count:
        array = array.fill_null(0)
    words = array.to_numpy().view(np.uint64)
    if pa.types.is_uint64(array.type):
        # The same bits as a negative int64, but another number.
        words = words + (words >> np.uint64(63)) * _NANOSECONDS
    return words


def _distinct_words(values: pa.Array, kind: str) -> Words:
    """One word per distinct value."""
    if kind == "bool":
        bits: Words = values.to_numpy(zero_copy_only=False).astype(np.uint64)
        return bits
    if kind == "decimal":
        pieces: list[bytes] = [canonical((value,)) for value in values.to_pylist()]
    else:
        pieces = values.cast(pa.binary()).to_pylist()
    digests = b"".join([blake2b(piece, digest_size=8).digest() for piece in pieces])
    return np.frombuffer(digests, np.uint64)


def _lanes(words: Words, seeds: tuple[np.uint64, np.uint64]) -> tuple[Words, Words]:
    first = words ^ seeds[0]
    spare = np.empty_like(first)
    _mix(first, spare)
    second = first ^ seeds[1]
    second *= _SECOND_LANE
    np.right_shift(second, np.uint64(29), out=spare)
    second ^= spare
    second *= _MIX_1
    return first, second


def _mix(words: Words, spare: Words) -> None:
    """SplitMix64's finaliser, in place."""
    np.right_shift(words, np.uint64(30), out=spare)
    words ^= spare
    words *= _MIX_1
    np.right_shift(words, np.uint64(27), out=spare)
    words ^= spare
    words *= _MIX_2
    np.right_shift(words, np.uint64(31), out=spare)
    words ^= spare


def key_contents(
    first: Words, second: Words, starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> pa.Array:
    """The content fingerprint of every key, 16 bytes each.

    Args:
        first: First lane of the row hashes; a key's rows are neighbours, in any order.
        second: Second lane.
        starts: First row of every key.
        counts: Rows of every key.
    """
    lanes = np.empty((len(starts), 2), np.uint64)
    rows = counts.astype(np.uint64)
    a = np.add.reduceat(first, starts) if len(starts) else np.empty(0, np.uint64)
    b = np.add.reduceat(second, starts) if len(starts) else np.empty(0, np.uint64)
    spare = np.empty_like(a)
    a += rows * _MIX_2
    _mix(a, spare)
    b ^= a
    b += rows
    _mix(b, spare)
    lanes[:, 0], lanes[:, 1] = a, b
    buffer = pa.py_buffer(lanes.astype("<u8"))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(starts), [None, buffer])


def dataset_fingerprint(
    manifest: pa.Table, schema: pa.Schema, *, version: int, roles: Sequence[Sequence[str]]
) -> str:
    """The fingerprint of a whole dataset, 32 hex digits.

    Args:
        manifest: With ``key_id`` and ``content``, in any order.
        schema: Of the stored rows: names and kinds count, widths and order do not.
        version: Of the store's format.
        roles: Column names by role, since they decide the order of the rows and what the manifest says.
    """
    digest = blake2b(digest_size=16, person=b"manymodels data")
    digest.update(struct.pack(">I", version))
    for names in roles:
        digest.update(canonical(names) + b"\n")
    for field in sorted(schema, key=lambda field: str(field.name)):
        digest.update(canonical((field.name, column_kind(field.type))))
    order = pc.sort_indices(manifest.column("key_id"))
    for name in ("key_id", "content"):
        digest.update(b"".join(manifest.column(name).take(order).cast(pa.binary()).to_pylist()))
    return digest.hexdigest()
