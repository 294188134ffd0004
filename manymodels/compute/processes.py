"""Processes of the operating system: their memory, their descendants, their threads, their end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

__all__ = ["die_with_parent", "end_tree", "environment", "import_path", "resident"]

_THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_PR_SET_PDEATHSIG = 1
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that fits models.

    BLAS and OpenMP read their thread counts when they are loaded, so this must be set before NumPy is. String hashes
    are fixed because model code that iterates over a set would otherwise make another model in every process.
    """
    return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), "PYTHONHASHSEED": "0"}


def import_path() -> list[str]:
    """``sys.path`` for a child: without the entry that means "the working directory, whichever it is then"."""
    return [entry or str(Path.cwd()) for entry in sys.path]


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (Linux only).

    It works even while model code holds the interpreter lock. What is watched is the parent's thread, not its process:
    start such children from a thread that lives as long as they may.

    Args:
        parent: The parent's process id, as the parent gave it.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def resident(process: int, *, descendants: bool = True) -> int:
    """Bytes of memory that a process occupies; 0 when it is gone.

    Args:
        process: Its id.
        descendants: Add what its descendants occupy; pages that they share with it count for both.
    """
    if sys.platform != "linux":
        return _resident_anywhere(process, descendants)
    total = 0
    waiting = [process]
    while waiting:
        folder = f"/proc/{waiting.pop()}"
        try:
            total += int(_text(f"{folder}/statm").split()[1]) * _PAGE
            if not descendants:
                break
            for thread in os.listdir(f"{folder}/task"):  # noqa: PTH208 - polled 50 times a second: Path costs as much again
                waiting.extend(map(int, _text(f"{folder}/task/{thread}/children").split()))
        except (OSError, IndexError):  # gone meanwhile, or a kernel without lists of children
            continue
    return total


def _text(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _resident_anywhere(process: int, descendants: bool) -> int:
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(process)
        for member in (root, *(root.children(recursive=True) if descendants else ())):
            with contextlib.suppress(psutil.Error):
                total += member.memory_info().rss
    return total


def end_tree(process: int) -> None:
    """Kill a session's leader, its process group, and descendants that left the group; nothing happens when all are gone."""
    import psutil

    descendants: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        descendants = psutil.Process(process).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()
