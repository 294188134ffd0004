"""Run code that is not to be trusted with this process: in a warm child, with a deadline and a memory limit.

The child is started over ``subprocess``: a Dask worker under a nanny is daemonic, so multiprocessing, process pools and
loky fail in it. It stays alive from run to run; when it dies, the caller learns which unit of work had begun, and the
next run gets a new child.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Literal, Protocol

from manymodels.compute.child import DONE, FRAME, RAISED, READY, RUN, STARTED, VALUE, find
from manymodels.compute.messages import Died, Raised, Started, raised
from manymodels.compute.processes import end_tree, environment, import_path, resident
from manymodels.exceptions import ComputeError

__all__ = [
    "Died",
    "InProcess",
    "Raised",
    "Runner",
    "Sandbox",
    "Started",
    "release_warm_sandbox",
    "spare_sandbox",
    "warm_sandbox",
]

_POLL = 0.02  # seconds between looks at the child's memory
_LOOKS = 5  # of which one is at the child's own children too: listing these takes longer than all the rest
_NAP = 0.002  # seconds in which the messages of a child that sends many pile up: each would wake this process
_PIPE = 1 << 20  # bytes that a pipe holds, and a read takes
_MUCH = 1 << 16  # bytes at once, after which there is no nap: the child may be waiting for room in the pipe
_STARTUP = 60.0  # seconds for the child to import its modules, beside the caller's own deadline
_ANSWER = 0.2  # seconds for a child past its deadline to say where it is
_LONGEST_FAULT = 4000  # characters
_BOOT = (
    "import json, sys; settings = json.loads(sys.argv.pop()); sys.path[:] = settings.pop('path'); "
    "from manymodels.compute.child import main; main(**settings)"
)

# The kernel ends a child when the thread that started it ends (``die_with_parent``), and threads of a worker come and
# go: one thread that lives as long as the process starts all of them.
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="manymodels-spawner")


class Runner(Protocol):
    """What runs functions that stream: a ``Sandbox``, or ``InProcess`` without one."""

    def run(self, function: str, payload: object, *, timeout: float, memory: int) -> Iterator[object]:
        """Run a function and pass on what it yields.

        Args:
            function: ``module:name`` of a generator function of one argument.
            payload: Its argument.
            timeout: Seconds for each unit of work, counted from the last ``Started``.
            memory: Bytes of resident memory.

        Returns:
            What the function yields, in order, ``Started`` among it; then ``Raised`` or ``Died`` if it came to that.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class InProcess:
    """No isolation: the function runs here, and limits are not enforced."""

    def run(self, function: str, payload: object, *, timeout: float, memory: int) -> Iterator[object]:
        """See ``Runner``."""
        try:
            values = iter(find(function)(payload))
        except Exception as error:
            yield raised(error)
            return
        while True:
            try:
                value = next(values)
            except StopIteration:
                return
            except (Exception, SystemExit) as error:
                yield raised(error)
                return
            yield value

    def close(self) -> None:
        """See ``Runner``."""


class Sandbox:
    """A warm child process that runs one function at a time.

    Standard output and error of the child go nowhere; its working directory, environment, signal handlers and import
    path are put back between units of work.

    Args:
        preload: Modules that the child imports when it starts, while the caller goes on.
        paths: Folders or archives to put before this process's ``sys.path``.
        threads: BLAS and OpenMP threads of the child.
    """

    def __init__(
        self, *, preload: tuple[str, ...] = (), paths: tuple[str, ...] = (), threads: int = 1
    ) -> None:
        self._settings = {"path": [*paths, *import_path()], "preload": preload, "threads": threads}
        self._environment = environment(threads)
        self._running = threading.Lock()
        self._slot: list[_Child] = []
        # Also when a thread ends with its warm sandbox, and when the interpreter ends.
        self._closer = weakref.finalize(self, _end_all, self._slot)
        self._fresh()

    @property
    def pid(self) -> int | None:
        """The child's process id; None when there is no child, after a crash or ``close``."""
        return self._slot[0].process.pid if self._slot else None

    def run(self, function: str, payload: object, *, timeout: float, memory: int) -> Iterator[object]:
        """Run a function in the child.

        Closing the iterator early ends the child. Time during which the caller does not ask for the next value does
        not count against the deadline. Importing what a fresh child preloads does not either.

        Args:
            function: ``module:name`` of a generator function of one argument.
            payload: Its argument; anything that cloudpickle can pickle.
            timeout: Seconds for each unit of work, counted from the last ``Started``.
            memory: Bytes of resident memory of the child and its children.

        Returns:
            What the function yields, in order, ``Started`` among it; then ``Raised`` or ``Died`` if it came to that.

        Raises:
            ComputeError: Another run of this sandbox has not ended.
        """
        import cloudpickle

        content = cloudpickle.dumps((function, payload), protocol=5)
        if not self._running.acquire(blocking=False):
            raise ComputeError("this sandbox is still running another function; use one sandbox per thread")
        try:
            if self._slot and self._slot[0].process.poll() is not None:  # while it had nothing to do
                _end_all(self._slot)
            child = self._slot[0] if self._slot else self._fresh()
            conversation = _Conversation(child, content, timeout=timeout, memory=memory)
            keep = False
            try:
                yield from conversation.values()
                # What a child keeps after its work (caches, leaks) would count against innocent units of the next
                # run: half of what its imports left free must be free again.
                keep = conversation.done and resident(child.process.pid) <= (child.imported + memory) // 2
            finally:
                if not keep:
                    _end_all(self._slot)
        finally:
            self._running.release()

    def close(self) -> None:
        """End the child, its process group and its descendants."""
        _end_all(self._slot)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _fresh(self) -> _Child:
        child = _SPAWNER.submit(_Child, self._settings, self._environment).result()
        self._slot.append(child)
        return child


