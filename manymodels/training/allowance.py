"""The time that a run has for its searches (``selection.max_seconds``), shared among the keys that are still to be tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa

from manymodels.records import BatchTask
from manymodels.training.batch import SECONDS
from manymodels.training.outcomes import RunOutcomes
from manymodels.training.script import RunScript

__all__ = ["Allowance"]


class Allowance:
    """Gives each batch its part of the time when it is handed out, by what its keys are estimated to take of all that is left.

    What a batch does not use is there for those after it. A key of the pilot, on which everything is tried, counts as often as
    there are more trials.

    Args:
        script: Of the run, whose plan has ``SECONDS``.
        outcomes: What is done.
        seconds: That all searches may take, from now on.
        workers: That share them.
        now: The clock.
    """

    def __init__(
        self,
        script: RunScript,
        outcomes: RunOutcomes,
        seconds: float,
        workers: int,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._outcomes, self._workers, self._now = outcomes, workers, now
        self._until = now() + seconds
        fit = script.settings.fit
        everything = len(fit.candidates)
        self._pilot = script.settings.pilot_batches
        self._more = everything / min(fit.selection.max_trials or everything, everything)
        batch = script.plan.column("batch").to_numpy(zero_copy_only=False)
        tried = ~np.isnan(batch)
        self._batch = batch[tried].astype(np.int64)
        costs = script.plan.column(SECONDS).to_numpy()[tried]
        self._costs = np.where(self._batch < self._pilot, self._more, 1.0) * costs

    def given(self, task: BatchTask) -> BatchTask:
        """The batch with the time of each of its keys."""
        if self._outcomes.is_rung(task.batch):
            return task
        waiting = ~np.isin(self._batch, list(self._outcomes.batches))
        left = max(self._until - self._now(), 0.0) * self._workers
        rate = left / max(float(self._costs[waiting].sum()), 1e-9)
        if task.batch < self._pilot:
            rate *= self._more
        place = task.keys.column_names.index(SECONDS)
        seconds = task.keys.column(SECONDS).to_numpy() * rate
        return replace(task, keys=task.keys.set_column(place, SECONDS, pa.array(seconds)))
