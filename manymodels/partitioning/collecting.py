"""All rows of a source in memory, each column in one piece."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["collect", "fresh"]

_THREADS = 2


def collect(tables: Iterator[pa.Table], most: int, room: int) -> pa.Table | None:
    """Tables as one whose columns have one chunk each.

    Numbers are copied where they will stay as they come. To keep the tables, and join them then, would touch twice the memory,
    and fresh memory costs several times what the copy does.

    Args:
        tables: Of one schema.
        most: Rows of all of them, at most.
        room: Bytes that they may take.

    Returns:
        None where they take more, or there are none.
    """
    columns: list[_Numbers | _Pieces] = []
    with ThreadPoolExecutor(_THREADS) as threads:
        for table in tables:
            room -= table.nbytes
            if room < 0:
                return None
            if table.num_rows == most:  # all of them at once: no copy
                return table.combine_chunks()
            columns = columns or [_column(field.type, most) for field in table.schema]
            for _ in threads.map(lambda column, found: column.add(found), columns, table.columns):
                pass
    return pa.table([column.joined() for column in columns], table.schema.names) if columns else None


def fresh(size: int) -> npt.NDArray[np.uint8]:
    """Bytes to be written for the first time.

    NumPy asks for huge pages for so much. Where a virtual machine gets its memory from its host as it is touched, each takes
    milliseconds: several times what small pages cost.
    """
    return np.frombuffer(pa.allocate_buffer(size, pa.system_memory_pool()), np.uint8)


def _column(type_: pa.DataType, most: int) -> _Numbers | _Pieces:
    return _Numbers(type_, most) if pa.types.is_primitive(type_) and type_.bit_width >= 8 else _Pieces()


class _Numbers:
    """A column of values that have the same number of bytes each."""

    def __init__(self, type_: pa.DataType, most: int) -> None:
        self._type = type_
        self._width = type_.bit_width // 8
        self._bytes = fresh(most * self._width)
        self._valid: npt.NDArray[np.bool_] | None = None
        self._rows = 0

    def add(self, found: pa.ChunkedArray) -> None:
        for chunk in found.chunks:
            self._add(chunk)

    def _add(self, chunk: pa.Array) -> None:
        begin, end, width = self._rows, self._rows + len(chunk), self._width
        data = chunk.buffers()[1]
        if data is not None:
            found = np.frombuffer(data, np.uint8, len(chunk) * width, chunk.offset * width)
            self._bytes[begin * width : end * width] = found
        if chunk.null_count:
            if self._valid is None:
                self._valid = np.ones(len(self._bytes) // width, bool)
            self._valid[begin:end] = chunk.is_valid().to_numpy(zero_copy_only=False)
        self._rows = end

    def joined(self) -> pa.Array:
        valid = None if self._valid is None else pa.array(self._valid[: self._rows]).buffers()[1]
        return pa.Array.from_buffers(self._type, self._rows, [valid, pa.py_buffer(self._bytes)])


class _Pieces:
    """A column of any other values."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []

    def add(self, found: pa.ChunkedArray) -> None:
        self._chunks.extend(found.chunks)

    def joined(self) -> pa.Array:
        return pa.concat_arrays(self._chunks)
