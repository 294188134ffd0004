"""Everything in this process, one task after the other: for debugging, with the contract of the others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self, TypeVar

from manymodels.compute.executor import Completion, completion, invoke
from manymodels.compute.shipping import ShippedModules

__all__ = ["SerialExecutor"]

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """See ``Executor``. Results pass through pickle, so that what cannot come back from a worker fails here too.

    Args:
        modules: See ``open_executor``.
    """

    name = "serial"
    workers = 1
    dashboard: str | None = None
    startup_seconds = 0.0

    def __init__(self, *, modules: Mapping[str, bytes]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="manymodels-")
        self._modules = ShippedModules(modules)
        self._modules.install(Path(self._folder.name))

    def run(self, function: Callable[[T], R], tasks: Iterable[tuple[str, T]]) -> Iterator[Completion[R]]:
        """See ``Executor``."""
        for name, payload in tasks:
            yield completion(name, invoke(function, payload), 1)

    def close(self) -> None:
        """See ``Executor``."""
        self._modules.remove()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
