"""Who drives a run: told from a dead one by its process on this host, and elsewhere by its heartbeat."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass

import psutil

__all__ = ["SILENCE", "Driver"]

SILENCE = 120.0
"""Seconds without a heartbeat after which a driver on another host is taken for dead."""


@dataclass(frozen=True)
class Driver:
    """A process that drives a run.

    Attributes:
        host: Its host's name.
        pid: Its process id there.
        started: When the process started, seconds since 1970: process ids are used again.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def here(cls) -> Driver:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def nobody(cls) -> Driver:
        """No process: what is over, or was restored from files."""
        return cls("", 0, 0.0)

    @classmethod
    def from_json(cls, text: str) -> Driver:
        """What ``to_json`` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """As the registry keeps it."""
        return json.dumps(asdict(self))

    def is_alive(self, silent: float) -> bool:
        """Whether it still drives, as far as can be told.

        Args:
            silent: Seconds since its last heartbeat.
        """
        if not self.host:
            return False
        if self.host != socket.gethostname():
            return silent < SILENCE
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) < 1.0)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return silent < SILENCE
