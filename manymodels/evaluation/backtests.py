"""Backtests kept: what a candidate predicted of rows that its fit did not see, and what happened there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.metrics import HeldOut
from manymodels.evaluation.panels import HeldPanel
from manymodels.evaluation.splits import Split
from manymodels.exceptions import DataError
from manymodels.models.batched.contract import Ints, Panel, ranges
from manymodels.models.contract import FitSpec
from manymodels.models.forecast.frequency import time_values
from manymodels.records import Backtest, Rows

__all__ = ["backtests_of", "panel_backtest", "row_times"]


def row_times(rows: Rows, column: str) -> Ints | None:
    """The time of each row (see ``KeyOutcome.cutoff``); None where the column has none at all: it only ordered the rows."""
    try:
        times = rows.derived(("time values", column), lambda frame: time_values(frame[column].to_numpy()))
    except DataError:
        return None
    return times[rows.places]


def backtests_of(
    candidate: str, held: Sequence[HeldOut | None], splits: Sequence[Split], rows: Rows, spec: FitSpec
) -> tuple[Backtest, ...]:
    """What a candidate predicted of one key.

    Args:
        candidate: Its name.
        held: On each split, None where it predicted nothing usable.
        splits: The key's.
        rows: The key's.
        spec: What the fits knew.
    """
    times = None if spec.time is None else row_times(rows, spec.time)
    found = []
    for split, judged in zip(splits, held, strict=True):
        if judged is None:
            continue
        places = split.held.places
        at = split.judged + places.start if isinstance(places, slice) else places[split.judged]
        row = at - rows.start
        cutoff = None if times is None else times[_last(split.train) - rows.start :][:1]
        found.append(
            Backtest(
                candidate=candidate,
                window=split.number,
                lengths=np.array([len(row)]),
                cutoff=cutoff,
                row=row,
                time=None if times is None else times[row],
                step=split.steps if spec.task == "forecast" else None,
                actual=judged.actual,
                predictions=judged.predictions,
            )
        )
    return tuple(found)


def _last(rows: Rows) -> int:
    """The place of the last row in the frame."""
    places = rows.places
    return places.stop - 1 if isinstance(places, slice) else int(places[-1])


def panel_backtest(
    candidate: str, window: int, held: HeldPanel, chosen: npt.NDArray[np.bool_], panel: Panel, spec: FitSpec
) -> tuple[Ints, Backtest]:
    """What a candidate predicted of many keys on one split, and the keys.

    Args:
        candidate: Its name.
        window: The split's number.
        held: What it predicted.
        chosen: Which of the panel's keys are wanted. Shape (keys of the panel,).
        panel: The whole rows of the keys.
        spec: What the fits knew.
    """
    wanted = chosen[held.places]
    whole, part = held.held, held.held.take(wanted)
    keys, lengths = held.places[wanted], part.lengths
    at = ranges(part.starts, lengths)
    places = whole.rows.places
    if not isinstance(places, slice):
        at = places[at]
    rows = wanted[whole.owner]
    times = None if spec.time is None else row_times(panel.rows, spec.time)
    step = np.arange(len(at)) - np.repeat(part.offsets[:-1], lengths) + 1
    return keys, Backtest(
        candidate=candidate,
        window=window,
        lengths=lengths,
        cutoff=None if times is None else times[held.train.stops[wanted] - 1],
        row=at - np.repeat(panel.starts[keys], lengths),
        time=None if times is None else times[at],
        step=step if spec.task == "forecast" else None,
        actual=held.actual[rows],
        predictions={name: values[rows] for name, values in held.predictions.items()},
    )
