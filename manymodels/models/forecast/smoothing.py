"""Exponential smoothing in innovations form: its recursion, and the fit of its additive members.

Notation and formulas: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing (2008),
tables 2.1 to 2.3 (recursion) and 6.1 (variances).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize
from scipy.signal import lfilter

from manymodels.models.contract import Floats

__all__ = ["Component", "Form", "State", "Weights", "advance", "fit_additive", "step"]

Component = Literal["add", "mul"]

_WIDEST = 60
"""Longest season whose first values are estimated; those of a longer one are averages, to bound the cost."""
_NOTHING = 1e-12
_STARTS = [
    (level, trend, season)
    for level in (0.05, 0.2, 0.6, 0.95)
    for trend in (0.01, 0.1)
    for season in (0.02, 0.2)
]


@dataclass(frozen=True, slots=True)
class Form:
    """Which components there are, and whether they add or multiply.

    Attributes:
        error: Of the innovations.
        trend: Of the trend; None for none.
        damped: Whether the trend flattens out.
        seasonal: Of the season; None for none.
        season: Periods in a season, 1 without one.
    """

    error: Component = "add"
    trend: Component | None = None
    damped: bool = False
    seasonal: Component | None = None
    season: int = 1

    @property
    def additive(self) -> bool:
        """Whether nothing multiplies: the linear models."""
        return "mul" not in (self.error, self.trend, self.seasonal)

    @property
    def size(self) -> int:
        """Numbers to estimate: weights and first states."""
        trend = 2 if self.trend else 0
        return 2 + trend + self.damped + (self.season if self.seasonal else 0)


@dataclass(frozen=True, slots=True)
class Weights:
    """How fast each component follows the data: alpha, beta, gamma, and the damping phi."""

    level: float
    trend: float = 0.0
    season: float = 0.0
    damping: float = 1.0


@dataclass(frozen=True, slots=True)
class State:
    """The components after some period.

    Attributes:
        level: The level.
        slope: The trend; 0 where it adds and 1 where it multiplies, when there is none.
        season: One value a place, that of the next period first; one neutral value without a season. Shape
            (season,).
    """

    level: float
    slope: float
    season: Floats


def step(form: Form, weights: Weights, level: Any, slope: Any, place: Any) -> tuple[Any, Any]:
    """What the components say about the next period: its level before the season, and its forecast.

    Numbers, or arrays of one shape (many simulated paths).
    """
    base = level * slope**weights.damping if form.trend == "mul" else level + weights.damping * slope
    return base, base * place if form.seasonal == "mul" else base + place


def update(
    form: Form, weights: Weights, level: Any, slope: Any, place: Any, base: Any, error: Any
) -> tuple[Any, Any, Any]:
    """The components one period later, given the error of that period's forecast; arrays as in ``step``.

    A season that multiplies follows the new level, as Winters (1960) and statsmodels have it, not the old one.
    """
    inner = error / place if form.seasonal == "mul" else error
    if form.trend == "mul":
        changed = slope**weights.damping + weights.trend * inner / level
    else:
        changed = weights.damping * slope + weights.trend * inner
    after = base + weights.level * inner
    if form.seasonal == "mul":
        share = weights.season / (1 - weights.level)
        return after, changed, place + share * ((base * place + error) / after - place)
    return after, changed, place + weights.season * error


def advance(form: Form, weights: Weights, state: State, values: Iterable[float]) -> tuple[State, Floats]:
    """Go through some values; a NaN teaches nothing.

    Returns:
        The state after the last value, and each period's error (relative when the error multiplies), NaN
        where the value is. Shape (n,).
    """
    level, slope, season = state.level, state.slope, state.season.tolist()
    relative, length, at, errors = form.error == "mul", len(season), 0, []
    for value in values:
        place = season[at]
        base, forecast = step(form, weights, level, slope, place)
        error = value - forecast
        errors.append(error / forecast if relative else error)
        level, slope, season[at] = update(
            form, weights, level, slope, place, base, error if error == error else 0.0
        )
        at = (at + 1) % length
    return State(level, slope, np.array(season[at:] + season[:at])), np.array(errors)


def fit_additive(target: Floats, form: Form) -> tuple[Weights, State]:
    """Weights and first state of an additive form, by least squares (maximum likelihood with normal errors).

    An additive form is linear in its first state, and its errors are the data filtered by a rational
    function of the
    weights: ``errors = filter(data - design @ state)``. So the state is solved for exactly at any weights,
        and only
    the two to four weights are searched (in the usual region, level 0 to 1, trend below level, season below
    1 - level, damping 0.8 to 0.98).

    Args:
        target: Without NaN. Shape (n,).
        form: An additive one.
    """
    centre = float(target.mean())
    scale = float(target.std()) or 1.0
    scaled = (target - centre) / scale
    length, season = len(target), form.season if form.seasonal else 1
    profile = np.zeros(season)
    if season > _WIDEST:
        early = scaled[: max(length // season, 1) * season][: 8 * season].reshape(-1, season)
        profile = early.mean(axis=0) - early.mean()
        scaled = scaled - np.resize(profile, length)
    rows = [scaled, np.ones(length)]
    if form.trend:
        rows.append(np.arange(1.0, length + 1))
    if 1 < season <= _WIDEST:
        # The last place is left out: a constant moved from the season to the level changes nothing.
        rows.extend(np.equal.outer(np.arange(season - 1), np.arange(length) % season).astype(np.float64))
    design = np.array(rows)

    def weights_of(point: Floats) -> Weights:
        rest = iter(point[1:].tolist())
        level = float(point[0])
        trend = level * next(rest) if form.trend else 0.0
        return Weights(
            level,
            trend,
            (1 - level) * next(rest) if form.seasonal else 0.0,
            next(rest) if form.damped else 1.0,
        )

    def solve(point: Floats) -> tuple[float, Floats]:
        weights = weights_of(point)
        if form.damped:
            design[2] = np.cumsum(weights.damping ** np.arange(1.0, length + 1))
        errors = lfilter(*_filter(weights, form), design)
        products = errors @ errors.T
        inner = products[1:, 1:]
        inner.flat[:: len(inner) + 1] += 1e-10 * np.trace(inner)
        state = np.linalg.solve(inner, products[1:, 0])
        return max(float(products[0, 0] - state @ products[1:, 0]), _NOTHING), state

    def objective(point: Floats) -> float:
        return float(np.log(solve(point)[0]))

    used = [0] + [1] * bool(form.trend) + [2] * bool(form.seasonal)
    starts = {tuple(start[i] for i in used) + (0.95,) * form.damped for start in _STARTS}
    bounds = [(1e-4, 1 - 1e-4)] * len(used) + [(0.8, 0.98)] * form.damped
    best = min((np.array(start) for start in sorted(starts)), key=objective)
    found = minimize(objective, best, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50, "ftol": 1e-6})
    state = solve(found.x)[1]
    slope = float(state[1]) * scale if form.trend else 0.0
    places = profile
    if 1 < season <= _WIDEST:
        places = np.append(state[1 + bool(form.trend) :], 0.0)
    shift = float(places.mean())
    level = (float(state[0]) + shift) * scale + centre
    return weights_of(found.x), State(level, slope, (places - shift) * scale)


def _filter(weights: Weights, form: Form) -> tuple[Floats, Floats]:
    """Numerator and denominator, in powers of the lag, of the filter from data to errors.

    Multiply the measurement equation of the additive form by (1-B)(1-phi B)(1-B^m): the data's polynomial
    is that product, the errors' one is it plus what level, trend and season add.
    """
    seasonal = np.zeros(form.season + 1) if form.seasonal else np.ones(1)
    if form.seasonal:
        seasonal[0], seasonal[-1] = 1.0, -1.0
    if form.trend:
        plain = np.array([1.0, -1.0 - weights.damping, weights.damping])
        moved = np.array(
            [0.0, weights.level + weights.damping * weights.trend, -weights.level * weights.damping]
        )
    else:
        plain, moved = np.array([1.0, -1.0]), np.array([0.0, weights.level])
    data = np.convolve(plain, seasonal)
    errors = data + np.convolve(moved, seasonal)
    if form.seasonal:
        errors[form.season :] += weights.season * plain
    return data, errors
