"""One regression over many keys' rows that, for a key with rows of its own, starts from that key's level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import FitSpec, FittedModel, Floats, Predictions
from manymodels.models.rungs import PooledRows
from manymodels.records import Rows

__all__ = ["PooledModel", "PooledRegression"]


@dataclass(frozen=True)
class PooledRegression(PooledRows):
    """A family's model of all rows as one, and how far keys lie above or below it.

    The key is no feature: what the model leaves unexplained of a key's rows is that key's level, a random
    intercept. Two things are estimated for it: the variance of the levels and that of the rows around them
    (analysis of variance; Searle, Casella and McCulloch, Variance Components, 1992, 3.6). A key's level is
    then the best linear unbiased prediction (Robinson, That BLUP Is a Good Thing, Statistical Science 6, 1991):
    the mean of what its own rows leave unexplained, shrunk the more, the fewer they are.
    """

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> PooledModel:
        """Fit the rows of many keys.

        Raises:
            ModelError: These rows cannot be fitted, with the reason.
        """
        rows = Rows.joined(keys)
        model = PooledModel(self.family.fit(rows, spec), str(spec.target), spec.weight)
        left, weights = model.unexplained(rows)
        known = ~np.isnan(left)
        owner = np.repeat(np.arange(len(keys)), [len(key) for key in keys])
        return replace(model, doubt=_doubt(left[known], weights[known], owner[known]))


@dataclass(frozen=True, eq=False)
class PooledModel:
    """The model of all keys' rows, and the level of the key that ``extend`` was given; none before.

    Attributes:
        model: Of all rows.
        target: Target column.
        weight: Sample-weight column.
        doubt: The number of rows at which a key's own level counts half: the variance of rows around their
            key's level over the variance of levels; infinite where keys have none.
        level: What is added for the key.
    """

    model: FittedModel
    target: str
    weight: str | None = None
    doubt: float = np.inf
    level: float = 0.0

    def predict(self, rows: Rows) -> Predictions:
        """See ``FittedModel.predict``."""
        return {"prediction": self.model.predict(rows)["prediction"] + self.level}

    def extend(self, rows: Rows) -> PooledModel:
        """The model with the level of the key that has these rows; those without a usable target are left out."""
        left, weights = self.unexplained(rows)
        known = ~np.isnan(left)
        if not known.any():
            return self
        count = _count(weights[known])
        return replace(
            self, level=float(np.average(left[known], weights=weights[known])) * count / (count + self.doubt)
        )

    def describe(self) -> Mapping[str, Any]:
        """What the model of all rows is, and the key's level."""
        return {**self.model.describe(), "level": self.level}

    def unexplained(self, rows: Rows) -> tuple[Floats, Floats]:
        """The target less what the model of all rows predicts, NaN where it is not known; and the rows' weights."""
        target = rows.numbers(self.target)
        weights = np.ones(len(rows)) if self.weight is None else rows.numbers(self.weight)
        known = np.isfinite(target) & np.isfinite(weights) & (weights > 0)
        return np.where(known, target - self.model.predict(rows)["prediction"], np.nan), weights


def _doubt(values: Floats, weights: Floats, owner: npt.NDArray[np.intp]) -> float:
    """The variance within keys over the variance between them.

    Args:
        values: Shape (n,).
        weights: Shape (n,).
        owner: The key of each. Shape (n,).
    """
    _, key = np.unique(owner, return_inverse=True)
    whole = np.bincount(key, weights)
    counts = whole**2 / np.bincount(key, weights**2)
    means = np.bincount(key, weights * values) / whole
    total, groups = counts.sum(), len(counts)
    if groups < 2 or total <= groups:
        return np.inf
    variances = np.bincount(key, weights * (values - means[key]) ** 2) / whole
    within = counts @ variances / (total - groups)
    apart = counts @ (means - counts @ means / total) ** 2
    between = (apart - (groups - 1) * within) / (total - counts @ counts / total)
    return float(within / between) if between > 0 else np.inf


def _count(weights: Floats) -> float:
    """Rows' worth of what weighted rows tell (Kish, Survey Sampling, 1965): their number where weights are equal."""
    return float(weights.sum() ** 2 / (weights @ weights))
