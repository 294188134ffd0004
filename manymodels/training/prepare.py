"""From a job to a plan: open, split, fingerprint, and compare with what the registry knows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from manymodels.dataset.files import overlap
from manymodels.dataset.sources import Source
from manymodels.exceptions import DataError, NotFoundError, StoreError, UsageError
from manymodels.job.code import find_modules
from manymodels.job.job import Job
from manymodels.job.resolve import Resolved, blended_levels, importable, resolve
from manymodels.models.contract import Family
from manymodels.models.spec import CandidateSpec
from manymodels.monitoring.reports import listed_keys
from manymodels.partitioning.listing import chosen_keys
from manymodels.planning.costs import BYTES_PER_MODEL, Candidate, Effort, estimate_seconds
from manymodels.planning.plan import Plan, Scope, make_plan
from manymodels.planning.receipts import RunCosts, costs_path, read_costs
from manymodels.registry import Registry
from manymodels.storage import Storage
from manymodels.training.early import EarlyWorkers
from manymodels.training.incumbents import Incumbents, incumbents_of
from manymodels.training.learning import earlier_runs

__all__ = ["Prepared", "Selection", "effort_of", "prepare"]

_LEARN_FROM = 5  # runs


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
        effort: What it would do with every key that trains.
        past: What the newest runs took, newest first.
        isolated: Whether models run in the child process.
        known_levels: Levels that have a version already (``pooled``, ``naive``, …).
        incumbents: What the keys' champions are of; None where it does not matter, or nothing trains.
        earlier: What earlier runs tell of the run's candidates (``training.learning``); None where nothing is learned.
        seconds: What it took to prepare, but for the split.
    """

    job: Job
    registry: Registry
    resolved: Resolved
    plan: Plan
    effort: Effort
    past: tuple[RunCosts, ...]
    isolated: bool
    known_levels: frozenset[str]
    incumbents: Incumbents | None = None
    earlier: Any = None
    seconds: float = 0.0


def prepare(
    job: Job,
    frame: Any = None,
    selection: Selection | None = None,
    *,
    early: EarlyWorkers | None = None,
) -> Prepared:
    """Split the job's data (unless it is unchanged) and plan a run.

    Args:
        job: The job.
        frame: A pandas, Dask or Arrow table that stands in for ``data.path``.
        selection: Which keys may train; None is all, by the job's ``training.only``.
        early: Workers that begin to start when there is much to split.

    Raises:
        UsageError: The job, or data that does not fit it.
        StoreError: The store could not be read or written.
        RegistryError: The registry could not be used.
    """
    import pyarrow.compute as pc

    _refuse_store_in_input(job)
    registry = Registry.open(job.store, create=True)
    began = time.perf_counter()  # the next run finds the registry made
    begin = None if early is None else partial(_begin_early, early, job, registry.storage.root)
    resolved = resolve(job, frame, registry.storage, begin=begin)
    manifest = resolved.store.manifest
    scope = _scope(job, resolved, registry, selection or Selection())
    history = registry.history(job.name)
    of_keys = pc.equal(history.column("level"), "")
    rungs = history.filter(pc.invert(of_keys))
    known = rungs.filter(pc.is_valid(rungs.column("version"))).column("level").to_pylist()
    keys = history.filter(of_keys) if rungs.num_rows else history
    effort = effort_of(
        job,
        resolved.candidates,
        resolved.families,
        own_code=bool(resolved.modules),
        features=len(resolved.spec.features),
    )
    past = _past(registry, job.name)
    plan = make_plan(
        manifest,
        keys,
        job_hash=resolved.job_hash,
        code_hash=resolved.code_hash,
        min_rows=job.data.min_rows,
        scope=scope,
        ladder=bool(job.fallback),
        seconds=estimate_seconds(manifest, keys, effort, past, job_hash=resolved.job_hash),
        bytes_per_model=registry.bytes_per_model(job.name) or BYTES_PER_MODEL,
    )
    incumbents = incumbents_of(job, registry, resolved) if len(plan.training) else None
    earlier = earlier_runs(registry, job, resolved) if job.selection.learn else None
    return Prepared(
        job=job,
        registry=registry,
        resolved=resolved,
        plan=plan,
        effort=effort,
        past=past,
        isolated=_isolated(job, resolved, incumbents),
        known_levels=frozenset(known),
        incumbents=incumbents,
        earlier=earlier,
        seconds=time.perf_counter() - began - resolved.split_seconds,
    )


def _isolated(job: Job, resolved: Resolved, incumbents: Incumbents | None) -> bool:
    """Whether models run in the child process: the candidates, and what champions are of beside them."""
    from manymodels.models.families import build

    with importable(job.folder):
        others = [] if incumbents is None else [build(other, job.task) for other in incumbents.others]
    return _need_child(job, [*resolved.families, *others])


def _need_child(job: Job, families: Sequence[Family]) -> bool:
    isolation = job.training.isolation
    return isolation == "process" or (isolation == "auto" and any(family.isolated for family in families))


def _begin_early(
    early: EarlyWorkers,
    job: Job,
    root: str,
    source: Source,
    candidates: Sequence[CandidateSpec],
    families: Sequence[Family],
) -> None:
    """Have workers start for rows that are about to be split, where these are many."""
    own_code = bool(find_modules(job))
    batched = effort_of(job, candidates, families, own_code=own_code, features=0).batched
    isolated = _need_child(job, families) and not own_code
    early.begin(job, root, source.rows or 0, candidates, batched=batched, isolated=isolated)


def _past(registry: Registry, model_set: str) -> tuple[RunCosts, ...]:
    """What the newest runs took. It is advice: what is not there, or cannot be read, is passed over."""
    found: list[RunCosts] = []
    try:
        runs = registry.runs(model_set, limit=4 * _LEARN_FROM)
    except NotFoundError:  # the first run
        return ()
    for run in runs:
        if run.published and run.counts.get("trained") and len(found) < _LEARN_FROM:
            with suppress(NotFoundError, StoreError):
                costs = read_costs(registry.storage.read(costs_path(run.id)))
                if costs is not None:
                    found.append(costs)
    return tuple(found)


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


def effort_of(
    job: Job,
    candidates: Sequence[CandidateSpec],
    families: Sequence[Family],
    *,
    own_code: bool,
    features: int,
) -> Effort:
    """What a job does with every key that trains.

    Args:
        job: The job.
        candidates: What is tried on a key.
        families: Theirs, in the same order.
        own_code: Whether the job has modules of its own: those are imported in the child only, key by key.
        features: Columns that are fitted.
    """
    from manymodels.models.batched.trainers import all_batched

    if job.task == "forecast":
        evaluations = -(-job.evaluation.backtest.windows // job.evaluation.cadence(job.task))
    elif job.evaluation.folds is not None:
        evaluations = job.evaluation.folds
    else:
        evaluations = int(bool(job.evaluation.holdout) and job.task != "anomaly")
    alone = job.selection.ensemble is not None or job.selection.stepwise or bool(blended_levels(job))
    batched = not own_code and job.training.isolation != "process" and not alone
    return Effort(
        candidates=tuple(Candidate(each.name, each.family, each.params) for each in candidates),
        evaluations=evaluations,
        batched=batched and all_batched(families),
        features=max(1, features),
        trials=job.selection.max_trials,
        max_rows=None if job.training.max_rows is None else job.training.max_rows.rows,
    )
