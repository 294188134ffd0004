"""What a run will take: wall time, memory of a worker, disk."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from manymodels.planning.receipts import RunCosts

__all__ = ["CHILD", "LOOPS", "Engine", "Estimate", "learned_engine", "makespan"]

CHILD = 1.3
"""Seconds until a child process is ready; workers that fit key by key bring theirs."""
LOOPS = 0.45
"""Seconds to load compiled loops."""

# First guesses of everything else but the fits, in seconds, from what runs kept of themselves (``costs.json``).
_BATCH = 0.04  # to read, write and journal a batch, whatever is in it
_KEY = {True: 2e-5, False: 2e-4}  # the same for each of its keys, by whether they are fitted at once
_PAUSES = 0.05  # between batches
_RUN = {
    True: 0.04,
    False: 0.12,
}  # to register and publish, by whether the run is in this process: workers are closed
_RUN_KEY = 1.5e-5  # the same, for each key of the dataset


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: Wall time without start-up, the rows being split.
        work: Seconds of work, if one process did all of it.
        workers: Processes that it counts on, or threads of this one.
        here: Whether it is done in this process.
        memory: Bytes of one worker.
        disk: Bytes of the new models.
    """

    seconds: float
    work: float
    workers: int
    here: bool
    memory: int
    disk: int


@dataclass(frozen=True)
class Engine:
    """What all but the fits will take: first guesses times what an earlier run took of them.

    Attributes:
        batched: Whether keys are fitted at once.
        here: Whether the batches run in the driver's process.
        starts: First guess of what is started or loaded before the first key is fitted.
        batches: Correction of what batches and their keys take.
        rungs: Correction of what rungs of the ladder take.
        run: Correction of what the run takes beside them.
        pauses: Seconds between the batches.
    """

    batched: bool
    here: bool
    starts: float = 0.0
    batches: float = 1.0
    rungs: float = 1.0
    run: float = 1.0
    pauses: float = _PAUSES

    def batch(self, keys: int) -> float:
        """Seconds of a batch beside its keys' fits."""
        return self.batches * (_BATCH + keys * _KEY[self.batched])

    def rung(self, guess: float) -> float:
        """Seconds of a rung of the ladder, with its first guess."""
        return self.rungs * guess

    def seconds(self, batches: Sequence[float], workers: int, keys: int) -> float:
        """Wall time of a run.

        Args:
            batches: Seconds of each, in the order in which they run.
            workers: Tasks that run at once.
            keys: Of the dataset.
        """
        beside = self.run * (_RUN[self.here] + keys * _RUN_KEY)
        if not batches:
            return beside
        return beside + self.pauses + self.batches * self.starts + makespan(batches, workers)


def learned_engine(past: Sequence[RunCosts], *, batched: bool, here: bool, starts: float = 0.0) -> Engine:
    """The first guesses, corrected by the run that tried the most keys.

    Where all runs were elsewhere (in this process, or on workers), what batches and rungs took still counts: lest one way look
    dear because it was tried, on a busy day, and the other cheap because it was not.

    Args:
        past: What earlier runs took, newest first.
        batched: Whether keys are fitted at once.
        here: Whether in the driver's process.
        starts: First guess of what is started or loaded before the first key is fitted.
    """
    guess = Engine(batched=batched, here=here, starts=starts)
    alike = [run for run in past if run.batched == batched]
    if not alike:
        return guess
    run = max(alike, key=lambda run: (run.here == here, run.tried))
    batches = run.batches * _BATCH + run.tried * _KEY[batched] + run.starts
    found = replace(
        guess,
        batches=_ratio(run.batch_seconds - run.key_seconds, batches),
        rungs=_ratio(run.rung_seconds, run.rungs),
    )
    if run.here != here:
        return found
    return replace(
        found,
        run=_ratio(run.outside, _RUN[here] + run.keys * _RUN_KEY),
        pauses=max(0.0, run.fan_out - run.packed),
    )


def _ratio(took: float, guessed: float) -> float:
    return max(took, 0.0) / guessed if guessed else 1.0


def makespan(batches: Iterable[float], workers: int) -> float:
    """Wall time of batches when each goes to the next worker that is free."""
    ends = [0.0] * workers
    for seconds in batches:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)
