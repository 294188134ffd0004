"""How a run tells where it is: a live bar on a terminal or in a notebook, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol, TextIO

__all__ = ["LineProgress", "NoProgress", "Progress", "RichProgress", "progress_for"]


class Progress(Protocol):
    """What an engine reports while it works; used as a context manager."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, message: str) -> None:
        """A line that stays."""

    def begin(self, what: str, total: int) -> None:
        """A phase begins, over ``total`` keys."""

    def advance(self, keys: int, failed: int) -> None:
        """So many more keys are done, so many of them failed."""


class NoProgress:
    """Says nothing."""

    def __enter__(self) -> NoProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, message: str) -> None:
        """Nothing."""

    def begin(self, what: str, total: int) -> None:
        """Nothing."""

    def advance(self, keys: int, failed: int) -> None:
        """Nothing."""


class LineProgress(NoProgress):
    """A plain line at most every few seconds, for logs and pipes.

    Args:
        stream: Where the lines go.
        every: Seconds between lines.
    """

    def __init__(self, stream: TextIO, every: float = 10.0) -> None:
        self._stream = stream
        self._every = every
        self._what, self._total, self._done, self._failed = "", 0, 0, 0
        self._began = self._last = time.monotonic()

    def say(self, message: str) -> None:
        """A line."""
        print(message, file=self._stream, flush=True)

    def begin(self, what: str, total: int) -> None:
        """A line."""
        self._what, self._total, self._done, self._failed = what, total, 0, 0
        self._began = self._last = time.monotonic()
        self.say(f"{what}: {total:,} keys")

    def advance(self, keys: int, failed: int) -> None:
        """A line when the last is old, or all is done."""
        self._done += keys
        self._failed += failed
        now = time.monotonic()
        if now - self._last < self._every and self._done < self._total:
            return
        self._last = now
        rate = self._done / max(now - self._began, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        ending = f", about {left:,.0f} s left" if self._done < self._total else ""
        self.say(
            f"{self._what}: {self._done:,} of {self._total:,} keys, {self._failed:,} failed, "
            f"{rate:,.0f} keys/s{ending}"
        )


class RichProgress(NoProgress):
    """A live bar: keys done, failed, rate and time left.

    Args:
        console: A ``rich.console.Console``.
    """

    def __init__(self, console: Any) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        self._console = console
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("keys"),
            TextColumn("[red]{task.fields[failed]:,} failed", justify="right"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: Any = None
        self._failed = 0
        self._done = 0
        self._began = time.monotonic()

    def __enter__(self) -> RichProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, message: str) -> None:
        """A line above the bar."""
        self._console.print(message, highlight=False)

    def begin(self, what: str, total: int) -> None:
        """A new bar."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._failed = self._done = 0
        self._began = time.monotonic()
        self._task = self._bar.add_task(what, total=total, failed=0, rate="")

    def advance(self, keys: int, failed: int) -> None:
        """Move the bar."""
        self._failed += failed
        self._done += keys
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(self._task, advance=keys, failed=self._failed, rate=f"{rate:,.0f} keys/s")


def progress_for(stream: TextIO | None = None, *, quiet: bool = False) -> Progress:
    """The progress that fits the place: a bar on a terminal or in a notebook, lines elsewhere, nothing when quiet."""
    stream = sys.stderr if stream is None else stream
    if quiet:
        return NoProgress()
    notebook = "ipykernel" in sys.modules
    if stream.isatty() or notebook:
        from rich.console import Console

        return RichProgress(Console() if notebook else Console(file=stream))
    return LineProgress(stream)