class _Warm(threading.local):
    key: object = None
    sandbox: Sandbox | None = None


_WARM = _Warm()
_SPARE: list[tuple[object, Sandbox]] = []
_SPARE_LOCK = threading.Lock()


def warm_sandbox(*, preload: tuple[str, ...] = (), paths: tuple[str, ...] = (), threads: int = 1) -> Sandbox:
    """This thread's sandbox with these settings, kept from call to call.

    A thread keeps one: other settings, or another ``sys.path``, end the former. It is closed when its thread or the
    interpreter ends.
    """
    key = _settings_key(preload, paths, threads)
    if _WARM.sandbox is None or _WARM.key != key:
        if _WARM.sandbox is not None:
            _WARM.sandbox.close()
        _WARM.sandbox = _spare(key) or Sandbox(preload=preload, paths=paths, threads=threads)
        _WARM.key = key
    return _WARM.sandbox


def spare_sandbox(*, preload: tuple[str, ...] = (), paths: tuple[str, ...] = (), threads: int = 1) -> Sandbox:
    """A sandbox that is started before the thread that needs it: the next one to call ``warm_sandbox`` takes it over."""
    key = _settings_key(preload, paths, threads)
    sandbox = Sandbox(preload=preload, paths=paths, threads=threads)
    with _SPARE_LOCK:
        _SPARE.append((key, sandbox))
    return sandbox


def release_warm_sandbox() -> None:
    """Make this thread's sandbox a spare one: the next thread to call ``warm_sandbox`` takes it over."""
    if _WARM.sandbox is not None:
        with _SPARE_LOCK:
            _SPARE.append((_WARM.key, _WARM.sandbox))
        _WARM.sandbox = None


def _settings_key(*settings: object) -> object:
    return (*settings, tuple(sys.path))


def _spare(key: object) -> Sandbox | None:
    """A spare sandbox with these settings; where there is none, one with others is closed: nobody asked for it."""
    with _SPARE_LOCK:
        place = next((n for n, (found, _) in enumerate(_SPARE) if found == key), 0)
        found, sandbox = _SPARE.pop(place) if _SPARE else (None, None)
    if found == key or sandbox is None:
        return sandbox
    sandbox.close()
    return None


def _end_all(children: list[_Child]) -> None:
    while children:
        children.pop().end()


