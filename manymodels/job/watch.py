"""An eye on a run, in a thread of its own: that somebody hears what it is at, and that it ends when it should."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Self

from manymodels.compute.executor import Executor
from manymodels.exceptions import ComputeError
from manymodels.job.flights import InFlight, in_flight

__all__ = ["Watch"]

_LOOK = 0.2  # seconds between looks at the clock
_BEAT = 2.0  # seconds between heartbeats
_QUIET = 60.0  # seconds without a finished batch after which it is said what the workers are at
_PATIENCE = 300.0  # seconds beyond a key's own limit in which something must begin or finish
_GOODBYE = 1.0  # seconds to wait for the thread at the end: it may be waiting for the registry


class Watch:
    """Watches a run while its engine waits for batches; a context manager.

    It sends heartbeats, notices a request to stop and the deadline, says which key is slowest when nothing has finished for
    a while, and ends a run in which nothing happens any more.

    Args:
        run_id: The run, or the scoring.
        executor: That runs it.
        say: Where reports go.
        timeout: Seconds that an attempt at a key may take.
        deadline: Seconds from now after which no batch should begin.
        beat: The heartbeat; it returns whether somebody asked the run to stop.

    Attributes:
        stopping: Set when no further batch should begin; those in flight may finish.
        reason: Why.
    """

    def __init__(
        self,
        run_id: str,
        executor: Executor,
        say: Callable[[str], None],
        *,
        timeout: float,
        deadline: float | None = None,
        beat: Callable[[], bool] | None = None,
    ) -> None:
        self.stopping = threading.Event()
        self.reason = ""
        self._run_id = run_id
        self._executor = executor
        self._say = say
        self._timeout = timeout
        self._deadline = deadline
        self._beat = beat
        self._began = self._finished = time.monotonic()
        self._stalled: ComputeError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="manymodels-watch", daemon=True)

    def finished(self) -> None:
        """A batch has finished."""
        self._finished = time.monotonic()

    def stop(self, reason: str) -> None:
        """Let no further batch begin; the first reason counts."""
        if not self.stopping.is_set():
            self.reason = reason
            self.stopping.set()

    def check(self) -> None:
        """For ``Executor.run``.

        Raises:
            ComputeError: Nothing happens any more.
        """
        if self._stalled is not None:
            raise self._stalled

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join(_GOODBYE)

    def _look(self) -> None:
        next_beat = reported = self._began
        told = False
        while not self._ended.wait(_LOOK):
            now = time.monotonic()
            if self._beat is not None and now >= next_beat:
                next_beat = now + _BEAT
                # A registry that is away is the engine's business: it has receipts to write.
                with contextlib.suppress(Exception):
                    if self._beat():
                        self.stop("it was cancelled")
            if self._deadline is not None and now - self._began > self._deadline:
                self.stop("it reached its deadline, `training.deadline`")
            if self.stopping.is_set() and not told:
                told = True
                self._say(f"stopping, {self.reason}: batches in flight finish; Ctrl-C stops at once")
            if now - max(self._finished, reported) > _QUIET:
                reported = now
                self._report()

    def _report(self) -> None:
        """Say what the workers are at; note when that is nothing."""
        answers = self._executor.ask(in_flight)
        now = time.monotonic()
        busy = [
            (flight.seconds, flight, worker)
            for worker, flights in answers.items()
            for flight in flights or ()
            if flight.run_id == self._run_id
        ]
        silent = sorted(worker for worker, flights in answers.items() if flights is None)
        words = _in_words(max(busy, key=lambda entry: entry[0], default=None), silent)
        self._say(f"no batch finished for {now - self._finished:.0f} s; {words}")
        sign = max([self._finished, *(now - seconds for seconds, _, _ in busy)])
        if now - sign > self._timeout + _PATIENCE:
            self._stalled = ComputeError(f"nothing began or finished for {now - sign:.0f} s; {words}")


def _in_words(slowest: tuple[float, InFlight, str] | None, silent: list[str]) -> str:
    words = []
    if slowest is not None:
        seconds, flight, worker = slowest
        key = flight.key or "a rung of the ladder"
        words.append(f"slowest in flight is {key} ({flight.attempt}), for {seconds:.0f} s on {worker}")
    if silent:
        words.append(f"no answer from {', '.join(silent)}: is model code holding the interpreter there?")
    return "; ".join(words) or "no key is in flight: batches wait for workers, read, or write"
