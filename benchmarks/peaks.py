"""Runs a command and watches the memory of every process that it starts."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Watched", "mebibytes", "process_tree", "watched"]

_EVERY = 0.05  # seconds between looks at the processes


@dataclass(frozen=True)
class Watched:
    """How a command went.

    Attributes:
        seconds: Wall time, imports and cluster start included.
        answer: The JSON object that it printed.
        peaks: Role (``driver``, ``worker``, ``child``) to the highest resident size that one process of it had, in bytes.
        cpu: Seconds of processor time of all processes.
    """

    seconds: float
    answer: Mapping[str, Any]
    peaks: Mapping[str, int]
    cpu: float


def watched(command: Sequence[str], folder: Path | None = None) -> Watched:
    """Run a command that prints JSON, and keep the peaks of its processes.

    On Linux the peak is the kernel's own (``VmHWM``); elsewhere it is sampled.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    began = time.perf_counter()
    peaks: dict[str, int] = {}
    spent: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder)
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.append(process.stdout.read()))  # type: ignore[union-attr]
        reader.start()
        while process.poll() is None:
            for one in process_tree(process.pid):
                try:
                    role = _role(one, process.pid)
                    peaks[role] = max(peaks.get(role, 0), _peak(one))
                    used = one.cpu_times()
                    spent[one.pid] = used.user + used.system
                except (psutil.Error, OSError):
                    continue
            time.sleep(_EVERY)
        reader.join()
        seconds = time.perf_counter() - began
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(
                f"{' '.join(command)} exited with {process.returncode}: {errors.read()[-2000:]}{said[0][-2000:]}"
            )
    return Watched(seconds, json.loads(said[0]), peaks, sum(spent.values()))


def mebibytes(peaks: Mapping[str, int]) -> str:
    """Peaks for people."""
    return ", ".join(f"{role} {size / 2**20:,.0f} MiB" for role, size in peaks.items())


def process_tree(pid: int) -> Iterator[psutil.Process]:
    """A process and all that it started, as far as they are there."""
    try:
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)
    except psutil.Error:
        return


def _role(process: psutil.Process, driver: int) -> str:
    if process.pid == driver:
        return "driver"
    return "worker" if any("serve_worker" in part for part in process.cmdline()) else "child"


def _peak(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)
