"""Forecasts of the sums above the keys: made like the keys', reconciled with them, and written beside them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ManyModelsError
from manymodels.job.hierarchy import HierarchySpec
from manymodels.job.job import Job
from manymodels.job.settings import RunSettings
from manymodels.job.sums import SumLevel, members_of, sum_rows, sum_spec
from manymodels.models.contract import FitSpec, Floats, interval_columns
from manymodels.models.forecast.frequency import period_index, period_times
from manymodels.models.forecast.reconciliation import (
    ErrorCovariance,
    Tree,
    bottom_up,
    mint,
    rounded,
    top_down,
)
from manymodels.partitioning.keys import key_ids
from manymodels.partitioning.store import PartitionStore
from manymodels.records import BatchTask
from manymodels.registry import Registry
from manymodels.scoring.inputs import ScoreInputs
from manymodels.scoring.parts import ScoreReceipt, part_name, write_part
from manymodels.scoring.units import plain, scoring_units
from manymodels.scoring.worker import ScoreWork, run_score_batch
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sums", "reconcile"]

_PREDICTION = "prediction"


@dataclass(frozen=True)
class Sums:
    """What the reconciliation of a scoring needs.

    Attributes:
        job: The job.
        run: Whose settings serve.
        registry: With the models and their backtests.
        served: ``Registry.served``.
        inputs: What is scored.
        work: Of the keys' batches.
        folder: Root of a folder for files on the way.
    """

    job: Job
    run: RunSettings
    registry: Registry
    served: Any
    inputs: ScoreInputs
    work: ScoreWork
    folder: str

    @property
    def hierarchy(self) -> HierarchySpec:
        """The job's."""
        found = self.job.hierarchy
        if found is None or found.reconcile is None:
            raise ManyModelsError("nothing is to be reconciled")
        return found

    @property
    def spec(self) -> FitSpec:
        """Of the keys' fits."""
        return self.run.fit.spec


def reconcile(
    sums: Sums, score_id: str, receipts: Sequence[ScoreReceipt]
) -> tuple[list[ScoreReceipt], pa.Table]:
    """Reconcile the keys' forecasts with those of the sums above them.

    Returns:
        The receipts of the parts with reconciled forecasts, which replace the others; and the sums' forecasts: ``level``, the
        level columns (null above the level), time, ``prediction`` and its bounds, ``base_prediction``, ``model_version``,
        ``status`` (``ok``, or ``summed`` where there is no forecast of the sum itself) and ``reason``.

    Raises:
        StoreError: A file could not be read or written.
    """
    spec, work = sums.spec, sums.work
    staging = Storage.at(work.staging)
    parts = [_part(staging, receipt.part) for receipt in receipts]
    grid = _Grid.of(parts, sums)
    bases = [_base(sums, level, number, score_id, grid) for number, level in enumerate(sums.run.sums)]
    whole = np.concatenate([base.values for base in bases], axis=1)
    better = _reconciled(sums, grid, whole)
    if spec.non_negative:
        better = np.maximum(better, 0.0)
    keys, nodes = rounded(better, grid.tree, sums.hierarchy.decimals)
    written = []
    for receipt, part, places in zip(receipts, parts, grid.places, strict=True):
        changed = _moved(part, keys[places.periods, places.keys], places.rows, spec)
        done = replace(receipt, part=part_name(receipt.batch, f"{work.plan[:7]}r"))
        write_part(work.staging, changed, done)
        staging.delete(receipt.part)
        written.append(done)
    return written, _table(sums, grid, bases, nodes)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the rows of a part are in the grid: ``rows`` of the part are of ``keys`` at ``periods``."""

    rows: npt.NDArray[np.int64]
    periods: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Grid:
    """The keys' forecasts by period and key.

    Attributes:
        periods: Their numbers, ascending. Shape (periods,).
        key_ids: Of the keys that training knew and that are scored.
        keys: Forecasts, NaN where there is none. Shape (periods, keys).
        tree: Which of them are in which sum, in the order of each level's store.
        places: Of each part's rows.
        missing: Level to why the forecasts of each of its sums are not used; empty where they are.
    """

    periods: npt.NDArray[np.int64]
    key_ids: list[str]
    keys: Floats
    tree: Tree
    places: list[_Places]
    missing: tuple[list[str], ...]

    @classmethod
    def of(cls, parts: Sequence[pa.Table], sums: Sums) -> _Grid:
        spec = sums.spec
        trained: dict[str, int] = {
            key_id: place for place, key_id in enumerate(sums.run.store.manifest.column("key_id").to_pylist())
        }
        numbers: dict[str, int] = {}
        found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]] = []
        for part in parts:
            ids = key_ids(part, list(sums.job.data.partition_by)).to_pylist()
            known = np.flatnonzero([key_id in trained for key_id in ids])
            keys = np.array([numbers.setdefault(ids[row], len(numbers)) for row in known], dtype=np.int64)
            periods = period_index(_times(part.column(str(spec.time))), str(spec.frequency))[known]
            values = part.column(_PREDICTION).to_numpy()[known]
            found.append((known, periods, keys, values))
        every = np.unique(np.concatenate([periods for _, periods, _, _ in found]))
        grid = np.full((len(every), len(numbers)), np.nan)
        places = []
        for rows, periods, keys, values in found:
            at = np.searchsorted(every, periods)
            grid[at, keys] = values
            places.append(_Places(rows, at, keys))
        at_training = np.array([trained[key_id] for key_id in numbers], dtype=np.int64)
        tree = Tree(
            tuple(_owners(level, sums.run.store)[at_training] for level in sums.run.sums),
            tuple(level.store.manifest.num_rows for level in sums.run.sums),
        )
        served = np.zeros(len(trained), dtype=bool)
        served[at_training] = ~np.isnan(grid).all(axis=0)
        missing = tuple(_missing(level, sums.run.store, served, spec) for level in sums.run.sums)
        return cls(every, list(numbers), grid, tree, places, missing)


def _owners(level: SumLevel, keys: PartitionStore) -> npt.NDArray[np.int64]:
    """The place in the level's store of the sum that each trained key is in."""
    owners, values = members_of(keys, level.columns)
    order = {key.values: place for place, key in enumerate(level.nodes())}
    return np.array([order[value] for value in values], dtype=np.int64)[owners]


