"""How many threads BLAS and OpenMP may use, in a process whose own threads ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["blas_threads"]


@dataclass
class _Limit:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    limiter: Any = None


_LIMIT = _Limit()


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """At most so many threads of BLAS and OpenMP meanwhile.

    The limit is the process's: the first of several threads sets it, and the last one takes it back. Tasks that run side by
    side in a process are of one run, and ask for the same.
    """
    from threadpoolctl import threadpool_limits

    with _LIMIT.lock:
        if not _LIMIT.users:
            _LIMIT.limiter = threadpool_limits(count)
        _LIMIT.users += 1
    try:
        yield
    finally:
        with _LIMIT.lock:
            _LIMIT.users -= 1
            if not _LIMIT.users:
                _LIMIT.limiter.restore_original_limits()
