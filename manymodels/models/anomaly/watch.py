"""What anomaly detection watches: numeric columns, in time order, and where the threshold lies."""

from __future__ import annotations

import numpy as np

from manymodels.exceptions import UnusableRowsError
from manymodels.models.contract import FitSpec, Floats, Predictions
from manymodels.models.tabular.columns import kinds, numbers
from manymodels.records import Rows

__all__ = ["anomaly_columns", "last_time", "starts_after", "threshold_at", "watched_columns"]


def watched_columns(rows: Rows, spec: FitSpec) -> tuple[str, ...]:
    """The numeric features and the target where there is one; never the truth.

    Raises:
        UnusableRowsError: None of them is numeric.
        DataError: One of them is not there.
    """
    names = [*spec.features, *([] if spec.target is None else [spec.target])]
    kind = kinds(rows, tuple(dict.fromkeys(names)), spec.categorical)
    watched = tuple(name for name in kind if kind[name] == "number" and name != spec.label)
    if not watched:
        raise UnusableRowsError(f"no numeric column to watch among {', '.join(kind) or 'no features'}")
    return watched


def threshold_at(scores: Floats, rate: float) -> float:
    """The score that a share ``rate`` of the training rows exceed: their 1 - rate quantile.

    Raises:
        UnusableRowsError: No row has a score.
    """
    finite = scores[np.isfinite(scores)]
    if len(finite) == 0:
        raise UnusableRowsError(f"no watched column has a value in {len(scores)} rows")
    return float(np.quantile(finite, 1 - rate))


def anomaly_columns(scores: Floats, threshold: float | Floats) -> Predictions:
    """The output: rows above the threshold, or each above its own, are anomalies; rows without a score are none."""
    return {"score": scores, "is_anomaly": scores > threshold}


def last_time(rows: Rows, time: str | None) -> float | None:
    """The last row's time in seconds, or its position; None without a time column."""
    return None if time is None else float(numbers(rows, (time,))[-1, 0])


def starts_after(rows: Rows, time: str | None, last: float | None) -> bool:
    """Whether rows continue a history that ended at ``last``; true when there is no time to tell by."""
    if time is None or last is None or not len(rows):
        return True
    return bool(numbers(rows, (time,))[0, 0] > last)