class _Child:
    """A process and the pipes to it."""

    def __init__(self, settings: dict[str, Any], variables: dict[str, str]) -> None:
        request, self.request = os.pipe()
        self.reply, reply = os.pipe()
        self.faults: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self.preload: tuple[str, ...] = settings["preload"]
        self.ready = False
        self.imported = 0  # bytes that it occupied when it was ready
        for descriptor in (self.request, self.reply):
            os.set_blocking(descriptor, False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                with contextlib.suppress(OSError):
                    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE)
        inherited = {"requests": request, "replies": reply, "faults": self.faults.fileno()}
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter, our own code
                [sys.executable, "-c", _BOOT, json.dumps({**settings, **inherited, "parent": os.getpid()})],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.faults,  # until the child's own code runs
                pass_fds=inherited.values(),
                env=variables,
                start_new_session=True,  # Ctrl-C is the driver's business; and one group to kill
            )
        except BaseException:
            os.close(self.request)
            os.close(self.reply)
            self.faults.close()
            raise
        finally:
            os.close(request)
            os.close(reply)

    def where(self) -> str:
        """What the child's interpreter last said about where it was."""
        self.faults.seek(0)
        text = self.faults.read().decode(errors="replace")
        return text.partition("\n\nExtension modules:")[0].strip()[-_LONGEST_FAULT:]

    def ask_where(self) -> str:
        """Have a living child say where it is."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGUSR1)
        until = time.monotonic() + _ANSWER
        while time.monotonic() < until and self.process.poll() is None:
            time.sleep(_POLL)
            if text := self.where():
                return text
        return self.where()

    def end(self) -> None:
        end_tree(self.process.pid)
        self.process.wait()
        os.close(self.request)
        os.close(self.reply)
        self.faults.close()


class _Conversation:
    """One run: the request going out, frames coming in, and an eye on the child."""

    def __init__(self, child: _Child, content: bytes, *, timeout: float, memory: int) -> None:
        self.done = False
        self._child = child
        self._outgoing = memoryview(FRAME.pack(RUN, len(content)) + content)
        self._incoming = bytearray()
        self._at = 0
        self._timeout = timeout
        self._memory = memory
        self._started: Started | None = None
        self._deadline = time.monotonic() + timeout + (0.0 if child.ready else _STARTUP)
        self._overtime = 0
        self._next_look = 0.0
        self._looks = 0
        self._received = 0.0
        self._much = False
        self._space = bytearray(_PIPE)
        self._poll = select.poll()
        self._poll.register(child.reply, select.POLLIN)
        self._poll.register(child.request, select.POLLOUT)

    def values(self) -> Iterator[object]:
        while True:
            frame = self._frame()
            if frame is None:
                ended = self._wait()
                if ended is not None:
                    yield ended
                    return
                continue
            tag, value = frame
            if tag in (VALUE, STARTED):
                if tag == STARTED:
                    value = self._started = Started(value)
                    self._start_clock()
                before = time.monotonic()
                yield value
                self._deadline += time.monotonic() - before
            elif tag == RAISED:
                yield value
            elif tag == READY:
                self._child.ready = True
                self._child.imported = resident(self._child.process.pid)
                self._start_clock()
            elif tag == DONE:
                self.done = True
                return
            else:
                yield value
                return

    def _start_clock(self) -> None:
        self._deadline = time.monotonic() + self._timeout
        self._overtime = 0

    def _frame(self) -> tuple[bytes, object] | None:
        """The next whole frame's tag and value, if one has arrived; an empty tag for one that cannot be read."""
        buffer, begin = self._incoming, self._at + FRAME.size
        if len(buffer) < begin:
            return None
        tag, size = FRAME.unpack_from(buffer, self._at)
        if len(buffer) < begin + size:
            return None
        self._at = begin + size
        if not size:
            return tag, None
        try:
            with memoryview(buffer) as whole, whole[begin : self._at] as content:
                return tag, pickle.loads(content)  # noqa: S301 - from our own child, over a private pipe
        except Exception as error:
            return b"", raised(error)

    def _wait(self) -> Died | None:
        """Wait until more has come in; what became of the child when nothing more will."""
        del self._incoming[: self._at]
        self._at = 0
        process = self._child.process
        while True:
            if (
                self._child.faults.closed
            ):  # close() was called meanwhile, and our descriptors may be others' now
                return self._died("crash", "closed", "the sandbox was closed while it ran")
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + _POLL
                occupied = resident(process.pid, descendants=self._looks % _LOOKS == 0)
                self._looks += 1
                if occupied > self._memory:
                    return self._died(
                        "memory", f"memory {_size(self._memory)}", f"it occupied {_size(occupied)}"
                    )
            late = now >= self._deadline
            # What is in the pipe is read first: it may say that the unit ended in time. It holds no more than a read
            # takes, so a child that goes on sending values does not escape its deadline.
            self._overtime += late
            patience = 0.0 if late else min(self._next_look, self._deadline) - now
            events = dict(self._poll.poll(max(0.0, patience) * 1000))
            if self._child.request in events:
                self._send()
            if self._child.reply in events and self._overtime <= 64:
                return None if self._receive() else self._ended()
            if process.poll() is not None:  # without an end of the pipe: a grandchild still holds it
                return None if self._receive() else self._ended()
            if late:
                where = self._child.ask_where()
                if not self._child.ready:
                    where = f"it was still importing {', '.join(self._child.preload) or 'Python'}\n{where}".strip()
                return self._died("timeout", f"timeout {self._timeout:g} s", where)

    def _send(self) -> None:
        try:
            self._outgoing = self._outgoing[os.write(self._child.request, self._outgoing) :]
        except BlockingIOError:
            return
        except OSError:  # it died; the pipe back tells the rest
            self._outgoing = self._outgoing[:0]
        if not self._outgoing:
            self._poll.unregister(self._child.request)

    def _receive(self) -> bool:
        if not self._outgoing and not self._much and time.monotonic() - self._received < 2 * _NAP:
            time.sleep(_NAP)
        try:
            count = os.readv(self._child.reply, [self._space])
        except BlockingIOError:
            return False
        self._received, self._much = time.monotonic(), count > _MUCH
        self._incoming += memoryview(self._space)[:count]
        return count > 0

    def _ended(self) -> Died:
        try:
            code = self._child.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return self._died("crash", "closed pipe", "the child closed its pipe to the worker")
        where = self._child.where()
        if code >= 0:
            return self._died("crash", f"exit code {code}", where)
        if -code == signal.SIGKILL:
            where = "killed from outside; the system does that when it runs out of memory"
        try:
            return self._died("crash", signal.Signals(-code).name, where)
        except ValueError:
            return self._died("crash", f"signal {-code}", where)

    def _died(self, cause: Literal["crash", "timeout", "memory"], error: str, message: str) -> Died:
        return Died(cause, error, message, self._started)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
