"""A real PostgreSQL server for the tests that need one, started by the tests themselves."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from dask_clusters import DaskCluster
    from s3_server import Proxy, S3Server

# The same examples every time: a test that fails, fails again.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

USER = "manymodels"

# Which stores are ours is noted in the user's own folders: not in those of whoever runs the tests. Tests copy stores, and
# a copy is not ours by itself.
_HOME = tempfile.mkdtemp(prefix="manymodels-home-")
os.environ.update(XDG_STATE_HOME=f"{_HOME}/state", XDG_CONFIG_HOME=f"{_HOME}/config", MANYMODELS_ADOPTED="*")


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL server of these tests, on 127.0.0.1, with its data in a folder of its own."""

    programs: Path
    folder: Path
    port: int
    password: str

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}"
        )
        # Nothing here outlives the tests, so nothing needs to survive a power cut.
        options += " -c fsync=off -c full_page_writes=off -c max_connections=50"
        self.run(
            "pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", f"{self.folder}/log", "-o", options
        )

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.data)

    @property
    def data(self) -> str:
        return f"{self.folder}/data"

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        # The server inherits the output's file, so a pipe would never end.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, check=False
            )
            output.seek(0)
            if done.returncode != 0:
                pytest.fail(f"{program} failed: {output.read().decode(errors='replace')}", pytrace=False)


def _programs() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True
    )
    if not found:
        pytest.fail(
            "no PostgreSQL server under /usr/lib/postgresql: run `bash scripts/services.sh`", pytrace=False
        )
    return found[0].parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server; it stops with the tests."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="manymodels-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PostgresServer(programs, folder, port, secrets.token_hex(8))
    try:
        password_file = folder / "password"
        password_file.write_text(server.password)
        if os.geteuid() == 0:
            for path in (folder, password_file):
                shutil.chown(path, "postgres", "postgres")
        server.run(
            *("initdb", "-D", server.data, "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}"),
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL, with its password, of an empty database."""
    import psycopg

    name = f"test_{secrets.token_hex(8)}"
    admin = postgres_server.url("postgres").replace("+psycopg", "")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    return postgres_server.url(name)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server, in a process of its own; each test has a prefix of its own."""
    from s3_server import s3_server

    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3_proxy(s3: S3Server) -> Iterator[Proxy]:
    """A proxy before the S3 server, in which requests go wrong."""
    from s3_server import faulty_proxy

    with faulty_proxy(s3.port) as running:
        yield running


@pytest.fixture
def s3_url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder on the S3 server."""
    return s3.folder(monkeypatch)


@pytest.fixture
def faulty_url(s3: S3Server, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder on the S3 server, reached through the proxy."""
    return s3.folder(monkeypatch, s3_proxy.port)


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler with two workers, in processes of their own; tests that kill any of them start their own."""
    from dask_clusters import DaskCluster

    with DaskCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.start_workers(2)
        yield cluster
