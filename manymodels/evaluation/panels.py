"""Judging one candidate on many keys at once: what ``evaluate`` does for one key, for a panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.metrics import HeldOut, Metric
from manymodels.evaluation.panel_splits import PanelSplit
from manymodels.models.batched.contract import BatchedTrainer, Ints, Panel, segment_sums
from manymodels.models.contract import FitSpec, Floats, Predictions, interval_columns
from manymodels.models.tabular.outputs import probability_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HeldPanel", "PanelEvaluation", "evaluate_panel", "measure_panel"]


@dataclass(frozen=True, eq=False)
class HeldPanel:
    """Held-out rows of many keys with their predictions; every outcome is known and every prediction is finite.

    Attributes:
        places: The keys, ascending. Shape (keys,).
        held: Their rows, one key after the other.
        actual: What happened in them, one value a row.
        predictions: Of the same rows.
        spec: What the fits knew.
        train: The rows that the fits saw.
        target: Forecasts: the target of all rows of the frame.
    """

    places: Ints
    held: Panel
    actual: npt.NDArray[Any]
    predictions: Predictions
    spec: FitSpec
    train: Panel
    target: Floats

    @cached_property
    def predicted(self) -> npt.NDArray[Any]:
        """The predicted value of each row."""
        return self.predictions["prediction"]

    def mean(self, values: Floats) -> Floats:
        """The mean over each key's rows. Shape (keys,)."""
        offsets = self.held.offsets
        return segment_sums(values, offsets[:-1], offsets[1:]) / self.held.lengths

    def one(self, place: int) -> HeldOut:
        """One key's."""
        span = slice(int(self.held.offsets[place]), int(self.held.offsets[place + 1]))
        training = self.target[self.train.starts[place] : self.train.stops[place]]
        columns = {name: values[span] for name, values in self.predictions.items()}
        return HeldOut(self.actual[span], columns, self.spec, training)


@dataclass(frozen=True, eq=False)
class PanelEvaluation:
    """How a candidate did on the keys of a panel.

    Attributes:
        values: The metric; NaN where a key lacks the split, or has no value on it for whatever reason. Shape (splits, keys).
        held: What was predicted on each split; None where nothing was.
    """

    values: Floats
    held: tuple[HeldPanel | None, ...]


def evaluate_panel(
    trainer: BatchedTrainer, splits: Sequence[PanelSplit], seeds: Ints, spec: FitSpec, metric: Metric
) -> PanelEvaluation:
    """Fit and measure a candidate on every split of every key.

    Args:
        trainer: The candidate's.
        splits: Of the panel.
        seeds: The keys'. Shape (keys,).
        spec: What the fits need to know.
        metric: What is measured.
    """
    values = np.full((len(splits), len(seeds)), np.nan)
    kept: list[HeldPanel | None] = [None] * len(splits)
    for number, split in enumerate(splits):
        fit = trainer.fit_batch(split.train, seeds[split.places], spec)
        found = fit.columns.predict(split.held.take(fit.places))
        usable = fit.places[found.served]
        if len(usable) == 0:
            continue
        rows = np.repeat(found.served, split.held.lengths[fit.places])
        predictions = {name: array[rows] for name, array in found.values.items()}
        held = split.held.take(usable)
        actual = held.flat(split.outcome)
        places = split.places[usable]
        judged = HeldPanel(places, held, actual, predictions, spec, split.train.take(usable), split.outcome)
        values[number, places] = measure_panel(judged, metric)
        kept[number] = judged
    return PanelEvaluation(values, tuple(kept))


def measure_panel(held: HeldPanel, metric: Metric) -> Floats:
    """The metric of each key; NaN where it has no finite value. Shape (keys,)."""
    measure = _PANEL.get(metric.name)
    if measure is not None:
        values = measure(held)
    else:
        found = [metric.measure(held.one(place)) for place in range(len(held.held))]
        values = np.array([np.nan if isinstance(value, str) else value for value in found])
    main = held.predicted
    if main.dtype.kind == "f":  # what is no number anywhere is told by the evaluation of the one key
        values = np.where(held.mean((~np.isfinite(main)).astype(np.float64)) > 0, np.nan, values)
    return np.where(np.isfinite(values), values, np.nan)


def _mae(held: HeldPanel) -> Floats:
    return held.mean(np.abs(held.actual - held.predicted))


def _rmse(held: HeldPanel) -> Floats:
    found: Floats = np.sqrt(held.mean(np.square(held.actual - held.predicted)))
    return found


def _wape(held: HeldPanel) -> Floats:
    total = held.mean(np.abs(held.actual))
    return _mae(held) / np.where(total > 0, total, np.nan)


def _smape(held: HeldPanel) -> Floats:
    misses = np.abs(held.actual - held.predicted)
    sizes = np.abs(held.actual) + np.abs(held.predicted)
    return 200 * held.mean(np.divide(misses, sizes, out=np.zeros_like(sizes), where=sizes > 0))


def _mase(held: HeldPanel) -> Floats:
    season = held.spec.season_length
    scale = _lagged(held, season)
    if season > 1 and not (long := held.train.lengths > season).all():
        scale = np.where(long, scale, _lagged(held, 1))
    return _mae(held) / np.where(scale > 0, scale, np.nan)


def _lagged(held: HeldPanel, lag: int) -> Floats:
    """Mean absolute change over a lag before each cutoff; NaN where no two values are so far apart."""

    def changes(_: pd.DataFrame) -> Floats:
        moved = np.zeros(len(held.target))
        np.abs(held.target[lag:] - held.target[:-lag], out=moved[lag:])
        return moved

    moved = held.train.rows.derived(("changes", held.spec.target, lag), changes)
    starts, stops = held.train.starts + lag, held.train.stops
    far = stops > starts
    found = np.full(len(starts), np.nan)
    found[far] = segment_sums(moved, starts[far], stops[far]) / (stops - starts)[far]
    return found


def _pinball(held: HeldPanel) -> Floats:
    losses = []
    for level in held.spec.levels:
        tail = (1 - level / 100) / 2
        for column, quantile in zip(interval_columns(level), (tail, 1 - tail), strict=True):
            errors = held.actual - held.predictions[column]
            losses.append(held.mean(np.maximum(quantile * errors, (quantile - 1) * errors)))
    return np.mean(losses, axis=0) if losses else np.full(len(held.held), np.nan)


def _logloss(held: HeldPanel) -> Floats:
    chosen = np.zeros(len(held.actual))
    for value in held.spec.classes:
        here = held.actual == value
        chosen[here] = held.predictions[probability_column(value)][here]
    least = np.finfo(np.float64).eps
    return -held.mean(np.log(np.clip(chosen, least, 1 - least)))


def _accuracy(held: HeldPanel) -> Floats:
    return held.mean((held.actual == held.predicted).astype(np.float64))


_PANEL: dict[str, Callable[[HeldPanel], Floats]] = {
    "mae": _mae,
    "rmse": _rmse,
    "wape": _wape,
    "smape": _smape,
    "mase": _mase,
    "pinball": _pinball,
    "logloss": _logloss,
    "accuracy": _accuracy,
}
"""Metrics of all keys at once; the others are measured key by key."""
