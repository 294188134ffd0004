"""From predictions beside what happened to a verdict on each key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.metrics import HeldOut, Metric
from manymodels.models.contract import FitSpec, Floats, interval_columns
from manymodels.monitoring.drift import ks_distance, ks_limit, mean_shift
from manymodels.monitoring.spec import MonitorSpec

__all__ = ["CAUSES", "JudgedKey", "KeyRows", "judge_features", "judge_key", "measure"]

CAUSES = {
    "accuracy": "the metric is worse than in the model's evaluation by more than `monitor.max_loss`",
    "coverage": "intervals cover less than they say, by more than `monitor.coverage_gap`",
    "residuals": "the mean of the residuals shifted: their cumulative sum is above `monitor.cusum`",
    "features": "a feature's distribution is not that of the training rows: their distance is above `monitor.ks`",
}
"""Why a key is to be trained again."""

_SURE = 3.0  # standard errors that coverage must lie below the nominal one: few rows prove little
_ALPHA = 0.001  # of a key's distances by chance, over all its features


@dataclass(frozen=True)
class KeyRows:
    """Predictions of one key that came true, in the order in which they were made.

    Attributes:
        actual: What happened; as in ``HeldOut``. Shape (n,).
        predictions: Output column to values. Shape (n,) each.
        scoring: Number of the scoring of each row, ascending. Shape (n,).
        training: The target that the model was trained on (``HeldOut.training``).
    """

    actual: npt.NDArray[Any]
    predictions: Mapping[str, npt.NDArray[Any]]
    scoring: npt.NDArray[np.int64]
    training: Floats


@dataclass(frozen=True)
class JudgedKey:
    """How one key's predictions did.

    Attributes:
        rows: Predictions that came true.
        metric: The job's metric on them; None where it has no value.
        bias: Mean of what happened minus what was predicted; None for classes.
        coverage: Level to the share of rows inside its interval.
        cusum: The larger cumulative sum of residuals; negative for a downward shift.
        shifted: Scoring in which the mean of the residuals shifted; None when it did not.
        causes: Of ``CAUSES``; empty for a key that is left alone.
    """

    rows: int
    metric: float | None
    bias: float | None
    coverage: dict[float, float]
    cusum: float | None = None
    shifted: int | None = None
    causes: tuple[str, ...] = ()


def judge_key(
    rows: KeyRows, evaluated: float | None, metric: Metric | None, spec: FitSpec, monitor: MonitorSpec
) -> JudgedKey:
    """How a key's predictions did, and whether that is a reason to train it again.

    Args:
        rows: Its predictions that came true.
        evaluated: The metric of its model's evaluation; None when it has none.
        metric: The job's; None when it has none.
        spec: Of the run.
        monitor: What is tolerated.
    """
    measured = measure(rows, metric, spec)
    residuals = _residuals(rows, spec)
    shift = None if residuals is None else mean_shift(residuals)
    causes = []
    if len(rows.actual) >= monitor.min_rows:
        if _lost(measured.metric, evaluated, metric, monitor.max_loss):
            causes.append("accuracy")
        if _uncovered(measured, monitor.coverage_gap):
            causes.append("coverage")
        if shift is not None and monitor.cusum is not None and abs(shift.height) > monitor.cusum:
            causes.append("residuals")
    return JudgedKey(
        rows=measured.rows,
        metric=measured.metric,
        bias=measured.bias,
        coverage=measured.coverage,
        cusum=None if shift is None else shift.height,
        shifted=int(rows.scoring[shift.start]) if shift is not None and "residuals" in causes else None,
        causes=tuple(causes),
    )


def measure(rows: KeyRows, metric: Metric | None, spec: FitSpec) -> JudgedKey:
    """Accuracy and coverage of some rows, without a verdict."""
    value = None
    if metric is not None:
        measured = metric.measure(HeldOut(rows.actual, rows.predictions, spec, rows.training))
        value = None if isinstance(measured, str) else measured
    bias = None
    if spec.task not in ("classification", "anomaly"):
        bias = float((rows.actual - rows.predictions["prediction"]).mean())
    coverage = {}
    for level in spec.levels:
        low, high = (rows.predictions[name] for name in interval_columns(level))
        known = np.isfinite(low) & np.isfinite(high)
        if known.any():
            inside = (low <= rows.actual) & (rows.actual <= high)
            coverage[level] = float(inside[known].mean())
    return JudgedKey(len(rows.actual), value, bias, coverage)


def judge_features(
    before: Mapping[str, Floats], after: Mapping[str, Floats], monitor: MonitorSpec
) -> tuple[str, float, tuple[str, ...]]:
    """The feature of a key that is farthest from its training rows, its distance, and those that drifted.

    Args:
        before: Numeric feature to its training values, NaN where missing.
        after: The same of the new rows.
        monitor: What is tolerated.
    """
    farthest, distance = "", 0.0
    drifted = []
    for name, reference in before.items():
        old, new = reference[np.isfinite(reference)], after[name][np.isfinite(after[name])]
        if len(new) < monitor.min_rows or len(old) < monitor.min_rows:
            continue
        found = ks_distance(old, new)
        if found > distance:
            farthest, distance = name, found
        if monitor.ks is not None and found > max(
            monitor.ks, ks_limit(len(old), len(new), _ALPHA / len(before))
        ):
            drifted.append(name)
    return farthest, distance, tuple(drifted)


def _residuals(rows: KeyRows, spec: FitSpec) -> Floats | None:
    """What has mean zero while the model holds; None where nothing has."""
    if spec.task == "anomaly":
        return None
    if spec.task != "classification":
        found: Floats = rows.actual - rows.predictions["prediction"]
        return found
    # Of a calibrated classifier: whether it was right, less how sure it was. One that is always sure has no such thing.
    predicted = rows.predictions["prediction"]
    sure = np.max([rows.predictions[f"probability_{value}"] for value in spec.classes], axis=0)
    if ((sure == 0) | (sure == 1)).all():
        return None
    right: Floats = (predicted == rows.actual).astype(np.float64) - sure
    return right


def _lost(value: float | None, evaluated: float | None, metric: Metric | None, limit: float | None) -> bool:
    if value is None or evaluated is None or metric is None or limit is None:
        return False
    return metric.badness(value) - metric.badness(evaluated) > limit * abs(evaluated)


def _uncovered(measured: JudgedKey, gap: float | None) -> bool:
    if gap is None:
        return False
    for level, share in measured.coverage.items():
        nominal = level / 100
        error = math.sqrt(nominal * (1 - nominal) / measured.rows)
        if nominal - share > max(gap, _SURE * error):
            return True
    return False
