"""Control limits around an exponentially weighted moving average: small lasting shifts, not single spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from manymodels.exceptions import UnusableRowsError
from manymodels.models.anomaly.watch import (
    anomaly_columns,
    last_time,
    starts_after,
    threshold_at,
    watched_columns,
)
from manymodels.models.contract import FitSpec, FittedModel, Floats, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.tabular.columns import numbers
from manymodels.records import Rows

__all__ = ["RANGE_TO_SIGMA", "Ewma", "EwmaModel", "chart_scores"]

RANGE_TO_SIGMA = 1.128
"""Mean moving range of two values in standard deviations of a normal distribution, d2 (Montgomery, table VI)."""


@dataclass(frozen=True)
class Ewma:
    """The two-sided EWMA control chart.

    Roberts, Control Chart Tests Based on Geometric Moving Averages, Technometrics 1 (1959). The average
    z(t) = smoothing x(t) + (1 - smoothing) z(t - 1) starts at the column's mean; the score is the largest
    |z - mean| over the watched columns, in standard deviations of z, sigma sqrt(smoothing / (2 - smoothing)
    (1 - (1 - smoothing)^2t)). Sigma is the mean moving range over 1.128, which a lasting shift does not widen
    (Montgomery, Introduction to Statistical Quality Control, 6.4 and 9.2).

    Attributes:
        smoothing: Weight of the newest row, lambda in the papers: the less, the smaller the shifts it finds.
        limit: Score above which a row is an anomaly, L in the papers (2.7 goes with 0.1, 3 with 0.25); null
            takes the one that the share ``anomaly.rate`` of the training rows exceed.
    """

    smoothing: float = 0.2
    limit: float | None = None

    name: ClassVar[str] = "ewma"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"`smoothing` lies above 0 and up to 1; found {self.smoothing}")
        if self.limit is not None and self.limit <= 0:
            raise ValueError(f"`limit` must be more than 0; found {self.limit}")

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Learn mean and sigma of each watched column, and run the chart over the training rows.

        Raises:
            UnusableRowsError: No watched column is numeric, or none has a value.
        """
        columns = watched_columns(rows, spec)
        values = numbers(rows, columns)
        present = np.flatnonzero(~np.isnan(values).all(axis=0))
        if len(present) == 0:
            raise UnusableRowsError(f"no watched column has a value in {len(rows)} rows")
        columns = tuple(columns[place] for place in present)
        values = values[:, present]
        mean = np.nanmean(values, axis=0)
        model = EwmaModel(
            smoothing=self.smoothing,
            columns=columns,
            mean=mean,
            sigma=_sigma(values, mean),
            threshold=0.0,
            average=mean,
            seen=np.zeros(len(columns), dtype=np.int64),
            time=spec.time,
        )
        averages, seen = model.run(values, model.average, model.seen)
        scores = model.scores(values, averages, seen)
        return replace(
            model,
            threshold=self.limit or threshold_at(scores, spec.rate),
            average=averages[-1],
            seen=seen[-1],
            last=last_time(rows, spec.time),
        )


@dataclass(frozen=True, eq=False)
class EwmaModel(FixedModel):
    """One key's chart, as the training rows left it.

    Attributes:
        smoothing: Weight of the newest row.
        columns: Watched columns.
        mean: Of each column.
        sigma: Standard deviation of each column.
        threshold: Score above which a row is an anomaly.
        average: The moving average after the last training row.
        seen: Values of each column so far.
        time: Time column.
        last: Time of the last training row.
    """

    smoothing: float
    columns: tuple[str, ...]
    mean: Floats
    sigma: Floats
    threshold: float
    average: Floats
    seen: Any
    time: str | None = None
    last: float | None = None

    def run(self, values: Floats, average: Floats, seen: Any) -> tuple[Floats, Any]:
        """The moving averages of rows, and how many values they rest on; both of shape (rows, columns)."""
        series = pd.DataFrame(np.vstack([average, values]))
        averages = series.ewm(alpha=self.smoothing, adjust=False, ignore_na=True).mean().to_numpy()[1:]
        return averages, seen + np.cumsum(~np.isnan(values), axis=0)

    def scores(self, values: Floats, averages: Floats, seen: Any) -> Floats:
        """Largest distance of each row from the mean, in standard deviations; NaN where nothing is known."""
        return chart_scores(values, averages, seen, self.smoothing, self.mean, self.sigma)

    def predict(self, rows: Rows) -> Predictions:
        """``score``, the largest distance of a moving average from its mean, and ``is_anomaly``.

        The averages continue from the training rows; rows that begin at or before the last of those are a
        history of their own, whose averages start at the mean.

        Raises:
            DataError: A watched column is not there, or holds what is no number.
        """
        values = numbers(rows, self.columns)
        continued = starts_after(rows, self.time, self.last)
        averages, seen = self.run(
            values, self.average if continued else self.mean, self.seen if continued else 0 * self.seen
        )
        return anomaly_columns(self.scores(values, averages, seen), self.threshold)

    def describe(self) -> Mapping[str, Any]:
        """Family, smoothing, threshold, and mean and sigma of each watched column."""
        return {
            "family": Ewma.name,
            "smoothing": self.smoothing,
            "threshold": self.threshold,
            "mean": dict(zip(self.columns, self.mean.tolist(), strict=True)),
            "sigma": dict(zip(self.columns, self.sigma.tolist(), strict=True)),
        }


def chart_scores(
    values: Floats, averages: Floats, seen: Any, smoothing: float, mean: Floats, sigma: Floats
) -> Floats:
    """Largest distance of each row's averages from the means, in standard deviations; NaN where nothing is known.

    Args:
        values: Shape (rows, columns).
        averages: After each row. Shape (rows, columns).
        seen: Values that they rest on. Shape (rows, columns).
        smoothing: Weight of the newest row.
        mean: Of each column; for all rows, or one for each.
        sigma: Standard deviation of each column; for all rows, or one for each.
    """
    ratio = smoothing / (2 - smoothing)
    spread = sigma * np.sqrt(ratio * (1 - (1 - smoothing) ** (2 * np.maximum(seen, 1))))
    distances = np.where(np.isnan(values), np.nan, np.abs(averages - mean) / spread)
    largest: Floats = np.fmax.reduce(distances, axis=1)
    return largest


def _sigma(values: Floats, mean: Floats) -> Floats:
    """Mean moving range of each column, missing values left out, over 1.128."""
    ranges = [np.abs(np.diff(column[~np.isnan(column)])) for column in values.T]
    sigma = np.array([np.mean(steps) if len(steps) else 0.0 for steps in ranges]) / RANGE_TO_SIGMA
    # A constant column: any other value is far away, but not infinitely far.
    return np.maximum(sigma, 1e-9 * np.maximum(np.abs(mean), 1.0))
