"""Whether workers elsewhere fit this driver: the same versions, the same store."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from manymodels.exceptions import ComputeError, ManyModelsError
from manymodels.storage import Storage

__all__ = ["SAME_VERSIONS", "StoreProbe", "check_versions", "probe_store"]

SAME_VERSIONS = ("manymodels", "pandas", "numpy", "scikit-learn", "statsmodels", "pyarrow")
"""Distributions whose versions decide what a model is, or how it is written."""


def check_versions(here: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare what ``distributed`` reports of this process and, by address, of workers.

    Raises:
        ComputeError: They differ in Python's minor version or in a distribution of ``SAME_VERSIONS``; all differences
            are listed.
    """
    differences = [
        f"{name} {there} on {address}, {mine} here"
        for address, versions in sorted(workers.items())
        for (name, mine), (_, there) in zip(_versions(here), _versions(versions), strict=True)
        if mine != there
    ]
    if differences:
        raise ComputeError(
            f"workers must have the versions of this driver, or they make other models: {'; '.join(differences)}"
        )


def _versions(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Python", ".".join(str(report["host"]["python"]).split(".")[:2])
    for name in SAME_VERSIONS:
        yield name, str(report["packages"].get(name) or "missing")


class StoreProbe:
    """Files in the store that show whether workers and driver see the same one; a context manager that deletes them.

    A local path exists on every machine: what tells a shared folder is that each side reads what the other wrote.

    Attributes:
        folder: Of the files, relative to the store's root.
    """

    def __init__(self, root: str) -> None:
        self.storage = Storage.at(root)
        self.folder = f"tmp/probe-{uuid.uuid4().hex}"

    def __enter__(self) -> StoreProbe:
        self.storage.write(f"{self.folder}/driver", self.folder.encode())
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(ManyModelsError, OSError):
            self.storage.delete(self.folder)

    def check(self, answers: Mapping[str, tuple[str, str, str]]) -> None:
        """Judge what ``probe_store`` returned on each worker, by address.

        Raises:
            ComputeError: The hosts that do not reach the store, and why.
        """
        problems = []
        for address, (host, file, problem) in sorted(answers.items()):
            if not problem and not self.storage.exists(f"{self.folder}/{file}"):
                problem = "what it wrote cannot be seen from here"
            if problem:
                problems.append(f"{host} ({address}): {problem}")
        if problems:
            raise ComputeError(
                f"workers cannot use the store at {self.storage.root}; it must be a folder or a URL that all of "
                f"them share: {'; '.join(problems)}"
            )


def probe_store(root: str, folder: str) -> tuple[str, str, str]:
    """On a worker: read what the driver wrote and write a file; the host, the file, and what went wrong."""
    host, file = socket.gethostname(), uuid.uuid4().hex
    try:
        storage = Storage(root)
        if storage.read(f"{folder}/driver") != folder.encode():
            return host, file, "it reads something else than was written here"
        storage.write(f"{folder}/{file}", b"")
    except Exception as error:
        return host, file, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return host, file, ""
