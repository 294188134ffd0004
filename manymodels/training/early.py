"""Local workers that start while the rows are split: both take seconds, and neither needs the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Self

from manymodels.compute.local import LocalWorkers
from manymodels.dataset.sources import Source
from manymodels.job.code import find_modules
from manymodels.job.job import Job
from manymodels.job.warming import warm_up
from manymodels.models.batched.trainers import all_batched
from manymodels.models.contract import Family
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
        source: Source,
        candidates: Sequence[CandidateSpec],
        families: Sequence[Family],
    ) -> None:
        """Start workers where there is so much to split that they are bound to be wanted.

        Args:
            job: The job.
            root: Of its store.
            source: The rows that are about to be split.
            candidates: What is tried on a key.
            families: Theirs, in the same order.
        """
        import cloudpickle

        isolation = job.training.isolation
        batched = isolation != "process" and all_batched(families)
        if job.compute.target != "local" or (source.rows or 0) < _MANY_ROWS[batched]:
            return
        isolated = isolation == "process" or any(family.isolated for family in families)
        warm = partial(
            warm_up,
            tuple(candidates),
            job.task,
            BATCH_MODULES,
            root=root,
            code=None,
            threads=job.compute.threads,
            isolated=isolated
            and isolation != "none"
            and not find_modules(job),  # which the store has yet to get
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
