"""What every executor promises: a function over many tasks, completions as they finish, no process left behind."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from manymodels.compute.messages import raised
from manymodels.compute.spec import ComputeSpec
from manymodels.exceptions import ComputeError

if TYPE_CHECKING:
    from manymodels.compute.dask import DaskExecutor
    from manymodels.compute.local import LocalWorkers

__all__ = [
    "PATIENCE",
    "Completion",
    "Executor",
    "Result",
    "completion",
    "invoke",
    "nothing",
    "open_cluster",
    "open_executor",
    "together",
]

T = TypeVar("T")
R = TypeVar("R")


def nothing() -> None:
    """The check of a run that nobody watches."""


PATIENCE = 60.0
"""Seconds to wait for a scheduler, for the first worker, and for a worker to come back."""


@dataclass(frozen=True)
class Completion(Generic[R]):
    """One task's end.

    Attributes:
        name: The task's name.
        value: What the function returned; None when there is an error.
        error: Set when the function raised (class and message in the message, the traceback as a note), when its value
            could not be sent back, or when workers died while they ran it.
        attempts: How often the task was tried, as far as this side was told.
        more: Whether the next one is there already: nobody has to wait for it.
    """

    name: str
    value: R | None
    error: ComputeError | None
    attempts: int
    more: bool = False


class Executor(Protocol):
    """Runs a function over tasks, here or elsewhere; a context manager that closes itself."""

    @property
    def name(self) -> str:
        """``serial``, ``here``, ``local`` or ``dask``."""
        ...

    @property
    def workers(self) -> int:
        """Tasks that run at once."""
        ...

    @property
    def dashboard(self) -> str | None:
        """Address of the Dask dashboard, when there is one."""
        ...

    @property
    def startup_seconds(self) -> float:
        """Wall time until the executor was ready."""
        ...

    def run(
        self,
        function: Callable[[T], R],
        tasks: Iterable[tuple[str, T]],
        *,
        check: Callable[[], None] = nothing,
    ) -> Iterator[Completion[R]]:
        """Run ``function(payload)`` for every task; at least once each.

        Args:
            function: Importable on the workers, or defined in the main script or a notebook. Returns something that
                pickles.
            tasks: Unique names and payloads; consumed as workers become free, with a few per worker in flight.
            check: Called about every second while this process waits; what it raises ends the run.

        Returns:
            Completions in the order in which tasks finish. Closing the iterator cancels what has not begun.

        Raises:
            ComputeError: No task can run any more: no workers for too long, or the scheduler is away.
        """
        ...

    def ask(self, function: Callable[[], R]) -> dict[str, R | None]:
        """Call a quick function in every worker process, beside what runs there; from any thread.

        Args:
            function: Importable on the workers.

        Returns:
            Worker to answer; None for one that gave none in a few seconds.
        """
        ...

    def close(self) -> None:
        """End every process that this executor started. It may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def together(completions: Iterable[Completion[R]]) -> Iterator[list[Completion[R]]]:
    """Completions as they come, those in one list that had come when the first of them was asked for; never an empty one."""
    waiting: list[Completion[R]] = []
    for one in completions:
        waiting.append(one)
        if not one.more:
            yield waiting
            waiting = []


def open_executor(
    spec: ComputeSpec,
    *,
    storage_root: str | None = None,
    warm: Callable[[], object] | None = None,
    patience: float | None = None,
    here: int = 0,
    started: LocalWorkers | None = None,
) -> Executor:
    """The executor that a job asks for, ready to run.

    Args:
        spec: The job's ``compute`` section.
        storage_root: The store that workers must be able to read and write; None when they need none.
        warm: Called in every worker process before its first task, for what it imports and starts; what it raises is passed
            over. Not called where there are no worker processes.
        patience: Seconds to wait for a scheduler, for the first worker, and for a worker to come back; ``PATIENCE``
            when None.
        here: Tasks at once in this process, for work that is too small for local workers: it begins in this process, see
            ``HereFirst``. 0 starts them.
        started: Local workers that began to start already; the executor ends them.

    Raises:
        ComputeError: No scheduler or no workers; workers of other versions; workers that do not reach the store.
    """
    begin = time.monotonic()
    patience = PATIENCE if patience is None else patience
    if spec.target == "serial":
        from manymodels.compute.serial import SerialExecutor

        return SerialExecutor()
    if here and spec.target == "local":
        from manymodels.compute.here import HereFirst

        return HereFirst(here, lambda: open_executor(spec, warm=warm, patience=patience))
    import cloudpickle

    code = b"" if warm is None else cloudpickle.dumps(warm, protocol=5)
    executor: DaskExecutor
    if spec.target == "local":
        from manymodels.compute.local import LocalWorkers

        workers = started or LocalWorkers(spec, warm=code)  # they import Dask while this process does
        try:
            from manymodels.compute.dask import open_local

            executor = open_local(spec, workers, patience=patience)
        except BaseException:
            workers.close()
            raise
    else:
        from manymodels.compute.dask import open_scheduler

        executor = open_scheduler(spec, storage_root=storage_root, warm=code, patience=patience)
    executor.startup_seconds = time.monotonic() - begin
    return executor


@contextmanager
def open_cluster(
    spec: ComputeSpec, *, storage_root: str, patience: float | None = None
) -> Iterator[Callable[[Sequence[Any]], list[Any]]]:
    """The scheduler that a job names, as Dask's current one, for what Dask does itself: the shuffle of a split.

    Args:
        spec: The job's ``compute`` section, with an address.
        storage_root: The store that workers must be able to read and write.
        patience: Seconds to wait for a scheduler, for the first worker, and for a worker to come back; ``PATIENCE``
            when None.

    Returns:
        A function that computes Dask's collections there.

    Raises:
        ComputeError: As ``open_executor``.
    """
    from manymodels.compute.dask import open_scheduler

    patience = PATIENCE if patience is None else patience
    with (
        open_scheduler(spec, storage_root=storage_root, warm=b"", patience=patience) as executor,
        executor.client.as_current(),
    ):
        yield executor.compute


Result = tuple[bool, Any]
"""Whether the function returned, and its value; else the error as ``messages.Raised``."""


def invoke(function: Callable[[T], R], payload: T) -> bytes:
    """Call the function; the pickled ``Result``, whatever happens.

    An exception is returned as text: not every exception can be pickled, and not every one can be read elsewhere.
    """
    try:
        return pickle.dumps((True, function(payload)), protocol=5)
    except (Exception, SystemExit) as error:  # sys.exit would end a Dask worker
        return pickle.dumps((False, raised(error)), protocol=5)


def completion(name: str, content: bytes, attempts: int) -> Completion[Any]:
    """A task's completion from what ``invoke`` returned."""
    try:
        returned, value = pickle.loads(content)  # noqa: S301 - from our own workers
    except Exception as error:
        returned, value = False, raised(error)
    if returned:
        return Completion(name, value, None, attempts)
    message = " ".join(value.message.split())
    failure = ComputeError(f"task {name} failed: {value.error}: {message}")
    failure.add_note(value.traceback)
    return Completion(name, None, failure, attempts)
