"""What a worker is trying at this moment, for a driver that asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from manymodels.compute.sandbox import Started

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["InFlight", "in_flight", "noted"]


@dataclass(frozen=True)
class InFlight:
    """An attempt that has begun and not ended.

    Attributes:
        run_id: The run, or the scoring.
        key: The key, for people; empty for a rung of the ladder.
        attempt: What is tried on it: a candidate, a model.
        seconds: Since it began.
    """

    run_id: str
    key: str
    attempt: str
    seconds: float


# By thread: the run, the batch's keys, what has begun and when. Turned into words only when somebody asks.
_FLIGHTS: dict[int, tuple[str, pa.Table, tuple[str, str], float]] = {}


def noted(messages: Iterable[object], run_id: str, keys: pa.Table) -> Iterator[object]:
    """Pass on what a runner says about a batch, and note what has begun.

    Args:
        messages: ``Started((key_id, attempt))`` among them.
        run_id: The run.
        keys: The batch's keys: ``key_id`` and ``key:<name>`` columns.
    """
    thread = threading.get_ident()
    try:
        for message in messages:
            if isinstance(message, Started):
                unit = cast("tuple[str, str]", message.unit)
                _FLIGHTS[thread] = run_id, keys, unit, time.monotonic()
            yield message
    finally:
        _FLIGHTS.pop(thread, None)


def in_flight() -> list[InFlight]:
    """What the threads of this process are trying."""
    now = time.monotonic()
    return [
        InFlight(run_id, _display(keys, key_id), attempt, now - began)
        for run_id, keys, (key_id, attempt), began in list(_FLIGHTS.values())
    ]


def _display(keys: pa.Table, key_id: str) -> str:
    import pyarrow.compute as pc

    from manymodels.partitioning.keys import display

    place = pc.index(keys.column("key_id"), key_id).as_py()
    if place < 0:
        return ""
    columns = [name for name in keys.column_names if name.startswith("key:")]
    values = (keys.column(name)[place].as_py() for name in columns)
    return display(values, [name.removeprefix("key:") for name in columns])
