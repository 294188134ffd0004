"""Regressors of lag regressions: scikit-learn's by import path, and the common one without scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from manymodels.exceptions import ModelError
from manymodels.models.contract import Floats

__all__ = [
    "Learner",
    "Linear",
    "Regressor",
    "check_estimator",
    "is_plain_ridge",
    "learner_of",
    "needs_positive",
]

_RIDGE = "sklearn.linear_model.Ridge"


class Regressor(Protocol):
    """What predicts from a table."""

    def predict(self, X: Floats, /) -> Any:
        """One value a row."""


Learner = Callable[[Floats, Floats, Floats | None], Regressor]
"""Fits a regressor to a table, its values, and row weights."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear regressor without its estimator: some hundred bytes instead of a thousand, and far faster.

    Attributes:
        weights: One a column.
        intercept: The constant.
    """

    weights: Floats
    intercept: float

    def predict(self, X: Floats, /) -> Floats:
        """One value a row."""
        result: Floats = X @ self.weights + self.intercept
        return result


def is_plain_ridge(path: str, params: Mapping[str, Any]) -> bool:
    """Whether an estimator is scikit-learn's Ridge with nothing but a positive ``alpha``."""
    return path == _RIDGE and set(params) <= {"alpha"} and params.get("alpha", 1.0) > 0


def check_estimator(path: str, params: Mapping[str, Any]) -> None:
    """See that an estimator can be made.

    Raises:
        ValueError: It cannot be imported or made, or is no regressor.
    """
    estimator = _made(path, params, 0)
    if not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise ValueError(f"`estimator` needs fit and predict; {path} has not")
    if hasattr(estimator, "predict_proba") or hasattr(estimator, "classes_"):
        raise ValueError(f"`estimator` must be a regressor; {path} is a classifier")


def learner_of(path: str, params: Mapping[str, Any], seed: int) -> Learner:
    """Fits estimators of one kind; what turns out linear is kept as its coefficients.

    Plain ridge regressions are solved here, by the equations that scikit-learn solves (its estimator spends
    some twenty times as long on checks as on them).

    Args:
        path: Import path of a scikit-learn regressor.
        params: Its parameters.
        seed: Where it takes a ``random_state`` and has none.
    """
    if is_plain_ridge(path, params):
        alpha = float(params.get("alpha", 1.0))
        return lambda X, y, weights: _ridge(X, y, weights, alpha)

    def learner(X: Floats, y: Floats, weights: Floats | None) -> Regressor:
        from sklearn import config_context
        from sklearn.utils.validation import has_fit_parameter

        estimator = _made(path, params, seed)
        weighted = weights is not None and has_fit_parameter(estimator, "sample_weight")
        with config_context(assume_finite=True):
            estimator.fit(X, y, **({"sample_weight": weights} if weighted else {}))
            return _linear(estimator, X[: X.shape[1] + 1]) or estimator

    return learner


def needs_positive(path: str, params: Mapping[str, Any]) -> bool:
    """Whether an estimator takes no target below zero: those of counts and sizes."""
    if is_plain_ridge(path, params):
        return False
    estimator = _made(path, params, 0)
    losses = {estimator.get_params().get(name) for name in ("loss", "criterion")}
    tags = estimator.__sklearn_tags__() if hasattr(estimator, "__sklearn_tags__") else None
    return bool(losses & {"poisson", "gamma"}) or (tags is not None and tags.target_tags.positive_only)


def _ridge(X: Floats, y: Floats, weights: Floats | None, alpha: float) -> Linear:
    """Ridge regression by its normal equations, the intercept not penalised."""
    if weights is None:
        means, mean = X.mean(axis=0), float(y.mean())
        centred = X - means
        products = centred.T
    else:
        if weights.sum() <= 0:
            raise ModelError("the rows' weights add up to zero")
        means, mean = np.average(X, axis=0, weights=weights), float(np.average(y, weights=weights))
        centred = X - means
        products = centred.T * weights
    normal = products @ centred
    normal.flat[:: len(normal) + 1] += alpha
    solution = np.linalg.solve(normal, products @ (y - mean))
    return Linear(solution, mean - float(means @ solution))


@cache
def _class(path: str) -> Any:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except Exception as error:
        raise ValueError(f"`estimator`: could not import {path}: {type(error).__name__}: {error}") from error


def _made(path: str, params: Mapping[str, Any], seed: int) -> Any:
    kind = _class(path)
    try:
        estimator = kind(**params)
        settings = estimator.get_params()
    except Exception as error:
        raise ValueError(f"`estimator`: could not make {path}: {error}") from error
    seeds = [name for name, value in settings.items() if name.endswith("random_state") and value is None]
    return estimator.set_params(**dict.fromkeys(seeds, seed % 2**32)) if seeds else estimator


def _linear(estimator: Any, X: Floats) -> Linear | None:
    """The coefficients, when they explain the estimator's predictions."""
    coefficients = np.asarray(getattr(estimator, "coef_", np.empty(0)))
    if coefficients.shape != (X.shape[1],) or np.size(getattr(estimator, "intercept_", ())) != 1:
        return None
    linear = Linear(coefficients.astype(np.float64), float(np.squeeze(estimator.intercept_)))
    same = np.allclose(linear.predict(X), np.asarray(estimator.predict(X)).ravel())
    return linear if same else None
