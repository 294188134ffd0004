"""What a run will take: wall time, memory of a worker, disk."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manymodels.planning.receipts import RunCosts

__all__ = ["Engine", "Estimate", "learned_engine", "makespan"]

# First guesses of everything but the fits, in seconds: `benchmarks/estimates.py --calibrate`.
_BATCH = 0.04  # to read, write and journal a batch, whatever is in it
_KEY = {True: 2e-5, False: 2e-4}  # the same for each of its keys, by whether they are fitted at once
_CHILD = 1.3  # until the child of this process is ready; workers bring theirs
_WARM = {True: 0.1, False: 0.1}  # imports, by whether the first batch is in this process: workers come warm
_RUN, _RUN_KEY = 0.15, 3e-5  # to open, plan, register and publish: a run, and each key of the dataset


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
        child: Whether a child process is to be started meanwhile.
        batches: Correction of what batches and their keys take.
        rungs: Correction of what rungs of the ladder take.
        run: Correction of what the run takes beside them.
        warm: Seconds until the first fit; None for the first guess.
    """

    batched: bool
    child: bool
    batches: float = 1.0
    rungs: float = 1.0
    run: float = 1.0
    warm: float | None = None

    def batch(self, keys: int) -> float:
        """Seconds of a batch beside its keys' fits."""
        return self.batches * (_BATCH + keys * _KEY[self.batched])

    def rung(self, guess: float) -> float:
        """Seconds of a rung of the ladder, with its first guess."""
        return self.rungs * guess

    def seconds(self, batches: Sequence[float], workers: int, keys: int, *, here: bool) -> float:
        """Wall time of a run.

        Args:
            batches: Seconds of each, in the order in which they run.
            workers: Tasks that run at once.
            keys: Of the dataset.
            here: Whether the batches run in this process.
        """
        beside = self.run * (_RUN + keys * _RUN_KEY)
        if not batches:
            return beside
        warm = _WARM[here] if self.warm is None else self.warm
        return beside + warm + self.batches * _CHILD * self.child + makespan(batches, workers)


def learned_engine(past: Sequence[RunCosts], *, batched: bool, child: bool, here: bool) -> Engine:
    """The first guesses, corrected by the run that tried the most keys.

    Args:
        past: What earlier runs took, newest first.
        batched: Whether keys are fitted at once.
        child: Whether some are fitted in a child process.
        here: Whether in the driver's process.
    """
    starts = child and here
    guess = Engine(batched=batched, child=starts)
    alike = [run for run in past if run.batched == batched and run.here == here]
    if not alike:
        return guess
    run = max(alike, key=lambda run: run.tried)
    batches = run.batches * _BATCH + run.tried * _KEY[batched] + _CHILD * starts
    return Engine(
        batched=batched,
        child=starts,
        batches=_ratio(run.batch_seconds - run.key_seconds, batches),
        rungs=_ratio(run.rung_seconds, run.rungs),
        run=_ratio(run.outside, _RUN + run.keys * _RUN_KEY),
        warm=max(0.0, run.fan_out - run.packed),
    )


def _ratio(took: float, guessed: float) -> float:
    return max(took, 0.0) / guessed if guessed else 1.0


def makespan(batches: Iterable[float], workers: int) -> float:
    """Wall time of batches when each goes to the next worker that is free."""
    ends = [0.0] * workers
    for seconds in batches:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)
