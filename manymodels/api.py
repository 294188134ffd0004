"""The Python API: ``plan``, ``train``, ``score`` and what they return."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from manymodels.exceptions import UsageError
from manymodels.job.job import Job
from manymodels.planning.plan import Plan, Scope
from manymodels.progress import NoProgress, Progress, progress_for
from manymodels.registry import Registry, RunRecord

if TYPE_CHECKING:
    import pandas as pd

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
        """One row per key: the key columns, then state, reason, candidate, metric, rows, seconds, failure."""
        return run_outcomes(self._registry, self._record)

    def leaderboard(self) -> pd.DataFrame:
        """One row per candidate: keys won, keys tried, failures, its median metric and its mean seconds."""
        return leaderboard(self._registry, self._record)

    def __repr__(self) -> str:
        counts = ", ".join(f"{number:,} {state}" for state, number in self._record.counts.items() if number)
        return f"<Run {self.id}: {self.state}, {sum(self._record.counts.values()):,} keys: {counts}>"


def plan(
    job: Job, data: Any = None, *, only: str | None = None, keys: Iterable[Mapping[str, Any]] | None = None, limit: int | None = None
) -> Plan:
    """What ``train`` would do with every key, and why; the rows are split, nothing is registered.

    Args:
        job: The job.
        data: A pandas, Dask or Arrow table that stands in for ``data.path``.
        only: ``changed``, ``all`` or ``failed``; the job's ``training.only`` when None.
        keys: Only these, each as column to value.
        limit: At most this many: a seeded sample.

    Raises:
        UsageError: The job, or data that does not fit it.
    """
    from manymodels.training.prepare import prepare

    return prepare(job, data, scope=make_scope(job, only=only, keys=keys, limit=limit)).plan


def train(
    job: Job,
    data: Any = None,
    *,
    only: str | None = None,
    keys: Iterable[Mapping[str, Any]] | None = None,
    limit: int | None = None,
    progress: Progress | bool = True,
) -> Run:
    """Split, plan, train, register and promote.

    Args:
        job: The job.
        data: A pandas, Dask or Arrow table that stands in for ``data.path``.
        only: ``changed``, ``all`` or ``failed``; the job's ``training.only`` when None.
        keys: Only these, each as column to value.
        limit: At most this many: a seeded sample.
        progress: Whether to show a bar, or where to report.

    Raises:
        UsageError: The job, or data that does not fit it.
        RunInterrupted: The user stopped it; ``manymodels runs resume`` continues it.
        RunError: It stopped; ``manymodels runs resume`` continues it.
    """
    from manymodels.training.engine import train as execute
    from manymodels.training.prepare import prepare

    began = time.perf_counter()
    prepared = prepare(job, data, scope=make_scope(job, only=only, keys=keys, limit=limit))
    with _progress(progress) as shown:
        result = execute(prepared, shown, began=began)
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
        progress: Whether to show a bar, or where to report.

    Returns:
        A DataFrame, or the output's path.

    Raises:
        UsageError: The request does not fit the job, its models or the data.
    """
    import tempfile
    from pathlib import Path

    from manymodels.scoring.engine import ScoreRequest
    from manymodels.scoring.engine import score as execute

    request = ScoreRequest(
        output=output or "", data=data, future=future, alias=alias, run=run, horizon=horizon, overwrite=overwrite
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


def make_scope(
    job: Job, *, only: str | None, keys: Iterable[Mapping[str, Any]] | None, limit: int | None
) -> Scope:
    """Which keys a run may train.

    Raises:
        UsageError: A value that is not one of the words, or a key without all its columns.
    """
    from manymodels.partitioning.keys import make_key

    if only is not None and only not in ("changed", "all", "failed"):
        raise UsageError(f"`only` is changed, all or failed; found {only!r}")
    if limit is not None and limit < 1:
        raise UsageError(f"`limit` must be at least 1; found {limit}")
    key_ids = None
    if keys is not None:
        key_ids = frozenset(make_key(_values(job, key)).key_id for key in keys)
    return Scope(only=only or job.training.only, key_ids=key_ids, limit=limit, seed=job.training.seed)


def _values(job: Job, key: Mapping[str, Any]) -> tuple[Any, ...]:
    missing = [column for column in job.data.partition_by if column not in key]
    if missing or len(key) != len(job.data.partition_by):
        raise UsageError(f"a key has the columns {', '.join(job.data.partition_by)}; found {', '.join(map(str, key))}")
    return tuple(key[column] for column in job.data.partition_by)


def run_summary(record: RunRecord) -> dict[str, Any]:
    """A run as ``manymodels train --json`` prints it."""
    return {
        "run_id": record.id,
        "state": record.state,
        "keys": sum(record.counts.values()),
        **{state: record.counts.get(state, 0) for state in ("trained", "reused", "fallback", "skipped", "failed")},
        "promoted": record.promoted,
        "seconds": record.seconds,
        "startup_seconds": record.startup_seconds,
        "dataset": record.dataset,
    }


def run_outcomes(registry: Registry, record: RunRecord) -> pd.DataFrame:
    """One row per key of a published run, with its key columns in front."""
    import io

    import pyarrow.parquet as pq

    from manymodels.job.settings import load_settings

    if not record.outcomes_path:
        raise UsageError(f"run {record.id} is {record.state}: its outcomes are written when it ends", run=record.id)
    table = pq.read_table(io.BytesIO(registry.storage.read(record.outcomes_path))).to_pandas()
    store = load_settings(registry.storage, record).store
    names = [name for name in store.manifest.column_names if name.startswith("key:")]
    keys = store.manifest.select(["key_id", *names]).to_pandas()
    keys = keys.rename(columns={name: name.removeprefix("key:") for name in names})
    table = table[table["level"] == ""].drop(columns=["level", "content", "segment", "segment_row"])
    return keys.merge(table, on="key_id", how="left", sort=False)


def leaderboard(registry: Registry, record: RunRecord) -> pd.DataFrame:
    """One row per candidate of a published run."""
    import pandas as pd

    outcomes = run_outcomes(registry, record)
    lines = [
        {**entry, "won": winner == entry["candidate"]}
        for scores, winner in zip(outcomes["scores"], outcomes["candidate"], strict=True)
        if scores is not None
        for entry in scores
    ]
    table = pd.DataFrame(lines, columns=["candidate", "metric", "seconds", "error", "won"])
    grouped = table.groupby("candidate", sort=False)
    return (
        pd.DataFrame(
            {
                "won": grouped["won"].sum(),
                "tried": grouped.size(),
                "failed": grouped["error"].agg(lambda errors: int((errors != "").sum())),
                "median_metric": grouped["metric"].median(),
                "mean_seconds": grouped["seconds"].mean(),
            }
        )
        .sort_values("won", ascending=False, kind="stable")
        .reset_index()
    )


def score_summary(result: Any) -> dict[str, Any]:
    """A scoring as ``manymodels score --json`` prints it."""
    summary = asdict(result)
    del summary["reasons"]
    return summary


def _progress(progress: Progress | bool) -> Progress:
    if isinstance(progress, bool):
        return progress_for() if progress else NoProgress()
    return progress
