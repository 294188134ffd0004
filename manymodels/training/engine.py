"""A run: fan the plan out, journal every receipt, account for every key, publish in one step.

The journal is the registry's ``batches`` table: a batch with a receipt is never run again, so that ``resume`` after any
crash does only what is missing. What a resume needs beside it lies in the run's folder: ``plan.parquet`` (what was decided for
every key, and its batch) and ``settings.json`` (what the fits need).
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

from manymodels.compute.executor import Executor, open_executor, together
from manymodels.compute.here import small_words
from manymodels.compute.spec import ComputeSpec
from manymodels.dataset.as_of import AsOf
from manymodels.exceptions import (
    ComputeError,
    JobError,
    ManyModelsError,
    RegistryError,
    RunError,
    RunInterrupted,
)
from manymodels.job.fingerprints import job_json
from manymodels.job.gate import gate_reason, too_many
from manymodels.job.job import Job
from manymodels.job.resolve import blended_levels
from manymodels.job.watch import Watch
from manymodels.progress import Progress
from manymodels.records import STATES, BatchTask
from manymodels.redaction import redact
from manymodels.registry import Promotion, PromotionRule, Registry, RunRecord, RunState
from manymodels.training.allowance import Allowance
from manymodels.training.decisions import decisions
from manymodels.training.early import EarlyWorkers
from manymodels.training.layout import lay_out
from manymodels.training.meter import Meter
from manymodels.training.outcomes import RunOutcomes
from manymodels.training.parents import ParentLevel
from manymodels.training.prepare import Prepared
from manymodels.training.script import RunScript, load_script, write_script
from manymodels.training.stages import Stage, stages
from manymodels.training.worker import run_batch, task_name, warm_worker

__all__ = ["RunResult", "refuse_changed_job", "resume", "train"]

_BY_USER = "the user stopped it"


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_id: The run.
        state: ``completed`` or ``failed_gate``.
        keys: Keys of the dataset.
        counts: State to keys; they add up to ``keys``.
        promoted: Keys whose alias moved.
        seconds: Wall time without imports and cluster start.
        startup_seconds: Cluster start and imports.
        dataset: Fingerprint of the dataset.
        failed_rungs: Rungs of the ladder that could not be fitted, with the reason.
    """

    run_id: str
    state: RunState
    keys: int
    counts: dict[str, int]
    promoted: int
    seconds: float
    startup_seconds: float
    dataset: str
    failed_rungs: dict[str, str]


def train(
    prepared: Prepared,
    progress: Progress,
    *,
    began: float | None = None,
    early: EarlyWorkers | None = None,
) -> RunResult:
    """Execute a plan: exactly it, and nothing else.

    Args:
        prepared: The job, its data and the plan.
        progress: Told what happens.
        began: ``time.perf_counter()`` when the work began (the split included); now when None.
        early: Workers that may have begun to start; they are taken over, or ended.

    Raises:
        RunInterrupted: The user stopped it.
        RunError: It stopped; ``resume`` continues it.
    """
    now = time.perf_counter()
    began = now if began is None else began
    layout = lay_out(prepared)
    meter = Meter(prepared.effort, now - began, starts=layout.start_guess, rungs=layout.rung_guess)
    script = write_script(prepared, layout)
    estimate = layout.estimate
    if estimate.here and prepared.job.compute.target == "local" and script.batches:
        progress.say(small_words(estimate.work))
    here = estimate.workers if estimate.here else 0
    early = early or EarlyWorkers()
    if here or not script.batches:
        early.close()
    result = _execute(prepared.job, prepared.registry, script, progress, began, meter, early, here=here)
    changed = prepared.resolved.source.changed()
    if changed is not None:
        path, what = changed
        progress.say(
            f"warning: {redact(path)} {what} during the run, whose models are of the rows as they were when it began; "
            "`manymodels train` again takes what is there now"
        )
    return result


def resume(run_id: str, registry: Registry, progress: Progress) -> RunResult:
    """Continue a run that was stopped: only batches without a receipt are run.

    Raises:
        NotFoundError: There is no such run.
        RunError: It has ended already.
    """
    began = time.perf_counter()
    record = registry.run(run_id)
    if record.state in ("completed", "failed_gate"):
        raise RunError(
            f"run {record.id} has ended: {record.state}; `manymodels train` starts a new one", run=record.id
        )
    script = load_script(registry.storage, record, registry.trust)
    registry.mark_running(record.id)
    return _execute(script.job, registry, script, progress, began, None, EarlyWorkers())


