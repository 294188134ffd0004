"""The Python API: ``plan``, ``train``, ``score`` and what they return."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from manymodels.exceptions import NotFoundError, UsageError
from manymodels.job.job import Job
from manymodels.job.settings import load_settings
from manymodels.planning.plan import Plan
from manymodels.progress import NoProgress, Progress, progress_for
from manymodels.registry import Registry, RunRecord

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from manymodels.partitioning.store import PartitionStore

__all__ = ["Run", "plan", "score", "train"]


class Run:
    """A finished run: its summary, every key's outcome, and the leaderboard.

    Args:
        registry: That knows it.
        record: What the registry says of it.
    """

    def __init__(self, registry: Registry, record: RunRecord) -> None:
        self._registry = registry
        self._record = record

    @property
    def id(self) -> str:
        """The run's id."""
        return self._record.id

    @property
    def state(self) -> str:
        """``completed``, ``failed_gate``, ``failed``, ``interrupted`` or ``running``."""
        return self._record.state

    @property
    def summary(self) -> dict[str, Any]:
        """The same object as ``manymodels train --json`` prints."""
        return run_summary(self._record)

    def outcomes(self) -> pd.DataFrame:
        """One row per key: the key columns, then state, reason, candidate, metric, baseline, skill, rows, seconds, failure."""
        return run_outcomes(self._registry, self._record)

    def leaderboard(self) -> pd.DataFrame:
        """One row per candidate: keys won, keys tried, failures, median metric and skill, mean seconds, and its parameters."""
        return leaderboard(self._registry, self._record)

    def backtests(
        self, keys: Iterable[Mapping[str, Any]] | None = None, *, sql: str | None = None
    ) -> pd.DataFrame:
        """One row per prediction that was kept: what was held out, and what was predicted of it (``evaluation.keep``).

        ``key_id``, the key columns, then ``candidate``, ``window`` (0 is the newest), ``cutoff``, ``time``, ``step``
        (periods after the cutoff), ``row`` (the row's place among the key's), ``actual``, ``prediction`` and its bounds, as
        the task's models give them.

        Args:
            keys: Only these, each as column to value.
            sql: What to make of them: a query of DuckDB over the table ``backtests``, which need not fit memory.

        Raises:
            UsageError: The run kept none that ``sql`` could ask of, or it is no query over them.
        """
        return run_backtests(self._registry, self._record, keys, sql)

    def __repr__(self) -> str:
        counts = ", ".join(f"{number:,} {state}" for state, number in self._record.counts.items() if number)
        return f"<Run {self.id}: {self.state}, {sum(self._record.counts.values()):,} keys: {counts}>"


def plan(
    job: Job,
    data: Any = None,
    *,
    only: str | None = None,
    keys: Iterable[Mapping[str, Any]] | None = None,
    limit: int | None = None,
    as_of: str | int | None = None,
) -> Plan:
    """What ``train`` would do with every key, and why; the rows are split, nothing is registered.

    Args:
        job: The job.
        data: A pandas, Dask or Arrow table that stands in for ``data.path``.
        only: ``changed``, ``all``, ``failed`` or ``listed``; the job's ``training.only`` when None.
        keys: Only these, each as column to value.
        limit: At most this many: a seeded sample.
        as_of: As if it were then; the job's ``data.as_of`` when None.

    Raises:
        UsageError: The job, or data that does not fit it.
    """
    from manymodels.training.prepare import Selection, prepare

    return prepare(job.seen(as_of), data, Selection(only, _listed(keys), limit)).plan


def train(
    job: Job,
    data: Any = None,
    *,
    only: str | None = None,
    keys: Iterable[Mapping[str, Any]] | None = None,
    limit: int | None = None,
    as_of: str | int | None = None,
    progress: Progress | bool = True,
) -> Run:
    """Split, plan, train, register and promote.

    Args:
        job: The job.
        data: A pandas, Dask or Arrow table that stands in for ``data.path``.
        only: ``changed``, ``all``, ``failed`` or ``listed``; the job's ``training.only`` when None.
        keys: Only these, each as column to value.
        limit: At most this many: a seeded sample.
        as_of: As if it were then; the job's ``data.as_of`` when None.
        progress: Whether to show a bar, or where to report.

    Raises:
        UsageError: The job, or data that does not fit it.
        RunInterrupted: The user stopped it; ``manymodels runs resume`` continues it.
        RunError: It stopped; ``manymodels runs resume`` continues it.
    """
    from manymodels.training.early import EarlyWorkers
    from manymodels.training.engine import train as execute
    from manymodels.training.prepare import Selection, prepare

    began = time.perf_counter()
    with EarlyWorkers() as early:
        prepared = prepare(job.seen(as_of), data, Selection(only, _listed(keys), limit), early=early)
        with _progress(progress) as shown:
            result = execute(prepared, shown, began=began, early=early)
    return Run(prepared.registry, prepared.registry.run(result.run_id))


