"""The child's side of a sandbox: run functions, stream what they yield, stay clean between units of work.

Frames in both directions: a tag of one byte, the length of the content in eight bytes, the content. The parent sends
``RUN``; the child answers with ``READY`` once, and for each run with any number of ``STARTED`` and ``VALUE`` frames, then
``RAISED`` or ``DONE``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import pickle
import select
import signal
import struct
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any, BinaryIO

from manymodels.compute.messages import Raised, Started, raised
from manymodels.compute.processes import die_with_parent

__all__ = ["DONE", "FRAME", "RAISED", "READY", "RUN", "STARTED", "VALUE", "find", "main"]

FRAME = struct.Struct("<cQ")
_SIGNALS = (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)  # each costs 3 µs a unit
RUN, READY, STARTED, VALUE, RAISED, DONE = b"g", b"r", b"s", b"v", b"x", b"d"


def find(function: str) -> Any:
    """What ``module:name`` names.

    Raises:
        ImportError: There is no such module.
        AttributeError: There is no such name in it.
    """
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def main(
    *, parent: int, requests: int, replies: int, faults: int, preload: Sequence[str], threads: int
) -> None:
    """Serve runs until the parent closes the pipe.

    Args:
        parent: Process id of the parent.
        requests: Descriptor to read runs from.
        replies: Descriptor to write frames to.
        faults: Descriptor of the file that says where a crash or a hang was.
        preload: Modules to import first.
        threads: BLAS and OpenMP threads, also of libraries that do not read the environment.
    """
    die_with_parent(parent)
    os.dup2(0, 2)  # /dev/null: only what fails before this line is worth reading
    for descriptor in (requests, replies, faults):
        os.set_inheritable(descriptor, False)
    faulthandler.enable(faults)
    # The parent asks "where are you?" before it kills a child for its deadline; this answers from C, so that it works
    # while model code holds the interpreter lock.
    faulthandler.register(signal.SIGUSR1, faults)
    threading.Thread(target=_end_with_parent, args=(requests,), name="parent", daemon=True).start()
    for module in preload:
        with contextlib.suppress(Exception):  # whoever needs it will fail, with a better message
            importlib.import_module(module)
    _cap_threads(threads)
    gc.freeze()  # what was imported stays: a collection need not look at it again
    with open(requests, "rb", closefd=False) as source, open(replies, "wb", 1 << 16, closefd=False) as sink:
        _serve(source, _Replies(sink), faults)


def _end_with_parent(requests: int) -> None:
    """Die, with the whole process group, as soon as nobody can send requests any more."""
    watch = select.poll()
    watch.register(requests, 0)  # no event asked for: hang-up is always reported
    watch.poll()
    os.killpg(0, signal.SIGKILL)


def _cap_threads(threads: int) -> None:
    if "numpy" in sys.modules:
        with contextlib.suppress(Exception):
            from threadpoolctl import threadpool_limits

            threadpool_limits(threads)


def _serve(source: BinaryIO, replies: _Replies, faults: int) -> None:
    state = _State()
    replies.send(READY)
    while header := source.read(FRAME.size):
        _, size = FRAME.unpack(header)
        try:
            _run(source.read(size), replies, state)
        except SystemExit as error:
            # Leaving by the usual way would wait for threads that the model left behind.
            os.write(faults, traceback.format_exc().encode(errors="replace"))
            os._exit(_exit_code(error))
        state.restore()
        replies.send(DONE)


def _run(content: bytes, replies: _Replies, state: _State) -> None:
    try:
        function, payload = pickle.loads(content)  # noqa: S301 - from the parent, over a private pipe
        del content
        values = find(function)(payload)
        with contextlib.closing(values) if hasattr(values, "close") else contextlib.nullcontext():
            for value in values:
                if isinstance(value, Started):
                    state.restore()
                    problem = replies.send_value(STARTED, value.unit)
                else:
                    problem = replies.send_value(VALUE, value)
                if problem is not None:
                    replies.send_value(RAISED, problem)
                    return
    except SystemExit:
        raise
    except BaseException as error:
        replies.send_value(RAISED, raised(error))


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


class _Replies:
    """The pipe to the parent."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._process = os.getpid()

    def send(self, tag: bytes, content: bytes = b"") -> None:
        if os.getpid() != self._process:
            os._exit(0)  # model code forked and its copy came back here: only one may speak
        self._sink.write(FRAME.pack(tag, len(content)))
        self._sink.write(content)
        self._sink.flush()

    def send_value(self, tag: bytes, value: object) -> Raised | None:
        """Send a value; what is wrong with it when it cannot be pickled."""
        try:
            content = pickle.dumps(value, protocol=5)
        except Exception as error:
            problem = raised(error)
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            return Raised(
                problem.error, f"a value of {kind} cannot be pickled: {problem.message}", problem.traceback
            )
        self.send(tag, content)
        return None


class _State:
    """What model code may change in its process and the next unit of work must find as it was."""

    def __init__(self) -> None:
        self._folder = os.getcwd()  # noqa: PTH109 - compared as text, for every unit
        self._environment = dict(os.environ)
        self._encoded = _encoded_environment()
        self._path = list(sys.path)
        self._signals = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore(self) -> None:
        try:
            moved = os.getcwd() != self._folder  # noqa: PTH109
        except OSError:  # it was deleted
            moved = True
        if moved:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        if _encoded_environment() != self._encoded:
            os.environ.clear()
            os.environ.update(self._environment)
        if sys.path != self._path:
            sys.path[:] = self._path
        signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm that was left ticking would kill the next unit
        for number, handler in self._signals.items():
            if signal.getsignal(number) is not handler:
                with contextlib.suppress(TypeError, ValueError):
                    signal.signal(number, handler)


def _encoded_environment() -> dict[Any, Any]:
    # Comparing what lies under os.environ takes 1 µs; decoding all of it for every unit would take 70.
    data: dict[Any, Any] | None = getattr(os.environ, "_data", None)
    return dict(os.environ) if data is None else data.copy()
