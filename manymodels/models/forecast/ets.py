"""Exponential smoothing: the ``ets`` and ``holt_winters`` families.

Additive forms are fitted here (``smoothing.fit_additive``): the optimum that statsmodels finds with
estimated first states, several times sooner. Forms in which something multiplies are fitted by statsmodels'
``ETSModel`` with heuristic first states.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from manymodels.exceptions import CannotExtendError, ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.models.forecast.smoothing import (
    Component,
    Form,
    State,
    Weights,
    advance,
    fit_additive,
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
        season_length: Periods in a season; by frequency when null.
    """

    error: Component = "add"
    trend: Component | None = None
    damped: bool = False
    seasonal: Component | None = "add"
    season_length: Annotated[int, Field(ge=1)] | None = None

    name: ClassVar[str] = "ets"
    revision: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.damped and self.trend is None:
            raise ValueError("`damped` needs a `trend`")

    @property
    def isolated(self) -> bool:
        """See ``Family.isolated``: only what statsmodels fits."""
        return self.library == "statsmodels"

    @property
    def library(self) -> str:
        """See ``Family.library``."""
        return "statsmodels" if "mul" in (self.error, self.trend, self.seasonal) else "scipy"

    def fit(self, rows: Rows, spec: FitSpec) -> FittedEts:
        """Fit one key's rows; see ``Family.fit``."""
        season = self.season_length or spec.season_length
        seasonal = self.seasonal if season > 1 else None
        form = Form(self.error, self.trend, self.damped, seasonal, season if seasonal else 1)
        return _fit(self.name, form, rows, spec)


@dataclass(frozen=True)
class HoltWinters:
    """Level, additive trend and season, by least squares.

    Needs two seasons and a row; missing values are filled for the fit (``series.fill``).

    Attributes:
        damped: Whether the trend flattens out.
        seasonal: Whether the season adds or multiplies; null for none. There is none when the season is one
            period.
        season_length: Periods in a season; by frequency when null.
    """

    damped: bool = False
    seasonal: Component | None = "add"
    season_length: Annotated[int, Field(ge=1)] | None = None

    name: ClassVar[str] = "holt_winters"
    revision: ClassVar[int] = 1

    @property
    def isolated(self) -> bool:
        """See ``Family.isolated``: only what statsmodels fits."""
        return self.library == "statsmodels"

    @property
    def library(self) -> str:
        """See ``Family.library``."""
        return "statsmodels" if self.seasonal == "mul" else "scipy"

    def fit(self, rows: Rows, spec: FitSpec) -> FittedEts:
        """Fit one key's rows; see ``Family.fit``."""
        season = self.season_length or spec.season_length
        seasonal = self.seasonal if season > 1 else None
        form = Form("add", "add", self.damped, seasonal, season if seasonal else 1)
        return _fit(self.name, form, rows, spec)


def _fit(family: str, form: Form, rows: Rows, spec: FitSpec) -> FittedEts:
    basis = Basis.of(spec)
    series = Series.read(rows, basis)
    need_rows(family, max(2 * form.season, form.size) + 1, series.observed, form.season)
    target = fill(series.target, form.season)
    weights, first = fit_additive(target, form) if form.additive else _fit_multiplicative(target, form)
    state, errors = advance(form, weights, first, target.tolist())
    known = errors[series.target == series.target]
    sigma = math.sqrt(float(known @ known) / max(len(known) - form.size, 1))
    return FittedEts(basis, series.end, family, form, weights, state.level, state.slope, state.season, sigma)


def _fit_multiplicative(target: Floats, form: Form) -> tuple[Weights, State]:
    """Weights and first state by statsmodels."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    if target.min() <= 0:
        raise ModelError(f"a multiplicative form needs a positive target, found {target.min():g}")
    # The scale is taken off: the search's tolerances are absolute.
    scale = float(target.mean())
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model = ETSModel(
            target / scale,
            error=form.error,
            trend=form.trend,
            damped_trend=form.damped,
            seasonal=form.seasonal,
            seasonal_periods=form.season if form.seasonal else None,
            initialization_method="heuristic" if len(target) >= max(10, 2 * form.season) else "estimated",
        )
        found = model.fit(disp=False, maxiter=200)
    weights = Weights(
        float(found.smoothing_level),
        float(found.smoothing_trend) if form.trend else 0.0,
        float(found.smoothing_seasonal) if form.seasonal else 0.0,
        float(found.damping_trend) if form.damped else 1.0,
    )
    slope = 0.0 if form.trend is None else float(found.initial_trend)
    season = np.array([1.0 if form.seasonal == "mul" else 0.0])
    if form.seasonal:
        season = np.asarray(found.initial_seasonal, dtype=np.float64)
    return weights, State(
        float(found.initial_level) * scale,
        slope if form.trend == "mul" else slope * scale,
        season if form.seasonal == "mul" else season * scale,
    )


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
        lower, upper = self._simulated(horizon)
        return Outlook(mean, lower[:, steps - 1], upper[:, steps - 1])

    def _deviations(self, dampings: Floats) -> Floats:
        """Standard deviation of each step's error; Hyndman et al. (2008), equation 6.1."""
        ahead = np.arange(1, len(dampings))
        carried = self.weights.level + self.weights.trend * dampings[:-1]
        if self.form.seasonal:
            carried = carried + self.weights.season * (ahead % self.form.season == 0)
        spread: Floats = self.sigma * np.sqrt(1 + np.concatenate([[0.0], np.cumsum(carried**2)]))
        return spread

    def _simulated(self, horizon: int) -> tuple[Floats, Floats]:
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
