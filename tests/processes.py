"""What the tests ask of the processes around them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

HERE = Path(__file__).parent


def here_on_path(*first: Path) -> dict[str, str]:
    """The environment with the tests' own modules importable, after ``first``."""
    path = [*first, HERE / "compute", HERE, HERE.parent]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}


def until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether a condition comes true in time; for what other processes do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def gone(process: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def local_workers() -> list[psutil.Process]:
    """The local workers of this process, whose other children are other tests' business."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has died
            if "serve_worker" in " ".join(child.cmdline()):
                found.append(child)
    return found
