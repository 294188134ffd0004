"""A source cut into pieces for Dask: each read by one worker, each cast as DuckDB casts the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from manymodels.dataset.files import SourceFile
from manymodels.dataset.frames import as_table
from manymodels.dataset.scans import explained
from manymodels.dataset.sources import Source

__all__ = ["Piece", "pieces", "to_dask"]

_PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Piece:
    """A part of a source; it pickles small, unless it is a slice of a table.

    Attributes:
        source: A source of one file, or of a slice of a table.
        row_groups: The Parquet row groups to read; None is all there is.
    """

    source: Source
    row_groups: tuple[int, ...] | None = None

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The piece's rows, read by one thread.

        Raises:
            DataError: They cannot be read.
        """
        source = self.source
        if self.row_groups is not None:
            wanted = None if columns is None else source.needed(columns)
            source = source.over(_row_groups(source, self.row_groups, wanted))
        return source.read(columns, threads=1)


def pieces(source: Source, size: int = _PIECE_BYTES) -> list[Piece]:
    """Cut files or a table into pieces that can be read one by one, on any machine that reaches the files.

    Args:
        source: Of files, or of a table in memory.
        size: About how many bytes a piece has in memory. A CSV or Arrow file is one piece, however large.

    Raises:
        DataError: A Parquet file cannot be opened any more.
    """
    if source.kind == "table":
        return [Piece(part) for part in source.slices(size)]
    found = []
    for file in source.files:
        alone = source.part([file])
        groups = _grouped(file, size) if source.format == "parquet" else [None]
        found += [Piece(alone, group) for group in groups]
    return found


def to_dask(source: Source, columns: Sequence[str] | None = None) -> Any:
    """The rows as a ``dask.dataframe.DataFrame``, whose columns have the Arrow types of ``Source.columns``.

    Raises:
        DataError: A Parquet file cannot be opened any more; what is wrong in the rows is raised when they are computed.
    """
    import dask.dataframe as dd

    wanted = list(source.columns) if columns is None else list(columns)
    meta = _as_pandas(pa.schema([(name, source.columns[name]) for name in wanted]).empty_table())
    if source.kind == "dask":
        return source.frame.map_partitions(_cast_partition, replace(source, frame=None), wanted, meta=meta)
    return dd.from_map(  # type: ignore[no-untyped-call]
        _read_piece, pieces(source), columns=wanted, meta=meta
    )


def _read_piece(piece: Piece, columns: list[str]) -> pd.DataFrame:
    return _as_pandas(piece.read(columns))


def _cast_partition(partition: pd.DataFrame, source: Source, columns: list[str]) -> pd.DataFrame:
    table, _ = as_table(partition)
    return _as_pandas(source.over(table).read(columns, threads=1))


def _as_pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _grouped(file: SourceFile, size: int) -> list[tuple[int, ...] | None]:
    """A Parquet file's row groups in runs of about a size; one piece without row groups when there is one run."""
    with explained(what=file.path), file.open() as content:
        metadata = pq.read_metadata(content)
    runs: list[list[int]] = []
    filled = size
    for group in range(metadata.num_row_groups):
        weight = metadata.row_group(group).total_byte_size
        if filled + weight > size:
            runs.append([])
            filled = 0
        runs[-1].append(group)
        filled += weight
    return [tuple(run) for run in runs] if len(runs) > 1 else [None]


def _row_groups(source: Source, groups: tuple[int, ...], columns: list[str] | None) -> pa.Table:
    file = source.files[0]
    with explained(what=file.path), file.open() as content, pq.ParquetFile(content) as parquet:
        in_file = None
        if columns is not None:
            in_file = [
                name for name in parquet.schema_arrow.names if name in columns and name not in source.hive
            ]
        table = parquet.read_row_groups(list(groups), columns=in_file)
    for name, value in zip(source.hive, file.folders, strict=True):
        constant = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
        position = table.schema.get_field_index(name)
        table = (
            table.append_column(name, constant)
            if position < 0
            else table.set_column(position, name, constant)
        )
    return table