def _missing(
    level: SumLevel, keys: PartitionStore, served: npt.NDArray[np.bool_], spec: FitSpec
) -> list[str]:
    """Why the forecasts of sums are not to be used: a key that was in them to the last has none."""
    last = keys.manifest.column("last_time").to_numpy()
    kind = np.int64 if spec.frequency == "step" else "datetime64[us]"
    periods = period_index(last.astype(np.int64).astype(kind), str(spec.frequency))
    owners = _owners(level, keys)
    ends = np.full(level.store.manifest.num_rows, np.iinfo(np.int64).min)
    np.maximum.at(ends, owners, periods)
    lost = (periods > ends[owners] - max(spec.season_length, 2)) & ~served
    counts = np.bincount(owners[lost], minlength=len(ends))
    return [f"{count} of its keys have no forecast" if count else "" for count in counts.tolist()]


@dataclass(frozen=True, eq=False)
class _Base:
    """The forecasts of a level's sums by period and sum, NaN where there is none; and their rows as scored."""

    level: SumLevel
    values: Floats
    bounds: Mapping[str, Floats]
    versions: list[int | None]
    reasons: list[str]


def _base(sums: Sums, level: SumLevel, number: int, score_id: str, grid: _Grid) -> _Base:
    """Forecast the sums of a level, as keys are."""
    import pyarrow as pa

    job, spec, storage = sums.job, sums.spec, sums.registry.storage
    of_level = sum_spec(spec, sums.run.store, level)
    own = {
        key.key_id: plain
        for key, plain in zip(level.nodes(), level.store.manifest["key_id"].to_pylist(), strict=True)
    }
    rows = sums.served.filter(
        pa.array([name == level.name for name in sums.served.column("level").to_pylist()])
    )
    served = rows.set_column(
        rows.column_names.index("key_id"),
        "key_id",
        pa.array([own.get(k, k) for k in rows["key_id"].to_pylist()], pa.string()),
    ).set_column(rows.column_names.index("level"), "level", pa.repeat("", rows.num_rows))
    owners = dict(
        zip(
            sums.run.store.manifest["key_id"].to_pylist(),
            members_of(sums.run.store, level.columns)[0].tolist(),
            strict=True,
        )
    )

    def summed(store: PartitionStore | None, *, target: bool) -> PartitionStore | None:
        if store is None:
            return None
        named = store.manifest.select([f"key:{name}" for name in job.data.partition_by])
        ids = key_ids(
            named.rename_columns(list(job.data.partition_by)), list(job.data.partition_by)
        ).to_pylist()
        mine = np.array([owners.get(key_id, -1) for key_id in ids], dtype=np.int64)
        return sum_rows(job, spec, level.columns, store, mine, sums.run.store, storage, target=target)

    ahead, newer = summed(sums.inputs.rows, target=False), summed(sums.inputs.history, target=True)
    units = scoring_units(
        served,
        input_store=ahead,
        history_store=newer,
        training_store=level.store,
        partition_by=level.key_columns,
        levels=[],
        ladder=[],
        reasons=pa.table({"key_id": pa.array([], pa.string()), "reason": pa.array([], pa.string())}),
        version=0,
    )
    known = (str(spec.time), *of_level.known_future)
    settings = replace(
        sums.work.score,
        spec=of_level,
        input=None if ahead is None else ahead.fingerprint,
        history=None if newer is None else newer.fingerprint,
        training=level.store.fingerprint,
        columns=known,
        history_columns=(*known, str(spec.target)),
        ladder=(),
        blends=False,
        turned_text=(),
    )
    work = replace(
        sums.work,
        score=settings,
        plan=sums.work.plan,
        staging=f"{sums.folder}/{number}",
        key_fields=tuple(
            (name, level.store.manifest.schema.field(f"key:{name}").type) for name in level.key_columns
        ),
        input_columns=() if ahead is None else (str(spec.time),),
    )
    receipt = run_score_batch(BatchTask(score_id, number, plain(units), work))
    scores = _part(Storage.at(work.staging), receipt.part)
    return _by_period(level, scores, grid, number, spec)


