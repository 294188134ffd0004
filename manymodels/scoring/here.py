"""Whether a scoring begins in this process, and the child that it needs there, which starts before there is work for it."""

from __future__ import annotations

from manymodels.compute.here import is_small, may_run_here
from manymodels.job.job import Job
from manymodels.job.settings import RunSettings
from manymodels.job.warming import await_child, start_child
from manymodels.scoring.costs import are_columns, unit_guess

__all__ = ["EarlyChild", "begins_here"]


def begins_here(job: Job, run: RunSettings, seconds: float, longest: float, *, threads: int = 1) -> bool:
    """Whether this process scores, at least the first batches.

    Args:
        job: The job.
        run: Whose models serve.
        seconds: Of work.
        longest: Of the unit that takes longest.
        threads: Of this process that would share it.
    """
    may = may_run_here(
        job.compute, job.training.isolation, isolated=run.isolated, own_code=run.fit.code is not None
    )
    small = is_small(seconds, longest, job.compute.local_workers, threads=threads)
    return job.compute.target == "serial" or (may and small)


class EarlyChild:
    """The child of this thread, which imports its libraries while the new rows are split.

    Args:
        job: The job.
        run: Whose models serve.
        keys: About as many are scored.
        runs_code: Whether code of the store may run.
    """

    def __init__(self, job: Job, run: RunSettings, keys: int, *, runs_code: bool) -> None:
        self._fit = run.fit
        self._needed = run.isolated and runs_code and not are_columns(run.fit)
        if self._needed and begins_here(job, run, unit_guess(run.fit) * keys, 0.0):
            start_child(run.fit)

    def wait(self) -> float:
        """Seconds that it took until the child was ready; it starts now where it had not."""
        return await_child(self._fit) if self._needed else 0.0
