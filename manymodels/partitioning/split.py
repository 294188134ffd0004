"""Split a dataset by key into a partition store, once per content."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError, StoreError
from manymodels.partitioning.chunks import Layout, finish_keys
from manymodels.partitioning.content import canonical_columns, dataset_fingerprint, stored_type
from manymodels.partitioning.keys import column_kind, key_ids, key_order
from manymodels.partitioning.memory import MemoryRows
from manymodels.partitioning.ordering import sort_rows
from manymodels.partitioning.parts import Written
from manymodels.partitioning.store import (
    DETAILS,
    FORMAT,
    MANIFEST,
    MANIFEST_COLUMNS,
    USED,
    Details,
    PartitionStore,
    folder_of,
)
from manymodels.redaction import redact
from manymodels.spans import Span
from manymodels.storage import Storage

if TYPE_CHECKING:
    from manymodels.dataset.roles import Roles
    from manymodels.dataset.sources import Source

__all__ = ["Cluster", "split", "split_in_memory"]

Cluster = Callable[[], AbstractContextManager[Callable[[Sequence[Any]], list[Any]]]]
"""Opens a Dask cluster, as Dask's current one, and hands out a function that computes Dask's collections on it."""

_BESIDE = (
    3 * 2**28
)  # bytes of a process that splits, beside DuckDB's: libraries, and a few row groups on their way
_LONELY_KEYS = 1000  # from here on it is worth a warning that every row is a key of its own


def split(
    source: Source,
    data: DataSpec,
    roles: Roles,
    storage: Storage,
    *,
    memory: int | None = None,
    threads: int | None = None,
    cluster: Cluster | None = None,
    begin: Callable[[], object] | None = None,
) -> PartitionStore:
    """Split a dataset by key; a dataset that was split before is not read again.

    Args:
        source: The rows.
        data: The job's ``data`` section.
        roles: Which column is what.
        storage: The store to write to; workers of a cluster must reach it at the same place.
        memory: Bytes that this process may occupy: the sort gets what the process and what is being written leave of it.
        threads: Of DuckDB; one per core when None.
        cluster: Split there, by Dask's shuffle; it is opened if there is something to split. When None, it is split
            here, in memory or by DuckDB out of core, but for a Dask frame, which is computed wherever Dask chooses.
        begin: Called when there is something to split, before it is.

    Raises:
        DataError: Null keys (as ``data.on_null_key`` has it) or times, with their number; no rows; a level column
            that varies within a key; a file that changed meanwhile; values that cannot be read.
        StoreError: Memory or disk do not suffice, or the store cannot be written.
        ComputeError: Dask failed.
    """
    layout = _layout(source, data, roles)
    memo = _memo_path(source, layout)
    known = None if memo is None else _known(storage, memo)
    if known is not None and _mark_used(known):
        return known
    if begin is not None:
        begin()
    folder = storage.scratch()
    try:
        if cluster is not None or source.kind == "dask":
            from manymodels.partitioning.shuffle import shuffle_rows

            written = shuffle_rows(source, layout, storage, folder, _uploads(folder), cluster)
            sorted_by = "dask"
        else:
            share = None if memory is None else max(memory // 2, memory - _BESIDE)
            written, sorted_by = sort_rows(source, layout, folder, memory=share, threads=threads)
        source.check_unchanged()
        store = _publish(written, sorted_by, source, layout, storage, folder)
    except DataError:
        source.check_unchanged()  # a file that changed meanwhile is the better explanation
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not storage.is_local:
            storage.delete(_uploads(folder))
    _mark_used(store)
    if memo is not None:
        storage.write(memo, _memo(store), lasting=False)  # a damaged note costs a split
    return store


def _mark_used(store: PartitionStore) -> bool:
    """Note that somebody is about to use the rows, which keeps garbage collection away; whether they are there still."""
    folder = folder_of(store.fingerprint)
    store.storage.write(f"{folder}/{USED}", b"", lasting=False)
    return store.storage.exists(f"{folder}/{MANIFEST}")


def split_in_memory(source: Source, data: DataSpec, roles: Roles) -> MemoryRows:
    """Split a small table by key without a store: the same order, manifest and checks.

    Args:
        source: A table in memory, without a row filter, whose columns have the types of their roles.
        data: The job's ``data`` section.
        roles: Which column is what.

    Raises:
        DataError: As for ``split``.
    """
    layout = _layout(source, data, roles)
    table = canonical_columns(source.frame.select(layout.schema.names), layout.schema)
    chunk = finish_keys(table.take(key_order(table, layout.keys)), layout)
    counts = chunk.manifest.column("rows").to_numpy()
    columns = {
        "file": pa.repeat("", len(counts)),
        "row_group": pa.array(np.zeros(len(counts), np.int32)),
        "row_offset": pa.array(np.cumsum(counts) - counts, pa.int64()),
    }
    found = chunk.manifest
    for name, column in columns.items():
        found = found.append_column(name, column)
    whole = Written(found, chunk.null_keys, chunk.null_times, chunk.classes, chunk.with_nulls)
    _check(whole, source, layout)
    manifest = _manifest(found, layout)
    return MemoryRows(_details(whole, manifest, "input order", source, layout), manifest, chunk.rows)


def _uploads(folder: Path) -> str:
    """Where workers put parts, relative to the root of a store that is not local, until they are published."""
    return f"tmp/{folder.name}"


def _layout(source: Source, data: DataSpec, roles: Roles) -> Layout:
    first = [*roles.partition_by, *([] if roles.time is None else [roles.time])]
    # The rest by name: the order of columns in the input must not matter.
    rest = sorted({*roles.columns, *roles.levels} - set(first))
    return Layout(
        keys=tuple(roles.partition_by),
        time=roles.time,
        target=roles.target,
        levels=tuple(roles.levels),
        on_null_key=data.on_null_key,
        window=None if data.window is None else Span.parse(data.window),
        schema=pa.schema([(name, stored_type(name, source.columns[name])) for name in [*first, *rest]]),
    )


# What was split before


_OF_THE_SPLIT = ("dropped_null_keys", "sources", "sorted_by")
"""Details that say how these rows came, which another input with the same content need not share."""


def _memo_path(source: Source, layout: Layout) -> str | None:
    """Where it is noted what a source became; None when its content cannot be known without reading it."""
    if source.identity is None:
        return None
    roles = [layout.keys, layout.time, layout.target, layout.levels, layout.schema.names, layout.on_null_key]
    if layout.window is not None:  # else the notes of before would be others
        roles.append([layout.window.unit, layout.window.count])
    text = json.dumps([FORMAT, source.identity, source.where, roles], ensure_ascii=False)
    return f"datasets/sources/{blake2b(text.encode(), digest_size=16).hexdigest()}.json"


def _memo(store: PartitionStore) -> bytes:
    details = asdict(store.details)
    noted = {"fingerprint": store.fingerprint, **{name: details[name] for name in _OF_THE_SPLIT}}
    return json.dumps(noted, ensure_ascii=False).encode()


def _known(storage: Storage, memo: str) -> PartitionStore | None:
    if not storage.exists(memo):
        return None
    try:
        noted = json.loads(storage.read(memo))
        fingerprint = noted.pop("fingerprint")
    except (ValueError, KeyError):  # a damaged note costs a split
        return None
    if not storage.exists(f"{folder_of(fingerprint)}/{MANIFEST}"):
        return None
    return _as_split(PartitionStore.open(storage, fingerprint), noted)


def _as_split(store: PartitionStore, noted: Mapping[str, Any]) -> PartitionStore:
    found = {name: noted[name] for name in _OF_THE_SPLIT if name in noted}
    if "sources" in found:
        found["sources"] = tuple(found["sources"])
    return replace(store, details=replace(store.details, **found))


# From what was written to a store


def _publish(
    written: list[Written], sorted_by: str, source: Source, layout: Layout, storage: Storage, folder: Path
) -> PartitionStore:
    if not written:
        raise _no_rows(source, layout, 0)
    whole = Written.joined(written)
    _check(whole, source, layout)
    manifest = _manifest(whole.manifest, layout)
    fingerprint = dataset_fingerprint(
        manifest,
        layout.schema,
        version=FORMAT,
        roles=[layout.keys, [layout.time or ""], [layout.target or ""], layout.levels],
    )
    details = _details(whole, manifest, sorted_by, source, layout)
    try:
        _write_files(manifest, details, folder)
    except OSError as error:
        raise StoreError(f"could not write the manifest in {folder}: {error}") from error
    place = folder_of(fingerprint)
    if not storage.is_local and not storage.exists(f"{place}/{MANIFEST}"):
        named = set(manifest.column("file").unique().to_pylist())
        for path in storage.listing(_uploads(folder)):
            name = path.rpartition("/")[2]
            if name in named:  # else a task that ran twice wrote it
                storage.move(path, f"{place}/{name}")
    storage.publish_folder(folder, place, last=MANIFEST)
    # Somebody else's files may be there already, of another input with the same content.
    return _as_split(PartitionStore.open(storage, fingerprint), asdict(details))


def _details(whole: Written, manifest: pa.Table, sorted_by: str, source: Source, layout: Layout) -> Details:
    rows = pc.sum(manifest.column("rows")).as_py()
    return Details(
        format=FORMAT,
        rows=rows,
        keys=manifest.num_rows,
        key_kinds={name: column_kind(layout.schema.field(name).type) for name in layout.keys},
        time=layout.time,
        time_kind=None if layout.time is None else column_kind(layout.schema.field(layout.time).type),
        target=layout.target,
        levels=layout.levels,
        columns={field.name: column_kind(field.type) for field in layout.schema},
        with_nulls=tuple(name for name in layout.schema.names if name in whole.with_nulls),
        classes=None if whole.classes is None else tuple(sorted(whole.classes)),
        dropped_null_keys=whole.null_keys,
        sources=tuple(redact(file.path) for file in source.files),
        sorted_by=sorted_by,
        warnings=_warnings(rows, manifest.num_rows, layout),
    )


def _check(whole: Written, source: Source, layout: Layout) -> None:
    if whole.null_keys and layout.on_null_key == "error":
        raise DataError(
            f"expected a value in every key column ({', '.join(layout.keys)}), found {whole.null_keys:,} rows "
            "with a null; set `data.on_null_key` to `drop` or `group`, or repair the data"
        )
    if whole.null_times:
        raise DataError(
            f"expected a time in every row, found {whole.null_times:,} rows with a null in {layout.time!r}; "
            f"leave them out with `data.where`, or repair the data"
        )
    if not whole.manifest.num_rows:
        raise _no_rows(source, layout, whole.null_keys)


def _no_rows(source: Source, layout: Layout, null_keys: int) -> DataError:
    filtered = "" if source.where is None else f" where {source.where}"
    filtered += "" if source.as_of is None else f" as of {source.as_of.text}"
    dropped = f" ({null_keys:,} were dropped for a null in {', '.join(layout.keys)})" if null_keys else ""
    return DataError(f"expected rows to split, found none in {source.name}{filtered}{dropped}")


def _manifest(found: pa.Table, layout: Layout) -> pa.Table:
    """The manifest in its documented columns."""
    named = found.select([f"key:{name}" for name in layout.keys]).rename_columns(list(layout.keys))
    table = found.append_column("key_id", key_ids(named, layout.keys))
    names = [
        *MANIFEST_COLUMNS,
        *(f"key:{name}" for name in layout.keys),
        *(f"level:{name}" for name in layout.levels),
    ]
    return table.select(names).combine_chunks()


def _warnings(rows: int, keys: int, layout: Layout) -> tuple[str, ...]:
    if rows == keys > _LONELY_KEYS:
        columns = ", ".join(layout.keys)
        return (
            f"every row is a key of its own: {keys:,} keys; is `partition_by` ({columns}) what you mean?",
        )
    return ()


def _write_files(manifest: pa.Table, details: Details, folder: Path) -> None:
    """The last two files of a partition store, durable."""
    named = set(manifest.column("file").unique().to_pylist())
    for entry in folder.iterdir():  # what the engine left beside the parts
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name not in named:
            entry.unlink()
    (folder / DETAILS).write_bytes(details.to_json())
    pq.write_table(manifest, folder / MANIFEST, compression="zstd", write_page_checksum=True)
    for name in (DETAILS, MANIFEST):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
