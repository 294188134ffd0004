"""What is held out of a key's rows to judge candidates by.

Forecasts: rolling origins, counted back from the last known target, each seeing all that came before it or a
sliding window. Other tasks: see ``cuts``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.cuts import LEAST, Places, cuts
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.frequency import Ints, period_index, period_times, time_values
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows
from manymodels.spans import Span

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NOTHING_HELD_OUT",
    "Split",
    "group_codes",
    "holds_out",
    "make_splits",
    "outcomes",
    "periods_seen",
    "without_known_future",
]

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
        history: Forecasts: all rows up to the cutoff, over which an earlier window's model goes on.
    """

    train: Rows
    held: Rows
    judged: npt.NDArray[np.intp]
    actual: npt.NDArray[Any]
    number: int = 0
    training: Floats = field(default_factory=lambda: np.empty(0))
    steps: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    history: Rows | None = None


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
    horizon, span = spec.horizon, backtest.span
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
        begin = 0
        if span is not None:
            cutoff = np.array([series.start + cut - 1])
            begin = max(cut - int(periods_seen(cutoff, span, str(spec.frequency))[0]), 0)
        yield Split(
            rows.part(_stop(series, begin), start),
            rows.part(start, stop).only(visible),
            found[known] - start,
            actual[known],
            window,
            series.target[begin:cut],
            known + 1,
            rows.part(0, start),
        )


def periods_seen(cutoffs: Ints, span: Span, frequency: str) -> Ints:
    """How many periods, the cutoff's own the last of them, a sliding window has.

    Args:
        cutoffs: Numbers of the last periods. Shape (n,).
        span: The window.
        frequency: A normalised frequency; a length of time needs one of times.
    """
    if span.unit == "periods":
        return np.full(len(cutoffs), span.count)
    moments = span.before(time_values(period_times(cutoffs, frequency)))
    first = period_index(moments.view("datetime64[us]"), frequency)
    # The period in which that moment lies is seen where its own time comes after it.
    first += time_values(period_times(first, frequency)) <= moments
    return cutoffs - first + 1


def _stop(series: Series, cut: int) -> int:
    """One past the last row of the periods before a cut."""
    if cut == 0:
        return 0
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
    times = None if spec.time is None else rows.values(spec.time)
    groups = None if evaluation.groups is None else group_codes(rows, evaluation.groups)
    for number, (train, held) in enumerate(
        cuts(len(rows), evaluation, spec.seed, times=times, groups=groups)
    ):
        judged = np.flatnonzero(known[held])
        if len(judged):
            visibly = _pick(rows, held).only(visible)
            yield Split(_pick(rows, train), visibly, judged, outcome[held][judged], number)


def group_codes(rows: Rows, column: str) -> Ints:
    """The group of each row as a number; rows without one are a group of their own."""
    import pandas as pd

    def codes(frame: pd.DataFrame) -> Ints:
        found: Ints = pd.factorize(frame[column], use_na_sentinel=False)[0].astype(np.int64)
        return found

    return rows.derived(("groups", column), codes)[rows.places]


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


def _pick(rows: Rows, places: Places) -> Rows:
    return rows.part(places.start, places.stop) if isinstance(places, slice) else rows.take(places)
