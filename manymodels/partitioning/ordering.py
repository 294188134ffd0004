"""The rows of a source in the order of their keys, on one machine: sorted by DuckDB, or as they already lie."""

from __future__ import annotations

import contextlib
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from manymodels.dataset.scans import explained
from manymodels.dataset.sql import identifier
from manymodels.exceptions import StoreError
from manymodels.partitioning.chunks import Chunk, Layout, finish_keys, run_starts
from manymodels.partitioning.keys import key_order
from manymodels.partitioning.parts import ROW_GROUP_BYTES, ROW_GROUP_ROWS, PartWriter, Written, row_width
from manymodels.partitioning.presorted import folders_by_key, looks_sorted

__all__ = ["UnsortedError", "open_connection", "sort_rows", "stream", "whole_keys"]

_BATCH_ROWS = 61_440  # 30 of DuckDB's vectors
_THREAD_BYTES = 128 * 2**20  # what a sorting thread needs of the limit, or it fails with small limits
_AHEAD = 2  # tables that wait to be finished and written: what bounds memory beside DuckDB's


class UnsortedError(Exception):
    """Rows that looked sorted are not; the split sorts them."""


def open_connection(folder: Path, memory: int | None, threads: int | None) -> Any:
    """A DuckDB connection that works out of core.

    Args:
        folder: Where it may spill.
        memory: Bytes that it may use; 60 % of the machine's when None.
        threads: Threads; one per core when None, and never more than the memory allows.
    """
    connection = duckdb.connect()
    settings = {"temp_directory": str(folder / "spill"), "TimeZone": "UTC"}
    settings["memory_limit"] = "60%" if memory is None else f"{memory}B"
    if memory is not None:
        allowed = max(1, memory // _THREAD_BYTES)
        threads = allowed if threads is None else min(threads, allowed)
    for name, value in settings.items():
        connection.execute(f"SET {name} = '{value}'")
    if threads is not None:
        connection.execute(f"SET threads = {threads:d}")
    return connection


def stream(source: Any, connection: Any, layout: Layout, *, sort: bool) -> Iterator[pa.Table]:
    """The source's rows, in the columns of the layout.

    Args:
        source: A ``dataset.Source`` of files or of a frame in memory.
        connection: Of ``open_connection``.
        layout: Of the store.
        sort: By key and time, nulls first; else rows come in the order of the source.

    Raises:
        DataError: The source cannot be read.
        StoreError: Memory or disk do not suffice.
    """
    # A cursor of its own: rows that are not read to the end would keep the connection busy.
    with explained(source.csv, source.name), _limits_explained(), connection.cursor() as cursor:
        cursor.execute(f"SET preserve_insertion_order = {not sort}")
        relation = source.relation(cursor, layout.schema.names)
        query = f"SELECT {', '.join(_selected(field, layout) for field in layout.schema)} FROM {relation}"  # noqa: S608
        if sort:
            # The first columns of the layout.
            places = range(1, len(layout.keys) + (layout.time is not None) + 1)
            query += " ORDER BY " + ", ".join(f"{place} ASC NULLS FIRST" for place in places)
        batch_rows = max(2048, min(_BATCH_ROWS, ROW_GROUP_BYTES // (4 * row_width(layout.schema))))
        for batch in cursor.sql(query).to_arrow_reader(batch_rows):
            yield pa.Table.from_batches([batch])


def _selected(field: pa.Field, layout: Layout) -> str:
    name = identifier(field.name)
    if field.name in layout.keys and pa.types.is_floating(field.type):
        # Before the sort: NaN is null, and both zeros are one key.
        return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} + 0.0 END AS {name}"
    return name


@contextlib.contextmanager
def _limits_explained() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        message = str(error).split("\n")[0]
        if "Out of Memory" in message:
            raise StoreError(
                f"the split needs more memory ({message}); raise `compute.memory`, or write Parquet input with "
                "smaller row groups, which are read whole"
            ) from error
        if "No space left" in message or "offload" in message:
            raise StoreError(
                f"the split needs more room on the disk of the store ({message}); free some"
            ) from error
        raise


def whole_keys(tables: Iterator[pa.Table], keys: Sequence[str], *, verify: bool) -> Generator[pa.Table]:
    """Rows that come key by key, cut between keys into tables of about a row group.

    Args:
        tables: The rows, all rows of a key in a row.
        keys: Key columns.
        verify: Whether it is unknown that the keys come in ascending order, nulls first.

    Raises:
        UnsortedError: They do not.
    """
    pending: list[pa.Table] = []
    rows = size = 0
    last: pa.Table | None = None
    for table in tables:
        if not table.num_rows:
            continue
        column = table.select(keys)
        joined = column if last is None else pa.concat_tables([last, column])
        starts = run_starts(joined, keys)
        if verify and not _ascending(joined.take(pa.array(starts)), keys):
            raise UnsortedError
        last = column.slice(table.num_rows - 1)
        # The first run begins before this table, unless it is the first table.
        if len(starts) > 1:
            cut = int(starts[-1]) - (joined.num_rows - table.num_rows)
            before = table.slice(0, cut)
            full = rows + cut >= 0.7 * ROW_GROUP_ROWS or size + before.nbytes >= 0.7 * ROW_GROUP_BYTES
            if full and rows + cut:
                yield pa.concat_tables([*pending, before])
                pending, rows, size = [], 0, 0
                table = table.slice(cut)
        pending.append(table)
        rows += table.num_rows
        size += table.nbytes
    if pending:
        yield pa.concat_tables(pending)


def _ascending(firsts: pa.Table, keys: Sequence[str]) -> bool:
    """Whether keys, none equal to its neighbour, are in ascending order, each once."""
    return bool((np.diff(key_order(firsts, keys)) == 1).all())


def sort_rows(
    source: Any, layout: Layout, folder: Path, *, memory: int | None, threads: int | None
) -> tuple[list[Written], str]:
    """Write a source's rows in the order of the store, sorting them only where that is needed.

    Args:
        source: A ``dataset.Source`` of files or of a frame in memory.
        layout: Of the store.
        folder: Where the parts go, and what does not fit memory meanwhile.
        memory: Bytes that DuckDB may use.
        threads: Threads of DuckDB.

    Returns:
        What was written, in the order of the keys, and what put the rows in order.

    Raises:
        DataError: The source cannot be read, or does not fit the layout.
        StoreError: Memory or disk do not suffice.
    """
    groups = folders_by_key(source, layout.keys)
    rows: Iterator[pa.Table]
    with open_connection(folder, memory, threads) as connection:
        try:
            if groups is not None:
                rows = chain.from_iterable(
                    stream(source.part(files), connection, layout, sort=not in_order)
                    for files, in_order in groups
                )
                return _write(whole_keys(rows, layout.keys, verify=True), layout, folder), "hive"
            if looks_sorted(source, layout.keys[0]):
                rows = stream(source, connection, layout, sort=False)
                return _write(whole_keys(rows, layout.keys, verify=True), layout, folder), "input order"
        except UnsortedError:
            for part in folder.glob("part-*"):
                part.unlink()
        rows = stream(source, connection, layout, sort=True)
        return _write(whole_keys(rows, layout.keys, verify=False), layout, folder), "duckdb"


def _write(tables: Generator[pa.Table], layout: Layout, folder: Path) -> list[Written]:
    """Finish and write tables of whole keys: while DuckDB makes the next one, one is finished and one written."""
    written: list[Written] = []
    with (
        contextlib.closing(tables),
        PartWriter(folder, f"part-{uuid.uuid4().hex[:8]}", layout) as writer,
        ThreadPoolExecutor(1) as finishing,
        ThreadPoolExecutor(1) as writing,
    ):

        def write(finished: Future[Chunk]) -> Written:
            return writer.write(finished.result())

        ahead: deque[Future[Written]] = deque()
        for table in tables:
            ahead.append(writing.submit(write, finishing.submit(finish_keys, table, layout)))
            if len(ahead) > _AHEAD:
                written.append(ahead.popleft().result())
        written.extend(future.result() for future in ahead)
    return written
