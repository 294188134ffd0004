"""Tables and numbers as people read them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["number", "pairs", "percent", "size", "span", "table", "when"]


def table(title: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> Any:
    """A rich table; ``columns`` are ``(heading, "left" | "right")``."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, side in columns:
        made.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        # Text, not markup: keys and messages are data.
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def pairs(rows: Iterable[tuple[str, Any]]) -> Any:
    """Names and values, aligned, without a heading."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    for name, value in rows:
        made.add_row(Text(name, style="dim"), Text("" if value is None else str(value)))
    return made


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits; empty when None."""
    if value is None or value != value:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}g}"


def percent(fraction: float | None) -> str:
    """A fraction as a whole percentage; empty when None."""
    return "" if fraction is None or fraction != fraction else f"{round(fraction, 2) + 0.0:.0%}"


def span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def when(moment: dt.datetime | None) -> str:
    """A moment in UTC, to the second."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
