"""Frozen values that cross rooms.

What concerns one key is a dataclass; what concerns a whole fleet is a ``pyarrow.Table`` whose columns are listed here
(``OUTCOME_COLUMNS``) or in the room that makes it (``partitioning.store``: the manifest).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AttemptFailure",
    "Backtest",
    "BatchReceipt",
    "BatchTask",
    "CandidateScore",
    "Cause",
    "Key",
    "KeyOutcome",
    "KeyValue",
    "Rows",
    "SegmentInfo",
    "State",
]

T = TypeVar("T")

KeyValue = None | bool | int | float | str | bytes | dt.date | dt.datetime | Decimal
State = Literal["trained", "reused", "fallback", "skipped", "failed"]
Cause = Literal["exception", "crash", "timeout", "memory", "data"]

STATES: tuple[State, ...] = ("trained", "reused", "fallback", "skipped", "failed")


@dataclass(frozen=True)
class Key:
    """The typed values of one key's ``partition_by`` columns; made by ``partitioning.keys``.

    Attributes:
        values: One value per key column, in the order of ``partition_by``.
        canonical: The documented encoding that keeps kinds apart.
        key_id: 128-bit BLAKE2b of ``canonical``, 32 hex digits.
        level: Empty for a key; for a rung of the fallback ladder its name (``pooled``, ``naive``, ``level:region``).
    """

    values: tuple[KeyValue, ...]
    canonical: bytes = field(repr=False)
    key_id: str = field(repr=False)
    level: str = ""


class Rows:
    """One key's rows: a view on a batch's frame that copies nothing until asked for a frame.

    Rows are in the partition store's order: time, then canonical content.

    Args:
        frame: The rows of the whole batch, index 0..n-1.
        start: The key's first row.
        stop: One past the key's last row.
        arrays: What was computed for the whole batch; one dict shared by all its keys.
    """

    __slots__ = ("_arrays", "_frame", "_picked", "start", "stop")

    def __init__(
        self,
        frame: pd.DataFrame,
        start: int = 0,
        stop: int | None = None,
        *,
        arrays: dict[Hashable, Any] | None = None,
    ) -> None:
        self._frame = frame
        self._arrays = {} if arrays is None else arrays
        self._picked: npt.NDArray[np.intp] | None = None
        self.start = start
        self.stop = len(frame) if stop is None else stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        return f"<Rows {len(self)} x {list(self._frame.columns)}>"

    @property
    def columns(self) -> list[str]:
        """The column names."""
        return list(self._frame.columns)

    def values(self, column: str) -> npt.NDArray[Any]:
        """One column as a NumPy array of length ``len(self)``: a view on the batch's array."""
        whole: npt.NDArray[Any] | None = self._arrays.get(column)
        if whole is None:
            whole = self._arrays[column] = self._frame[column].to_numpy()
        return whole[self.places]

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """One column as float64, missing values as NaN; shares memory where the type allows."""
        cached = f"\0float64 {column}"
        whole: npt.NDArray[np.float64] | None = self._arrays.get(cached)
        if whole is None:
            whole = self._frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
            self._arrays[cached] = whole
        return whole[self.places]

    def frame(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The rows as a DataFrame with index 0..n-1 (a copy-on-write slice)."""
        if columns is not None:
            return self.only(columns).frame()
        return self._frame.iloc[self.places].reset_index(drop=True)

    def derived(self, name: Hashable, make: Callable[[pd.DataFrame], T]) -> T:
        """What ``make`` makes of the whole batch's frame, made once under ``name`` and kept with the batch.

        It is not cut to this key's rows (``places``), and must not be changed in place.
        """
        found = self._arrays.get(name)
        if found is None:
            found = self._arrays[name] = make(self._frame)
        return found

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of many keys, one after the other; a view where they follow each other in one frame."""
        first = parts[0]
        if all(part._picked is None for part in parts) and all(
            before.stop == after.start and before._frame is after._frame for before, after in pairwise(parts)
        ):
            return cls(first._frame, first.start, parts[-1].stop, arrays=first._arrays)
        import pandas as pd

        return cls(pd.concat([part.frame() for part in parts], ignore_index=True))

    def part(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` of this key, counted from the key's first row."""
        return self._again(self.start + start, min(self.start + stop, self.stop), self._picked)

    def take(self, positions: npt.NDArray[np.intp]) -> Rows:
        """The rows at these positions, counted from the key's first row, in this order."""
        picked = self.start + positions if self._picked is None else self._picked[self._span][positions]
        return self._again(0, len(picked), picked)

    def only(self, columns: Sequence[str]) -> Rows:
        """The same rows without the other columns: what a model may see of rows that it is to predict."""
        cached = "\0only " + "\0".join(columns)
        narrow: Rows | None = self._arrays.get(cached)
        if narrow is None:
            narrow = self._arrays[cached] = Rows(self._frame[list(columns)])
        return narrow._again(self.start, self.stop, self._picked)

    @property
    def _span(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def places(self) -> slice | npt.NDArray[np.intp]:
        """Where these rows are in the batch's frame, and so in everything ``derived`` from it."""
        return self._span if self._picked is None else self._picked[self._span]

    def _again(self, start: int, stop: int, picked: npt.NDArray[np.intp] | None) -> Rows:
        """Other rows of the same batch; what was computed for the whole batch is shared."""
        rows = Rows(self._frame, start, stop, arrays=self._arrays)
        rows._picked = picked
        return rows


@dataclass(frozen=True)
class AttemptFailure:
    """Why a candidate, or a whole key, failed.

    Attributes:
        cause: ``exception``, ``crash``, ``timeout``, ``memory`` or ``data``.
        error: Exception class name, signal name, or the limit that was hit.
        message: The error's message, as raised.
        frame: ``file:function`` of the innermost frame outside libraries, where there is one.
        traceback: The formatted traceback, where there is one.
        candidate: The candidate that failed; empty when it was not the candidate's doing.
    """

    cause: Cause
    error: str
    message: str
    frame: str = ""
    traceback: str = ""
    candidate: str = ""


@dataclass(frozen=True)
class CandidateScore:
    """A line of one key's leaderboard.

    Attributes:
        candidate: The candidate's name in the job.
        metric: Its value on the job's metric; None when it was not evaluated or failed.
        seconds: Wall time of its evaluation and refit.
        error: Why it was disqualified; empty when it was not.
    """

    candidate: str
    metric: float | None
    seconds: float
    error: str = ""


@dataclass(frozen=True, eq=False)
class Backtest:
    """What a candidate predicted of held-out rows of one key or many, and what happened in them.

    Attributes:
        candidate: The candidate's name.
        window: Of the backtest, or the fold: 0 is the newest.
        lengths: Rows of each key; they follow each other in the arrays below. Shape (keys,).
        cutoff: Time of the last row that each key's fit saw (see ``KeyOutcome.cutoff``); None without times.
        row: Places among the key's rows, in the partition store's order.
        time: Of the rows; None without times.
        step: Forecasts: periods after the cutoff, from 1; None for other tasks.
        actual: What happened.
        predictions: Output column to values.
    """

    candidate: str
    window: int
    lengths: npt.NDArray[np.int64]
    cutoff: npt.NDArray[np.int64] | None
    row: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64] | None
    step: npt.NDArray[np.int64] | None
    actual: npt.NDArray[Any]
    predictions: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class KeyOutcome:
    """What became of one key in one batch.

    Attributes:
        key_id: The key.
        state: Its state in the run.
        reason: Why, for every state but ``trained``.
        candidate: The winning candidate's name.
        params: The winning candidate's parameters, JSON.
        metric: The winner's value on the job's metric.
        baseline: The naive baseline's, on the same splits.
        skill: How much better the winner is (see ``evaluation.metrics.skill_scores``).
        champion_metric: What the configuration of the key's champion has on the same splits; None where it was not judged.
        scores: The leaderboard, best first.
        backtests: What the job's ``evaluation.keep`` asks for.
        codec: How ``artifact`` is encoded.
        artifact: The encoded model; empty unless trained.
        rows: Rows that the final fit saw.
        cutoff: Last training time: microseconds since 1970 UTC, or the position when ``frequency`` is ``step``.
        fit_seconds: Wall time inside fit and predict calls.
        seconds: Wall time of the key, all told.
        failure: Set when ``state`` is ``failed``.
        seed: The key's seed.
        traits: What the key is like (``selection.traits``), where the job learns from it.
        parent: The level whose model the key's is blended with; empty where it is not.
        own_weight: Of the key's own model in the blend.
    """

    key_id: str
    state: State
    reason: str = ""
    candidate: str = ""
    params: str = "{}"
    metric: float | None = None
    baseline: float | None = None
    skill: float | None = None
    champion_metric: float | None = None
    scores: tuple[CandidateScore, ...] = ()
    backtests: tuple[Backtest, ...] = field(default=(), repr=False)
    codec: str = ""
    artifact: bytes = field(default=b"", repr=False)
    rows: int = 0
    cutoff: int | None = None
    fit_seconds: float = 0.0
    seconds: float = 0.0
    failure: AttemptFailure | None = None
    seed: int = 0
    traits: tuple[float, ...] = ()
    parent: str = ""
    own_weight: float | None = None


@dataclass(frozen=True)
class SegmentInfo:
    """An immutable file of many models.

    Attributes:
        path: Relative to the store's root.
        sha256: Of the whole file, hex.
        rows: Models in it.
        bytes: Size of the file.
        codec: How its artifacts are encoded.
        signature: Of its SHA-256, hex; empty when it is not signed.
    """

    path: str
    sha256: str
    rows: int
    bytes: int
    codec: str
    signature: str = ""


@dataclass(frozen=True)
class BatchTask:
    """A batch of keys for one worker; everything in it pickles small.

    Attributes:
        run_id: The run.
        batch: The batch's number in the run.
        keys: ``pyarrow.Table``: rows of the partition store's manifest, one per key (or per slice of a rung's sample).
        settings: What the batch function needs beyond the keys, owned by the room that runs it.
    """

    run_id: str
    batch: int
    keys: Any
    settings: Any


@dataclass(frozen=True)
class BatchReceipt:
    """A worker's proof that a batch is done and durable.

    Attributes:
        run_id: The run.
        batch: The batch's number in the run.
        attempt: 1 for the first try.
        segments: The files written.
        outcomes: ``pyarrow.Table`` with ``OUTCOME_COLUMNS``.
        outcomes_path: The same table on disk, relative to the store's root.
        seconds: Wall time on the worker.
        worker: Name of the worker process.
    """

    run_id: str
    batch: int
    attempt: int
    segments: tuple[SegmentInfo, ...]
    outcomes: Any = field(repr=False)
    outcomes_path: str
    seconds: float
    worker: str

    @cached_property
    def states(self) -> Mapping[str, int]:
        """Keys by state."""
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        for state in self.outcomes.column("state").to_pylist():
            counts[state] += 1
        return counts


OUTCOME_COLUMNS: dict[str, str] = {
    "key_id": "string",
    "level": "string",  # "" for keys
    "state": "string",
    "reason": "string",
    "candidate": "string",
    "params": "string",  # the winner's parameters, JSON
    "metric": "float64",  # the winner's, null when not evaluated
    "baseline": "float64",  # the naive baseline's on the same splits
    "skill": "float64",
    "champion_metric": "float64",  # of the configuration that the key's champion is of, on the same splits
    "scores": "list<struct<candidate: string, metric: float64, seconds: float64, error: string>>",
    "rows": "int64",
    "cutoff": "int64",
    "content": "fixed_size_binary[16]",  # the key's content fingerprint
    "segment": "string",  # path in the store, null unless trained
    "segment_row": "int32",
    "backtests": "string",  # path in the store, null where none were kept
    "fit_seconds": "float64",
    "seconds": "float64",
    "cause": "string",  # the next five null unless failed
    "error": "string",
    "message": "string",
    "frame": "string",
    "traceback": "string",
    "seed": "int64",
    "traits": "list<float64>",  # of a key, where the job learns from it
    "parent": "string",  # the level whose model is blended in, null where none is
    "own_weight": "float64",  # of the key's own model in the blend
}
"""Columns of a run's outcomes table, with their Arrow types."""
