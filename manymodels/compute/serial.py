"""Everything in this process, one task after the other: for debugging, with the contract of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from manymodels.compute.executor import Completion, completion, invoke, nothing

__all__ = ["SerialExecutor"]

T = TypeVar("T")
R = TypeVar("R")


class SerialExecutor:
    """See ``Executor``. Results pass through pickle: what cannot come back from a worker fails here too."""

    name = "serial"
    workers = 1
    dashboard: str | None = None
    startup_seconds = 0.0

    def run(
        self,
        function: Callable[[T], R],
        tasks: Iterable[tuple[str, T]],
        *,
        check: Callable[[], None] = nothing,
    ) -> Iterator[Completion[R]]:
        """See ``Executor``; the check comes after each task."""
        for name, payload in tasks:
            yield completion(name, invoke(function, payload), 1)
            check()

    def ask(self, function: Callable[[], R]) -> dict[str, R | None]:
        """See ``Executor``."""
        return {"this process": function()}

    def close(self) -> None:
        """See ``Executor``; there is nothing to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
