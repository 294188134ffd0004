"""From a job to a plan: open, split, fingerprint, and compare with what the registry knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manymodels.dataset.files import overlap
from manymodels.exceptions import DataError, UsageError
from manymodels.job.job import Job
from manymodels.job.resolve import Resolved, resolve
from manymodels.monitoring.reports import listed_keys
from manymodels.partitioning.listing import chosen_keys
from manymodels.planning.costs import BYTES_PER_MODEL, estimate_seconds
from manymodels.planning.plan import Plan, Scope, make_plan
from manymodels.registry import Registry
from manymodels.storage import Storage
from manymodels.training.incumbents import Incumbents, incumbents_of
from manymodels.training.learning import earlier_runs

__all__ = ["Prepared", "Selection", "fits_of", "prepare"]


@dataclass(frozen=True)
class Selection:
    """Which keys a user wants trained.

    Attributes:
        only: ``changed``, ``all``, ``failed`` or ``listed``; the job's ``training.only`` when None.
        keys: Column to value, or to text, of each key; None is all.
        limit: At most this many: a seeded sample.
    """

    only: str | None = None
    keys: Sequence[Mapping[str, Any]] | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A job that met its data and its past.

    Attributes:
        job: The job.
        registry: Of the job's store.
        resolved: The job's data, split, and what its fits need.
        plan: What a run would do with every key.
        known_levels: Levels that have a version already (``pooled``, ``naive``, …).
        incumbents: What the keys' champions are of; None where it does not matter, or nothing trains.
        earlier: What earlier runs tell of the run's candidates (``training.learning``); None where nothing is learned.
    """

    job: Job
    registry: Registry
    resolved: Resolved
    plan: Plan
    known_levels: frozenset[str]
    incumbents: Incumbents | None = None
    earlier: Any = None


def prepare(job: Job, frame: Any = None, selection: Selection | None = None) -> Prepared:
    """Split the job's data (unless it is unchanged) and plan a run.

    Args:
        job: The job.
        frame: A pandas, Dask or Arrow table that stands in for ``data.path``.
        selection: Which keys may train; None is all, by the job's ``training.only``.

    Raises:
        UsageError: The job, or data that does not fit it.
        StoreError: The store could not be read or written.
        RegistryError: The registry could not be used.
    """
    import pyarrow.compute as pc

    _refuse_store_in_input(job)
    registry = Registry.open(job.store, create=True)
    resolved = resolve(job, frame, registry.storage)
    manifest = resolved.store.manifest
    scope = _scope(job, resolved, registry, selection or Selection())
    history = registry.history(job.name)
    of_keys = pc.equal(history.column("level"), "")
    rungs = history.filter(pc.invert(of_keys))
    known = rungs.filter(pc.is_valid(rungs.column("version"))).column("level").to_pylist()
    keys = history.filter(of_keys) if rungs.num_rows else history
    plan = make_plan(
        manifest,
        keys,
        job_hash=resolved.job_hash,
        code_hash=resolved.code_hash,
        min_rows=job.data.min_rows,
        scope=scope,
        ladder=bool(job.fallback),
        seconds=estimate_seconds(
            manifest,
            keys,
            families=[candidate.family for candidate in resolved.candidates],
            fits=fits_of(job) * _share_tried(job, resolved),
            job_hash=resolved.job_hash,
        ),
        bytes_per_model=registry.bytes_per_model(job.name) or BYTES_PER_MODEL,
    )
    incumbents = incumbents_of(job, registry, resolved) if len(plan.training) else None
    earlier = earlier_runs(registry, job, resolved) if job.selection.learn else None
    return Prepared(job, registry, resolved, plan, frozenset(known), incumbents, earlier)


def _share_tried(job: Job, resolved: Resolved) -> float:
    """The share of the run's configurations that a key tries, as far as that is known before."""
    everything = len(resolved.candidates)
    return min(job.selection.max_trials or everything, everything) / everything


def _refuse_store_in_input(job: Job) -> None:
    """Refuse a store that the next run would read as data.

    Raises:
        UsageError: It lies inside the input, in a folder that is not passed over.
    """
    store = Storage.at(job.store.path)
    for path in [job.data.path] if isinstance(job.data.path, str) else job.data.path or ():
        if store.is_local and overlap(path, Path(store.root)) == "inside":
            raise UsageError(
                f"the store {store.root} lies inside the input {path}, whose rows its files would become; put it elsewhere, or "
                "in a folder whose name begins with a dot"
            )


def _scope(job: Job, resolved: Resolved, registry: Registry, selection: Selection) -> Scope:
    if selection.only not in (None, "changed", "all", "failed", "listed"):
        raise UsageError(f"`only` is changed, all, failed or listed; found {selection.only!r}")
    if selection.limit is not None and selection.limit < 1:
        raise UsageError(f"`limit` must be at least 1; found {selection.limit}")
    key_ids = None
    if selection.keys is not None:
        key_ids = chosen_keys(selection.keys, resolved.store.details.key_kinds)
        unknown = key_ids.difference(resolved.store.manifest.column("key_id").to_pylist())
        if unknown:
            raise DataError(
                f"{len(unknown)} of the {len(key_ids)} keys asked for are not in the dataset; "
                "`manymodels plan --each` lists the keys"
            )
    only = selection.only or job.training.only
    return Scope(
        only=only,
        key_ids=key_ids,
        limit=selection.limit,
        seed=job.training.seed,
        listed=listed_keys(registry.storage, job.name) if only == "listed" else {},
    )


def fits_of(job: Job) -> int:
    """Fits of one candidate on one key: for the evaluation, and the refit."""
    if job.task == "forecast":
        return -(-job.evaluation.backtest.windows // job.evaluation.cadence(job.task)) + 1
    if job.evaluation.folds is not None:
        return job.evaluation.folds + 1
    return 2 if job.evaluation.holdout and job.task != "anomaly" else 1
