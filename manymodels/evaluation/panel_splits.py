"""What is held out of many keys' rows: the splits of ``make_splits``, as panels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import LEAST, holds_out, outcomes, without_known_future
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

    Keys with gaps, unknown outcomes or missing known-future features are in none of them: they are judged one by one.
    """
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
        regular = regular[complete]
    backtest, horizon = evaluation.backtest, spec.horizon
    whole = panel.take(regular)
    for window in range(backtest.windows):
        cut = whole.lengths - horizon - window * (backtest.step or horizon)
        long = cut >= max(horizon, LEAST)
        if not long.any():
            return
        keys = whole.take(long)
        yield PanelSplit(
            regular[long], keys.part(0, cut[long]), keys.part(cut[long], cut[long] + horizon), series.target
        )


def _parts(panel: Panel, seeds: Ints, spec: FitSpec, evaluation: EvaluationSpec) -> Iterator[PanelSplit]:
    outcome, is_known = outcomes(panel.rows, spec)
    unknown = np.concatenate([[0], np.cumsum(~is_known)])
    usable = unknown[panel.stops] == unknown[panel.starts]
    if spec.task == "classification":
        changes = np.concatenate([[0], np.cumsum(outcome[1:] != outcome[:-1]), [0]])
        usable &= changes[panel.stops - 1] > changes[panel.starts]  # one class says nothing
    known = np.flatnonzero(usable)
    keys = panel.take(known)
    count = keys.lengths
    if evaluation.folds is None:
        folds, held = np.ones(len(keys), dtype=np.int64), np.maximum(_rounded(count * evaluation.holdout), 1)
    else:
        folds = np.minimum(evaluation.folds, count // 2)
        held = count // (folds + 1)
    has = (count - held * folds >= LEAST) & ((folds >= 2) | (evaluation.folds is None))
    if spec.time is not None:
        stop = count.copy()
        for fold in range(int(folds.max(initial=0))):
            cut = _edges(keys, spec.time, count - held * (fold + 1))
            here = has & (fold < folds) & (cut < stop)
            some = keys.take(here)
            yield PanelSplit(known[here], some.part(0, cut[here]), some.part(cut[here], stop[here]), outcome)
            stop = np.where(fold < folds, cut, stop)
        return
    if evaluation.folds is not None:
        return  # shuffled folds are cut one by one
    yield _shuffled(keys.take(has), known[has], seeds[known[has]], held[has], outcome)


def _shuffled(keys: Panel, places: Ints, seeds: Ints, held: Ints, outcome: npt.NDArray[Any]) -> PanelSplit:
    """A seeded part of each key's rows held out: the rows to fit first, then the others, as a view in that order."""
    orders = []
    for start, count, seed, size in zip(
        keys.starts.tolist(), keys.lengths.tolist(), seeds.tolist(), held.tolist(), strict=True
    ):
        order = np.random.default_rng(seed).permutation(count)
        orders.append(start + np.concatenate([np.sort(order[size:]), np.sort(order[:size])]))
    picked = np.concatenate(orders) if orders else np.empty(0, dtype=np.int64)
    starts, stops = keys.offsets[:-1], keys.offsets[1:]
    rows = keys.rows.take(picked)
    cut = stops - held
    return PanelSplit(places, Panel(rows, starts, cut), Panel(rows, cut, stops), outcome[picked])


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
