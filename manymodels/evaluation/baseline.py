"""The naive baseline: what every score is relative to, judged on the same splits as the candidates.

It is the naive model of the task, fitted on the key alone: seasonal naive (naive for a series shorter than a season), the mean
of the target, the shares of the classes, or robust z-scores of each numeric column from its median.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manymodels.evaluation.metrics import HeldOut, Metric
from manymodels.evaluation.panel_splits import PanelSplit
from manymodels.evaluation.panels import HeldPanel, evaluate_panel, measure_panel
from manymodels.evaluation.splits import Split
from manymodels.models.batched.contract import Ints, segment_sums
from manymodels.models.batched.simple import BatchedLastSeason
from manymodels.models.contract import FitSpec, Floats, Predictions
from manymodels.models.forecast.simple import naive_ahead
from manymodels.models.rungs import naive_family
from manymodels.models.tabular.outputs import class_columns

__all__ = ["baseline_values", "panel_baselines"]


def baseline_values(splits: Sequence[Split], spec: FitSpec, metric: Metric) -> tuple[float | None, ...]:
    """The metric of the naive baseline on each of a key's splits; None where it has none, for whatever reason."""
    return tuple(_value(split, spec, metric) for split in splits)


def _value(split: Split, spec: FitSpec, metric: Metric) -> float | None:
    try:
        if spec.task == "forecast":
            # Intervals cost time, and few metrics look at them.
            levels = spec.levels if metric.name in ("pinball", "coverage") else ()
            predictions: Predictions = naive_ahead(
                split.training, split.steps, spec.season_length, non_negative=spec.non_negative, levels=levels
            )
        else:
            model = naive_family(spec.task).fit_pooled([split.train], spec)
            whole = model.predict(split.held)
            predictions = {name: np.asarray(values)[split.judged] for name, values in whole.items()}
        found = metric.measure(HeldOut(split.actual, predictions, spec, split.training))
    except Exception:  # a key without a baseline has no skill, and is none the worse for it
        return None
    return None if isinstance(found, str) else found


def panel_baselines(splits: Sequence[PanelSplit], seeds: Ints, spec: FitSpec, metric: Metric) -> Floats:
    """What ``baseline_values`` gives for each key of a panel.

    Args:
        splits: Of the panel.
        seeds: The keys'. Shape (keys,).
        spec: What the fits know.
        metric: What is measured.

    Returns:
        Shape (splits, keys); NaN where a key lacks the split, or has no baseline on it.
    """
    if spec.task == "forecast":
        return _panel_forecasts(splits, seeds, spec, metric)
    values = np.full((len(splits), len(seeds)), np.nan)
    for number, split in enumerate(splits if spec.task != "anomaly" else ()):
        if len(split.places):
            held = _constants(split, spec)
            values[number, split.places] = measure_panel(held, metric)
    return values


def _panel_forecasts(splits: Sequence[PanelSplit], seeds: Ints, spec: FitSpec, metric: Metric) -> Floats:
    season = spec.season_length
    seasonal, short = [], []
    for split in splits:
        long = split.train.lengths >= max(season, 2)
        seasonal.append(split.only(long))
        short.append(split.only(~long))
    naive = BatchedLastSeason("naive", 1)
    if season == 1:
        return evaluate_panel(naive, splits, seeds, spec, metric).values
    found = evaluate_panel(BatchedLastSeason("seasonal_naive", season), seasonal, seeds, spec, metric).values
    other = evaluate_panel(naive, short, seeds, spec, metric).values
    return np.where(np.isnan(found), other, found)


def _constants(split: PanelSplit, spec: FitSpec) -> HeldPanel:
    """The mean of each key's target, or the shares of its classes, for its held-out rows."""
    train, held = split.train, split.held
    outcome = train.flat(split.outcome)
    weights = np.ones(len(outcome)) if spec.weight is None else train.flat(train.rows.numbers(spec.weight))

    def weighed(values: Floats) -> Floats:
        return segment_sums(values * weights, train.offsets[:-1], train.offsets[1:])

    total = weighed(np.ones(len(outcome)))
    if spec.task != "classification":
        means = weighed(outcome.astype(np.float64)) / total
        predictions: Predictions = {"prediction": means[held.owner]}
    else:
        shares = np.column_stack(
            [weighed((outcome == value).astype(np.float64)) / total for value in spec.classes]
        )
        predictions = class_columns(shares.argmax(axis=1)[held.owner], shares[held.owner], spec.classes)
    return HeldPanel(split.places, held, held.flat(split.outcome), predictions, spec, train, split.outcome)