def refuse_changed_job(record: RunRecord, job: Job) -> None:
    """Refuse to resume a run for a job file that is no longer what the run was started with.

    Raises:
        JobError: With the fields that differ.
    """
    was, now = json.loads(record.job), json.loads(job_json(job))
    differing = sorted(
        f"{section}.{field}"
        if isinstance(was.get(section), dict) and isinstance(now.get(section), dict)
        else section
        for section in was.keys() | now.keys()
        if was.get(section) != now.get(section)
        for field in _differing(was.get(section), now.get(section))
    )
    if differing:
        raise JobError(
            f"the job changed since run {record.id} started ({', '.join(dict.fromkeys(differing))}); put it back to resume, "
            "or start a new run with `manymodels train`",
            run=record.id,
        )


def _differing(was: Any, now: Any) -> list[str]:
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return [""]
    return [field for field in was.keys() | now.keys() if was.get(field) != now.get(field)]


def _execute(
    job: Job,
    registry: Registry,
    script: RunScript,
    progress: Progress,
    began: float,
    meter: Meter | None,
    early: EarlyWorkers,
    *,
    here: int = 0,
) -> RunResult:
    with RunOutcomes(registry.storage, script) as outcomes:
        return _carry_out(job, registry, script, outcomes, progress, began, meter, early, here=here)


def _carry_out(
    job: Job,
    registry: Registry,
    script: RunScript,
    outcomes: RunOutcomes,
    progress: Progress,
    began: float,
    meter: Meter | None,
    early: EarlyWorkers,
    *,
    here: int,
) -> RunResult:
    run_id = script.run_id
    outcomes.load(registry.journalled(run_id))
    startup = 0.0
    try:
        left = [batch for batch in script.order() if batch not in outcomes.batches]
        if left and not outcomes.stopped_early:
            with open_executor(
                _target(job, len(left)),
                storage_root=registry.storage.root,
                warm=partial(warm_worker, script.work),
                here=here,
                started=early.take(),
            ) as executor:
                if executor.dashboard:
                    progress.say(f"Dask dashboard: {executor.dashboard}")
                progress.begin("training", sum(script.size(batch) for batch in left))
                deadline = job.training.deadline
                with Watch(
                    run_id,
                    executor,
                    progress.say,
                    timeout=_longest(job),
                    deadline=None if deadline is None else deadline - (time.perf_counter() - began),
                    beat=lambda: registry.touch(run_id),
                ) as watch:
                    opened = time.perf_counter()
                    seconds = job.selection.max_seconds
                    allowance = None
                    if seconds is not None:
                        allowance = Allowance(script, outcomes, seconds, executor.workers)
                    above = partial(_parents, job, registry, outcomes, run_id)
                    for stage in stages(registry.storage, script, left, outcomes, allowance, above):
                        _fan_out(script, stage, executor, registry, outcomes, progress, watch, meter)
                    fan_out = time.perf_counter() - opened
                startup = executor.startup_seconds
                if meter is not None:
                    # Where work began here, workers started meanwhile.
                    took = fan_out - startup if here else fan_out
                    meter.fanned_out(took, executor.workers, here=executor.name in ("serial", "here"))
        result = _publish(job, registry, script, outcomes, began, startup, meter)
    except (KeyboardInterrupt, RunInterrupted) as stop:
        reason = stop.message if isinstance(stop, RunInterrupted) else _BY_USER
        _end(registry, run_id, "interrupted", reason)
        raise RunInterrupted(
            f"run {run_id} was interrupted: {reason}; `manymodels runs resume {run_id}` continues it",
            run=run_id,
        ) from None
    except Exception as error:
        message = error.message if isinstance(error, ManyModelsError) else f"{type(error).__name__}: {error}"
        _end(registry, run_id, "failed", message)
        raise RunError(
            f"run {run_id} stopped: {message}; `manymodels runs resume {run_id}` continues it",
            run=run_id,
        ) from error
    for other, keys in registry.overtaken(run_id).items():
        progress.say(
            f"{keys:,} of this run's keys were not considered for promotion: {other} was published meanwhile, with newer "
            f"models of them; `manymodels models promote {job.name} --run {run_id}` promotes these instead"
        )
    return result


def _end(registry: Registry, run_id: str, state: RunState, reason: str) -> None:
    """Note how a run ended. When the registry is away, the run stays ``running``, of a driver that is gone: resumable."""
    with suppress(RegistryError):
        registry.end_run(run_id, state, reason)


def _parents(job: Job, registry: Registry, outcomes: RunOutcomes, run_id: str) -> Sequence[ParentLevel]:
    """The levels that keys are blended with, once they are fitted."""
    return outcomes.parents(registry.segment_sums(run_id)) if blended_levels(job) else ()


def _longest(job: Job) -> float:
    """Seconds that one fit of the job may take."""
    levels = job.hierarchy.timeout if job.hierarchy is not None and blended_levels(job) else 0.0
    return max(job.training.timeout, levels)


