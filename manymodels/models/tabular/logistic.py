"""Logistic regression with an L2 penalty, to its optimum: Newton's method for many keys at once, or for one.

scikit-learn's ``lbfgs`` stops where the gradient is below ``tol``, which leaves the third digit of a probability open. The
objective is convex and has one minimum, so that any method that goes on to it gives the same model: a key's is the same whether
it was fitted alone or with others.

    f(W) = sum_i w_i * -log softmax(W x_i)[y_i] + |W|^2 / (2 C), intercepts without penalty

Newton's method for it: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning (2009), 4.4.1; Böhning, Annals of
the Institute of Statistical Mathematics 44 (1992) for more than two classes.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import Floats
from manymodels.models.tabular.conditioning import WORST, condition

__all__ = ["MOST_PARAMETERS", "Logistic", "logistic_of", "minimise", "parameters", "polish"]

MOST_PARAMETERS = 256
"""Coefficients and intercepts of a key beyond which their second derivatives are too many."""

_STEPS = 50
_HALVINGS = 40
_CLOSE = 1e-9
"""A step of Newton's method that is smaller than this, relative to the coefficients, leaves an error of about its square."""

_PLAIN = {"C", "fit_intercept", "intercept_scaling", "n_jobs", "random_state", "solver", "verbose"}
_SOLVERS = ("lbfgs", "newton-cholesky")

Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Logistic:
    """What is minimised.

    Attributes:
        strength: C, the inverse of the penalty.
        intercept: Whether there are intercepts.
    """

    strength: float
    intercept: bool


def logistic_of(estimator: Any, given: Set[str]) -> Logistic | None:
    """What scikit-learn's ``LogisticRegression`` minimises; None for any other estimator, or settings that ask for more.

    Args:
        estimator: Not fitted.
        given: Names of the parameters that the job sets. ``tol`` and ``max_iter`` are among those that ask for more: whoever
            sets them wants to stop there.
    """
    kind = type(estimator)
    if kind.__name__ != "LogisticRegression" or not kind.__module__.startswith("sklearn.linear_model."):
        return None
    params = estimator.get_params()
    strength = params["C"]
    plain = isinstance(strength, int | float) and 0 < strength < np.inf
    if not plain or not given <= _PLAIN or params["solver"] not in _SOLVERS:
        return None
    return Logistic(float(strength), bool(params["fit_intercept"]))


def polish(
    estimator: Any, problem: Logistic, matrix: Floats, target: npt.NDArray[Any], weights: Floats | None
) -> None:
    """Take a fitted estimator on to the minimum; where that cannot be reached to the last digits, it stays as it is.

    Args:
        estimator: ``LogisticRegression``, fitted on these rows.
        problem: What it minimises.
        matrix: Shape (rows, columns).
        target: The classes' codes 0, 1, … in order.
        weights: Shape (rows,); None for ones.
    """
    classes, width = len(estimator.classes_), matrix.shape[1]
    if parameters(classes, width) > MOST_PARAMETERS:
        return
    start = np.column_stack([estimator.coef_, estimator.intercept_])[None]
    found, good = minimise(
        problem,
        matrix[None],
        np.asarray(target, dtype=np.intp)[None],
        np.ones((1, len(matrix))) if weights is None else weights[None],
        classes,
        start=start,
    )
    if good[0]:
        estimator.coef_ = np.ascontiguousarray(found[0, :, :width])
        estimator.intercept_ = np.ascontiguousarray(found[0, :, width])


def parameters(classes: int, width: int) -> int:
    """Coefficients and intercepts of a model."""
    return (1 if classes == 2 else classes) * (width + 1)


