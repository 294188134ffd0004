"""Functions that the tests run in sandboxes and on workers; most of them misbehave."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manymodels.compute.handover import give_way
from manymodels.compute.sandbox import Started, warm_sandbox


def echo(values: list[Any]) -> Iterator[object]:
    for value in values:
        yield Started(value)
        yield value


def count(number: int) -> Iterator[object]:
    for index in range(number):
        yield index, "a short text"


def identity(_: None) -> Iterator[object]:
    yield os.getpid()


def segfault(_: None) -> Iterator[object]:
    yield Started("good")
    yield "done with good"
    yield Started("bad")
    ctypes.string_at(0)


def leave(how: str) -> Iterator[object]:
    yield Started(how)
    if how == "os._exit":
        os._exit(3)
    if how == "sys.exit":
        threading.Thread(target=time.sleep, args=(1000,)).start()  # a normal exit would wait for it
        sys.exit(4)
    if how == "sys.exit text":
        sys.exit("a reason")
    os.kill(os.getpid(), getattr(signal, how))


def spin(_: None) -> Iterator[object]:
    yield Started("spin")
    while True:
        pass


def sleep_in_c(_: None) -> Iterator[object]:
    yield Started("sleep")
    ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the interpreter lock


def stream_for_ever(_: None) -> Iterator[object]:
    yield Started("stream")
    while True:
        yield b"x" * 1000


def many_short_units(seconds: float) -> Iterator[object]:
    for index in range(8):
        yield Started(index)
        time.sleep(seconds)


def hog(size: int) -> Iterator[object]:
    yield Started("hog")
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1) * size))
        time.sleep(0.01)


def hog_in_grandchild(_: None) -> Iterator[object]:
    yield Started("family")
    code = "import time; kept = b'x' * 2**28; time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", code])
    time.sleep(1000)


def keep(size: int) -> Iterator[object]:
    sys.modules["kept"] = bytearray(b"x" * size)  # type: ignore[assignment]
    yield os.getpid()


def grandchildren(_: None) -> Iterator[object]:
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    ours = subprocess.Popen(command)
    theirs = subprocess.Popen(command, start_new_session=True)
    yield [ours.pid, theirs.pid]
    yield Started("hang")
    time.sleep(1000)


def forked_copy(_: None) -> Iterator[object]:
    if os.fork() == 0:
        yield "from the copy"
        time.sleep(1000)
    yield "from the child"


def orphan_holds_pipe(_: None) -> Iterator[object]:
    yield Started("orphan")
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(5)


def shout(size: int) -> Iterator[object]:
    print("x" * size)
    print("x" * size, file=sys.stderr)
    subprocess.run(["head", "-c", str(size), "/dev/zero"], check=True)
    yield "quiet"


def meddle(folder: str) -> Iterator[object]:
    yield Started("meddler")
    os.chdir(folder)
    os.environ["MANYMODELS_MEDDLED"] = "1"
    os.environ.pop("OMP_NUM_THREADS")
    sys.path.insert(0, folder)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    Path(folder).rmdir()
    yield Started("next")
    time.sleep(0.1)
    yield surroundings()


def surroundings() -> dict[str, object]:
    return {
        "folder": str(Path.cwd()),
        "meddled": os.environ.get("MANYMODELS_MEDDLED"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "path": list(sys.path),
        "terminate": signal.getsignal(signal.SIGTERM),
        "alarm": signal.getsignal(signal.SIGALRM),
    }


def look_around(_: None) -> Iterator[object]:
    yield surroundings()


def blas_threads(_: None) -> Iterator[object]:
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones(2) @ np.ones(2)
    yield [pool["num_threads"] for pool in threadpool_info()]


def string_hash(_: None) -> Iterator[object]:
    yield hash("manymodels")


class Unpicklable:
    def __reduce__(self) -> str:
        raise TypeError("not me")


class Poisoned:
    """Pickles well, fails when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        return _poison, ()


def _poison() -> None:
    raise ValueError("poison")


def yield_unpicklable(_: None) -> Iterator[object]:
    yield "before"
    yield Unpicklable()
    yield "never"


def yield_poisoned(_: None) -> Iterator[object]:
    yield Poisoned()
    yield "never"


class RudeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def fail(how: str) -> Iterator[object]:
    yield Started(how)
    if how == "rude":
        raise RudeError
    if how == "interrupt":
        raise KeyboardInterrupt
    raise ValueError(how)


def size_of(payload: bytes) -> Iterator[object]:
    yield len(payload)
    yield payload[::-1]


def sandboxed_pid(batch: str) -> tuple[str, int, int]:
    """On a worker: the worker's and its warm child's process ids."""
    sandbox = warm_sandbox()
    (child,) = sandbox.run("compute_work:identity", None, timeout=30, memory=2**30)
    assert isinstance(child, int)
    return batch, os.getpid(), child


def gives_way(paths: tuple[str, str]) -> tuple[int, int]:
    """On a worker: what ``sandboxed_pid`` says; once it has, the next task may begin, and this one ends when that has left its
    file."""
    mine, other = map(Path, paths)
    _, worker, child = sandboxed_pid("")
    mine.touch()
    give_way()
    until = time.monotonic() + 30
    while not other.exists() and time.monotonic() < until:
        time.sleep(0.01)
    if not other.exists():
        raise TimeoutError("the next task did not begin")
    return worker, child


def square(number: int) -> int:
    return number * number


def work_or_fail(number: int) -> int:
    if number < 0:
        raise ValueError(f"negative:\n{number}")
    if number == 13:
        sys.exit(13)
    return number


def unpicklable_result(_: int) -> object:
    return Unpicklable()


def poisoned_result(_: int) -> object:
    return Poisoned()


def mark_and_sleep(task: tuple[str, float]) -> int:
    """Note in a file that this process started, then work for a while."""
    path, seconds = task
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def die_once(path: str) -> str:
    """Kill the worker process the first time."""
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def die_always(path: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def main_file(_: int) -> str | None:
    return getattr(sys.modules["__main__"], "__file__", None)


def import_all(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)


def loaded(names: list[str]) -> list[bool]:
    return [name in sys.modules for name in names]


def worker_surroundings(_: None) -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "PYTHONHASHSEED")}


def shout_here(size: int) -> str:
    print("x" * size)
    print("x" * size, file=sys.stderr)
    return "quiet"


def hold(size: int) -> None:
    """Occupy memory in the worker itself."""
    kept = b"x" * size
    time.sleep(1000)
    assert kept


def call(function: Any) -> Iterator[object]:
    yield function()
