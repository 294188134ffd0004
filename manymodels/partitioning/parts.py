"""The files that hold the rows: Parquet, row groups of whole keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manymodels.exceptions import StoreError
from manymodels.partitioning.chunks import MAX_CLASSES, Chunk, Layout
from manymodels.partitioning.encoding import column_kind
from manymodels.partitioning.store import MANIFEST_COLUMNS

__all__ = ["ROW_GROUP_BYTES", "ROW_GROUP_ROWS", "PartWriter", "Written", "row_width"]

ROW_GROUP_ROWS = 200_000
"""Rows of a row group, about; a key with more has one of its own."""

ROW_GROUP_BYTES = 64 * 2**20
"""Bytes of a row group in memory, about: wide rows make shorter row groups."""

_PART_BYTES = 128 * 2**20

_SAMPLE = 20_000  # rows
_DISTINCT = 0.8  # values of a sample, a row

_WIDTHS = {"string": 32, "bytes": 64, "decimal": 16}  # bytes of a value in memory; 8 for the others


def row_width(schema: pa.Schema) -> int:
    """Bytes of a row in memory, by a rule of thumb."""
    return sum(_WIDTHS.get(column_kind(field.type), 8) for field in schema)


@dataclass(frozen=True)
class Written:
    """What is known of keys whose rows are in a file; as in ``Chunk``, without the rows.

    Attributes:
        manifest: With ``file``, ``row_group`` and ``row_offset``.
        null_keys: Rows with a null in a key column, when those are not a key of their own.
        null_times: Rows without a time.
        classes: Distinct values of the target; None when there are too many to be classes.
        with_nulls: Columns with a null.
    """

    manifest: pa.Table
    null_keys: int
    null_times: int
    classes: frozenset[Any] | None
    with_nulls: frozenset[str]

    @classmethod
    def joined(cls, parts: Sequence[Written]) -> Written:
        """The parts, in the order of their keys, as one."""
        classes: frozenset[Any] | None = frozenset()
        for part in parts:
            classes = None if classes is None or part.classes is None else classes | part.classes
        return cls(
            manifest=pa.concat_tables([part.manifest for part in parts]),
            null_keys=sum(part.null_keys for part in parts),
            null_times=sum(part.null_times for part in parts),
            classes=None if classes is None or len(classes) > MAX_CLASSES else classes,
            with_nulls=frozenset().union(*(part.with_nulls for part in parts)),
        )


class PartWriter:
    """Writes finished keys to ``<prefix>-00000.parquet``, ``<prefix>-00001.parquet`` … of a local folder.

    The prefix should be new every time: the same rows may be cut in another way, and who reads one manifest must not
    find the files of another.

    A context manager; the files are durable and complete once it is left without an error.

    Args:
        folder: Where.
        prefix: Of the file names.
        layout: Of the rows.
    """

    def __init__(self, folder: Path, prefix: str, layout: Layout) -> None:
        self._folder = folder
        self._prefix = prefix
        self._schema = layout.schema
        self._time = layout.time
        # Statistics of the columns that rows are sorted by: what queries over the files can skip by.
        self._sorted_by = [*layout.keys, *([] if layout.time is None else [layout.time])]
        self._files = 0
        self._groups = 0
        self._sink: Any = None
        self._writer: Any = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close(durable=kind is None)
        except OSError as failure:
            if error is None:
                raise self._failed(0, failure) from failure

    def write(self, chunk: Chunk) -> Written:
        """Append finished keys.

        Raises:
            StoreError: The file could not be written.
        """
        try:
            return self._write(chunk)
        except OSError as error:
            raise self._failed(chunk.rows.nbytes, error) from error

    def _write(self, chunk: Chunk) -> Written:
        rows = chunk.rows
        counts: npt.NDArray[np.int64] = chunk.manifest.column("rows").to_numpy()
        ends = np.cumsum(counts)
        size = min(ROW_GROUP_ROWS, max(1, ROW_GROUP_BYTES * rows.num_rows // max(1, rows.nbytes)))
        files: list[str] = []
        groups = np.empty(len(counts), np.int32)
        offsets = np.empty(len(counts), np.int64)
        key = 0
        while key < len(counts):
            first_row = int(ends[key - 1]) if key else 0
            stop = max(key + 1, int(np.searchsorted(ends, first_row + size, side="right")))
            self._open(rows)
            length = int(ends[stop - 1]) - first_row
            self._writer.write_table(rows.slice(first_row, length), row_group_size=length)
            files.extend([self._name] * (stop - key))
            groups[key:stop] = self._groups
            offsets[key:stop] = ends[key:stop] - counts[key:stop] - first_row
            self._groups += 1
            if self._sink.tell() > _PART_BYTES:
                self._close(durable=True)
            key = stop
        manifest = chunk.manifest
        for name, values in (("file", files), ("row_group", groups), ("row_offset", offsets)):
            manifest = manifest.append_column(name, pa.array(values, MANIFEST_COLUMNS[name]))
        return Written(manifest, chunk.null_keys, chunk.null_times, chunk.classes, chunk.with_nulls)

    @property
    def _name(self) -> str:
        return f"{self._prefix}-{self._files:05d}.parquet"

    def _failed(self, size: int, error: OSError) -> StoreError:
        return StoreError(f"could not write {self._folder / self._name} (up to {size:,} bytes): {error}")

    def _open(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._sink = (self._folder / self._name).open("wb")
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="lz4",
                use_dictionary=_repetitive(rows, self._time),
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


def _repetitive(rows: pa.Table, time: str | None) -> list[str]:
    """Columns to keep as dictionaries: all but times, which ascend, and those floats that hardly repeat.

    Prices, counts and rounded measurements make a third less to write, to keep and to read; of other floats a dictionary is
    tried in vain, which costs a third of the writing.
    """
    sample = rows.slice(0, _SAMPLE)
    return [
        field.name
        for field in rows.schema
        if field.name != time
        and (
            not pa.types.is_floating(field.type)
            or pc.count_distinct(sample.column(field.name)).as_py() < _DISTINCT * sample.num_rows
        )
    ]