def minimise(
    problem: Logistic,
    rows: Floats,
    target: Codes,
    weights: Floats,
    classes: int,
    *,
    start: Floats | None = None,
) -> tuple[Floats, Flags]:
    """The minimum of each key.

    Args:
        problem: What is minimised.
        rows: Shape (keys, rows, columns).
        target: Codes of the classes, each of which a key has. Shape (keys, rows).
        weights: 0 for what is no row. Shape (keys, rows).
        classes: How many a key has, at least 2.
        start: Where to begin; zeros when None. Shape as what is returned.

    Returns:
        Coefficients, with the intercept as the last (0 where there are none), one line for each class, and only that of the
        second where there are two. Shape (keys, lines, columns + 1). And which keys reached the minimum.
    """
    keys, _, width = rows.shape
    lines = 1 if classes == 2 else classes
    whole = np.concatenate([rows, np.full((*rows.shape[:2], 1), float(problem.intercept))], axis=2)
    penalty = np.full(width + 1, 1.0 / problem.strength)
    # An intercept has no penalty; where there is none, its place is zero, and anything keeps it there.
    penalty[width] = 0.0 if problem.intercept else 1.0
    found = np.zeros((keys, lines, width + 1)) if start is None else start.copy()
    if not problem.intercept:
        found[:, :, width] = 0.0
    good = np.zeros(keys, dtype=bool)
    left = np.arange(keys)
    part = _Part(whole, target, weights, penalty, lines)
    at = found
    value, chances = part.look(at)
    for _ in range(_STEPS):
        slope, curve = part.derivatives(at, chances)
        usable = np.isfinite(curve).all(axis=(1, 2)) & np.isfinite(value)
        curve[~usable] = np.eye(curve.shape[1])
        step: Floats = np.empty_like(slope)
        step[:] = np.linalg.solve(curve, slope.reshape(len(at), -1, 1)).reshape(slope.shape)
        at, value, chances = part.downhill(at, value, step)
        size = np.abs(step).max(axis=(1, 2)) / (1.0 + np.abs(at).max(axis=(1, 2)))
        done = (size <= _CLOSE) & usable
        found[left[done]] = at[done]
        good[left[done]] = condition(curve[done]) <= WORST
        stays = ~done & usable
        if not stays.any():
            break
        if not stays.all():
            left, part = left[stays], part.take(stays)
            at, value, chances = at[stays], value[stays], chances[stays]
    return found, good


@dataclass(frozen=True, eq=False)
class _Part:
    """Some keys at work; see ``minimise``."""

    rows: Floats
    target: Codes
    weights: Floats
    penalty: Floats
    lines: int

    def take(self, some: Flags) -> _Part:
        """Some of the keys."""
        return _Part(self.rows[some], self.target[some], self.weights[some], self.penalty, self.lines)

    def look(self, at: Floats) -> tuple[Floats, Floats]:
        """What is minimised, shape (keys,), and the chance of each line's class, shape (keys, lines, rows)."""
        scores = at @ self.rows.transpose(0, 2, 1)
        if self.lines == 1:
            score = scores[:, 0]
            small = np.exp(-np.abs(score))
            loss = np.log1p(small) + np.maximum(score, 0.0) - self.target * score
            chances = (np.where(score >= 0, 1.0, small) / (1.0 + small))[:, None, :]
        else:
            scores -= scores.max(axis=1, keepdims=True)
            chosen = np.take_along_axis(scores, self.target[:, None, :], axis=1)[:, 0]
            chances = np.exp(scores)
            total = chances.sum(axis=1)
            loss = np.log(total) - chosen
            chances /= total[:, None, :]
        penalty = 0.5 * (self.penalty * at**2).sum(axis=(1, 2))
        return np.einsum("kr,kr->k", self.weights, loss) + penalty, chances

    def derivatives(self, at: Floats, chances: Floats) -> tuple[Floats, Floats]:
        """First and second. Shapes (keys, lines, columns), (keys, lines * columns, lines * columns)."""
        keys, lines, width = at.shape
        turned = self.rows.transpose(0, 2, 1)
        codes = np.arange(lines) if lines > 1 else np.ones(1)
        off = chances - (self.target[:, None, :] == codes[:, None])
        off *= self.weights[:, None, :]
        slope = off @ self.rows + self.penalty * at
        curve = np.zeros((keys, lines, width, lines, width))
        for first in range(lines):
            weighted = self.weights * chances[:, first]
            for second in range(first, lines):
                bend = weighted * (float(first == second) - chances[:, second])
                block = turned @ (self.rows * bend[:, :, None])
                curve[:, first, :, second] = block
                curve[:, second, :, first] = block  # it is symmetric
            curve[:, first, range(width), first, range(width)] += self.penalty
        if lines > 1:
            # Intercepts that all rise by the same change nothing: what is wanted are those that add up to zero.
            weight = self.weights.sum(axis=1)[:, None, None] / lines**2
            curve[:, :, width - 1, :, width - 1] += weight
            slope[:, :, width - 1] += weight[:, :, 0] * at[:, :, width - 1].sum(axis=1, keepdims=True)
        return slope, curve.reshape(keys, lines * width, lines * width)

    def downhill(self, at: Floats, value: Floats, step: Floats) -> tuple[Floats, Floats, Floats]:
        """Where the step leads, halved for as long as it leads uphill; with what ``look`` says of it."""
        reach = np.ones(len(at))
        for _ in range(_HALVINGS):
            there = at - reach[:, None, None] * step
            found, chances = self.look(there)
            uphill = ~(found <= value + 1e-13 * np.abs(value))
            if not uphill.any():
                break
            reach[uphill] /= 2
        return there, found, chances
