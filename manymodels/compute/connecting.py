# mypy: disable-error-code="no-untyped-call"
"""How this process comes to a Dask scheduler and its workers."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

from distributed import Client, Security
from distributed.versions import VersionMismatchWarning

from manymodels.compute.local import LocalWorkers
from manymodels.exceptions import ComputeError

__all__ = ["await_workers", "connect", "quiet"]


def connect(address: str, security: Security, patience: float) -> Client:
    """A client of a scheduler.

    Raises:
        ComputeError: None answered, or it asks for certificates.
    """
    encrypted = address.startswith("tls://")
    # Client() would leave a half-made client behind, whose end blocks this process for seconds.
    if encrypted and security.get_connection_args("client")["ssl_context"] is None:
        raise ComputeError(
            f"{address} asks for certificates and there are none; name them in `compute.security` (tls_ca_file, "
            "tls_client_cert, tls_client_key), or in Dask's own configuration"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # check_versions says it better
            return Client(address, timeout=patience, security=security, set_as_default=False)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ComputeError(
            f"no Dask scheduler answered at {address} within {patience:g} s: {error}; check `compute.address`"
            f"{' and `compute.security`' if encrypted else ''}"
        ) from error


def await_workers(client: Any, count: int, patience: float, local: LocalWorkers | None) -> None:
    """Wait until a scheduler has so many workers.

    Raises:
        ComputeError: They did not come.
    """
    until = time.monotonic() + patience
    while (found := len(client.nthreads())) < count:
        if time.monotonic() > until:
            words = "" if local is None else " ".join(local.last_words.split())
            raise ComputeError(
                f"{found} of {count} workers came to {client.scheduler.address} within {patience:g} s"
                f"{f'; last words of one: {words}' if words else ''}"
            )
        time.sleep(0.01)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Dask's own words on lost workers and connections; what matters of them is in our errors."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