def score(
    job: Job,
    data: Any = None,
    *,
    future: Any = None,
    output: str | None = None,
    alias: str | None = None,
    run: str | None = None,
    horizon: int | None = None,
    overwrite: bool = False,
    trust: str | None = None,
    progress: Progress | bool = True,
) -> Any:
    """Bring each key's rows to its own model.

    Args:
        job: The job.
        data: New rows: a path, or a table. Forecasts: newer history.
        future: Forecasts: the periods to forecast with the known-future columns: a path, or a table.
        output: Folder, URL or file for the scores; a DataFrame is returned when None.
        alias: Whose models; the job's ``promotion.alias`` when None.
        run: A past run's models instead.
        horizon: Periods ahead, at most the job's.
        overwrite: Replace an existing output.
        trust: What to trust of the store: ``hashes``, ``signed`` or ``columns-only``; your settings when None.
        progress: Whether to show a bar, or where to report.

    Returns:
        A DataFrame, or the output's path.

    Raises:
        UsageError: The request does not fit the job, its models or the data.
    """
    import tempfile
    from pathlib import Path

    from manymodels.scoring.engine import score as execute
    from manymodels.scoring.preparation import ScoreRequest

    request = ScoreRequest(
        output=output or "",
        data=data,
        future=future,
        alias=alias,
        run=run,
        horizon=horizon,
        overwrite=overwrite,
        trust=trust,
    )
    with _progress(progress) as shown:
        if output is not None:
            return execute(job, request, shown).output
        with tempfile.TemporaryDirectory(prefix="manymodels-") as folder:
            import dataclasses

            import pyarrow.parquet as pq

            target = str(Path(folder) / "scores.parquet")
            execute(job, dataclasses.replace(request, output=target), shown)
            return pq.read_table(target).to_pandas()


def export_models(
    registry: Registry, name: str, output: str, *, alias: str = "champion", key_id: str | None = None
) -> int:
    """Export one key's model as a file, or the whole fleet as a folder that loads without the registry.

    Args:
        registry: That knows the models.
        name: The model set.
        output: The file, or the folder.
        alias: Which versions.
        key_id: The one key; None is the fleet.

    Returns:
        The number of models.

    Raises:
        NotFoundError: The model set, alias or model is not there.
        DamagedError: A segment is not what the registry recorded.
    """
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.compute as pc

    from manymodels.artifacts.export import export_fleet, export_model
    from manymodels.partitioning.keys import decode

    served = registry.served(name, alias)
    if key_id is not None:
        found = served.filter(pc.equal(served.column("key_id"), key_id)).to_pylist()
        if not found:
            raise NotFoundError(
                f"key {key_id} of {name!r} has no {alias}; `manymodels models list {name}` lists those that do"
            )
        model = found[0]
        export_model(registry.storage, model["segment"], model["sha256"], model["segment_row"], Path(output))
        return 1
    columns = registry.key_columns(name)
    rungs = [level != "" for level in served.column("level").to_pylist()]
    keys = [
        (None,) * len(columns) if rung else decode(canonical)
        for rung, canonical in zip(rungs, served.column("canonical").to_pylist(), strict=True)
    ]
    refs = served.drop_columns(["canonical"]).rename_columns({"segment_row": "row"})
    for place, column in enumerate(columns):
        refs = refs.append_column(f"key:{column}", pa.array([key[place] for key in keys]))
    return export_fleet(registry.storage, refs, output)


def run_summary(record: RunRecord) -> dict[str, Any]:
    """A run as ``manymodels train --json`` prints it."""
    return {
        "run_id": record.id,
        "state": record.state,
        "keys": sum(record.counts.values()),
        **{
            state: record.counts.get(state, 0)
            for state in ("trained", "reused", "fallback", "skipped", "failed")
        },
        "promoted": record.promoted,
        "seconds": record.seconds,
        "startup_seconds": record.startup_seconds,
        "dataset": record.dataset,
    }


def run_outcomes(registry: Registry, record: RunRecord) -> pd.DataFrame:
    """One row per key of a published run, with its key columns in front."""
    keys = _key_columns(load_settings(registry.storage, record, registry.trust).store)
    table = _outcomes(registry, record).to_pandas()
    table = table[table["level"] == ""].drop(
        columns=["level", "content", "segment", "segment_row", "backtests"]
    )
    return keys.merge(table, on="key_id", how="left", sort=False)


