"""Worker processes on this machine, kept alive.

Dask's ``LocalCluster`` would start them with multiprocessing. These are started with ``subprocess`` instead, because then

- they do not run the user's main script again (multiprocessing's spawn does, so a script without an
  ``if __name__ == "__main__"`` guard would not work at all);
- they are not daemonic, and start while the driver still imports Dask;
- a worker that dies is replaced for as long as the executor lives: with ``LocalCluster``, a worker that is just starting
  again when ``distributed.deploy.lost-worker-timeout`` strikes has its nanny removed, and when the last one is gone the
  run hangs;
- the driver's own environment stays as it was.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import BinaryIO

from manymodels.compute.processes import end_tree, environment, import_path, resident
from manymodels.compute.spec import ComputeSpec

__all__ = ["LocalWorkers"]

_POLL = 0.1  # seconds between looks at the processes
_PAUSE = 1.0  # seconds from one start of a worker to the next, lest one that cannot start burns the processor
_LONGEST_WORDS = 2000  # characters
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from manymodels.compute.worker import serve_worker; serve_worker()"
)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    words: BinaryIO
    begun: float
    told: bool = False


class LocalWorkers:
    """Worker processes that start at once, connect when the scheduler is known, and are replaced when they die.

    Args:
        spec: How many, and how many BLAS and OpenMP threads each has.
        warm: A pickled function that each calls before its first task; empty for none.

    Attributes:
        count: How many.
        last_words: What the worker that died last wrote to standard error.
    """

    def __init__(self, spec: ComputeSpec, *, warm: bytes = b"") -> None:
        self.count = spec.local_workers
        self.last_words = ""
        self._environment = environment(spec.threads)
        self._settings: dict[str, str | int] | None = None
        self._warm = base64.b64encode(warm) + b"\n"
        self._closing = False
        self._wake = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="manymodels-", ignore_cleanup_errors=True)
        # One thread starts all of them and lives as long as they do: see die_with_parent.
        self._thread = threading.Thread(target=self._keep, name="manymodels-workers", daemon=True)
        self._thread.start()

    def connect(self, scheduler: str, memory: int) -> None:
        """Tell the workers, those of the future too, where the scheduler is.

        Args:
            scheduler: Its address.
            memory: Bytes that each worker may occupy, its sandboxes not counted; beyond that it is replaced.
        """
        self._settings = {
            "scheduler": scheduler,
            "memory": memory,
            "folder": self._folder.name,
            "parent": os.getpid(),
        }
        self._wake.set()

    def close(self) -> None:
        """End all of them, with their descendants."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._folder.cleanup()

    def _keep(self) -> None:
        workers: list[_Worker | None] = [None] * self.count
        try:
            while not self._closing:
                for index, worker in enumerate(workers):
                    workers[index] = self._look_after(worker)
                self._wake.wait(_POLL)
                self._wake.clear()
        finally:
            for worker in workers:
                if worker is not None:
                    self._bury(worker)

    def _look_after(self, worker: _Worker | None) -> _Worker | None:
        if worker is None:
            return self._start()
        if worker.process.poll() is not None:
            if time.monotonic() - worker.begun < _PAUSE:
                return worker
            self._bury(worker)
            return self._start()
        if self._settings is not None:
            self._supervise(worker, self._settings)
        return worker

    def _supervise(self, worker: _Worker, settings: dict[str, str | int]) -> None:
        process = worker.process
        if not worker.told:
            # A name of its own each time: the scheduler refuses a name that it still knows.
            named = {**settings, "name": f"local-{os.getpid()}-{process.pid}"}
            self._tell(process, json.dumps(named).encode() + b"\n")
            worker.told = True
        if resident(process.pid, descendants=False) > int(settings["memory"]):
            # Dask's own limit is kept by a nanny, which these workers do not have. Like the nanny's it is polled:
            # code that allocates fast is faster.
            end_tree(process.pid)
            process.wait()
            worker.words.write(f"it occupied more than {settings['memory']:,} bytes".encode())

    def _start(self) -> _Worker:
        words: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _bury()
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own code
            [sys.executable, "-c", _BOOT, json.dumps(import_path())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=words,
            env=self._environment,
            start_new_session=True,  # the first Ctrl-C lets what is running finish: only the driver may hear it
        )
        self._tell(process, self._warm)
        return _Worker(process, words, time.monotonic())

    @staticmethod
    def _tell(process: subprocess.Popen[bytes], line: bytes) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # it is dying; the next look finds out
                process.stdin.write(line)
                process.stdin.flush()

    def _bury(self, worker: _Worker) -> None:
        end_tree(worker.process.pid)
        worker.process.wait()
        worker.words.seek(0)
        words = worker.words.read().decode(errors="replace").partition("\n\nExtension modules:")[0].strip()
        if words and not self._closing:
            self.last_words = words[-_LONGEST_WORDS:]
        worker.words.close()
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):
                worker.process.stdin.close()
