"""What a report is made of, read from the store and the registry."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from manymodels.api import leaderboard
from manymodels.exceptions import UsageError
from manymodels.job.settings import RunSettings, load_settings
from manymodels.partitioning.listing import displays
from manymodels.registry import Registry, RunRecord
from manymodels.registry.records import Signature
from manymodels.training.backtest_table import read_backtests

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunFacts", "read_run"]

_TAKEN_OVER = ["candidate", "metric", "baseline", "skill", "seconds", "fit_seconds", "cutoff"]
"""What a reused key has from the run that trained its model."""


@dataclass(frozen=True, eq=False)
class RunFacts:
    """A run, all told.

    Attributes:
        registry: That knows it.
        record: What the registry says of it.
        settings: What its fits were given.
        keys: One row per key, in the manifest's order: ``key_id``, ``key`` (as people write it), ``state``, ``reason``,
            ``candidate``, ``metric``, ``baseline``, ``skill``, ``rows``, ``cutoff``, ``seconds``, ``fit_seconds``, ``run``
            (that trained its model) and ``backtests``.
        leaderboard: See ``Run.leaderboard``.
        failures: Those that look the same together, the most frequent first.
        previous: The published run before it, of the same model set.
        compared: Each key's model as of both, see ``Registry.compare``; None without a previous run.
    """

    registry: Registry
    record: RunRecord
    settings: RunSettings
    keys: pd.DataFrame
    leaderboard: pd.DataFrame
    failures: Sequence[Signature]
    previous: RunRecord | None
    compared: pd.DataFrame | None

    def backtests(
        self, key_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """What the keys' models predicted of held-out rows, in no order; ``key_id`` and ``candidate`` come first.

        Args:
            key_ids: Only these keys.
            columns: The other columns wanted; all when None.
        """
        import pyarrow as pa

        keys = self.keys[self.keys["backtests"].notna()]
        if key_ids is not None:
            keys = keys[keys["key_id"].isin(key_ids)]
        wanted = None if columns is None else ["key_id", "candidate", *columns]
        parts = []
        for _, part in keys.groupby("run"):
            paths = part["backtests"].unique().tolist()
            filtered = part["key_id"].tolist() if key_ids is not None else None
            found = read_backtests(self.registry.storage, paths, key_ids=filtered, columns=wanted)
            # A run may have kept the losers' too, and an older run's file has keys that were trained again since.
            winners = pa.table({name: pa.array(part[name], pa.string()) for name in ("key_id", "candidate")})
            parts.append(found.join(winners, ["key_id", "candidate"], join_type="left semi"))
        return pa.concat_tables(parts) if parts else pa.table({"key_id": pa.array([], pa.string())})


def read_run(registry: Registry, record: RunRecord) -> RunFacts:
    """All there is to say of a run.

    Raises:
        UsageError: The run has not ended.
        StoreError: A file of the run could not be read.
    """
    if not record.outcomes_path:
        raise UsageError(
            f"run {record.id} is {record.state}: there is a report once it has ended "
            f"(`manymodels runs resume {record.id}` continues it)",
            run=record.id,
        )
    settings = load_settings(registry.storage, record, registry.trust)
    past = [
        run
        for run in registry.runs(record.model_set, limit=None)
        if run.published and run.number < record.number
    ]
    previous = past[0] if past else None
    compared = None
    if previous is not None:
        higher = settings.higher_is_better
        compared = registry.compare(previous.id, record.id, higher_is_better=higher).to_pandas()
    return RunFacts(
        registry=registry,
        record=record,
        settings=settings,
        keys=_keys(registry, record, settings, past),
        leaderboard=leaderboard(registry, record),
        failures=registry.failures(record.id),
        previous=previous,
        compared=compared,
    )


def _keys(
    registry: Registry, record: RunRecord, settings: RunSettings, past: Sequence[RunRecord]
) -> pd.DataFrame:
    keys = _outcomes(registry, record)
    keys = keys.set_index("key_id").reindex(settings.store.manifest.column("key_id").to_pylist())
    keys["rows"] = settings.store.manifest.column("rows").to_numpy()
    keys.insert(0, "key", displays(settings.store))
    for run in past:
        missing = keys.index[(keys["state"] == "reused") & keys["run"].isna()]
        if len(missing) == 0:
            break
        earlier = _outcomes(registry, run).set_index("key_id")
        found = missing.intersection(earlier.index[earlier["state"] == "trained"])
        names = [*_TAKEN_OVER, "backtests", "run"]
        keys.loc[found, names] = earlier.loc[found, names]
    return keys.reset_index()


def _outcomes(registry: Registry, record: RunRecord) -> pd.DataFrame:
    import pyarrow.parquet as pq

    columns = ["key_id", "level", "state", "reason", *_TAKEN_OVER, "backtests"]
    content = io.BytesIO(registry.storage.read(record.outcomes_path))
    table = pq.read_table(content, columns=columns).to_pandas()
    table = table[table["level"] == ""].drop(columns="level")
    runs = pd.Series(record.id, index=table.index, dtype=object)
    return table.assign(run=runs.where(table["state"] == "trained", None))
