"""The series above the keys: sums of their targets by level, split and kept like any other rows.

A sum's rows are made from the keys': one a period in which any key has a row, with the sum of the targets, and the mean of
every known-future feature that is a number. Other features have no sum and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.dataset.roles import resolve_roles, scoring_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.job.job import Job
from manymodels.models.contract import FitSpec
from manymodels.models.forecast.frequency import period_index, period_times
from manymodels.partitioning.keys import make_key
from manymodels.partitioning.split import split
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from manymodels.records import Key

__all__ = ["SumLevel", "members_of", "sum_levels", "sum_name", "sum_rows", "sum_spec"]

_ROWS = 1_000_000
"""Rows of the keys that are read at once."""
_NUMBERS = ("bool", "int", "float", "decimal")


@dataclass(frozen=True)
class SumLevel:
    """The sums of one level.

    Attributes:
        name: In the registry: ``sum:region``, or ``sum`` of all keys.
        columns: Of the level.
        store: The sums' rows, split by the level's columns.
    """

    name: str
    columns: tuple[str, ...]
    store: PartitionStore

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Key columns of the store: the level's, or a made-up one where it has none."""
        return tuple(self.store.details.key_kinds)

    def nodes(self) -> list[Key]:
        """The sums' own keys, in the order of the store."""
        values = [self.store.manifest.column(f"key:{name}").to_pylist() for name in self.columns]
        rows = zip(*values, strict=True) if values else [()] * self.store.manifest.num_rows
        return [make_key(row, level=self.name) for row in rows]

    def manifest(self) -> pa.Table:
        """The store's manifest, by the sums' own keys."""
        import pyarrow as pa

        found = self.store.manifest
        ids = pa.array([key.key_id for key in self.nodes()], pa.string())
        return found.set_column(found.column_names.index("key_id"), "key_id", ids)


def sum_name(columns: Sequence[str]) -> str:
    """The name of a level's sums in the registry."""
    return "sum:" + ",".join(columns) if columns else "sum"


def sum_levels(job: Job) -> list[list[str]]:
    """The columns of the levels whose sums are forecast, the nearest first; none without reconciliation."""
    hierarchy = job.hierarchy
    return hierarchy.levels if hierarchy is not None and hierarchy.reconcile is not None else []


def sum_spec(spec: FitSpec, keys: PartitionStore, level: SumLevel) -> FitSpec:
    """What the fits of sums need to know.

    Args:
        spec: Of the keys' fits.
        keys: The keys' rows.
        level: The sums.
    """
    from dataclasses import replace

    known = _numbers(spec, keys)
    return replace(
        spec,
        partition_by=level.key_columns,
        features=known,
        known_future=known,
        categorical=(),
        weight=None,
        gaps="leave",
        on_duplicate_time="error",
    )


def members_of(
    store: PartitionStore, columns: Sequence[str]
) -> tuple[npt.NDArray[np.int64], list[tuple[Any, ...]]]:
    """The sum of a level that each key is in, and the sums' values.

    Args:
        store: The keys' rows, as trained on.
        columns: Of the level.

    Returns:
        Shape (keys,), in the manifest's order; and a tuple a sum.
    """
    lists = [store.manifest.column(f"level:{name}").to_pylist() for name in columns]
    values = list(zip(*lists, strict=True)) if lists else [()] * store.manifest.num_rows
    numbers: dict[tuple[Any, ...], int] = {}
    owners = np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)
    return owners, list(numbers)