def run_backtests(
    registry: Registry,
    record: RunRecord,
    keys: Iterable[Mapping[str, Any]] | None = None,
    sql: str | None = None,
) -> pd.DataFrame:
    """The predictions that a published run kept, with the key columns in front; see ``Run.backtests``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from manymodels.partitioning.listing import chosen_keys
    from manymodels.training.backtest_table import query_backtests, read_backtests

    store = load_settings(registry.storage, record, registry.trust).store
    outcomes = _outcomes(registry, record, ["key_id", "backtests"])
    chosen = None if keys is None else chosen_keys(keys, store.details.key_kinds)
    if chosen is not None:
        outcomes = outcomes.filter(pc.field("key_id").isin(sorted(chosen)))
    paths = outcomes.column("backtests").drop_null().unique().to_pylist()
    names = _key_columns(store)
    if sql is None:
        found = read_backtests(registry.storage, paths, key_ids=chosen).to_pandas()
        return names.merge(found, on="key_id", how="right", sort=False)
    if not paths:
        raise UsageError(f"run {record.id} kept no backtests (`evaluation.keep`)", run=record.id)
    if chosen is not None:
        names = names[names["key_id"].isin(chosen)]
    return query_backtests(
        registry.storage, paths, pa.Table.from_pandas(names, preserve_index=False), sql
    ).to_pandas()


def _outcomes(registry: Registry, record: RunRecord, columns: list[str] | None = None) -> pa.Table:
    import io

    import pyarrow.parquet as pq

    if not record.outcomes_path:
        raise UsageError(
            f"run {record.id} is {record.state}: its outcomes are written when it ends", run=record.id
        )
    return pq.read_table(io.BytesIO(registry.storage.read(record.outcomes_path)), columns=columns)


def _key_columns(store: PartitionStore) -> pd.DataFrame:
    """``key_id`` and the key columns of every key."""
    names = [name for name in store.manifest.column_names if name.startswith("key:")]
    keys: pd.DataFrame = store.manifest.select(["key_id", *names]).to_pandas()
    return keys.rename(columns={name: name.removeprefix("key:") for name in names})


def leaderboard(registry: Registry, record: RunRecord) -> pd.DataFrame:
    """One row per candidate of a published run."""
    import numpy as np
    import pandas as pd

    from manymodels.evaluation.metrics import perfect_value, skill_scores

    outcomes = run_outcomes(registry, record)
    lines = [
        {**entry, "won": winner == entry["candidate"], "baseline": baseline}
        for scores, winner, baseline in zip(
            outcomes["scores"], outcomes["candidate"], outcomes["baseline"], strict=True
        )
        if scores is not None
        for entry in scores
    ]
    table = pd.DataFrame(lines, columns=["candidate", "metric", "seconds", "error", "won", "baseline"])
    settings = load_settings(registry.storage, record, registry.trust)
    perfect = perfect_value(settings.fit.metric or "", settings.higher_is_better)
    values, baselines = (
        table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("metric", "baseline")
    )
    table["skill"] = skill_scores(values, baselines, perfect)
    grouped = table.groupby("candidate", sort=False)
    params = {candidate.name: json.dumps(candidate.params) for candidate in settings.fit.candidates}
    return (
        pd.DataFrame(
            {
                "won": grouped["won"].sum(),
                "tried": grouped.size(),
                "failed": grouped["error"].agg(lambda errors: int((errors != "").sum())),
                "median_metric": grouped["metric"].median(),
                "median_skill": grouped["skill"].median(),
                "mean_seconds": grouped["seconds"].mean(),
            }
        )
        .sort_values("won", ascending=False, kind="stable")
        .reset_index()
        .assign(params=lambda board: board["candidate"].map(params))
    )


_VERDICTS = ("worse", "better", "new", "gone", "unknown", "same")


def compare_runs(registry: Registry, first: RunRecord, second: RunRecord) -> pd.DataFrame:
    """Which keys got better or worse between two runs: those that got worse first, the largest change first.

    Args:
        registry: That knows them.
        first: The run to compare with.
        second: The newer run.

    Returns:
        ``Registry.compare``, by verdict and size of the change relative to the first run's metric.

    Raises:
        NotFoundError: A run is not published, or they are of two model sets.
    """
    import numpy as np
    import pandas as pd

    from manymodels.job.settings import load_settings

    higher = load_settings(registry.storage, second, registry.trust).higher_is_better
    compared = registry.compare(first.id, second.id, higher_is_better=higher).to_pandas(
        integer_object_nulls=True
    )
    change, before = (pd.to_numeric(compared[name]).abs() for name in ("change", "metric_a"))
    size = change / before.replace(0.0, np.nan)
    rank = pd.Categorical(compared["verdict"], categories=_VERDICTS, ordered=True).codes
    order = np.lexsort((-size.fillna(np.inf).to_numpy(), rank))
    return compared.iloc[order].reset_index(drop=True)


def score_summary(result: Any) -> dict[str, Any]:
    """A scoring as ``manymodels score --json`` prints it."""
    summary = asdict(result)
    del summary["reasons"]
    return summary


def _listed(keys: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]] | None:
    return None if keys is None else list(keys)


def _progress(progress: Progress | bool) -> Progress:
    if isinstance(progress, bool):
        return progress_for() if progress else NoProgress()
    return progress
