"""One key's tabular model: how its rows become a matrix, and the estimator that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import config_context

from manymodels.models.contract import Floats, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.tabular.outputs import (
    class_columns,
    class_places,
    usable_numbers,
    usable_probabilities,
)
from manymodels.models.tabular.preprocessing import Encoder
from manymodels.records import Rows

__all__ = ["TabularModel"]

_MOST_PROBABLE = (
    "sklearn.ensemble._forest",
    "sklearn.ensemble._hist_gradient_boosting.",
    "sklearn.linear_model._logistic",
    "sklearn.naive_bayes",
    "sklearn.tree.",
)
"""Where ``predict`` is the class of the highest probability, so that one call gives both."""

_LINEAR = frozenset(
    {
        "ARDRegression",
        "BayesianRidge",
        "ElasticNet",
        "ElasticNetCV",
        "HuberRegressor",
        "Lars",
        "LarsCV",
        "Lasso",
        "LassoCV",
        "LassoLars",
        "LassoLarsCV",
        "LassoLarsIC",
        "LinearRegression",
        "LinearSVR",
        "OrthogonalMatchingPursuit",
        "QuantileRegressor",
        "Ridge",
        "RidgeCV",
        "SGDRegressor",
        "TheilSenRegressor",
    }
)
"""Regressors of scikit-learn whose prediction is ``matrix @ coef_ + intercept_``."""


@dataclass(frozen=True, eq=False)
class TabularModel(FixedModel):
    """A fitted estimator behind its preprocessing.

    Attributes:
        family: Import path of the estimator.
        encoder: From rows to the estimator's matrix.
        estimator: Fitted.
        classes: Classification: the classes of the whole data set.
        seen: Classification: places in ``classes`` of those that the key has; None for other tasks.
        coded: Classification: whether the estimator calls the classes it has seen 0, 1, … instead of by name.
        notes: What the estimator warned of.
    """

    family: str
    encoder: Encoder
    estimator: Any
    classes: tuple[Any, ...] = ()
    seen: tuple[int, ...] | None = None
    coded: bool = True
    notes: tuple[str, ...] = ()

    def predict(self, rows: Rows) -> Predictions:
        """``prediction``, and for a classification the probability of every class of the data set.

        A classifier without probabilities gives its class 1 and the others 0.

        Raises:
            DataError: A feature column is not there, or holds what is no number.
            ModelError: The estimator does not give one usable value a row.
        """
        matrix = self.encoder.matrix(rows)
        with config_context(assume_finite=bool(np.isfinite(matrix.sum()))):
            if self.seen is not None:
                return self._classes(matrix, self.seen)
            return {"prediction": usable_numbers(self._numbers(matrix), len(rows), self.family)}

    def describe(self) -> Mapping[str, Any]:
        """Family, features and notes; its classes; coefficients where each feature has one."""
        names = self.encoder.names
        said: dict[str, Any] = {"family": self.family, "features": names, "notes": list(self.notes)}
        if self.seen is not None:
            said["classes"] = [str(self.classes[place]) for place in self.seen]
        coefficients = np.asarray(getattr(self.estimator, "coef_", None), dtype=object)
        if coefficients.shape == (len(names),):
            said["coefficients"] = dict(zip(names, map(float, coefficients), strict=True))
            said["intercept"] = float(self.estimator.intercept_)
        return said

    def _numbers(self, matrix: Floats) -> Any:
        kind = type(self.estimator)
        if kind.__name__ in _LINEAR and kind.__module__.startswith("sklearn."):
            # What its predict does after 0.3 ms of checks.
            return matrix @ self.estimator.coef_ + self.estimator.intercept_
        return self.estimator.predict(matrix)

    def _classes(self, matrix: Floats, seen: tuple[int, ...]) -> Predictions:
        rows, places_seen = len(matrix), np.array(seen)
        probabilities = None
        if hasattr(self.estimator, "predict_proba"):
            found = usable_probabilities(self.estimator.predict_proba(matrix), rows, len(seen), self.family)
            probabilities = np.zeros((rows, len(self.classes)))
            probabilities[:, places_seen] = found
            if type(self.estimator).__module__.startswith(_MOST_PROBABLE):
                return class_columns(places_seen[found.argmax(axis=1)], probabilities, self.classes)
        names = range(len(seen)) if self.coded else [self.classes[place] for place in seen]
        places = class_places(self.estimator.predict(matrix), names, rows, self.family)
        return class_columns(places_seen[places], probabilities, self.classes)
