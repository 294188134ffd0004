"""Robust z-scores: how far a value is from what was expected, in robust standard deviations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.anomaly.watch import (
    anomaly_columns,
    last_time,
    starts_after,
    threshold_at,
    watched_columns,
)
from manymodels.models.contract import FitSpec, FittedModel, Floats, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.spec import CandidateSpec
from manymodels.models.tabular.columns import medians, numbers
from manymodels.records import Rows

__all__ = ["RobustZscore", "RobustZscoreModel", "scaled", "zscores"]

Expectation = Literal["median", "rolling", "regression"]

_MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation in median absolute deviations; 1 / 0.6745."""
_MEAN_TO_SIGMA = 1.2533
"""The same in mean absolute deviations: the square root of half pi."""


@dataclass(frozen=True)
class RobustZscore:
    """Residuals from an expected value, divided by their median absolute deviation.

    Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993). The score is the largest absolute z-score over
    the watched columns. Where more than half of a column's residuals are equal, the mean absolute deviation
    takes the median one's place.

    Attributes:
        expectation: ``median``: of each column; ``rolling``: the median of each column's ``window`` rows
            before, so that the first row has no score; ``regression``: the target by a Huber regression on all
            features, which outliers hardly move. Null is ``regression`` when the job names a target and
            features, else ``median``.
        window: Rows in a rolling median.
        threshold: Score above which a row is an anomaly (Iglewicz and Hoaglin recommend 3.5); null takes the
            one that the share ``anomaly.rate`` of the training rows exceed.
    """

    expectation: Expectation | None = None
    window: int = 30
    threshold: float | None = None

    name: ClassVar[str] = "robust_zscore"
    revision: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"`window` must be at least 1; found {self.window}")
        if self.threshold is not None and self.threshold <= 0:
            raise ValueError(f"`threshold` must be more than 0; found {self.threshold}")

    @property
    def isolated(self) -> bool:
        """See ``Family.isolated``: where it may be scikit-learn's regression that fits."""
        return self.expectation not in ("median", "rolling")

    @property
    def library(self) -> str:
        """See ``Family.library``."""
        return "sklearn" if self.isolated else ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Learn what is expected, and how far values usually are from it.

        Raises:
            UnusableRowsError: No watched column is numeric, or none has a value.
            ModelError: A regression without a target or features.
        """
        expectation = self.expectation or ("regression" if spec.target and spec.features else "median")
        regression = None
        if expectation == "regression":
            columns = watched_columns(rows, replace(spec, features=()))
            regression = _regression(rows, spec)
            values = numbers(rows, columns)
            center = np.zeros(1)
        else:
            columns = watched_columns(rows, spec)
            values = numbers(rows, columns)
            present = np.flatnonzero(~np.isnan(values).all(axis=0))
            if len(present) == 0:
                raise UnusableRowsError(f"no watched column has a value in {len(rows)} rows")
            columns = tuple(columns[place] for place in present)
            values = values[:, present]
            center = medians(values)
        model = RobustZscoreModel(
            expectation=expectation,
            columns=columns,
            center=center,
            sigma=np.ones(len(columns)),
            threshold=0.0,
            window=self.window,
            tail=np.empty((0, len(columns))),
            regression=regression,
            time=spec.time,
        )
        residuals = model.residuals(rows)
        model = replace(model, sigma=_sigma(residuals, center))
        scores = zscores(residuals, model.sigma)
        return replace(
            model,
            threshold=self.threshold or threshold_at(scores, spec.rate),
            tail=values[-self.window :].copy() if expectation == "rolling" else model.tail,
            last=last_time(rows, spec.time),
        )


@dataclass(frozen=True, eq=False)
class RobustZscoreModel(FixedModel):
    """What is expected of one key, and how far from it is too far.

    Attributes:
        expectation: How the expected value is found.
        columns: Watched columns.
        center: Median of each column; zero for a regression.
        sigma: Robust standard deviation of each column's residuals.
        threshold: Score above which a row is an anomaly.
        window: Rows in a rolling median.
        tail: The last ``window`` training rows, for a rolling median. Shape (window, columns).
        regression: Predicts the target.
        time: Time column.
        last: Time of the last training row.
    """

    expectation: Expectation
    columns: tuple[str, ...]
    center: Floats
    sigma: Floats
    threshold: float
    window: int
    tail: Floats
    regression: FittedModel | None = None
    time: str | None = None
    last: float | None = None

    def residuals(self, rows: Rows) -> Floats:
        """Values less what was expected of them; NaN where nothing was. Shape (rows, columns)."""
        values = numbers(rows, self.columns)
        if self.regression is not None:
            return values - self.regression.predict(rows)["prediction"][:, None]
        if self.expectation == "median":
            return values - self.center
        before = self.tail if starts_after(rows, self.time, self.last) else self.tail[:0]
        history = pd.DataFrame(np.vstack([before, values]))
        expected = history.rolling(self.window, min_periods=1).median().shift(1).to_numpy()[len(before) :]
        residuals: Floats = values - expected
        return residuals

    def predict(self, rows: Rows) -> Predictions:
        """``score``, the largest absolute z-score, and ``is_anomaly``.

        A rolling median continues from the training rows; rows that begin at or before the last of those are a
        history of their own.

        Raises:
            DataError: A watched column is not there, or holds what is no number.
        """
        return anomaly_columns(zscores(self.residuals(rows), self.sigma), self.threshold)

    def describe(self) -> Mapping[str, Any]:
        """Family, expectation, threshold, and center and sigma of each watched column."""
        return {
            "family": RobustZscore.name,
            "expectation": self.expectation,
            "threshold": self.threshold,
            "center": dict(zip(self.columns, self.center.tolist(), strict=True)),
            "sigma": dict(zip(self.columns, self.sigma.tolist(), strict=True)),
        }


def _regression(rows: Rows, spec: FitSpec) -> FittedModel:
    from manymodels.models.tabular.family import SklearnFamily

    if not (spec.target and spec.features):
        raise ModelError("a regression's residuals need `data.target` and features")
    candidate = CandidateSpec(
        name=RobustZscore.name, family="sklearn.linear_model.HuberRegressor", params={"max_iter": 1000}
    )
    return SklearnFamily(candidate, "regression").fit(rows, replace(spec, task="regression", weight=None))


def zscores(residuals: Floats, sigma: Floats) -> Floats:
    """Largest absolute z-score of each row; NaN where nothing is known.

    Args:
        residuals: Shape (rows, columns).
        sigma: Of each column; for all rows, or one for each.
    """
    largest: Floats = np.fmax.reduce(np.abs(residuals) / sigma, axis=1)
    return largest


def _sigma(residuals: Floats, center: Floats) -> Floats:
    sizes = np.abs(residuals)
    return scaled(medians(sizes), np.nanmean(sizes, axis=0), center)


def scaled(median: Floats, mean: Floats, center: Floats) -> Floats:
    """Robust standard deviations, from the median and the mean absolute residual of each column; any shape."""
    sigma = _MAD_TO_SIGMA * median
    sigma = np.where(sigma > 0, sigma, _MEAN_TO_SIGMA * mean)
    # A constant column: any other value is far away, but not infinitely far.
    return np.maximum(sigma, 1e-9 * np.maximum(np.abs(center), 1.0))
