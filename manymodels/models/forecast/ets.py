"""Exponential smoothing: the ``ets`` and ``holt_winters`` families.

Fitted by ``smoothing.smooth``: weights and first states together, as statsmodels does with estimated first states,
some hundred times sooner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from manymodels.exceptions import CannotExtendError, ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.seasons import SeasonLength, season_of
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.models.forecast.smoothing import (
    Component,
    Form,
    State,
    Weights,
    advance,
    smooth,
    step,
    update,
)
from manymodels.records import Rows

__all__ = ["Ets", "FittedEts", "HoltWinters"]

_PATHS = 1000
"""Simulated paths behind the intervals of forms without a formula."""


@dataclass(frozen=True)
class Ets:
    """Exponential smoothing in state-space form, fitted by maximum likelihood.

    Needs two seasons and a row (without a season: as many rows as numbers to estimate, and one more).
    Missing values are filled for the fit (``series.fill``).

    Attributes:
        error: Whether errors add or multiply.
        trend: Whether the trend adds or multiplies; null for none.
        damped: Whether the trend flattens out.
        seasonal: Whether the season adds or multiplies; null for none. There is none when the season is one
            period.
        season_length: Periods in a season; the job's when null; week is seven of them, where they are days.
    """

    error: Component = "add"
    trend: Component | None = None
    damped: bool = False
    seasonal: Component | None = "add"
    season_length: SeasonLength = None

    name: ClassVar[str] = "ets"
    revision: ClassVar[int] = 2
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = "numba"

    def __post_init__(self) -> None:
        if self.damped and self.trend is None:
            raise ValueError("`damped` needs a `trend`")

    def form(self, spec: FitSpec) -> Form:
        """The components, given the job's season."""
        season = season_of(self.season_length, spec)
        seasonal = self.seasonal if season > 1 else None
        return Form(self.error, self.trend, self.damped, seasonal, season if seasonal else 1)

    def fit(self, rows: Rows, spec: FitSpec) -> FittedEts:
        """Fit one key's rows; see ``Family.fit``."""
        return _fit(self.name, self.form(spec), rows, spec)


@dataclass(frozen=True)
class HoltWinters:
    """Level, additive trend and season, by least squares: ``ets`` with errors that add and a trend.

    Needs two seasons and a row; missing values are filled for the fit (``series.fill``).

    Attributes:
        damped: Whether the trend flattens out.
        seasonal: Whether the season adds or multiplies; null for none. There is none when the season is one
            period.
        season_length: Periods in a season; the job's when null; week is seven of them, where they are days.
    """

    damped: bool = False
    seasonal: Component | None = "add"
    season_length: SeasonLength = None

    name: ClassVar[str] = "holt_winters"
    revision: ClassVar[int] = 2
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = "numba"

    def form(self, spec: FitSpec) -> Form:
        """The components, given the job's season."""
        return Ets("add", "add", self.damped, self.seasonal, self.season_length).form(spec)

    def fit(self, rows: Rows, spec: FitSpec) -> FittedEts:
        """Fit one key's rows; see ``Family.fit``."""
        return _fit(self.name, self.form(spec), rows, spec)


def _fit(family: str, form: Form, rows: Rows, spec: FitSpec) -> FittedEts:
    basis = Basis.of(spec)
    series = Series.read(rows, basis)
    need_rows(family, form.least, series.observed, form.season)
    target = fill(series.target, form.season)
    if not form.additive and target.min() <= 0:
        raise ModelError(f"a multiplicative form needs a positive target, found {target.min():g}")
    found = smooth(target, np.array([0, len(target)]), form)
    weights, _, state = found.one(0)
    known = found.errors[series.target == series.target]
    sigma = math.sqrt(float(known @ known) / max(len(known) - form.size, 1))
    return FittedEts(basis, series.end, family, form, weights, state.level, state.slope, state.season, sigma)


