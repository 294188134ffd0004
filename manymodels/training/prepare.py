"""From a job to a plan: open, split, fingerprint, and compare with what the registry knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manymodels.dataset.files import overlap
from manymodels.exceptions import DataError, NotFoundError, UsageError
from manymodels.job.job import Job
from manymodels.job.resolve import Resolved, resolve
from manymodels.models.spec import CandidateSpec
from manymodels.monitoring.reports import listed_keys
from manymodels.partitioning.listing import chosen_keys
from manymodels.planning.costs import BYTES_PER_MODEL, estimate_seconds
from manymodels.planning.plan import Plan, Scope, make_plan
from manymodels.registry import Registry
from manymodels.selection.ensembles import ensemble_candidate
from manymodels.selection.spaces import configurations
from manymodels.storage import Storage

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
        incumbents: Candidate that each key's champion is of, in the manifest's order, None where none is; None where it does
            not matter.
    """

    job: Job
    registry: Registry
    resolved: Resolved
    plan: Plan
    known_levels: frozenset[str]
    incumbents: tuple[str | None, ...] | None = None


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
            fits=fits_of(job),
            job_hash=resolved.job_hash,
        ),
        bytes_per_model=registry.bytes_per_model(job.name) or BYTES_PER_MODEL,
    )
    return Prepared(job, registry, resolved, plan, frozenset(known), _incumbents(job, registry, resolved))


def _incumbents(job: Job, registry: Registry, resolved: Resolved) -> tuple[str | None, ...] | None:
    """Which of the run's candidates each key's champion is of: the one of the same family and parameters.

    It matters to forecasts that ask for a gain: there configurations compete inside the run, and not versions.
    """
    asked = job.promotion
    if job.task != "forecast" or asked.rule != "better" or not asked.min_gain or len(resolved.candidates) < 2:
        return None
    try:
        champions = registry.models(job.name, alias=asked.alias, limit=None)
    except NotFoundError:  # the first run, or the first with this alias
        return None
    possible = _with_ensemble(resolved.candidates, job)
    now = {_setting(candidate): candidate.name for candidate in reversed(possible)}
    then: dict[tuple[str, str], str | None] = {}
    for run_id in set(champions.column("run_id").to_pylist()):
        was = Job.from_dict(json.loads(registry.run(run_id).job))
        tried = configurations(was.models, was.selection, was.training.seed)
        for candidate in _with_ensemble(tried, was):
            then[run_id, candidate.name] = now.get(_setting(candidate))
    as_of = resolved.source.as_of
    found = {
        line["key_id"]: then.get((line["run_id"], line["candidate"]))
        for line in champions.select(["key_id", "run_id", "candidate", "cutoff"]).to_pylist()
        # What nobody knew then stays out of it.
        if as_of is None or line["cutoff"] is None or line["cutoff"] <= as_of.last
    }
    key_ids = resolved.store.manifest.column("key_id").to_pylist()
    return tuple(found.get(key_id) for key_id in key_ids)


def _setting(candidate: CandidateSpec) -> str:
    """What makes two candidates the same, whatever their names."""
    return json.dumps([candidate.family, candidate.params], sort_keys=True)


def _with_ensemble(tried: Sequence[CandidateSpec], job: Job) -> list[CandidateSpec]:
    """What a key's model can be of."""
    together = ensemble_candidate(job.selection)
    return [*tried, *([] if together is None else [together])]


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
