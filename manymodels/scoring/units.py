"""Who is scored, with which rows, by which model: one row per key, made by looking up tables in each other.

What many keys share (files, segments, checksums, reasons) is dictionary-encoded: a million keys fit a driver's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manymodels.partitioning.keys import cast_keys, key_ids, make_key
from manymodels.partitioning.store import PartitionStore
from manymodels.scoring.batch import SLICE, ModelRef, RungRef

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ladder_refs", "plain", "scoring_units"]

_NOBODY = "no model of this key"
_UNSEEN = "a key that training never saw"


def scoring_units(
    served: pa.Table,
    *,
    input_store: PartitionStore | None,
    history_store: PartitionStore | None,
    training_store: PartitionStore,
    partition_by: Sequence[str],
    levels: Sequence[Sequence[str]],
    ladder: Sequence[RungRef],
    reasons: pa.Table,
    version: int,
) -> pa.Table:
    """One row per key to score.

    The keys are those of the input; without one, those of the newer history; without that, those that were trained on. A
    forecast that makes its own rows starts after the key's last one: a model that is older than the training rows (a champion
    that was not replaced, or was put back) goes on over them.

    Args:
        served: ``Registry.served``: the models of the alias or run.
        input_store: The rows to score; None when a forecast makes its own.
        history_store: Newer history.
        training_store: The rows of the run whose models score.
        partition_by: Key columns.
        levels: Columns of each rung of ``ladder``; empty for ``pooled`` and ``naive``.
        ladder: The rungs, in order.
        reasons: ``key_id`` and ``reason``: why keys of the run have no version.
        version: Of the run whose ladder serves.

    Returns:
        ``key_id``, ``key:<column>``, slices ``input_*``, ``history_*``, ``training_*`` (``file``, ``row_group``,
        ``row_offset``, ``rows``; null where there is none), ``segment``, ``sha256``, ``segment_row``, ``version`` and
        ``cutoff`` of the key's model, ``stale_since`` (the run in which the key failed since), ``why_none`` when it has none,
        ``history_last`` (the newest known time),
        ``rung_<n>`` (the key of the n-th rung's model) and ``run_version``.

    Raises:
        DataError: A key column cannot be cast losslessly to the kind that training recorded.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = training_store.details.key_kinds
    lead = input_store or history_store or training_store
    keys = _keys(lead, partition_by, kinds)
    ids = keys.column("key_id")
    columns = {name: keys.column(name) for name in keys.column_names}
    newest = {}
    for prefix, store in (("input", input_store), ("history", history_store), ("training", training_store)):
        slices = _slices(ids, store, lead, partition_by, kinds)
        columns |= {f"{prefix}_{name}": slices.column(name) for name in SLICE}
        newest[prefix] = slices.column("last_time")
    own = served.filter(pc.equal(served.column("level"), ""))
    place = pc.index_in(ids, own.column("key_id").combine_chunks())
    for name in ("segment", "sha256", "segment_row", "version", "cutoff", "stale_since"):
        columns[name] = own.column(name).take(place)
    if input_store is None and history_store is None:
        behind = pc.fill_null(pc.less(columns["cutoff"], newest["training"]), fill_value=False)
        for name in SLICE:
            whole = columns[f"training_{name}"]
            columns[f"history_{name}"] = pc.if_else(behind, whole, pa.scalar(None, whole.type))
        newest["history"] = pc.if_else(behind, newest["training"], pa.scalar(None, newest["training"].type))
    columns["why_none"] = _why_none(ids, columns["training_rows"], reasons)
    lost = pc.if_else(
        columns["segment"].is_null(), newest["training"], pa.scalar(None, newest["training"].type)
    )
    columns["history_last"] = pc.coalesce(newest["history"], lost)
    for number, level in enumerate(levels):
        columns[f"rung_{number}"] = _rung_keys(ids, lead, training_store, level, ladder[number])
    columns["run_version"] = pa.repeat(version, len(ids))
    return pa.table(columns)


def plain(units: pa.Table) -> pa.Table:
    """The units of a batch as they travel: without dictionaries, which have the values of the whole fleet."""
    import pyarrow as pa

    kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in units.schema]
    schema = pa.schema(list(zip(units.column_names, kinds, strict=True)))
    return units.cast(schema).combine_chunks()


