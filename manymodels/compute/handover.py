"""A task's word that the rest of it is waiting for disks: its worker takes the next task meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from manymodels.compute.sandbox import release_warm_sandbox

__all__ = ["give_way", "giving_way"]


class _Thread(threading.local):
    next_task: Callable[[], None] | None = None


_THREAD = _Thread()


def give_way() -> None:
    """Let the next task of this worker begin, with this thread's warm sandbox. Nothing happens where tasks run one by one."""
    next_task, _THREAD.next_task = _THREAD.next_task, None
    if next_task is not None:
        release_warm_sandbox()
        next_task()


@contextmanager
def giving_way(next_task: Callable[[], None]) -> Iterator[None]:
    """What ``give_way`` calls, once, to have the next task begin in another thread."""
    _THREAD.next_task = next_task
    try:
        yield
    finally:
        _THREAD.next_task = None
