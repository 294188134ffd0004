"""What is held out of a key's rows to judge candidates by.

Forecasts: rolling origins, counted back from the last known target. Other tasks: the last part by time
where there is a time column, else a seeded part. Folds: with a time column each is judged by a fit on all
that came before it (as scikit-learn's ``TimeSeriesSplit``), else the rows are shuffled (as its ``KFold``).
Rows of one time stay together where that leaves something on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LEAST",
    "NOTHING_HELD_OUT",
    "Split",
    "holds_out",
    "make_splits",
    "outcomes",
    "without_known_future",
]

_Places = slice | npt.NDArray[np.intp]

LEAST = 2
"""Rows to train on."""

NOTHING_HELD_OUT = "nothing is held out (`evaluation.holdout` is 0)"
"""Why no key of a job that holds nothing out has a metric."""


@dataclass(frozen=True)
class Split:
    """Rows to fit, and rows to judge the fit by.

    Attributes:
        train: Rows to fit.
        held: Rows to predict, without the columns that nobody knows when a model is used.
        judged: Positions in ``held`` of the rows whose outcome is known.
        actual: What happened in the judged rows (see ``HeldOut``).
        number: Its window or fold: 0 is the newest.
        training: Forecasts: the target up to the cutoff (see ``HeldOut``).
        steps: Forecasts: periods after the cutoff of the judged rows, from 1.
    """

    train: Rows
    held: Rows
    judged: npt.NDArray[np.intp]
    actual: npt.NDArray[Any]
    number: int = 0
    training: Floats = field(default_factory=lambda: np.empty(0))
    steps: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def holds_out(spec: FitSpec, evaluation: EvaluationSpec) -> bool:
    """Whether a job holds rows out at all, whatever its keys allow."""
    return spec.task == "forecast" or evaluation.holdout > 0 or evaluation.folds is not None


def make_splits(rows: Rows, spec: FitSpec, evaluation: EvaluationSpec) -> tuple[Split, ...]:
    """The splits that all candidates of a key are judged on, newest first; fewer than asked in a short key.

    Raises:
        ModelError: Nothing can be held out, with the reason.
    """
    if spec.task == "forecast":
        splits = tuple(_windows(rows, spec, evaluation.backtest))
    elif not holds_out(spec, evaluation):
        raise ModelError(NOTHING_HELD_OUT)
    else:
        splits = tuple(_parts(rows, spec, evaluation))
    if not splits:
        raise ModelError(f"{len(rows)} rows are too few to hold some of them out")
    return splits


def _windows(rows: Rows, spec: FitSpec, backtest: BacktestSpec) -> Iterator[Split]:
    """Rolling origins. A window that tests more periods than it trains on says little: it is left out."""
    series = Series.read(rows, Basis.of(spec))
    unknown = without_known_future(rows, spec)
    visible = _visible(rows, spec)
    horizon = spec.horizon
    for window in range(backtest.windows):
        cut = len(series) - horizon - window * (backtest.step or horizon)
        if cut < max(horizon, LEAST):
            return
        period = slice(cut, cut + horizon)
        found = series.row_of[period]
        actual = series.target[period]
        # Nobody promises a forecast where a known-future feature is missing.
        known = np.flatnonzero((found >= 0) & (actual == actual) & ~unknown[found])
        if len(known) == 0:
            continue
        start, stop = _stop(series, cut), _stop(series, cut + horizon)
        yield Split(
            rows.part(0, start),
            rows.part(start, stop).only(visible),
            found[known] - start,
            actual[known],
            window,
            series.target[:cut],
            known + 1,
        )


def _stop(series: Series, cut: int) -> int:
    """One past the last row of the periods before a cut."""
    last = int(series.row_of[cut - 1])
    return (last if last >= 0 else int(series.row_of[:cut].max())) + 1


def _parts(rows: Rows, spec: FitSpec, evaluation: EvaluationSpec) -> Iterator[Split]:
    """A hold-out or folds."""
    outcome, known = outcomes(rows, spec)
    if not known.any():
        raise ModelError("no row has a known outcome")
    if spec.task == "classification" and bool((outcome[known] == outcome[known][0]).all()):
        raise ModelError(f"all rows are of one class, {outcome[known][0]}")
    visible = _visible(rows, spec)
    for number, (train, held) in enumerate(_cuts(rows, spec, evaluation)):
        judged = np.flatnonzero(known[held])
        if len(judged):
            visibly = _pick(rows, held).only(visible)
            yield Split(_pick(rows, train), visibly, judged, outcome[held][judged], number)


def _cuts(rows: Rows, spec: FitSpec, evaluation: EvaluationSpec) -> Iterator[tuple[_Places, _Places]]:
    """Rows to train on and rows held out, of each split."""
    count = len(rows)
    if evaluation.folds is None:
        held, folds = max(round(count * evaluation.holdout), 1), 1
    else:
        folds = min(evaluation.folds, count // 2)
        held = count // (folds + 1)
    if count - held * folds < LEAST or (evaluation.folds is not None and folds < 2):
        return
    if spec.time is not None:
        times = rows.values(spec.time)
        edges = [count, *(_edge(times, count - held * (fold + 1)) for fold in range(folds))]
        yield from ((slice(0, cut), slice(cut, stop)) for stop, cut in pairwise(edges) if cut < stop)
        return
    order = np.random.default_rng(spec.seed).permutation(count)
    for part in [order[:held]] if evaluation.folds is None else np.array_split(order, folds):
        is_held = np.zeros(count, dtype=bool)
        is_held[part] = True
        yield np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _edge(times: npt.NDArray[Any], cut: int) -> int:
    """The nearest place to a cut, first before it and then after it, where the time changes; else the cut."""
    changes = np.flatnonzero(times[1:] != times[:-1]) + 1
    before, after = changes[changes <= cut], changes[changes > cut]
    if len(before) and before[-1] >= LEAST:
        return int(before[-1])
    return int(after[0]) if len(after) else cut


def outcomes(rows: Rows, spec: FitSpec) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """What happened in each row, and where it is known."""
    if spec.task == "classification":
        target = str(spec.target)
        present = rows.derived(("present", target), lambda frame: frame[target].notna().to_numpy())
        return rows.values(target), present[rows.places]
    outcome = rows.numbers(str(spec.label if spec.task == "anomaly" else spec.target))
    known = ~np.isnan(outcome)
    return ((outcome != 0).astype(np.int64) if spec.task == "anomaly" else outcome), known


def without_known_future(rows: Rows, spec: FitSpec) -> npt.NDArray[np.bool_]:
    """Rows in which a known-future feature is missing."""
    columns = list(spec.known_future)

    def missing(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        absent: npt.NDArray[np.bool_] = frame[columns].isna().any(axis=1).to_numpy()
        return absent

    return rows.derived(("missing", *columns), missing)[rows.places]


def _visible(rows: Rows, spec: FitSpec) -> tuple[str, ...]:
    """The columns that are known of rows to predict."""
    hidden = {spec.label, spec.weight}
    if spec.task != "anomaly":  # a detector that was given a target watches it like the features
        hidden.add(spec.target)
    if spec.task == "forecast":
        hidden.update(set(spec.features).difference(spec.known_future))
    return rows.derived(
        ("visible", *sorted(name for name in hidden if name is not None)),
        lambda frame: tuple(name for name in frame.columns if name not in hidden),
    )


def _pick(rows: Rows, places: _Places) -> Rows:
    return rows.part(places.start, places.stop) if isinstance(places, slice) else rows.take(places)
