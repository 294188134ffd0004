"""Who is scored, with which rows, by which model: one row per key, made by joining tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from manymodels.partitioning.keys import cast_keys, key_ids, make_key
from manymodels.partitioning.store import PartitionStore
from manymodels.scoring.batch import SLICE, ModelRef, RungRef

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["ladder_refs", "scoring_units"]


def scoring_units(
    served: pa.Table,
    *,
    input_store: PartitionStore | None,
    history_store: PartitionStore | None,
    training_store: PartitionStore,
    partition_by: Sequence[str],
    levels: Sequence[Sequence[str]],
    ladder: Sequence[RungRef],
    reasons: pd.DataFrame,
    version: int,
) -> pd.DataFrame:
    """One row per key to score.

    The keys are those of the input; without one, those of the newer history; without that, those that were trained on.

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
    import pyarrow.compute as pc

    kinds = training_store.details.key_kinds
    lead = input_store or history_store or training_store
    units = _keys(lead, partition_by, kinds)
    for prefix, store in (("input", input_store), ("history", history_store), ("training", training_store)):
        units = _with_slices(units, prefix, store, partition_by, kinds)
    own = served.filter(pc.equal(served.column("level"), "")).to_pandas(types_mapper=_arrow_types)
    units = units.merge(
        own[["key_id", "segment", "sha256", "segment_row", "version", "cutoff", "stale_since"]],
        on="key_id",
        how="left",
        sort=False,
    )
    units = units.merge(reasons, on="key_id", how="left", sort=False)
    unseen = units["training_rows"].isna()
    units["why_none"] = units["reason"].astype(object).where(units["reason"].notna(), "no model of this key")
    units.loc[unseen, "why_none"] = "a key that training never saw"
    newest = units["history_last_time"]
    units["history_last"] = newest.where(
        newest.notna(), units["training_last_time"].where(units["segment"].isna())
    )
    for place, columns in enumerate(levels):
        units[f"rung_{place}"] = _rung_keys(units, lead, training_store, columns, ladder[place])
    units["run_version"] = version
    return units.drop(columns=["reason", "history_last_time", "training_last_time", "input_last_time"])


def ladder_refs(served: pa.Table, sources: Sequence[str]) -> tuple[RungRef, ...]:
    """The rungs' models, by rung."""
    import pyarrow.compute as pc

    models: dict[str, dict[str, ModelRef]] = {source: {} for source in sources}
    for line in served.filter(pc.not_equal(served.column("level"), "")).to_pylist():
        if line["level"] in models:
            ref = ModelRef(line["segment"], line["sha256"], line["segment_row"], line["version"])
            models[line["level"]][line["key_id"]] = ref
    return tuple(RungRef(source, models[source]) for source in sources)


def _keys(store: PartitionStore, partition_by: Sequence[str], kinds: Any) -> pd.DataFrame:
    """The store's keys in its order, cast to the kinds that training recorded."""
    names = [f"key:{column}" for column in partition_by]
    table = store.manifest.select(names).rename_columns(list(partition_by))
    table = cast_keys(table, list(partition_by), kinds)
    frame = table.rename_columns(names).to_pandas(types_mapper=_arrow_types)
    frame.insert(0, "key_id", key_ids(table, list(partition_by)).to_pylist())
    return frame


def _with_slices(
    units: pd.DataFrame, prefix: str, store: PartitionStore | None, partition_by: Sequence[str], kinds: Any
) -> pd.DataFrame:
    names = [*SLICE, "last_time"]
    if store is None:
        return units.assign(**{f"{prefix}_{name}": None for name in names})
    table = store.manifest.select(names).rename_columns([f"{prefix}_{name}" for name in names])
    slices = table.to_pandas(types_mapper=_arrow_types)
    slices.insert(0, "key_id", _keys(store, partition_by, kinds)["key_id"].to_numpy())
    return units.merge(slices, on="key_id", how="left", sort=False)


def _rung_keys(
    units: pd.DataFrame, lead: PartitionStore, training: PartitionStore, columns: Sequence[str], rung: RungRef
) -> list[str | None]:
    """The key of the rung's model for each unit."""
    if not columns:
        only = next(iter(rung.models), None)
        return [only] * len(units)
    names = [f"level:{column}" for column in columns]
    found: dict[str, tuple[Any, ...]] = {}
    # What the scored rows say of a key goes before what training saw.
    for store, ids in (
        (training, training.manifest.column("key_id").to_pylist()),
        (lead, units["key_id"].tolist()),
    ):
        if all(name in store.manifest.column_names for name in names):
            values = zip(*(store.manifest.column(name).to_pylist() for name in names), strict=True)
            found.update(zip(ids, values, strict=True))
    made: dict[tuple[Any, ...], str] = {}
    keys: list[str | None] = []
    for key_id in units["key_id"]:
        value = found.get(key_id)
        if value is None:
            keys.append(None)
            continue
        if value not in made:
            made[value] = make_key(value, level=rung.source).key_id
        keys.append(made[value])
    return keys


def _arrow_types(kind: pa.DataType) -> Any:
    """Arrow-backed columns keep integers with nulls, dates and decimals as they are."""
    import pandas as pd

    return pd.ArrowDtype(kind)