def _target(job: Job, batches: int) -> ComputeSpec:
    """The job's compute target; no more local workers than there are batches."""
    spec = job.compute
    if spec.target != "local":
        return spec
    return spec.model_copy(update={"workers": min(spec.local_workers, batches)})


def _fan_out(
    script: RunScript,
    stage: Stage,
    executor: Executor,
    registry: Registry,
    outcomes: RunOutcomes,
    progress: Progress,
    watch: Watch,
    meter: Meter | None,
) -> None:
    run_id = script.run_id

    def feed() -> Iterator[tuple[str, BatchTask]]:
        for task in script.tasks(stage.batches):
            if watch.stopping.is_set():
                return
            yield task_name(task), stage.made(task)

    with _interrupts(watch):
        for completions in together(executor.run(run_batch, feed(), check=watch.check)):
            watch.finished()
            # What came in meanwhile shares a commit. Nothing counts before it is committed.
            receipts = [replace(c.value, attempt=c.attempts) for c in completions if c.value is not None]
            for receipt in registry.journal(*receipts):
                outcomes.add(receipt)
                if meter is not None:
                    meter.add(receipt, rung=outcomes.is_rung(receipt.batch))
                if not outcomes.is_rung(receipt.batch):
                    progress.advance(receipt.outcomes.num_rows, receipt.states["failed"])
            for completion in completions:
                if completion.value is None:
                    raise completion.error or ComputeError(f"{completion.name} gave no receipt", run=run_id)
            if outcomes.stopped_early:
                progress.say(outcomes.stopped_early)
                return
    if watch.stopping.is_set() and len(outcomes.batches) < outcomes.expected:
        raise RunInterrupted(watch.reason, run=run_id)


@contextmanager
def _interrupts(watch: Watch) -> Iterator[None]:
    """The first Ctrl-C lets the batches in flight finish; the second stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        if watch.stopping.is_set():
            raise KeyboardInterrupt
        watch.stop(_BY_USER)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _publish(
    job: Job,
    registry: Registry,
    script: RunScript,
    outcomes: RunOutcomes,
    began: float,
    startup: float,
    meter: Meter | None,
) -> RunResult:
    counts = outcomes.counts()
    total = script.plan.num_rows
    if sum(counts.values()) != total:
        raise RunError(
            f"{total:,} keys went in but {sum(counts.values()):,} are accounted for ({counts}); nothing was published",
            run=script.run_id,
        )
    failed, attempted = counts["failed"], counts["trained"] + counts["failed"]
    limit = job.training.max_failed
    reason = outcomes.stopped_early
    if not reason and too_many(limit, failed, attempted):
        reason = gate_reason(limit, failed, attempted)
    state: RunState = "failed_gate" if reason else "completed"
    path = outcomes.write()
    promotion = None
    if state == "completed" and job.promotion.rule != "never":
        promotion = Promotion(
            alias=job.promotion.alias,
            rule=_rule(job),
            min_gain=job.promotion.min_gain,
            higher_is_better=script.settings.higher_is_better,
            as_of=_seen_until(script),
        )
    seconds = time.perf_counter() - began - startup
    if meter is not None and state == "completed":
        meter.write(registry.storage, script.run_id, script.order(), total, seconds)
    promoted = registry.publish_run(
        script.run_id,
        state=state,
        counts={name: counts[name] for name in STATES},
        seconds=seconds,
        startup_seconds=startup,
        outcomes_path=path,
        promotion=promotion,
        decisions=None if promotion is None else decisions(script, outcomes, path),
        reason=reason,
    )
    outcomes.discard_parts()
    return RunResult(
        run_id=script.run_id,
        state=state,
        keys=total,
        counts=counts,
        promoted=promoted,
        seconds=seconds,
        startup_seconds=startup,
        dataset=script.dataset,
        failed_rungs=outcomes.failed_rungs(),
    )


def _seen_until(script: RunScript) -> int | None:
    """The newest moment that a run as of a date saw; None for one that saw all there is."""
    data = script.job.data
    if data.as_of is None or data.time is None:
        return None
    type_ = script.settings.store.schema.field(data.time).type
    return AsOf.of(data.as_of, data.time, type_).last


def _rule(job: Job) -> PromotionRule:
    """The promotion rule for the registry.

    For forecasts the configurations have competed inside the run, on the same windows, the champion's among them with its
    privilege (``min_gain``), and the winner was refitted to the newest cutoff: comparing it with a champion's score on older
    windows would keep stale champions.
    """
    return "always" if job.task == "forecast" and job.promotion.rule == "better" else job.promotion.rule
