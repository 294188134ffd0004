"""The rows of a source in the order of their keys, on one machine: as they lie, sorted in memory, or by DuckDB out of core."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import duckdb
import numpy as np
import psutil
import pyarrow as pa

from manymodels.dataset.plain import is_plain, plain_tables
from manymodels.dataset.scans import explained
from manymodels.dataset.sql import identifier
from manymodels.exceptions import StoreError
from manymodels.partitioning.chunks import Layout, finish_keys, raw_times, run_starts
from manymodels.partitioning.collecting import collect
from manymodels.partitioning.keys import key_order
from manymodels.partitioning.parts import ROW_GROUP_BYTES, ROW_GROUP_ROWS, PartWriter, Written, row_width
from manymodels.partitioning.presorted import folders_by_key, looks_sorted
from manymodels.partitioning.row_order import SortedRows, key_fields, sort_keys, time_field
from manymodels.specs import parse_size

__all__ = ["UnsortedError", "open_connection", "sort_rows", "stream", "whole_keys"]

_BATCH_ROWS = 61_440  # 30 of DuckDB's vectors
_THREAD_BYTES = 128 * 2**20  # what a sorting thread needs of the limit, or it fails with small limits
_WRITERS = 2  # threads that finish and write rows, each to files of its own
_AHEAD = 2  # pieces that are finished and written, or wait for it: what bounds memory beside DuckDB's
_FULL = 0.9  # of a row group: a piece sorted in memory, which with the rest of its last key is still one
_SHARE = 0.4  # of the memory that rows sorted in memory may take: they need as much again for their order and on their way
_MOST_IN_MEMORY = 2**31 - 1  # bytes: more of a column's text would not be in one piece


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


def stream(source: Any, connection: Any, layout: Layout, *, sort: bool) -> Generator[pa.Table]:
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
        memory: Bytes that DuckDB may use, or a sort in memory.
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
        found = _in_memory(source, connection, layout, memory)
        if found is not None:
            table, order = found
            return _write(_pieces(table, order), layout, folder, table.take), "numpy"
        rows = stream(source, connection, layout, sort=True)
        return _write(whole_keys(rows, layout.keys, verify=False), layout, folder), "duckdb"


def _in_memory(
    source: Any, connection: Any, layout: Layout, memory: int | None
) -> tuple[pa.Table, SortedRows] | None:
    """All rows, and their order; None when they are too many for that, or nobody knows how many they are."""
    if memory is None:
        (limit,) = connection.execute("SELECT current_setting('memory_limit')").fetchone()
        memory = min(parse_size(limit), psutil.virtual_memory().available)
    room = min(int(_SHARE * memory), _MOST_IN_MEMORY)
    if not source.rows or source.rows * row_width(layout.schema) > room:
        return None
    names = layout.schema.names
    ahead = len(layout.keys) + (layout.time is not None)
    # Float keys come from DuckDB: without NaN and -0.0.
    floats = any(pa.types.is_floating(layout.schema.field(name).type) for name in layout.keys)
    if floats or not is_plain(source, names):
        with contextlib.closing(stream(source, connection, layout, sort=False)) as tables:
            table = collect(tables, source.rows, room)
        order = None if table is None else _order(table, layout)
        return None if table is None or order is None else (table, order)
    table = collect(plain_tables(source, names[:ahead]), source.rows, room)
    if table is None:
        return None
    with ThreadPoolExecutor(1) as aside:  # sorts while the other columns are read
        sorting = aside.submit(_order, table, layout)
        if names[ahead:]:
            rest = collect(plain_tables(source, names[ahead:]), source.rows, room - table.nbytes)
            if rest is None:
                return None
            table = pa.table([*table.columns, *rest.columns], names)
        order = sorting.result()
    return None if order is None else (table, order)


def _order(table: pa.Table, layout: Layout) -> SortedRows | None:
    times = None if layout.time is None else time_field(raw_times(table.column(layout.time)))
    return sort_keys(key_fields(table, layout.keys), times, table.num_rows)


def _pieces(table: pa.Table, order: SortedRows) -> Generator[pa.Array]:
    """The numbers of the rows in order, cut between keys into pieces of about a row group, all alike."""
    rows = table.num_rows
    pieces = math.ceil(rows / (_FULL * min(ROW_GROUP_ROWS, ROW_GROUP_BYTES * rows / table.nbytes)))
    if pieces > 1:  # nobody waits for another's last one
        pieces = math.ceil(pieces / _WRITERS) * _WRITERS
    return (pa.array(order.numbers(begin, end)) for begin, end in order.cuts(pieces))


def _write(
    pieces: Generator[Any],
    layout: Layout,
    folder: Path,
    rows: Callable[[Any], pa.Table] = lambda piece: piece,
) -> list[Written]:
    """Finish and write whole keys, a piece a thread, while the next piece is made.

    Args:
        pieces: Whole keys, in the order of the keys.
        layout: Of the store.
        folder: Where to.
        rows: Makes a table of a piece.
    """
    written: list[Written] = []
    prefix = f"part-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(pieces))
        writers: SimpleQueue[PartWriter] = SimpleQueue()
        for number in range(_WRITERS):
            writers.put(stack.enter_context(PartWriter(folder, f"{prefix}-{number}", layout)))

        def work(piece: Any) -> Written:
            chunk = finish_keys(rows(piece), layout)
            writer = writers.get()
            try:
                return writer.write(chunk)
            finally:
                writers.put(writer)

        threads = stack.enter_context(ThreadPoolExecutor(_WRITERS))
        ahead: deque[Future[Written]] = deque()
        for piece in pieces:
            ahead.append(threads.submit(work, piece))
            if len(ahead) > _AHEAD:
                written.append(ahead.popleft().result())
        written.extend(future.result() for future in ahead)
    return written
