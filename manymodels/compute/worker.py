# mypy: disable-error-code="no-untyped-call"
"""What runs on Dask's workers: our calls, and a whole worker process of this machine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import faulthandler
import gc
import json
import os
import sys
import threading
from collections.abc import Callable

import cloudpickle
import dask
from distributed import Worker, secede

from manymodels.compute.executor import invoke
from manymodels.compute.handover import giving_way
from manymodels.compute.processes import die_with_parent

__all__ = ["call", "is_warm", "serve_worker", "warm_up"]

_CONFIG = {
    # A paused worker takes no task until its memory falls. What libraries keep does not fall: it would wait for
    # ever. LocalWorkers ends a worker that passes its limit.
    "distributed.worker.memory.pause": False,
    # Our memory is never Dask's ("unmanaged"), and it is no news that it grows.
    "distributed.worker.memory.recent-to-old-time": "1h",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.limit": "1h",
    # To see whether its event loop keeps up, Dask wakes it 50 times a second: a hundredth of a processor each.
    "distributed.admin.tick.interval": "1s",
}

_COLLECT = (
    50_000,
    10,
    10,
)  # outcomes of thousands of keys are no garbage: looking for it took half of a worker's time

_warming: list[threading.Thread] = []


def warm_up(code: bytes) -> None:
    """Call a function that was pickled, in the background; ``call`` waits for it."""
    thread = threading.Thread(target=_warm, args=(code,), daemon=True)
    thread.start()
    _warming.append(thread)


def is_warm() -> bool:
    """Whether all that was to be done before the first task is done."""
    return not any(thread.is_alive() for thread in _warming)


def _warm(code: bytes) -> None:
    with contextlib.suppress(Exception):  # whoever needs what is missing will fail, with a better message
        function: Callable[[], object] = cloudpickle.loads(code)
        function()
    gc.freeze()  # what was imported stays: a collection need not look at it again


def call(code: bytes, payload: bytes) -> bytes:
    """Call a function that was pickled, with an argument that was; see ``invoke``."""
    for thread in _warming:
        thread.join()  # two threads that import parts of one package at once can see half of it
    with giving_way(secede):
        return invoke(lambda content: cloudpickle.loads(code)(cloudpickle.loads(content)), payload)


def serve_worker() -> None:
    """Be a local worker: warm up, read settings from standard input, and serve until that is closed."""
    if code := base64.b64decode(sys.stdin.readline()):
        warm_up(code)
    gc.set_threshold(*_COLLECT)
    settings = json.loads(sys.stdin.readline())
    die_with_parent(settings["parent"])
    threading.Thread(target=_end_with_driver, daemon=True).start()

    async def serve() -> None:
        path = list(sys.path)
        worker = Worker(
            settings["scheduler"],
            name=settings["name"],
            nthreads=1,
            host="127.0.0.1",
            memory_limit=settings["memory"],
            local_directory=settings["folder"],
        )
        # Dask puts a folder for uploaded files first, which nobody uploads here; a child that was started before lacks it.
        sys.path[:] = path
        async with worker:
            # From here on only a crash has something to say; what functions print goes nowhere.
            faulthandler.enable(os.dup(2))
            os.dup2(1, 2)
            await worker.finished()

    with dask.config.set(_CONFIG):
        asyncio.run(serve())
    os._exit(0)  # threads of functions may still be running


def _end_with_driver() -> None:
    sys.stdin.read()
    os._exit(0)
