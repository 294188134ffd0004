"""The order of a run's batches: the levels that keys are blended with, the pilot, and the others, which learn from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from manymodels.records import BatchTask
from manymodels.selection.lessons import Lessons
from manymodels.storage import Storage
from manymodels.training.allowance import Allowance
from manymodels.training.learning import known_lessons, learn
from manymodels.training.outcomes import RunOutcomes
from manymodels.training.parents import ParentLevel
from manymodels.training.script import RunScript
from manymodels.training.worker import WorkSettings

__all__ = ["Stage", "stages"]


@dataclass(frozen=True)
class Stage:
    """Batches that run together.

    Attributes:
        batches: Their numbers.
        made: Completes a batch when it is handed out: what its keys learned, what they may be blended with, and the time that
            they have.
    """

    batches: Sequence[int]
    made: Callable[[BatchTask], BatchTask]


def stages(
    storage: Storage,
    script: RunScript,
    left: Sequence[int],
    outcomes: RunOutcomes,
    allowance: Allowance | None,
    parents: Callable[[], Sequence[ParentLevel]],
) -> Iterator[Stage]:
    """What to run, one after the other: the next is asked for when all batches of the last are done.

    Args:
        storage: The store.
        script: Of the run.
        left: Batches without a receipt, in their order.
        outcomes: What became of the others, and of those that were handed out.
        allowance: The time for searches, where it is limited.
        parents: Gives the levels that keys are blended with; asked once those are done.
    """
    above: tuple[ParentLevel, ...] = ()

    def stage(batches: Sequence[int], lessons: Lessons | None) -> Stage:
        def made(task: BatchTask) -> BatchTask:
            if outcomes.is_rung(task.batch):
                return task
            work: WorkSettings = replace(task.settings, parents=above)
            if lessons is not None:
                work = replace(work, fit=replace(work.fit, lessons=lessons))
            task = replace(task, settings=work)
            return task if allowance is None else allowance.given(task)

        return Stage(batches, made)

    first = [batch for batch in left if script.is_parent(batch)]
    if first:
        yield stage(first, None)
        if outcomes.stopped_early:
            return
    above = tuple(parents())
    pilot = [batch for batch in left if batch < script.settings.pilot_batches]
    if pilot:
        yield stage(pilot, None)
    done = {*first, *pilot}
    rest = [batch for batch in left if batch not in done]
    if rest and not outcomes.stopped_early:
        yield stage(rest, _lessons(storage, script, outcomes) if script.job.selection.learn else None)


def _lessons(storage: Storage, script: RunScript, outcomes: RunOutcomes) -> Lessons:
    """The run's, learned now unless it was stopped after it had learned."""
    known = known_lessons(storage, script.run_id)
    if known is not None:
        return known
    fit = script.settings.fit
    return learn(
        storage,
        script.run_id,
        fit.candidates,
        outcomes.pilot,
        trials=fit.selection.max_trials or len(fit.candidates),
        higher_is_better=script.settings.higher_is_better,
    )