def _by_period(level: SumLevel, scores: pa.Table, grid: _Grid, number: int, spec: FitSpec) -> _Base:
    places = {key_id: place for place, key_id in enumerate(level.store.manifest.column("key_id").to_pylist())}
    nodes = np.array(
        [places[key_id] for key_id in key_ids(scores, list(level.key_columns)).to_pylist()], dtype=np.int64
    )
    periods = period_index(_times(scores.column(str(spec.time))), str(spec.frequency))
    at = np.searchsorted(grid.periods, periods)
    inside = (at < len(grid.periods)) & (grid.periods[np.minimum(at, len(grid.periods) - 1)] == periods)
    reasons = list(grid.missing[number])
    unused = np.array([bool(reason) for reason in reasons])
    names = [_PREDICTION, *(name for percent in spec.levels for name in interval_columns(percent))]
    found: dict[str, Floats] = {}
    for name in names:
        values = np.full((len(grid.periods), len(places)), np.nan)
        values[at[inside], nodes[inside]] = scores.column(name).to_numpy()[inside]
        values[:, unused] = np.nan
        found[name] = values
    versions: list[int | None] = [None] * len(places)
    for node, version, why in zip(
        nodes.tolist(),
        scores.column("model_version").to_pylist(),
        scores.column("reason").to_pylist(),
        strict=True,
    ):
        versions[node] = version
        reasons[node] = reasons[node] or why or ""
    return _Base(level, found.pop(_PREDICTION), found, versions, reasons)


