"""A run without a store: rows in memory in, models in memory out. Nothing is written, registered or promoted.

The keys are split, planned, packed, fitted and blamed by what a run does it with; only what makes it last is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from manymodels.artifacts.codecs import decode, encode
from manymodels.compute.executor import open_executor
from manymodels.compute.spec import ComputeSpec
from manymodels.exceptions import ComputeError
from manymodels.job.job import Job
from manymodels.job.resolve import fit_spec, importable, level_columns
from manymodels.job.runner import runner_for
from manymodels.job.settings import FitSettings, RowLimit
from manymodels.job.supervise import Blame, supervise
from manymodels.models.contract import Family, FitSpec, FittedModel
from manymodels.partitioning.memory import MemoryRows
from manymodels.partitioning.packing import pack
from manymodels.planning.costs import BYTES_PER_MODEL, Effort, estimate_seconds
from manymodels.planning.plan import Plan, Scope, make_plan
from manymodels.records import KeyOutcome, State
from manymodels.selection.spaces import configurations, has_spaces
from manymodels.training.batch import BatchPayload, families_of
from manymodels.training.prepare import effort_of
from manymodels.training.rungs import RungTask, rung_tasks

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FittedKey", "FittedRung", "MemoryRun", "fit_in_memory"]

_IDLE: dict[str, State] = {"fallback": "fallback", "skip": "skipped"}


@dataclass(frozen=True)
class FittedKey:
    """What became of a key.

    Attributes:
        outcome: Without the artifact.
        model: Its model; None unless trained.
    """

    outcome: KeyOutcome
    model: FittedModel | None


@dataclass(frozen=True)
class FittedRung:
    """What became of a rung.

    Attributes:
        source: ``pooled``, ``naive`` or ``level:region``.
        key_id: Of the rung's own key.
        outcome: Without the artifact.
        model: Its model; None when it could not be fitted.
    """

    source: str
    key_id: str
    outcome: KeyOutcome
    model: FittedModel | None


@dataclass(frozen=True)
class MemoryRun:
    """A finished run.

    Attributes:
        rows: What it was fitted on.
        spec: What the fits knew, but for the key's seed.
        keys: One per row of the manifest.
        rungs: The ladder, in its order; a level has one for each of its values.
    """

    rows: MemoryRows
    spec: FitSpec
    keys: tuple[FittedKey, ...]
    rungs: tuple[FittedRung, ...]


@dataclass(frozen=True)
class _Work:
    """A batch for one worker.

    Attributes:
        name: Of the batches of this fit, in a cluster that others use too.
        payload: Of the batch function.
        timeout: Seconds per key and candidate.
        memory: Bytes of the child's resident size.
        retries: Further tries after a crash, a timeout or a memory hog.
        isolated: Whether model code runs in the child.
        batched: Whether batched trainers may fit what they can, in the worker itself.
    """

    name: str
    payload: BatchPayload
    timeout: float
    memory: int
    retries: int
    isolated: bool
    batched: bool


def fit_in_memory(
    job: Job, table: Any, *, estimators: Mapping[str, bytes], compute: ComputeSpec | None
) -> MemoryRun:
    """Fit every key of a table, and the ladder's rungs.

    A single candidate has no rival, and is evaluated only when the job names a metric.

    Args:
        job: Its ``data.path``, ``promotion``, ``compute`` and ``store`` are not used.
        table: A pandas DataFrame or an Arrow table.
        estimators: Candidate name to a pickled estimator: candidates that are objects, not import paths.
        compute: Where keys are fitted; None is this process.

    Raises:
        JobError: A candidate or metric that is not there, or does another task.
        DataError: Data that does not fit the job.
        ComputeError: No worker can run any more.
    """
    from manymodels.dataset.roles import resolve_roles
    from manymodels.dataset.sources import open_source
    from manymodels.partitioning.split import split_in_memory

    with importable(job.folder):
        source = open_source(job.data, table)
        roles = resolve_roles(source, job.data, job.task, levels=level_columns(job))
        rows = split_in_memory(source, job.data, roles)
        settings = FitSettings(
            storage_root="",
            dataset="",
            columns=tuple(roles.columns),
            spec=fit_spec(job, roles, rows),
            candidates=configurations(job.models, job.selection, job.training.seed),
            evaluation=job.evaluation,
            metric=_metric(job),
            seed=job.training.seed,
            max_rows=RowLimit.of(job),
            selection=job.selection,
        )
        payload = BatchPayload(settings, rows.manifest, partitions=rows, estimators=estimators)
        # Here too: what is no candidate is refused before any fit.
        families = [family for _, family in families_of(payload)]
        features = len(settings.spec.features)
        effort = effort_of(job, settings.candidates, families, own_code=bool(estimators), features=features)
        plan = _plan(job, rows.manifest, effort)
        rungs = rung_tasks(job, rows.manifest)
        found = {
            outcome.key_id: outcome for outcome in _outcomes(job, plan, rungs, payload, compute, families)
        }
    return MemoryRun(
        rows,
        settings.spec,
        tuple(
            _key(found.get(key_id) or KeyOutcome(key_id, _IDLE[action], reason))
            for key_id, action, reason in zip(
                plan.table["key_id"], plan.table["action"], plan.table["reason"], strict=True
            )
        ),
        tuple(
            FittedRung(task.rung.level, task.key.key_id, fitted.outcome, fitted.model)
            for task in rungs
            for fitted in [_key(found[task.key.key_id])]
        ),
    )


def _metric(job: Job) -> str | None:
    from manymodels.evaluation.metrics import default_metric, resolve_metric

    alone = len(job.models) == 1 and not has_spaces(job.models[0])
    if alone and job.evaluation.metric is None:
        return None
    metric = job.evaluation.metric or default_metric(job.task)
    resolve_metric(metric, job.task)
    return metric


def _plan(job: Job, manifest: pa.Table, effort: Effort) -> Plan:
    import pyarrow as pa

    text = pa.string()
    columns = {
        "key_id": text,
        "version": pa.int64(),
        "content": pa.binary(16),
        "job_hash": text,
        "code_hash": text,
        "seconds": pa.float64(),
        "failed_last": pa.bool_(),
    }
    past = pa.schema(list(columns.items())).empty_table()
    return make_plan(
        manifest,
        past,
        job_hash="",
        code_hash="",
        min_rows=job.data.min_rows,
        scope=Scope(),
        ladder=bool(job.fallback),
        seconds=estimate_seconds(manifest, past, effort, job_hash=""),
        bytes_per_model=BYTES_PER_MODEL,
    )


def _outcomes(
    job: Job,
    plan: Plan,
    rungs: Sequence[RungTask],
    whole: BatchPayload,
    compute: ComputeSpec | None,
    families: Sequence[Family],
) -> list[KeyOutcome]:
    """Of the keys that train, and of the rungs."""
    training = job.training
    isolated = training.isolation == "process" or (
        training.isolation == "auto" and compute is not None and any(family.isolated for family in families)
    )

    name = f"fit-{os.urandom(8).hex()}"

    def work(keys: pa.Table, task: RungTask | None = None) -> _Work:
        rows = whole.partitions if compute is None else whole.partitions.only(keys)
        payload = replace(
            whole,
            keys=keys if compute is None else rows.manifest,
            partitions=rows,
            rung=None if task is None else task.rung,
        )
        batched = task is None and not whole.estimators and training.isolation != "process"
        limits = training.timeout, training.memory, training.retries
        return _Work(name, payload, *limits, isolated, batched)

    ladder = [work(task.keys, task) for task in rungs]
    if compute is None:
        batches = [work(whole.keys.take(plan.training)), *ladder] if len(plan.training) else ladder
        return [outcome for batch in batches for outcome in _fit(batch)]
    seconds = plan.table["seconds"].to_numpy()[plan.training]
    found: list[KeyOutcome] = []
    with open_executor(compute) as executor:
        packed = pack(seconds, workers=executor.workers) if len(seconds) else []
        batches = [*(work(whole.keys.take(plan.training[places])) for places in packed), *ladder]
        for completion in executor.run(_fit, ((f"{name}-{n}", batch) for n, batch in enumerate(batches))):
            if completion.value is None:
                raise completion.error or ComputeError(f"{completion.name} gave nothing back")
            found += completion.value
    return found


def _fit(work: _Work) -> list[KeyOutcome]:
    """Fit a batch: all at once what can be, the rest one by one."""
    payload, keys = work.payload, work.payload.keys
    done: list[KeyOutcome] = []
    if work.batched:
        done, keys = _fit_at_once(payload)
    if keys.num_rows == 0:
        return done

    def left(keys: pa.Table, blame: Blame) -> BatchPayload:
        # A rung is one model over all the rows of its sample, whoever's they are.
        return replace(payload, keys=keys if payload.rung is None else payload.keys, blamed=blame)

    found = supervise(
        runner_for(None, None, isolated=work.isolated, threads=payload.settings.spec.threads),
        "manymodels.training.batch:train_batch",
        keys,
        left,
        run_id=work.name,
        result=KeyOutcome,
        timeout=work.timeout,
        memory=work.memory,
        retries=work.retries,
    )
    return [*done, *found.values()]


def _fit_at_once(payload: BatchPayload) -> tuple[list[KeyOutcome], pa.Table]:
    """Outcomes by the batched trainers, and the keys that they leave."""
    import pyarrow as pa

    from manymodels.training.panel import train_panel, trainers_of

    trainers = trainers_of(payload.settings)
    if trainers is None:
        return [], payload.keys
    fitted = train_panel(payload.settings, payload.keys, trainers, payload.partitions)
    done = []
    for models in fitted.models:
        names = payload.keys.column("key_id").take(pa.array(models.places)).to_pylist()
        columns = ("candidate", "params", "metric", "rows", "cutoff", "seed", "fit_seconds", "seconds")
        facts = models.facts.select(columns).to_pylist()
        for place, (key_id, line) in enumerate(zip(names, facts, strict=True)):
            codec, artifact = encode(models.columns.model(place))
            done.append(KeyOutcome(key_id, "trained", codec=codec, artifact=artifact, **line))
    return done, payload.keys.take(pa.array(fitted.rest))


def _key(outcome: KeyOutcome) -> FittedKey:
    if outcome.state != "trained":
        return FittedKey(outcome, None)
    return FittedKey(replace(outcome, artifact=b""), decode(outcome.codec, outcome.artifact))