@dataclass(frozen=True, slots=True)
class FittedEts(FittedForecast):
    """Weights and the last state.

    Attributes:
        family: ``ets`` or ``holt_winters``.
        form: The components.
        weights: How fast they follow the data.
        level: The last level.
        slope: The last trend.
        season: The season, the period after the origin first. Shape (season,).
        sigma: Standard deviation of the one-step errors; of the relative ones when errors multiply.
    """

    family: str
    form: Form
    weights: Weights
    level: float
    slope: float
    season: Floats
    sigma: float

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        form, weights = self.form, self.weights
        return {
            "family": self.family,
            "error": form.error,
            "trend": form.trend,
            "damped": form.damped,
            "seasonal": form.seasonal,
            "season_length": form.season,
            "alpha": weights.level,
            "beta": weights.trend,
            "gamma": weights.season,
            "phi": weights.damping,
            "level": self.level,
            "slope": self.slope,
            "sigma": self.sigma,
        }

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        form, damping = self.form, self.weights.damping
        horizon = int(steps.max(initial=1))
        dampings = np.cumsum(damping ** np.arange(1.0, horizon + 1))
        places = np.resize(self.season, horizon)
        base = (
            self.level * self.slope**dampings if form.trend == "mul" else self.level + self.slope * dampings
        )
        mean = (base * places if form.seasonal == "mul" else base + places)[steps - 1]
        if form.additive:
            return normal_outlook(mean, self._deviations(dampings)[steps - 1], self.basis.levels)
        lower, upper = self.simulated(horizon)
        return Outlook(mean, lower[:, steps - 1], upper[:, steps - 1])

    def _deviations(self, dampings: Floats) -> Floats:
        """Standard deviation of each step's error; Hyndman et al. (2008), equation 6.1."""
        ahead = np.arange(1, len(dampings))
        carried = self.weights.level + self.weights.trend * dampings[:-1]
        if self.form.seasonal:
            carried = carried + self.weights.season * (ahead % self.form.season == 0)
        spread: Floats = self.sigma * np.sqrt(1 + np.concatenate([[0.0], np.cumsum(carried**2)]))
        return spread

    def simulated(self, horizon: int) -> tuple[Floats, Floats]:
        """Quantiles of simulated paths, where there is no formula. Shapes (levels, horizon)."""
        form, weights, levels = self.form, self.weights, self.basis.levels
        paths = np.empty((horizon, _PATHS))
        if not levels:
            return paths[:0].reshape(0, horizon), paths[:0].reshape(0, horizon)
        noise = np.random.default_rng(self.basis.seed).standard_normal((horizon, _PATHS)) * self.sigma
        level, slope = np.full(_PATHS, self.level), np.full(_PATHS, self.slope)
        season = [np.full(_PATHS, place) for place in self.season]
        with np.errstate(all="ignore"):
            for ahead in range(horizon):
                at = ahead % len(season)
                base, forecast = step(form, weights, level, slope, season[at])
                error = forecast * noise[ahead] if form.error == "mul" else noise[ahead]
                paths[ahead] = forecast + error
                level, slope, season[at] = update(form, weights, level, slope, season[at], base, error)
        shares = np.array([[0.5 - level / 200, 0.5 + level / 200] for level in levels])
        # A path that multiplied itself out of bounds is as far out as numbers go.
        paths = np.nan_to_num(paths, nan=np.inf, posinf=np.inf, neginf=-np.inf)
        bounds = np.quantile(paths, shares.ravel(), axis=1, method="nearest").reshape(len(levels), 2, horizon)
        return bounds[:, 0], bounds[:, 1]

    def _extended(self, newer: Series) -> FittedEts:
        if not self.form.additive and np.nanmin(newer.target) <= 0:
            raise CannotExtendError("a multiplicative form cannot go on over values that are not positive")
        before = State(self.level, self.slope, self.season)
        state, _ = advance(self.form, self.weights, before, newer.target.tolist())
        return replace(self, origin=newer.end, level=state.level, slope=state.slope, season=state.season)
