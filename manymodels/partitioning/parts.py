"""The files that hold the rows: Parquet, row groups of whole keys."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["ROW_GROUP_BYTES", "ROW_GROUP_ROWS", "PartWriter"]

ROW_GROUP_ROWS = 200_000
"""Rows of a row group, about; a key with more has one of its own."""

ROW_GROUP_BYTES = 64 * 2**20
"""Bytes of a row group in memory, about: wide rows make shorter row groups."""

_PART_BYTES = 128 * 2**20


class PartWriter:
    """Writes finished keys to ``<prefix>-00000.parquet``, ``<prefix>-00001.parquet`` … of a local folder.

    A context manager; the files are durable and complete once it is left without an error.

    Args:
        folder: Where.
        prefix: Of the file names.
        schema: Of the rows.
        sorted_by: Columns whose statistics are worth having.
    """

    def __init__(self, folder: Path, prefix: str, schema: pa.Schema, sorted_by: list[str]) -> None:
        self._folder = folder
        self._prefix = prefix
        self._schema = schema
        self._sorted_by = sorted_by
        # Dictionaries of floats seldom pay, and trying costs a third of the writing time.
        self._dictionaries = [field.name for field in schema if not pa.types.is_floating(field.type)]
        self._files = 0
        self._groups = 0
        self._sink: Any = None
        self._writer: Any = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(durable=kind is None)

    def write(self, rows: pa.Table, counts: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
        """Append finished keys.

        Args:
            rows: Of whole keys, in order.
            counts: Rows of every key.

        Returns:
            The manifest's ``file``, ``row_group`` and ``row_offset`` of every key.
        """
        ends = np.cumsum(counts)
        size = min(ROW_GROUP_ROWS, max(1, ROW_GROUP_BYTES * rows.num_rows // max(1, rows.nbytes)))
        files: list[str] = []
        groups = np.empty(len(counts), np.int32)
        offsets = np.empty(len(counts), np.int64)
        key = 0
        while key < len(counts):
            first_row = int(ends[key - 1]) if key else 0
            # Whole keys, up to 1.3 times the size: better than a row group of what is left over.
            room = size if ends[-1] - first_row > 1.3 * size else ends[-1] - first_row
            stop = max(key + 1, int(np.searchsorted(ends, first_row + room, side="right")))
            self._open()
            length = int(ends[stop - 1]) - first_row
            self._writer.write_table(rows.slice(first_row, length), row_group_size=length)
            files.extend([self._name] * (stop - key))
            groups[key:stop] = self._groups
            offsets[key:stop] = ends[key:stop] - counts[key:stop] - first_row
            self._groups += 1
            if self._sink.tell() > _PART_BYTES:
                self._close(durable=True)
            key = stop
        return {
            "file": pa.array(files, pa.string()),
            "row_group": pa.array(groups),
            "row_offset": pa.array(offsets),
        }

    @property
    def _name(self) -> str:
        return f"{self._prefix}-{self._files:05d}.parquet"

    def _open(self) -> None:
        if self._writer is None:
            self._sink = (self._folder / self._name).open("wb")
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=self._dictionaries,
                write_statistics=self._sorted_by,
                write_page_checksum=True,
            )

    def _close(self, *, durable: bool) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
            if durable:
                self._sink.flush()
                os.fsync(self._sink.fileno())
        finally:
            self._sink.close()
            self._writer = None
            self._files += 1
            self._groups = 0
