"""A real S3 protocol server in a process of its own, and a proxy before it in which requests go wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ACCESS, SECRET = "AKIDTEST", "s3-secret-of-the-tests-77"
BUCKET = "models"


@dataclass(frozen=True)
class S3Server:
    """The server.

    Attributes:
        port: On 127.0.0.1.
    """

    port: int

    def folder(self, patch: pytest.MonkeyPatch, port: int | None = None) -> str:
        """The URL of a new folder; this process and its children reach it."""
        import fsspec.config

        environment = self.environment(port)
        for name, value in environment.items():
            patch.setenv(name, value)
        # fsspec reads its variables once, when it is imported.
        patch.setitem(fsspec.config.conf, "s3", json.loads(environment["FSSPEC_S3"]))
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"

    def environment(self, port: int | None = None) -> dict[str, str]:
        """What a client needs, who may speak to a proxy on another port."""
        options = {"endpoint_url": f"http://127.0.0.1:{port or self.port}"}
        # Tests wait for what is stalled.
        patience = {
            "read_timeout": 2,
            "connect_timeout": 2,
            "retries": {"mode": "standard", "total_max_attempts": 2},
        }
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "FSSPEC_S3": json.dumps({**options, "config_kwargs": patience}),
        }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Start the server, with an empty bucket; it ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "s3.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                made = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
                with urllib.request.urlopen(made, timeout=5):  # noqa: S310 - on this machine
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise AssertionError((folder / "s3.log").read_text()) from None
                time.sleep(0.1)
        yield S3Server(port)
    finally:
        process.kill()
        process.wait()


Fault = Callable[[str, str, int], str | None]
"""Method, path and the request's number to what goes wrong: ``503``, ``500``, ``stall``, ``cut``, or nothing."""


@dataclass
class Proxy:
    """Passes requests on, but for those that the fault picks.

    Attributes:
        port: On 127.0.0.1.
        fault: What goes wrong.
        seen: Method and path of every request.
        injected: What went wrong, in order.
    """

    port: int = 0
    fault: Fault = lambda method, path, number: None
    seen: list[tuple[str, str]] = field(default_factory=list)
    injected: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    ended: Any = field(default_factory=threading.Event)


@contextmanager
def faulty_proxy(upstream: int) -> Iterator[Proxy]:
    """A proxy before a server on this machine."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with proxy.lock:
                proxy.seen.append((self.command, self.path))
                fault = proxy.fault(self.command, self.path, len(proxy.seen))
                if fault:
                    proxy.injected.append(fault)
            if fault == "stall":
                proxy.ended.wait(20)
                self.close_connection = True
                return
            if fault in ("500", "503"):
                code = "InternalError" if fault == "500" else "ServiceUnavailable"
                said = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
                self._answer(int(fault), [("Content-Type", "application/xml")], said, len(said))
                return
            # The answer of a request that was carried out may be lost, too.
            connection = HTTPConnection("127.0.0.1", upstream, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            length = int(answer.headers.get("Content-Length") or len(content))
            connection.close()
            skipped = ("transfer-encoding", "content-length", "connection")
            headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in skipped]
            if fault == "cut":
                content = content[: len(content) // 2]
                self.close_connection = True
            self._answer(answer.status, headers, content, length)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815 - names of http.server

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: int) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that gave up

    with Server(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.ended.set()
            server.shutdown()
            thread.join()
