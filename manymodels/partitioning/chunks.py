"""From the rows of some whole keys to rows in the store's order and what the manifest says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from manymodels.exceptions import DataError
from manymodels.partitioning.content import Words, canonical_columns, key_contents, row_hashes
from manymodels.partitioning.keys import column_kind, display
from manymodels.partitioning.row_order import row_order, run_field, time_field
from manymodels.partitioning.window import newest_rows
from manymodels.spans import Span

__all__ = ["MAX_CLASSES", "Chunk", "Layout", "finish_keys", "raw_times", "run_starts"]

Integers = npt.NDArray[np.int64]

MAX_CLASSES = 1000
_CLASS_KINDS = ("bool", "int", "float", "string")
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Layout:
    """What the rows of a store look like.

    Attributes:
        keys: Key columns, in the order of ``partition_by``.
        time: Time column.
        target: Target column.
        levels: Columns that must be constant within a key.
        on_null_key: What becomes of rows with a null in a key column.
        schema: Of the stored rows: key columns, time, then the others by name.
        window: How far back from each key's own last time its rows are kept; None is all of them.
    """

    keys: tuple[str, ...]
    time: str | None
    target: str | None
    levels: tuple[str, ...]
    on_null_key: Literal["error", "drop", "group"]
    schema: pa.Schema
    window: Span | None = None


@dataclass(frozen=True)
class Chunk:
    """Whole keys, finished.

    Attributes:
        rows: In the store's order; empty when a count below says that the split must fail.
        manifest: One row per key: ``key:<name>`` and ``level:<name>`` columns, and counts.
        null_keys: Rows with a null in a key column, when those are not a key of their own.
        null_times: Rows without a time.
        classes: Distinct values of the target; None when there are too many to be classes.
        with_nulls: Columns with a null.
    """

    rows: pa.Table
    manifest: pa.Table
    null_keys: int
    null_times: int
    classes: frozenset[Any] | None
    with_nulls: frozenset[str]


def finish_keys(table: pa.Table, layout: Layout) -> Chunk:
    """Finish some whole keys: canonical values, the total order, content fingerprints and counts.

    Args:
        table: All rows of these keys, the rows of each key together.
        layout: Of the store.

    Raises:
        DataError: A level column that is not constant within a key, or a value that does not fit its column.
    """
    table = canonical_columns(table, layout.schema)
    null_keys = 0
    if layout.on_null_key != "group":
        missing = _any_null(table, layout.keys)
        if missing is not None:
            null_keys = missing.true_count
            kept = table.filter(pc.invert(missing)) if layout.on_null_key == "drop" else table.slice(0, 0)
            table = canonical_columns(kept, layout.schema)
    null_times = 0 if layout.time is None else table.column(layout.time).null_count
    if null_times:
        table = canonical_columns(table.slice(0, 0), layout.schema)
    starts = run_starts(table, layout.keys)
    counts = np.diff(np.append(starts, table.num_rows))
    if layout.window is not None and layout.time is not None and table.num_rows:
        kept = newest_rows(
            raw_times(table.column(layout.time)), starts, counts, layout.window, _micros(layout)
        )
        table = canonical_columns(table.filter(pa.array(kept)), layout.schema)
        counts = np.add.reduceat(kept.astype(np.int64), starts)
        starts = np.cumsum(counts) - counts
    first, second = row_hashes(table, [name for name in layout.schema.names if name not in layout.keys])
    contents = key_contents(first, second, starts, counts)
    times = None if layout.time is None else raw_times(table.column(layout.time))
    order = _order(times, starts, counts, first, second)
    if order is not None:
        table = canonical_columns(table.take(order), layout.schema)
        times = None if times is None else times[order]
    _check_levels(table, layout, starts)
    firsts = table.take(pa.array(starts))
    columns = {f"key:{name}": firsts.column(name) for name in layout.keys}
    columns |= {f"level:{name}": firsts.column(name) for name in layout.levels}
    columns |= {"rows": pa.array(counts), "content": contents}
    columns |= _time_columns(table, layout, times, starts, counts)
    columns |= _target_columns(table, layout, starts)
    return Chunk(
        rows=table,
        manifest=pa.table(columns),
        null_keys=null_keys,
        null_times=null_times,
        classes=_classes(table, layout),
        with_nulls=frozenset(name for name in table.column_names if table.column(name).null_count),
    )


def run_starts(table: pa.Table, columns: Sequence[str]) -> Integers:
    """First rows of the runs of equal values in these columns (nulls are equal), ascending."""
    if not table.num_rows:
        return np.empty(0, np.int64)
    begins = np.zeros(table.num_rows, bool)
    begins[0] = True
    for name in columns:
        array = table.column(name).combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
        if array.null_count:
            # Encoding compares what lies under nulls: give all of them one value, and look at the nulls apart.
            missing = array.is_null()
            begins[_run_ends(missing)] = True
            if array.null_count == len(array):
                continue
            array = array.fill_null(array.drop_null()[0])
        begins[_run_ends(array)] = True
    return np.flatnonzero(begins)


def _run_ends(array: pa.Array) -> npt.NDArray[np.int32]:
    ends: npt.NDArray[np.int32] = pc.run_end_encode(array).run_ends.to_numpy()[:-1]
    return ends


def _any_null(table: pa.Table, columns: Sequence[str]) -> pa.Array | None:
    missing = None
    for name in columns:
        column = table.column(name)
        if column.null_count:
            mask = column.is_null()
            missing = mask if missing is None else pc.or_(missing, mask)
    return None if missing is None else missing.combine_chunks()


def raw_times(column: pa.ChunkedArray) -> Integers:
    """The numbers that stand for times in a column of one chunk; any for nulls."""
    array = column.chunk(0)
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    if array.null_count:
        array = array.cast(pa.int64()).fill_null(0)
    times: Integers = array.cast(pa.int64()).to_numpy()
    return times


def _order(
    times: Integers | None, starts: Integers, counts: Integers, first: Words, second: Words
) -> Integers | None:
    """The permutation that brings rows into the order key, time, row hash; None when they are in it."""
    rows = len(first)
    if rows < 2:
        return None
    follows = np.ones(rows, bool)  # the previous row is of the same key
    follows[starts] = False
    order = np.arange(rows)
    in_order = True
    if times is not None:
        if bool((follows[1:] & (times[1:] < times[:-1])).any()):
            order = row_order([run_field(counts), time_field(times)], rows)
            times = times[order]
            in_order = False
        follows[1:] &= times[1:] == times[:-1]
    if follows.any():
        tied = follows.copy()
        tied[:-1] |= follows[1:]
        members = np.flatnonzero(tied)
        chosen = order[members]
        group = np.cumsum(~follows[members]).astype(np.uint64)
        order[members] = chosen[_hash_order(group, first[chosen], second[chosen])]
        in_order = in_order and bool((order[members] == members).all())
    return None if in_order else order


def _hash_order(group: Words, first: Words, second: Words) -> npt.NDArray[np.intp]:
    """The order by group (ascending already), then row hash: a sort of what fits 64 bits, then the rest."""
    bits = np.uint64(int(group[-1]).bit_length())
    packed = (group << (np.uint64(64) - bits)) | (first >> bits)
    order = np.argsort(packed)
    ranked = packed[order]
    same = ranked[1:] == ranked[:-1]
    if same.any():
        tied = np.zeros(len(order), bool)
        tied[1:] = same
        tied[:-1] |= same
        members = np.flatnonzero(tied)
        chosen = order[members]
        order[members] = chosen[np.lexsort((second[chosen], first[chosen], packed[chosen]))]
    return order


def _check_levels(table: pa.Table, layout: Layout, starts: Integers) -> None:
    for name in layout.levels:
        changes = np.setdiff1d(run_starts(table, [name]), starts)
        if len(changes):
            row = int(changes[0])
            key = display([table.column(column)[row].as_py() for column in layout.keys], layout.keys)
            here, before = table.column(name)[row].as_py(), table.column(name)[row - 1].as_py()
            raise DataError(
                f"the level column {name!r} must be constant within a key, found {before!r} and {here!r} "
                f"in key {key}; take it out of `fallback`, or repair the data",
                key=key,
            )


def _time_columns(
    table: pa.Table, layout: Layout, times: Integers | None, starts: Integers, counts: Integers
) -> dict[str, pa.Array]:
    if times is None or layout.time is None:
        nothing = pa.nulls(len(starts), pa.int64())
        zeros = pa.array(np.zeros(len(starts), np.int64))
        return {"first_time": nothing, "last_time": nothing, "duplicate_times": zeros}
    repeats = np.zeros(len(times), bool)
    repeats[1:] = times[1:] == times[:-1]
    repeats[starts] = False
    micros = _micros(layout)
    return {
        "first_time": pa.array(micros(times[starts])),
        "last_time": pa.array(micros(times[starts + counts - 1])),
        "duplicate_times": _counts(repeats, starts),
    }


def _micros(layout: Layout) -> Callable[[Integers], Integers]:
    """What turns raw times of a layout into microseconds; positions stay what they are."""
    type_ = layout.schema.field(layout.time).type
    if pa.types.is_date32(type_):
        return lambda times: times * _DAY
    if pa.types.is_timestamp(type_) and type_.unit == "ns":
        return lambda times: times // 1000
    return lambda times: times


def _target_columns(table: pa.Table, layout: Layout, starts: Integers) -> dict[str, pa.Array]:
    nulls = infinite = np.zeros(0, bool)
    if layout.target is not None:
        column = table.column(layout.target).chunk(0)
        if column.null_count:
            nulls = column.is_null().to_numpy(zero_copy_only=False)
        if pa.types.is_floating(column.type):
            infinite = np.isinf(column.to_numpy(zero_copy_only=False))
    return {"null_targets": _counts(nulls, starts), "infinite_targets": _counts(infinite, starts)}


def _counts(flags: npt.NDArray[np.bool_], starts: Integers) -> pa.Array:
    """How many rows of each key have the flag; few have."""
    keys = np.searchsorted(starts, np.flatnonzero(flags), side="right") - 1
    return pa.array(np.bincount(keys, minlength=len(starts)), pa.int64())


def _classes(table: pa.Table, layout: Layout) -> frozenset[Any] | None:
    if layout.target is None:
        return frozenset()
    column = table.column(layout.target)
    if column_kind(column.type) not in _CLASS_KINDS:
        return None
    if len(column) > 4 * MAX_CLASSES and len(column[: 4 * MAX_CLASSES].unique()) > MAX_CLASSES:
        return None  # the usual continuous target, found out cheaply
    values = column.unique().drop_null()
    return frozenset(values.to_pylist()) if len(values) <= MAX_CLASSES else None
