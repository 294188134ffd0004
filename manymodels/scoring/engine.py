"""Batch inference: split the new rows like the training data, bring each key's rows to its own model, publish once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.compute.executor import open_executor
from manymodels.compute.here import small_words
from manymodels.exceptions import (
    ManyModelsError,
    RegistryError,
    RunError,
    RunInterrupted,
    StoreError,
    UsageError,
)
from manymodels.job.gate import gate_reason, too_many
from manymodels.job.job import Job
from manymodels.job.settings import load_settings
from manymodels.job.sums import sum_levels
from manymodels.job.watch import Watch
from manymodels.partitioning.packing import pack
from manymodels.planning.memory import BATCH_SHARE, VALUE_BYTES
from manymodels.progress import Progress
from manymodels.records import BatchTask
from manymodels.redaction import redact
from manymodels.registry import Registry, RunRecord, RunState
from manymodels.registry.drivers import Driver
from manymodels.registry.versions import other_versions
from manymodels.scoring.costs import scored_at_once, unit_rows, unit_seconds
from manymodels.scoring.here import EarlyChild, begins_here
from manymodels.scoring.inputs import open_inputs
from manymodels.scoring.levels import Sums, reconcile
from manymodels.scoring.parts import ScoreReceipt, finished_parts
from manymodels.scoring.preparation import (
    ScoreRequest,
    ladder_of,
    plan_of,
    reasons_of,
    serving_run,
    work_of,
)
from manymodels.scoring.sinks import Sink, check_output
from manymodels.scoring.staging import Claim, Staging, claims
from manymodels.scoring.units import plain, scoring_units
from manymodels.scoring.worker import ScoreWork, run_score_batch, warm_worker
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ScoreResult", "score"]


@dataclass(frozen=True)
class ScoreResult:
    """How a scoring ended; ``keys`` is the sum of ``scored``, ``fallback`` and ``failed``.

    Attributes:
        score_id: The scoring.
        state: ``completed`` or ``failed_gate``.
        keys: Keys scored for.
        scored: Keys that their own models served.
        fallback: Keys that the ladder served.
        failed: Keys with no prediction.
        rows: In the output.
        seconds: Wall time without imports and cluster start.
        startup_seconds: Cluster start and imports.
        output: Where the scores are.
        reasons: Why keys did not get predictions of a good model of their own: reason to keys.
    """

    score_id: str
    state: RunState
    keys: int
    scored: int
    fallback: int
    failed: int
    rows: int
    seconds: float
    startup_seconds: float
    output: str
    reasons: Mapping[str, int]


def score(job: Job, request: ScoreRequest, progress: Progress) -> ScoreResult:
    """Score a job's keys.

    Raises:
        UsageError: The request does not fit the job, its models or the data.
        StoreError: The store or the output could not be read or written.
    """
    began = time.perf_counter()
    registry = Registry.open(job.store, create=False, trust=request.trust)
    if request.horizon is not None and request.horizon > job.forecast.horizon:
        raise UsageError(
            f"--horizon {request.horizon} is above the job's {job.forecast.horizon}; "
            "raise `forecast.horizon` and train again"
        )
    given = (request.data, request.future, job.data.path)
    read = [path for paths in given for path in _paths(paths)]
    check_output(request.output, read, registry.storage, overwrite=request.overwrite)
    run = serving_run(registry, job, request)
    settings = load_settings(registry.storage, run, registry.trust)
    if sum_levels(job) and not settings.sums:
        raise UsageError(
            f"`hierarchy.reconcile` needs models of the sums above the keys, and run {run.id} has none; "
            "`manymodels train` makes them"
        )
    alias = None if request.run else request.alias or job.promotion.alias
    child = EarlyChild(job, settings, sum(run.counts.values()), runs_code=registry.trust.runs_code)
    inputs = open_inputs(job, settings, request.data, request.future, registry.storage)
    # Late: what garbage collection retires from now on stays for a grace period.
    served = registry.served(job.name, alias, run_id=run.id if request.run else None, brief=True)
    for run_id in served.column("run_id").unique().to_pylist():
        for line in other_versions(run_id, registry.run(run_id).libraries):
            progress.say(f"warning: {line}")
    ladder, levels = ladder_of(job, served)
    units = scoring_units(
        served,
        input_store=inputs.rows,
        history_store=inputs.history,
        training_store=settings.store,
        partition_by=job.data.partition_by,
        levels=levels,
        ladder=ladder,
        reasons=reasons_of(registry, run),
        version=run.number,
    )
    work = work_of(job, request, settings, inputs, ladder, registry.trust)
    plan = plan_of(units, work)
    staging, score_id, resumed = _begin(registry, job, request, alias, run, inputs.fingerprint, plan)
    if resumed:
        progress.say(f"continuing scoring {score_id}, which was stopped")
    work = replace(work, plan=plan, staging=staging.parts)
    try:
        batches = staging.batches() if resumed else None
        at_once = scored_at_once(units, work.score, settings.fit)
        seconds = unit_seconds(units, work.score, at_once)
        # In one process children would take each other's memory.
        threads = job.compute.local_workers if at_once.all() else 1
        longest = float(seconds.max(initial=0.0))
        here = begins_here(job, settings, float(seconds.sum()), longest, threads=threads)
        warm = partial(
            warm_worker,
            settings.fit,
            isolated=settings.isolated,
            batched=settings.job.training.isolation != "process",
        )
        receipts, startup = _fan_out(
            job,
            score_id,
            units,
            seconds,
            batches,
            work,
            staging,
            progress,
            registry,
            warm,
            child if here else None,
            threads,
        )
        sink = Sink(request.output, staging)
        if sum_levels(job):
            progress.say("reconciling with the sums above the keys")
            above = Sums(job, settings, registry, served, inputs, work, staging.levels)
            receipts, sums = reconcile(above, score_id, receipts)
            sink.hold_levels(sums)
        result = _finish(job, request, score_id, units, receipts, sink, began, startup)
    except BaseException as error:
        stopped = _stopped(registry, score_id, staging, plan, error, began)
        if stopped is error:
            raise
        raise stopped from error
    registry.end_score(
        score_id,
        state=result.state,
        counts={
            "keys": result.keys,
            "scored": result.scored,
            "fallback": result.fallback,
            "failed": result.failed,
            "rows": result.rows,
        },
        seconds=result.seconds,
        startup_seconds=result.startup_seconds,
        reason=""
        if result.state == "completed"
        else gate_reason(job.training.max_failed, result.failed, result.keys),
    )
    return result


def _paths(source: Any) -> list[str]:
    """The paths of a source; a table in memory has none."""
    if isinstance(source, str):
        return [source]
    return list(source) if isinstance(source, list) else []


def _begin(
    registry: Registry,
    job: Job,
    request: ScoreRequest,
    alias: str | None,
    run: RunRecord,
    input: str,
    plan: str,
) -> tuple[Staging, str, bool]:
    """Where the output is made, by which scoring, and whether that was begun before and stopped.

    Raises:
        UsageError: Another process is making the same output.
    """
    for staging, claim in claims(request.output):
        if staging.is_driven(claim):
            driver = Driver.from_json(claim.driver)
            raise UsageError(
                f"the output {request.output} is being made by process {driver.pid} on {driver.host}; wait for it, or choose "
                "another place"
            )
        if claim.plan == plan and registry.resume_score(claim.score_id):
            staging.take(replace(claim, driver=Driver.here().to_json()))
            return staging, claim.score_id, True
        staging.discard()  # the models, the rows or the command are others now: nobody will continue it
    score_id = registry.start_score(
        model_set=job.name,
        alias=alias,
        run_id=run.id if request.run else None,
        input=input,
        output=redact(Storage.at(request.output).root),  # found again from any folder
    ).id
    return Staging(request.output, score_id), score_id, False


def _stopped(
    registry: Registry, score_id: str, staging: Staging, plan: str, error: BaseException, began: float
) -> BaseException:
    """The error to raise for a scoring that stopped: what is done stays for the same command, given again."""
    by_user = isinstance(error, KeyboardInterrupt)
    message = "stopped by the user" if by_user else str(error)
    with suppress(RegistryError):
        registry.end_score(
            score_id,
            state="interrupted" if by_user else "failed",
            counts={},
            seconds=time.perf_counter() - began,
            startup_seconds=0.0,
            reason=message,
        )
    with suppress(StoreError):
        if not finished_parts(staging.parts, plan):
            staging.discard()
    if by_user:
        return RunInterrupted(f"scoring {score_id} was interrupted; the same command continues it")
    if isinstance(error, UsageError) or not isinstance(error, Exception):
        return error
    return RunError(f"scoring {score_id} stopped: {message}; the same command continues it")


def _fan_out(
    job: Job,
    score_id: str,
    units: pa.Table,
    seconds: npt.NDArray[np.float64],
    batches: list[npt.NDArray[np.int64]] | None,
    work: ScoreWork,
    staging: Staging,
    progress: Progress,
    registry: Registry,
    warm: Callable[[], None],
    child: EarlyChild | None,
    threads: int,
) -> tuple[list[ScoreReceipt], float]:
    """Score the batches that have no part yet, in this process where there is a ``child``.

    ``batches`` is None where none was begun, ``seconds`` what units will take.
    """
    receipts = {} if batches is None else finished_parts(staging.parts, work.plan)
    if batches is not None and len(receipts) == len(batches):
        return [receipts[number] for number in sorted(receipts)], 0.0
    small = child is not None and job.compute.target == "local"
    if small:
        progress.say(small_words(float(seconds.sum())))
    warming = 0.0 if child is None else child.wait()
    with open_executor(
        job.compute, storage_root=registry.storage.root, warm=warm, here=threads if small else 0
    ) as executor:
        if batches is None:
            batches = _packed(units, work, seconds, job.compute.local_workers if small else executor.workers)
            staging.begin(Claim(score_id, work.plan, Driver.here().to_json()), batches)
        left = [number for number in range(len(batches)) if number not in receipts]
        progress.begin("scoring", sum(len(batches[number]) for number in left))
        chosen = [(number, batches[number]) for number in left]
        tasks = (
            (f"{score_id}-{number}", BatchTask(score_id, number, plain(units.take(places)), work))
            for number, places in chosen
        )

        def beat() -> bool:
            registry.touch_score(score_id)
            return False

        with Watch(score_id, executor, progress.say, timeout=job.training.timeout, beat=beat) as watch:
            for completion in executor.run(run_score_batch, tasks, check=watch.check):
                watch.finished()
                if completion.value is None:
                    raise completion.error or ManyModelsError(f"{completion.name} gave no receipt")
                receipt = completion.value
                receipts[receipt.batch] = receipt
                progress.advance(sum(receipt.counts.values()), receipt.counts["failed"])
        return [receipts[number] for number in sorted(receipts)], executor.startup_seconds + warming


def _packed(
    units: pa.Table, work: ScoreWork, seconds: npt.NDArray[np.float64], workers: int
) -> list[npt.NDArray[np.int64]]:
    """Units by batch, numbered in the order of the keys, so that the output is sorted as a whole."""
    rows = unit_rows(units, work.score)
    width = float((len(work.score.columns) + len(work.input_columns)) * VALUE_BYTES)
    packed = pack(
        seconds,
        workers=workers,
        sizes=rows * width,
        room=work.memory / BATCH_SHARE,
    )
    return sorted((np.sort(places) for places in packed), key=lambda places: int(places[0]))


def _finish(
    job: Job,
    request: ScoreRequest,
    score_id: str,
    units: pa.Table,
    receipts: list[ScoreReceipt],
    sink: Sink,
    began: float,
    startup: float,
) -> ScoreResult:
    counts = {
        name: sum(receipt.counts[name] for receipt in receipts) for name in ("scored", "fallback", "failed")
    }
    if sum(counts.values()) != units.num_rows:
        raise ManyModelsError(
            f"{units.num_rows:,} keys went in but {sum(counts.values()):,} are accounted for ({counts}); nothing was published"
        )
    gated = too_many(job.training.max_failed, counts["failed"], units.num_rows)
    reasons: dict[str, int] = {}
    for receipt in receipts:
        for reason, number in receipt.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + number
    result = ScoreResult(
        score_id=score_id,
        state="failed_gate" if gated else "completed",
        keys=units.num_rows,
        rows=sum(receipt.rows for receipt in receipts),
        seconds=0.0,
        startup_seconds=startup,
        output=request.output,
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        **counts,
    )
    details = {
        "score_id": score_id,
        "state": result.state,
        "keys": result.keys,
        **counts,
        "rows": result.rows,
    }
    sink.publish([receipt.part for receipt in receipts], details, raw=request.raw)
    return replace(result, seconds=time.perf_counter() - began - startup)
