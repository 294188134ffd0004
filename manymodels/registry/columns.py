"""Columns on their way between Arrow and SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from manymodels.exceptions import UsageError

__all__ = ["digests", "hex_ids", "looked_up", "storable", "storable_column"]

_DIGEST = 16
_KEY_ID = re.compile(r"[0-9a-f]{32}").fullmatch


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


def hex_ids(column: pa.ChunkedArray) -> pa.Array:
    """A column of 16 bytes each as strings of 32 hex digits; no nulls."""
    joined = b"".join(column.to_pylist()).hex().encode()
    count = len(column)
    offsets = pa.array(range(0, (count + 1) * 2 * _DIGEST, 2 * _DIGEST), pa.int64())
    strings = pa.Array.from_buffers(
        pa.large_string(), count, [None, offsets.buffers()[1], pa.py_buffer(joined)]
    )
    return strings.cast(pa.string())


def looked_up(column: pa.ChunkedArray, values: Mapping[Any, Any], kind: pa.DataType) -> pa.ChunkedArray:
    """What each value of a column stands for, looked up all at once; null where it stands for nothing."""
    places = pc.index_in(column, pa.array(list(values), column.type))
    return pa.chunked_array([pa.array(list(values.values()), kind)]).take(places)


def storable(text: str) -> str:
    """Text that every database takes: PostgreSQL refuses NUL, and no encoding takes a lone surrogate."""
    return text.replace("\0", "␀").encode("utf-8", "replace").decode()


def storable_column(column: pa.ChunkedArray) -> list[str]:
    """A column of strings that every database takes; null is empty."""
    return pc.fill_null(pc.replace_substring(column.cast(pa.string()), "\0", "␀"), "").to_pylist()  # type: ignore[no-any-return]
