"""Small work in this process; workers take over when it turns out to be more than that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import chain
from typing import Self, TypeVar

from manymodels.compute.executor import Completion, Executor, completion, invoke, nothing
from manymodels.compute.spec import ComputeSpec

__all__ = ["START_SECONDS", "HereFirst", "is_small", "may_run_here", "small_words"]

T = TypeVar("T")
R = TypeVar("R")

START_SECONDS = 1.6
"""What it takes to start local workers and have them import the product, on the machine of the first guesses."""

_PATIENCE = 3 * START_SECONDS  # a child process has started within it


def may_run_here(spec: ComputeSpec, isolation: str, *, isolated: bool, own_code: bool) -> bool:
    """Whether this process may do the work of local workers: what is held in check there is so here.

    Code that is not the product's is in a child process either way. Where the job wants no child, or limits the workers'
    memory, that code stays in the workers.

    Args:
        spec: The job's ``compute`` section.
        isolation: The job's ``training.isolation``.
        isolated: Whether models run in the child.
        own_code: Whether the job has modules of its own.
    """
    contained = isolated or (isolation != "none" and not own_code)
    return spec.target == "local" and spec.workers == "auto" and spec.memory == "auto" and contained


def is_small(seconds: float, longest: float, workers: int, *, threads: int = 1) -> bool:
    """Whether this process is done with work before workers that are yet to start would be.

    Args:
        seconds: Of work, in one process.
        longest: Of the part that cannot be shared.
        workers: That would share it.
        threads: Of this process that would.
    """
    here, apart = (max(seconds / parts, longest) for parts in (threads, workers))
    # Threads would never be later than workers, but much work is better kept apart from the driver.
    return here - apart < START_SECONDS and (threads == 1 or here < _PATIENCE)


def small_words(seconds: float) -> str:
    """What users are told of work that is small."""
    amount = f"~{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
    return f"in this process: {amount} of work; workers would take longer to start"


class HereFirst:
    """See ``Executor``: tasks in this process, for a while.

    Whether work is small is an estimate. When it has taken far longer than starting workers would have, they are started for
    the tasks that are left: a run of many tasks takes a few seconds longer, at worst, than with workers from the start.

    Args:
        threads: Tasks at once, where their work is NumPy's and Arrow's, which lets the others go on. With 1 they run in the
            caller's thread, whose child process stays for what comes next.
        open_workers: Starts the workers.
    """

    def __init__(self, threads: int, open_workers: Callable[[], Executor]) -> None:
        self._threads = threads
        self._open_workers = open_workers
        self._later: Executor | None = None

    @property
    def name(self) -> str:
        """See ``Executor``; ``here`` while there are no workers."""
        return "here" if self._later is None else self._later.name

    @property
    def workers(self) -> int:
        """See ``Executor``."""
        return self._threads if self._later is None else self._later.workers

    @property
    def dashboard(self) -> str | None:
        """See ``Executor``."""
        return None if self._later is None else self._later.dashboard

    @property
    def startup_seconds(self) -> float:
        """See ``Executor``; 0 while there are no workers."""
        return 0.0 if self._later is None else self._later.startup_seconds

    def run(
        self,
        function: Callable[[T], R],
        tasks: Iterable[tuple[str, T]],
        *,
        check: Callable[[], None] = nothing,
    ) -> Iterator[Completion[R]]:
        """See ``Executor``."""
        source = iter(tasks)
        if self._later is None:
            yield from self._here(function, source, check)
        for task in source:
            if self._later is None:
                self._later = self._open_workers()
            yield from self._later.run(function, chain([task], source), check=check)

    def _here(
        self, function: Callable[[T], R], source: Iterator[tuple[str, T]], check: Callable[[], None]
    ) -> Iterator[Completion[R]]:
        until = time.monotonic() + _PATIENCE
        if self._threads == 1:
            while time.monotonic() < until and (task := next(source, None)) is not None:
                yield completion(task[0], invoke(function, task[1]), 1)
                check()
            return
        running: dict[Future[bytes], str] = {}
        with ThreadPoolExecutor(self._threads) as pool:
            while True:
                while len(running) < self._threads and time.monotonic() < until:
                    task = next(source, None)
                    if task is None:
                        break
                    name, payload = task
                    running[pool.submit(invoke, function, payload)] = name
                if not running:
                    return
                done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for place, future in enumerate(done, 1):
                    one = completion(running.pop(future), future.result(), 1)
                    yield replace(one, more=place < len(done))
                check()

    def ask(self, function: Callable[[], R]) -> dict[str, R | None]:
        """See ``Executor``."""
        return {"this process": function()} if self._later is None else self._later.ask(function)

    def close(self) -> None:
        """See ``Executor``."""
        if self._later is not None:
            self._later.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