def _reconciled(sums: Sums, grid: _Grid, nodes: Floats) -> Floats:
    method = sums.hierarchy.reconcile
    if method == "bottom_up":
        return bottom_up(grid.keys, nodes, grid.tree)
    if method == "top_down":
        return top_down(grid.keys, nodes, grid.tree)
    above = [key.key_id for level in sums.run.sums for key in level.nodes()]
    typical = np.concatenate([grid.tree.sums(grid.keys), grid.keys], axis=1)
    there = typical == typical
    sizes = np.where(there, np.abs(typical), 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    errors = _errors(sums, [*above, *grid.key_ids])
    return mint(grid.keys, nodes, grid.tree, ErrorCovariance.of(errors, sizes))


def _errors(sums: Sums, wanted: Sequence[str]) -> Floats:
    """Actual less predicted in the backtests of the versions that serve, a row a held-out period. Shape (n, series)."""
    import pandas as pd
    import pyarrow.dataset
    import pyarrow.parquet as pq

    place = {key_id: number for number, key_id in enumerate(wanted)}
    storage = sums.registry.storage
    found = []
    for run_id in sums.served.column("run_id").unique().to_pylist():
        path = sums.registry.run(run_id).outcomes_path
        if not path or not storage.exists(path):
            continue
        columns = ["key_id", "candidate", "backtests"]
        outcomes = pq.read_table(io.BytesIO(storage.read(path)), columns=columns)
        files = [
            file
            for file in outcomes.column("backtests").drop_null().unique().to_pylist()
            if storage.exists(file)
        ]
        if not files:
            continue
        located = [storage.locate(file) for file in files]
        kept = pyarrow.dataset.dataset([full for _, full in located], filesystem=located[0][0])
        names = ["key_id", "candidate", "window", "time", "actual", _PREDICTION]
        rows = kept.to_table(columns=names).to_pandas()
        served = sums.served.to_pandas()
        mine = served.loc[served["run_id"] == run_id, ["key_id", "candidate"]]
        found.append(rows.merge(mine, on=["key_id", "candidate"]))
    if not found:
        return np.empty((0, len(wanted)))
    whole = pd.concat(found)
    whole = whole[whole["key_id"].isin(place)]
    # The same period may be held out in windows that overlap: it counts in each.
    period, _ = pd.factorize(pd.MultiIndex.from_frame(whole[["window", "time"]]), sort=True)
    errors = np.full((int(period.max(initial=-1)) + 1, len(wanted)), np.nan)
    errors[period, whole["key_id"].map(place).to_numpy()] = (whole["actual"] - whole[_PREDICTION]).to_numpy()
    return errors


def _moved(part: pa.Table, values: Floats, rows: npt.NDArray[np.int64], spec: FitSpec) -> pa.Table:
    """A part with other forecasts in some rows; bounds move as their forecast does."""
    import pyarrow as pa

    before = part.column(_PREDICTION).to_numpy()
    after = before.copy()
    after[rows] = values
    shift = after - before
    for name in [_PREDICTION, *(name for percent in spec.levels for name in interval_columns(percent))]:
        column = after if name == _PREDICTION else part.column(name).to_numpy() + shift
        if spec.non_negative:
            column = np.maximum(column, 0.0)
        at = part.column_names.index(name)
        part = part.set_column(at, part.schema.field(at), pa.array(column, mask=~np.isfinite(column)))
    return part


def _table(sums: Sums, grid: _Grid, bases: Sequence[_Base], nodes: Floats) -> pa.Table:
    """The sums' forecasts, level by level."""
    import pyarrow as pa

    spec = sums.spec
    times = period_times(grid.periods, str(spec.frequency))
    columns = list(dict.fromkeys(name for base in bases for name in base.level.columns))
    tables = []
    for base, start in zip(bases, grid.tree.starts[:-1].tolist(), strict=True):
        size = base.values.shape[1]
        values = nodes[:, start : start + size]
        period, node = (axis.ravel() for axis in np.indices(values.shape))
        use = np.flatnonzero(~np.isnan(values.ravel()))
        use = use[np.lexsort((period[use], node[use]))]
        period, node = period[use], node[use]
        flat, plain = values[period, node], base.values[period, node]
        manifest = base.level.store.manifest
        entry: dict[str, Any] = {"level": pa.repeat(",".join(base.level.columns) or "all", len(use))}
        for name in columns:
            kind = sums.run.store.manifest.schema.field(f"level:{name}").type
            theirs = manifest.column(f"key:{name}") if name in base.level.columns else None
            entry[name] = (
                pa.nulls(len(use), kind) if theirs is None else theirs.take(pa.array(node)).cast(kind)
            )
        entry[str(spec.time)] = pa.array(times[period])
        entry[_PREDICTION] = pa.array(flat)
        for name, bound in base.bounds.items():
            moved = bound[period, node] + flat - plain
            if spec.non_negative:
                moved = np.maximum(moved, 0.0)
            entry[name] = pa.array(moved, mask=~np.isfinite(moved))
        entry["base_prediction"] = pa.array(plain, mask=~np.isfinite(plain))
        entry["model_version"] = pa.array(base.versions, pa.int64()).take(pa.array(node))
        entry["status"] = pa.array(np.where(np.isfinite(plain), "ok", "summed").tolist(), pa.string())
        reasons = pa.array([reason or None for reason in base.reasons], pa.string())
        entry["reason"] = reasons.take(pa.array(node))
        tables.append(pa.table({name: _plain(column) for name, column in entry.items()}))
    return pa.concat_tables(tables)


def _plain(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column


def _times(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Times as ``period_index`` takes them."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return column.cast(pa.timestamp("us")).to_numpy()  # type: ignore[no-any-return]
    return column.to_numpy()  # type: ignore[no-any-return]


def _part(storage: Storage, name: str) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(storage.read(name))).replace_schema_metadata(None)