def ladder_refs(served: pa.Table, sources: Sequence[str]) -> tuple[RungRef, ...]:
    """The rungs' models, by rung."""
    import pyarrow.compute as pc

    models: dict[str, dict[str, ModelRef]] = {source: {} for source in sources}
    for line in served.filter(pc.not_equal(served.column("level"), "")).to_pylist():
        if line["level"] in models:
            ref = ModelRef(line["segment"], line["sha256"], line["segment_row"], line["version"])
            models[line["level"]][line["key_id"]] = ref
    return tuple(RungRef(source, models[source]) for source in sources)


def _keys(store: PartitionStore, partition_by: Sequence[str], kinds: Any) -> pa.Table:
    """``key_id`` and ``key:<column>`` of the store's keys in its order, cast to the kinds that training recorded."""
    names = [f"key:{column}" for column in partition_by]
    found = store.manifest.select(names).rename_columns(list(partition_by))
    table = cast_keys(found, list(partition_by), kinds)
    ids = store.manifest.column("key_id") if table is found else key_ids(table, list(partition_by))
    return table.rename_columns(names).add_column(0, "key_id", ids)


def _slices(
    ids: pa.ChunkedArray,
    store: PartitionStore | None,
    lead: PartitionStore,
    partition_by: Sequence[str],
    kinds: Any,
) -> pa.Table:
    """Where a store has each key's rows, and the last time of them; null where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [*SLICE, "last_time"]
    if store is None:
        return pa.table({name: pa.nulls(len(ids), pa.int64()) for name in names})
    table = store.manifest.select(names)
    table = table.set_column(0, "file", table.column("file").dictionary_encode())
    if store is lead:
        return table
    theirs = _keys(store, partition_by, kinds).column("key_id")
    return table.take(pc.index_in(ids, theirs.combine_chunks()))


def _why_none(ids: pa.ChunkedArray, training_rows: pa.ChunkedArray, reasons: pa.Table) -> pa.DictionaryArray:
    """Why each key has no model of its own, should it have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = reasons.column("reason").dictionary_encode().combine_chunks()
    place = pc.index_in(ids, reasons.column("key_id").combine_chunks())
    codes = pc.fill_null(texts.indices.take(place), -2)
    codes = pc.if_else(training_rows.is_null(), -1, codes).to_numpy()
    known = [*texts.dictionary.to_pylist(), _NOBODY, _UNSEEN]  # -2 and -1 are the places of the last two
    return pa.DictionaryArray.from_arrays(pa.array(codes % len(known), pa.int32()), known)


def _rung_keys(
    ids: pa.ChunkedArray,
    lead: PartitionStore,
    training: PartitionStore,
    columns: Sequence[str],
    rung: RungRef,
) -> pa.Array:
    """The key of the rung's model for each unit; null where none is known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        return pa.repeat(pa.scalar(next(iter(rung.models), None), pa.string()), len(ids)).dictionary_encode()
    names = [f"level:{column}" for column in columns]
    # What the scored rows say of a key goes before what training saw.
    if set(names) <= set(lead.manifest.column_names):
        values, seen = lead.manifest.select(names), np.ones(len(ids), dtype=bool)
    else:
        place = pc.index_in(ids, training.manifest.column("key_id").combine_chunks())
        values = training.manifest.select(names).take(place)
        seen = place.is_valid().to_numpy()
    codes = np.zeros(len(ids), np.int64)
    for column in values.columns:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        _, codes = np.unique(
            codes * len(encoded.dictionary) + encoded.indices.to_numpy(), return_inverse=True
        )
    _, first = np.unique(codes, return_index=True)
    made = [
        make_key(line.values(), level=rung.source).key_id for line in values.take(pa.array(first)).to_pylist()
    ]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=~seen), made)