def sum_rows(
    job: Job,
    spec: FitSpec,
    columns: Sequence[str],
    rows: PartitionStore,
    owners: npt.NDArray[np.int64],
    trained: PartitionStore,
    storage: Storage,
    *,
    target: bool,
) -> PartitionStore | None:
    """The rows of a level's sums, split; None where no key is in one.

    Args:
        job: The job.
        spec: Of the keys' fits.
        columns: Of the level.
        rows: The keys' rows: to train on, newer history, or periods to forecast.
        owners: The sum that each of their keys is in (``members_of`` of ``trained``), -1 for none. Shape (keys,).
        trained: The keys' rows as trained on.
        storage: Where the sums' rows go.
        target: Whether the rows have a target; else they are periods to forecast.

    Raises:
        StoreError: Rows could not be read or written.
    """
    import pandas as pd

    known = list(_numbers(spec, trained))
    parts = list(_parts(spec, rows, owners, known, target=target))
    if not parts:
        return None
    whole = pd.concat(parts).groupby(["owner", "period"], sort=True).sum(min_count=1).reset_index()
    _, values = members_of(trained, columns)
    frame = pd.DataFrame({spec.time: period_times(whole["period"].to_numpy(), str(spec.frequency))})
    if target:
        frame[str(spec.target)] = whole["target"].to_numpy()
    for name in known:
        frame[name] = (whole[f"sum {name}"] / whole[f"count {name}"]).to_numpy()
    table = _with_keys(frame, whole["owner"].to_numpy(), values, columns, trained)
    names = table.column_names[: max(len(columns), 1)]
    data = DataSpec(
        partition_by=names,
        time=spec.time,
        target=spec.target,
        frequency=spec.frequency,
        features=known,
        known_future=known,
        min_rows=1,
        on_null_key="group",
    )
    source = open_source(data, table)
    roles = (
        resolve_roles(source, data, "forecast")
        if target
        else scoring_roles(source, data, "forecast", features=known)
    )
    return split(source, data, roles, storage)


def _numbers(spec: FitSpec, keys: PartitionStore) -> tuple[str, ...]:
    """The known-future features that are numbers."""
    kinds = keys.details.columns
    return tuple(
        name for name in spec.known_future if kinds[name] in _NUMBERS and name not in spec.categorical
    )


def _parts(
    spec: FitSpec, rows: PartitionStore, owners: npt.NDArray[np.int64], known: list[str], *, target: bool
) -> Iterator[pd.DataFrame]:
    """Sums over some keys each: ``owner``, ``period``, ``target``, and sum and count of each feature."""
    import pandas as pd
    import pyarrow as pa

    manifest = rows.manifest
    counts = manifest.column("rows").to_numpy()
    names = [str(spec.time), *([str(spec.target)] if target else []), *known]
    block = np.cumsum(counts) // _ROWS
    for number in np.unique(block):
        places = np.flatnonzero((block == number) & (owners >= 0))
        if len(places) == 0:
            continue
        frame, offsets = rows.read(manifest.take(pa.array(places)), names)
        lengths = np.diff(offsets)
        found = pd.DataFrame(
            {
                "key": np.repeat(places, lengths),
                "owner": np.repeat(owners[places], lengths),
                "period": period_index(frame[spec.time].to_numpy(), str(spec.frequency)),
            }
        )
        if target:
            found["target"] = frame[spec.target].to_numpy(dtype=np.float64)
            found = found[np.isfinite(found["target"])]
        for name in known:
            value = frame[name].to_numpy(dtype=np.float64)[found.index]
            found[f"sum {name}"] = np.where(np.isfinite(value), value, 0.0)
            found[f"count {name}"] = np.isfinite(value).astype(np.float64)
        if target and spec.on_duplicate_time in ("last", "mean"):
            how = "last" if spec.on_duplicate_time == "last" else "mean"
            found = found.groupby(["key", "owner", "period"], sort=False).agg(how).reset_index()
        yield found.drop(columns="key").groupby(["owner", "period"]).sum(min_count=1).reset_index()


def _with_keys(
    frame: pd.DataFrame,
    owners: npt.NDArray[np.int64],
    values: list[tuple[Any, ...]],
    columns: Sequence[str],
    trained: PartitionStore,
) -> pa.Table:
    """The rows of sums with the columns of their level in front."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    if not columns:
        name = next(name for name in ("level", "level_", "level__") if name not in table.column_names)
        return table.add_column(0, name, pa.repeat("all", len(frame)))
    for place, name in enumerate(columns):
        kind = trained.manifest.schema.field(f"level:{name}").type
        column = pa.array([value[place] for value in values], kind).take(pa.array(owners))
        table = table.add_column(place, name, column)
    return table
