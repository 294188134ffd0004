"""Columns on their way between Arrow and SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manymodels.exceptions import UsageError

__all__ = ["digest_column", "digests", "hex_ids", "looked_up", "repeated", "storable", "storable_column"]

_DIGEST = 16
_KEY_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_VALUES = np.zeros(256, np.uint8)
_VALUES[_DIGITS] = np.arange(16)


def digests(key_ids: list[str]) -> list[bytes]:
    """Key ids, 32 hex digits each, as 16 bytes each.

    Raises:
        UsageError: One of them is not 32 hex digits.
    """
    for key_id in key_ids:
        if not _KEY_ID(key_id):
            raise UsageError(
                f"a key id has 32 hex digits, found {key_id!r}; `manymodels models list` shows them"
            )
    raw = bytes.fromhex("".join(key_ids))
    return [raw[start : start + _DIGEST] for start in range(0, len(raw), _DIGEST)]


def digest_column(key_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of key ids, 32 hex digits each, as 16 bytes each, without an object per key; no nulls."""
    return pa.chunked_array([_digests(chunk) for chunk in key_ids.chunks], pa.binary(_DIGEST))


def _digests(chunk: pa.Array) -> pa.Array:
    texts = chunk.cast(pa.binary()).cast(pa.binary(2 * _DIGEST))
    digits = np.frombuffer(texts.buffers()[1], np.uint8)[texts.offset * 2 * _DIGEST :][
        : len(texts) * 2 * _DIGEST
    ]
    halves = _VALUES[digits]
    joined = (halves[::2] << 4) | halves[1::2]
    return pa.Array.from_buffers(pa.binary(_DIGEST), len(texts), [None, pa.py_buffer(joined)])


def hex_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of 16 bytes each as strings of 32 hex digits; no nulls."""
    return pa.chunked_array([_hex(chunk) for chunk in column.chunks], pa.string())


def _hex(chunk: pa.Array) -> pa.Array:
    raw = chunk.cast(pa.binary(_DIGEST))
    content = np.frombuffer(raw.buffers()[1], np.uint8)[raw.offset * _DIGEST :][: len(raw) * _DIGEST]
    digits = np.empty(2 * len(content), np.uint8)
    digits[::2], digits[1::2] = _DIGITS[content >> 4], _DIGITS[content & 15]
    offsets = np.arange(0, len(digits) + 1, 2 * _DIGEST, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(raw), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])


def looked_up(column: pa.ChunkedArray, values: Mapping[Any, Any], kind: pa.DataType) -> pa.ChunkedArray:
    """What each value of a column stands for, looked up all at once; null where it stands for nothing."""
    places = pc.index_in(column, pa.array(list(values), column.type))
    return pa.chunked_array([pa.array(list(values.values()), kind)]).take(places)


def repeated(column: pa.ChunkedArray, values: Mapping[Any, str]) -> pa.ChunkedArray:
    """As ``looked_up`` with strings, each of them held once: a column of places in a dictionary."""
    places = pc.index_in(column, pa.array(list(values), column.type))
    texts = pa.array(list(values.values()), pa.string()).dictionary_encode()
    return pa.chunked_array(
        [
            pa.DictionaryArray.from_arrays(texts.indices.take(chunk), texts.dictionary)
            for chunk in places.chunks
        ],
        texts.type,
    )


def storable(text: str) -> str:
    """Text that every database takes: PostgreSQL refuses NUL, and no encoding takes a lone surrogate."""
    return text.replace("\0", "␀").encode("utf-8", "replace").decode()


def storable_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of strings that every database takes; null is empty."""
    return pc.fill_null(pc.replace_substring(column.cast(pa.string()), "\0", "␀"), "")
