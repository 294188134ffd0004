"""Exponential smoothing in innovations form: its recursion, and its fit to one series or many.

Notation and formulas: Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing (2008),
tables 2.1 to 2.3 (recursion) and 6.1 (variances).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints

__all__ = ["Component", "Form", "Smoothed", "State", "Weights", "advance", "smooth", "step"]

Component = Literal["add", "mul"]

_WIDEST = 60
"""Longest season whose first values are estimated; those of a longer one are averages, to bound the cost."""
_EDGE = 1e-8
"""Alpha stays so far from 0 and 1."""
_POSITIVE = 1e-4
"""The least that first levels (as a share of the mean) and seasons are where something multiplies."""
_STARTS = (
    (0.3, 0.02, 0.2, 0.95),
    (0.02, 0.02, 0.02, 0.85),
    (0.95, 0.02, 0.02, 0.95),
    (0.98, 0.98, 0.2, 0.82),
    (0.02, 0.2, 0.02, 0.95),
    (0.5, 0.5, 0.2, 0.9),
)
"""Weights that the search starts from: alpha, beta / alpha, gamma / (1 - alpha), phi; one in each valley usually."""


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

    @property
    def least(self) -> int:
        """Rows that a fit needs."""
        return max(2 * self.season, self.size) + 1


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


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What was fitted to some series.

    Attributes:
        weights: Alpha, beta, gamma and phi of each. Shape (series, 4).
        first: Level, slope and season before its first period. Shape (series, 2 + season).
        last: The same after its last period. Shape (series, 2 + season).
        errors: One-step errors of the series one after the other, relative ones where they multiply.
    """

    weights: Floats
    first: Floats
    last: Floats
    errors: Floats

    def one(self, place: int) -> tuple[Weights, State, State]:
        """Weights, first and last state of one series."""
        first, last = self.first[place], self.last[place]
        return (
            Weights(*self.weights[place].tolist()),
            State(float(first[0]), float(first[1]), first[2:].copy()),
            State(float(last[0]), float(last[1]), last[2:].copy()),
        )


def smooth(target: Floats, offsets: Ints, form: Form) -> Smoothed:
    """Fit weights and first states to series by maximum likelihood (least squares where errors add).

    In the usual region: level 0 to 1, trend up to the level's weight, season up to 1 less that, damping 0.8 to 0.98
    (Hyndman et al., 2008, 3.1). First seasons longer than sixty periods are averages.

    Args:
        target: The series one after the other, without NaN; positive where something multiplies.
        offsets: Where each is. Shape (series + 1,).
        form: The same for all.
    """
    # Imported here: numba takes half a second.
    from manymodels.models.forecast.smoothing_kernel import fit_each

    plan = _plan(form)
    values = np.array(target)  # contiguous and writable: nothing else is compiled for
    found, last, errors = fit_each(values, np.array(offsets), *plan)
    alpha, beta, gamma, phi = found[:, :4].T
    weights = np.stack([alpha, alpha * beta, (1 - alpha) * gamma, phi], axis=1)
    return Smoothed(weights, found[:, 4:], last, errors)


@cache
def _plan(form: Form) -> tuple[Ints, int, Ints, Floats, Floats]:
    """What the compiled fit is told of a form; see ``smoothing_kernel.fit_each``."""
    from manymodels.models.forecast import smoothing_kernel as kernel

    code = {None: kernel.NONE, "add": kernel.ADDS, "mul": kernel.MULTIPLIES}
    anything = (-math.inf, math.inf)
    level = anything if form.additive else (_POSITIVE, math.inf)
    bounds = {kernel.ALPHA: (_EDGE, 1 - _EDGE), kernel.LEVEL: level}
    if form.trend:
        bounds[kernel.BETA] = (0.0, 1.0)
        bounds[kernel.SLOPE] = anything if form.trend == "add" else (0.5, 2.0)
    if form.damped:
        bounds[kernel.PHI] = (0.8, 0.98)
    if form.seasonal:
        bounds[kernel.GAMMA] = (0.0, 1.0)
        places = anything if form.seasonal == "add" else (_POSITIVE, math.inf)
        # The last place stays where a constant moved from the season to the level changes nothing.
        count = form.season - 1 if form.seasonal == "mul" or form.trend != "mul" else form.season
        for place in range(count if form.season <= _WIDEST else 0):
            bounds[kernel.PLACES + place] = places
    free = sorted(bounds)
    starts = {
        (
            alpha,
            beta if form.trend else 0.0,
            gamma if form.seasonal else 0.0,
            phi if form.damped else 1.0,
        )
        for alpha, beta, gamma, phi in _STARTS
    }
    return (
        np.array([code[form.error], code[form.trend], code[form.seasonal]]),
        form.season if form.seasonal else 1,
        np.array(free),
        np.array([bounds[number] for number in free]).T.copy(),
        np.array(sorted(starts)),
    )
