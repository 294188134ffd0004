"""A real scheduler and real workers in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from distributed import Client, Security
from processes import here_on_path, until


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, and its key."""

    certificate: str
    key: str

    @classmethod
    def made(cls, folder: Path) -> Self:
        made = cls(str(folder / "certificate.pem"), str(folder / "key.pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=manymodels tests", "-keyout", made.key, "-out", made.certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        return made

    @property
    def settings(self) -> dict[str, str | bool]:
        """``compute.security`` of a job."""
        return {
            "tls_ca_file": self.certificate,
            "tls_client_cert": self.certificate,
            "tls_client_key": self.key,
            "require_encryption": True,
        }

    @property
    def flags(self) -> list[str]:
        """Of ``dask scheduler`` and ``dask worker``."""
        return ["--tls-ca-file", self.certificate, "--tls-cert", self.certificate, "--tls-key", self.key]


class DaskCluster:
    """``dask scheduler``, and as many ``dask worker`` as are started.

    Args:
        folder: For their files.
        certificate: What they show and ask for; no encryption when None.
    """

    def __init__(self, folder: Path, certificate: Certificate | None = None) -> None:
        self._folder = folder
        self._security = Security() if certificate is None else Security(**certificate.settings)
        self._flags = [] if certificate is None else certificate.flags
        self._protocol = "tcp" if certificate is None else "tls"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.start_scheduler()
        return self

    def start_scheduler(self, port: str = "0") -> None:
        """Start a scheduler, at some port or at that of one that was killed."""
        file = self._folder / f"scheduler-{len(self._processes)}.json"
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--dashboard-address", "127.0.0.1:0",
            "--scheduler-file", str(file), "--protocol", self._protocol, *self._flags, environment=here_on_path(),
        )  # fmt: skip
        assert until(lambda: file.exists() and bool(file.read_text().strip()))
        self.address = str(json.loads(file.read_text())["address"])

    @property
    def compute(self) -> str:
        """The job file's ``compute`` section, YAML."""
        return f"{{target: dask, address: '{self.address}'}}"

    def start_workers(self, count: int, *path: Path) -> subprocess.Popen[bytes]:
        """Start worker processes under nannies, and wait until the scheduler knows them."""
        with Client(self.address, set_as_default=False, security=self._security) as client:
            before = len(client.nthreads())
            process = self._start(
                "worker", self.address, "--host", "127.0.0.1", "--nworkers", str(count), "--nthreads", "1",
                "--no-dashboard", "--local-directory", str(self._folder), *self._flags, environment=here_on_path(*path),
            )  # fmt: skip
            assert until(lambda: len(client.nthreads()) == before + count)
        return process

    def tasks(self) -> int:
        """Tasks that the scheduler knows of."""
        with Client(self.address, set_as_default=False, security=self._security) as client:
            return int(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

    def _start(self, *command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL, with its nannies' workers."""
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for member in family:
            if member.is_running():
                member.kill()
        process.wait()

    def __exit__(self, *exception: object) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                self.kill(process)
