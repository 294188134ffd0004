"""What is held out of many keys' rows: the splits of ``make_splits``, as panels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.cuts import LEAST, cuts
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import group_codes, holds_out, outcomes, periods_seen, without_known_future
from manymodels.models.batched.contract import Ints, Panel
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec
from manymodels.models.forecast.series import Basis

__all__ = ["PanelSplit", "panel_splits"]


@dataclass(frozen=True, eq=False)
class PanelSplit:
    """One split of those keys that have it.

    Attributes:
        places: The keys, ascending.
        train: Their rows to fit.
        held: Their rows to judge the fits by; every outcome is known.
        outcome: What happened in every row of ``held.rows``.
    """

    places: Ints
    train: Panel
    held: Panel
    outcome: npt.NDArray[Any] = field(repr=False)

    def only(self, keys: npt.NDArray[np.bool_]) -> PanelSplit:
        """The split of some of its keys; ``keys`` has one value for each of ``places``."""
        return replace(self, places=self.places[keys], train=self.train.take(keys), held=self.held.take(keys))


def panel_splits(panel: Panel, seeds: Ints, spec: FitSpec, evaluation: EvaluationSpec) -> list[PanelSplit]:
    """The splits that ``make_splits`` makes of each key, for the keys in which every row counts.

    Keys with gaps, unknown outcomes or missing known-future features are in none of them: they are judged one by one. So are
    all keys when models are to go on over newer history instead of being fitted in every window.
    """
    if evaluation.cadence(spec.task) > 1 and evaluation.backtest.windows > 1:
        return []
    if spec.task == "forecast":
        return list(_windows(panel, spec, evaluation))
    if not holds_out(spec, evaluation):
        return []
    return list(_parts(panel, seeds, spec, evaluation))


def _windows(panel: Panel, spec: FitSpec, evaluation: EvaluationSpec) -> Iterator[PanelSplit]:
    regular, series = SeriesPanel.read(panel, Basis.of(spec))
    if spec.known_future:
        unknown = np.concatenate([[0], np.cumsum(without_known_future(panel.rows, spec))])
        complete = unknown[series.stops] == unknown[series.starts]
        regular, series = regular[complete], series.take(complete)
    span = evaluation.backtest.span
    backtest, horizon = evaluation.backtest, spec.horizon
    whole = panel.take(regular)
    for window in range(backtest.windows):
        cut = whole.lengths - horizon - window * (backtest.step or horizon)
        long = cut >= max(horizon, LEAST)
        if not long.any():
            return
        keys, cut = whole.take(long), cut[long]
        begin = np.zeros_like(cut)
        if span is not None:
            cutoffs = series.origin[long] - (keys.lengths - cut)
            begin = np.maximum(cut - periods_seen(cutoffs, span, str(spec.frequency)), 0)
        yield PanelSplit(regular[long], keys.part(begin, cut), keys.part(cut, cut + horizon), series.target)


def _parts(panel: Panel, seeds: Ints, spec: FitSpec, evaluation: EvaluationSpec) -> Iterator[PanelSplit]:
    outcome, is_known = outcomes(panel.rows, spec)
    unknown = np.concatenate([[0], np.cumsum(~is_known)])
    usable = unknown[panel.stops] == unknown[panel.starts]
    if spec.task == "classification":
        changes = np.concatenate([[0], np.cumsum(outcome[1:] != outcome[:-1]), [0]])
        usable &= changes[panel.stops - 1] > changes[panel.starts]  # one class says nothing
    known = np.flatnonzero(usable)
    keys = panel.take(known)
    if spec.time is None or evaluation.groups is not None:
        yield from _by_key(keys, known, seeds[known], spec, evaluation, outcome)
        return
    count = keys.lengths
    if evaluation.folds is None:
        folds, held = np.ones(len(keys), dtype=np.int64), np.maximum(_rounded(count * evaluation.holdout), 1)
    else:
        folds = np.minimum(evaluation.folds, count // 2)
        held = count // (folds + 1)
    has = (count - held * folds >= LEAST) & ((folds >= 2) | (evaluation.folds is None))
    stop = count.copy()
    for fold in range(int(folds.max(initial=0))):
        cut = _edges(keys, spec.time, count - held * (fold + 1))
        here = has & (fold < folds) & (cut < stop)
        some = keys.take(here)
        yield PanelSplit(known[here], some.part(0, cut[here]), some.part(cut[here], stop[here]), outcome)
        stop = np.where(fold < folds, cut, stop)


def _by_key(
    keys: Panel,
    places: Ints,
    seeds: Ints,
    spec: FitSpec,
    evaluation: EvaluationSpec,
    outcome: npt.NDArray[Any],
) -> Iterator[PanelSplit]:
    """Drawn parts, and groups: cut key by key. A split is a view of the frame with the rows to fit first, then the others."""
    times = None if spec.time is None else keys.rows.values(spec.time)
    codes = None if evaluation.groups is None else group_codes(keys.rows, evaluation.groups)
    found: dict[int, list[tuple[int, Ints, Ints]]] = {}
    for place, (start, count, seed) in enumerate(
        zip(keys.starts.tolist(), keys.lengths.tolist(), seeds.tolist(), strict=True)
    ):
        rows = np.arange(start, start + count)
        for number, (train, held) in enumerate(
            cuts(
                count,
                evaluation,
                seed,
                times=None if times is None else times[rows],
                groups=None if codes is None else codes[rows],
            )
        ):
            found.setdefault(number, []).append((place, rows[train], rows[held]))
    for number in sorted(found):
        split = found[number]
        lengths = np.array([(len(train), len(held)) for _, train, held in split])
        picked = np.concatenate([part for _, train, held in split for part in (train, held)])
        stops = np.cumsum(lengths.sum(axis=1))
        cut = stops - lengths[:, 1]
        view = keys.rows.take(picked)
        yield PanelSplit(
            places[[place for place, _, _ in split]],
            Panel(view, stops - lengths.sum(axis=1), cut),
            Panel(view, cut, stops),
            outcome[picked],
        )


def _edges(keys: Panel, time: str, cut: Ints) -> Ints:
    """See ``splits``: the nearest places to the cuts, first before and then after, where the time changes."""
    times: npt.NDArray[Any] = keys.rows.values(time)
    changed = np.concatenate([[False], times[1:] != times[:-1], [False]])
    at = np.arange(len(changed))
    before = np.maximum.accumulate(np.where(changed, at, -1))[keys.starts + cut] - keys.starts
    changes = np.flatnonzero(changed)
    following = np.append(changes, len(times))[np.searchsorted(changes, keys.starts + cut, side="right")]
    after = np.where(following < keys.stops, following - keys.starts, cut)
    return np.where(before >= LEAST, before, after)


def _rounded(values: npt.NDArray[np.floating[Any]]) -> Ints:
    """As ``round``: halves to even."""
    found: Ints = np.rint(values).astype(np.int64)
    return found
