"""Local workers that start while the rows are split: both take seconds, and neither needs the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Self

from manymodels.compute.local import LocalWorkers
from manymodels.job.job import Job
from manymodels.job.warming import warm_up
from manymodels.models.spec import CandidateSpec
from manymodels.training.worker import BATCH_MODULES

__all__ = ["EarlyWorkers"]

_MANY_ROWS = {True: 30_000_000, False: 2_000_000}
"""From here on work is not small, by whether keys are fitted at once: workers will be wanted."""


class EarlyWorkers:
    """Workers that may have begun to start; a context manager that ends them unless somebody took them over."""

    def __init__(self) -> None:
        self._workers: LocalWorkers | None = None

    def begin(
        self,
        job: Job,
        root: str,
        rows: int,
        candidates: Sequence[CandidateSpec],
        *,
        batched: bool,
        isolated: bool,
    ) -> None:
        """Start workers where there is so much to split that they are bound to be wanted.

        Args:
            job: The job.
            root: Of its store.
            rows: That are about to be split.
            candidates: What is tried on a key.
            batched: Whether keys are fitted at once.
            isolated: Whether they need a child, without code of the user's own: the store has yet to get that.
        """
        import cloudpickle

        if job.compute.target != "local" or rows < _MANY_ROWS[batched]:
            return
        warm = partial(
            warm_up,
            tuple(candidates),
            job.task,
            BATCH_MODULES,
            root=root,
            code=None,
            threads=job.compute.threads,
            isolated=isolated,
            batched=batched,
        )
        self._workers = LocalWorkers(job.compute, warm=cloudpickle.dumps(warm, protocol=5))

    def take(self) -> LocalWorkers | None:
        """The workers, for whoever ends them from now on; None where none began to start."""
        taken, self._workers = self._workers, None
        return taken

    def close(self) -> None:
        """End workers that nobody took over."""
        workers = self.take()
        if workers is not None:
            workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
