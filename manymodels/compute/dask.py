# mypy: disable-error-code="no-untyped-call"
# (distributed publishes types, but not for all that it publishes)
"""Dask: a scheduler in this process with workers of this machine, or somebody's scheduler by address.

Everything that this room knows of Dask is in this module, in ``connecting`` and, for what runs on workers, in ``worker``.
Much of it answers a way in which Dask really behaves; the comments say which.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import queue
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self, TypeVar

import cloudpickle
import dask
from distributed import KilledWorker, LocalCluster, Security
from distributed.scheduler import NoValidWorkerError
from distributed.system import MEMORY_LIMIT

from manymodels.compute.checks import SAME_VERSIONS, StoreProbe, check_versions, probe_store
from manymodels.compute.connecting import await_workers, connect, quiet
from manymodels.compute.executor import Completion, completion, nothing
from manymodels.compute.local import LocalWorkers
from manymodels.compute.spec import ComputeSpec
from manymodels.compute.worker import call, is_warm, warm_up
from manymodels.exceptions import ComputeError

__all__ = ["DaskExecutor", "open_local", "open_scheduler"]

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 4  # deaths of workers that one task may be in flight at
_PER_WORKER = 3  # tasks in flight: one runs, the others cover the driver's time to journal a result
_TICK = 1.0  # seconds without a completion after which the workers are counted
_COUNT_EVERY = 5.0  # seconds after which they are counted anyway
_ANSWER = 3.0  # seconds for a worker to answer a question
_GATHER = 10.0  # seconds to wait for a finished task's result before the workers are counted again

_SCHEDULER_CONFIG = {
    # Dask blames every task that a dead worker was processing, also those that merely waited there. At 1.0 a
    # worker is given a task when it has a free thread; the others wait at the scheduler and stay innocent.
    "distributed.scheduler.worker-saturation": 1.0,
    # The default of 3 means 4 attempts that nobody else can count; run() counts and retries.
    "distributed.scheduler.allowed-failures": 0,
    # Without workers, tasks would wait for ever. run() gives up long before this, with a better message.
    "distributed.scheduler.no-workers-timeout": "1h",
    # LocalCluster drops a worker for good that is just starting again when this strikes. LocalWorkers keeps the
    # workers, so that it has none to drop; raised all the same, because 15 s is nothing on a busy machine.
    "distributed.deploy.lost-worker-timeout": "1h",
    # Sends warnings to standard error whenever the machine is busy.
    "distributed.admin.tick.limit": "1h",
    # See ``worker``: neither is asked for where each second of a processor is a fit's.
    "distributed.admin.tick.interval": "1s",
    "distributed.worker.profile.enabled": False,
}


def open_local(
    spec: ComputeSpec,
    workers: LocalWorkers,
    *,
    patience: float,
) -> DaskExecutor:
    """A scheduler in this process for workers of this machine, which it takes over; see ``open_executor``."""
    with contextlib.ExitStack() as stack:
        stack.callback(workers.close)
        stack.enter_context(quiet())
        with dask.config.set(_SCHEDULER_CONFIG):
            cluster = LocalCluster(
                n_workers=0,
                processes=True,
                host="127.0.0.1",
                # The default listens on all interfaces while it prints 127.0.0.1; it has no authentication.
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        stack.callback(cluster.close)
        stack.callback(workers.close)  # before the scheduler: they would be replaced when it leaves them
        client = connect(cluster.scheduler_address, Security(), patience)
        stack.callback(client.close)
        memory = MEMORY_LIMIT // workers.count if spec.memory == "auto" else spec.memory
        workers.connect(cluster.scheduler_address, memory)
        await_workers(client, workers.count, patience, workers)
        executor = DaskExecutor(
            client,
            stack,
            name="local",
            dashboard=client.dashboard_link if importlib.util.find_spec("bokeh") else None,
            local=workers,
            patience=patience,
        )
        executor.await_warmth()
        executor.closing = stack.pop_all()
        return executor


def open_scheduler(
    spec: ComputeSpec,
    *,
    storage_root: str | None,
    warm: bytes,
    patience: float,
) -> DaskExecutor:
    """An existing scheduler whose workers fit this driver and reach the store; see ``open_executor``."""
    try:
        security = Security(**spec.security)
    except (TypeError, ValueError) as error:
        raise ComputeError(f"`compute.security` does not fit distributed.Security: {error}") from error
    with contextlib.ExitStack() as stack:
        stack.enter_context(quiet())
        client = connect(str(spec.address), security, patience)
        stack.callback(client.close)
        await_workers(client, 1, patience, None)
        executor = DaskExecutor(
            client,
            stack,
            name="dask",
            dashboard=client.dashboard_link if client.scheduler_info()["services"].get("dashboard") else None,
            storage_root=storage_root,
            patience=patience,
        )
        if warm:
            client.run(warm_up, warm, on_error="ignore")
        executor.closing = stack.pop_all()
        return executor


@dataclass
class _Flight:
    """A task that was submitted and has not ended."""

    name: str
    payload: bytes
    deaths: int = 0


class DaskExecutor:
    """See ``Executor``.

    Attributes:
        client: The connection.
        closing: What ``close`` undoes, last first.
    """

    def __init__(
        self,
        client: Any,  # a Client; most of its methods are not typed
        closing: contextlib.ExitStack,
        *,
        name: str,
        dashboard: str | None,
        patience: float,
        local: LocalWorkers | None = None,
        storage_root: str | None = None,
    ) -> None:
        self.client = client
        self.closing = closing
        self.name = name
        self.dashboard = dashboard
        self.startup_seconds = 0.0
        self._local = local
        self._storage_root = storage_root
        self._patience = patience
        self._address = str(self.client.scheduler.address)
        self._checked: set[str] = set()
        self._counted = 0.0
        self._missing_since: float | None = None
        self._threads = 0
        self._addresses: tuple[str, ...] = ()
        self._watch()

    @property
    def workers(self) -> int:
        """See ``Executor``."""
        return self._threads

    def await_warmth(self) -> None:
        """Wait until the workers are warm, for as long as for workers: a busy machine takes its time over imports."""
        until = time.monotonic() + self._patience
        while time.monotonic() < until and not all(self.ask(is_warm).values()):
            time.sleep(0.02)

    def run(
        self,
        function: Callable[[T], R],
        tasks: Iterable[tuple[str, T]],
        *,
        check: Callable[[], None] = nothing,
    ) -> Iterator[Completion[R]]:
        """See ``Executor``."""
        source = iter(tasks)
        # Pickled here: what Dask sees is bytes, so nothing is tokenized, searched for futures, or shared.
        code = cloudpickle.dumps(function, protocol=5)
        group = f"manymodels-{uuid.uuid4().hex}"
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        flights: dict[Any, _Flight] = {}
        submitted = 0

        def submit(new: list[_Flight]) -> None:
            # All keys of a run are in one group, and have no resources or workers assigned: Dask keeps only such tasks
            # waiting at the scheduler; others pile up on workers and are blamed with them. One graph for all that are new:
            # most of what a task costs the scheduler is its graph.
            nonlocal submitted
            keys = [(group, submitted + place) for place in range(len(new))]
            submitted += len(new)
            payloads = [flight.payload for flight in new]
            futures = self.client.map(call, [code] * len(new), payloads, key=keys, pure=False, retries=0)
            for future, flight in zip(futures, new, strict=True):
                flights[future] = flight
                future.add_done_callback(ended.put)

        try:
            again: list[_Flight] = []
            while True:
                # What is bounded is the tasks in flight: each costs the scheduler 16 KiB and up to 0.5 ms.
                free = max(2, _PER_WORKER * self._threads) - len(flights) - len(again)
                new = (
                    _Flight(name, cloudpickle.dumps(payload, protocol=5))
                    for name, payload in islice(source, max(0, free))
                )
                if due := [*again, *new]:
                    submit(due)
                if not flights:
                    return
                finished, again = self._land(self._next(ended, check), flights, ended)
                for place, done in enumerate(finished, 1):
                    yield replace(done, more=place < len(finished))
        finally:
            self._cancel(flights)

    def _land(
        self, futures: list[Any], flights: dict[Any, _Flight], ended: queue.SimpleQueue[Any]
    ) -> tuple[list[Completion[Any]], list[_Flight]]:
        """The completions of futures that have ended, and what must run again; what runs again by itself stays in flight."""
        finished: list[Completion[Any]] = []
        again: list[_Flight] = []
        contents = self._results(futures)
        for future in futures:
            content = contents.get(future)
            if content is None and future.status != "error":
                future.add_done_callback(ended.put)
                continue
            flight = flights[future]
            if content is not None:
                finished.append(completion(flight.name, content, flight.deaths + 1))
            elif (failed := self._failure(future.exception(), flight)) is not None:
                finished.append(failed)
            else:
                again.append(flight)
            del flights[future]
            # A finished task runs again when its worker dies, for as long as anybody holds its future.
            future.release()
        if len(finished) + len(again) < len(futures):
            self._watch()
        return finished, again

    def compute(self, collections: Sequence[Any]) -> list[Any]:
        """Compute Dask's own collections: the shuffle of a split.

        Raises:
            ComputeError: No task can run any more: no workers for too long, or the scheduler is away.
            Exception: What a task raised.
        """
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting = {future: place for place, future in enumerate(self.client.compute(list(collections)))}
        results: list[Any] = [None] * len(waiting)
        try:
            for future in waiting:
                future.add_done_callback(ended.put)
            while waiting:
                futures = self._next(ended)
                found = self._results(futures)
                for future in futures:
                    if future.status == "error":
                        raise future.exception()
                    if future not in found:
                        future.add_done_callback(ended.put)
                        continue
                    results[waiting.pop(future)] = found[future]
                    future.release()
                if len(found) < len(futures):
                    self._watch()
            return results
        finally:
            self._cancel(waiting)

    def _cancel(self, futures: Iterable[Any]) -> None:
        """This does not stop what is running: a sandbox's deadline does, or the end of local workers."""
        with contextlib.suppress(Exception):
            self.client.cancel(list(futures))

    def ask(self, function: Callable[[], R]) -> dict[str, R | None]:
        """See ``Executor``."""
        answers: dict[str, R | None] = {}
        for address in self._addresses:
            answers[address] = None
            # One by one, and not by Client.run(): it waits for ever for a worker whose interpreter is held.
            with contextlib.suppress(Exception):
                run, wait = self.client._run, {"workers": [address], "callback_timeout": _ANSWER}
                answers[address] = self.client.sync(run, function, **wait)[address]
        return answers

    def _next(self, ended: queue.SimpleQueue[Any], check: Callable[[], None] = nothing) -> list[Any]:
        """Wait for a future that has ended, and count the workers meanwhile; it, and those that have ended as well.

        Raises:
            ComputeError: No task can run any more.
        """
        while True:
            check()
            try:
                futures = [ended.get(timeout=_TICK)]
            except queue.Empty:
                self._watch()
                continue
            with contextlib.suppress(queue.Empty):
                while True:
                    futures.append(ended.get_nowait())
            if time.monotonic() - self._counted > _COUNT_EVERY:
                self._watch()
            return futures

    def _results(self, futures: list[Any]) -> dict[Any, Any]:
        """What futures that have ended hold, asked for at once.

        One is missing that has an error, or whose worker died since it finished: it is made again, and may take as long again.

        Raises:
            ComputeError: The scheduler is away.
        """
        # A client that loses its scheduler cancels its own futures, also when it finds the scheduler again.
        if any(future.status == "cancelled" for future in futures):
            raise ComputeError(f"lost the connection to the scheduler at {self._address}")
        finished = [future for future in futures if future.status == "finished"]
        if not finished:
            return {}
        try:
            # As Client.gather(), which would wait for ever. A mapping keeps the place of what is skipped: it is None there.
            gather, skip = self.client._gather, {"errors": "skip", "callback_timeout": _GATHER}
            found = self.client.sync(gather, dict(enumerate(finished)), **skip)
        except TimeoutError:
            return {}
        except Exception as error:  # whatever a broken connection raises
            raise self._lost(error) from error
        return {
            future: found[place]
            for place, future in enumerate(finished)
            if found[place] is not None or future.status == "finished"
        }

    def _lost(self, error: Exception) -> ComputeError:
        said = str(error) or type(error).__name__
        return ComputeError(f"lost the scheduler at {self._address}: {said}")

    def _failure(self, error: BaseException, flight: _Flight) -> Completion[Any] | None:
        """The completion of a task that ended without a result; None where it must run again."""
        if isinstance(error, KilledWorker):
            # By then it has had `allowed_failures + 1` deaths: 4, where that setting is the default.
            flight.deaths += error.allowed_failures + 1
            if flight.deaths < _ATTEMPTS:
                return None
            return self._failed(flight, f"{flight.deaths} workers died while they had it{self._last_words()}")
        if isinstance(error, NoValidWorkerError):
            raise self._nobody()
        flight.deaths += 1
        return self._failed(flight, f"{type(error).__name__}: {' '.join(str(error).split())}")

    def _failed(self, flight: _Flight, reason: str) -> Completion[Any]:
        failure = ComputeError(f"task {flight.name} failed: {reason}")
        return Completion(flight.name, None, failure, flight.deaths)

    def _watch(self) -> None:
        """Count the workers; tasks have no timeout in Dask, and without workers they wait for ever.

        Raises:
            ComputeError: There have been none for too long, or one that joined does not fit.
        """
        try:
            # As Client.nthreads(), which would wait for ever for a scheduler that stands still.
            count = self.client.scheduler.ncores
            threads = self.client.sync(count, workers=None, callback_timeout=self._patience)
        except Exception as error:  # whatever a broken connection raises
            raise self._lost(error) from error
        self._addresses = tuple(threads)
        now = self._counted = time.monotonic()
        if threads:
            self._missing_since = None
            self._threads = sum(threads.values())
            if self._local is None and not self._checked.issuperset(threads):
                self._check_workers()
        elif self._missing_since is None:
            self._missing_since = now
        elif now - self._missing_since > self._patience:
            raise self._nobody()

    def _nobody(self) -> ComputeError:
        return ComputeError(
            f"no workers at {self._address} for {self._patience:g} s{self._last_words()}; start workers"
        )

    def _last_words(self) -> str:
        words = "" if self._local is None else " ".join(self._local.last_words.split())
        return f" (last words of one: {words})" if words else ""

    def _check_workers(self) -> None:
        """Check that workers would make the same models as this process, and reach the store.

        Raises:
            ComputeError: What differs, or who does not reach it.
        """
        # By asking, not by running code: code of one Python minor version may crash another.
        found = self.client.get_versions(packages=SAME_VERSIONS)
        joined = {address: found["workers"][address] for address in found["workers"].keys() - self._checked}
        check_versions(found["client"], joined)
        if self._storage_root is not None and joined:
            with StoreProbe(self._storage_root) as probe:
                answers = self.client.run(
                    probe_store, probe.storage.root, probe.folder, workers=list(joined), on_error="return"
                )
                # A worker that left meanwhile answers with an error; one that comes back is checked then.
                gone = {address for address, answer in answers.items() if isinstance(answer, OSError)}
                for address, answer in answers.items():
                    if isinstance(answer, Exception):
                        answers[address] = address, "", f"{type(answer).__name__}: {answer}"
                probe.check({address: answers[address] for address in answers.keys() - gone})
            joined = {address: joined[address] for address in joined.keys() - gone}
        self._checked.update(joined)

    def close(self) -> None:
        """See ``Executor``."""
        self.closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
