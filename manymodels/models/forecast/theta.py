"""The theta method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.models.forecast.smoothing import Form, State, Weights, advance, fit_additive
from manymodels.records import Rows

__all__ = ["FittedTheta", "Theta"]

_LEAST = 4
_SEASONALITY = 1.645
"""Critical value of the test for a season, 90 %, as in the M4 competition's benchmark."""


@dataclass(frozen=True)
class Theta:
    """Simple exponential smoothing plus half the slope of the trend line, of the deseasonalised history.

    The season is taken off by classical decomposition where the history covers two seasons and its
    autocorrelation at the season is significant: a factor where the target is positive, else a sum. Needs
    four rows. Formula: Assimakopoulos and Nikolopoulos (2000); intervals: Hyndman and Billah, Int. J.
    Forecasting 19 (2003). Missing values are filled for the fit (``series.fill``).

    Attributes:
        season_length: Periods in a season; by frequency when null.
    """

    season_length: Annotated[int, Field(ge=1)] | None = None

    name: ClassVar[str] = "theta"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = "scipy"

    def fit(self, rows: Rows, spec: FitSpec) -> FittedTheta:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        need_rows(self.name, _LEAST, series.observed)
        length = len(series)
        season = self.season_length or spec.season_length
        target = fill(series.target, season)
        factors = bool(target.min() > 0)
        places = _season(target, season, factors)
        pattern = np.resize(places, length)
        plain = target / pattern if factors else target - pattern
        weights, first = fit_additive(plain, Form())
        alpha = weights.level
        slope = float(np.polyfit(np.arange(length), plain, 1)[0])
        state, errors = advance(Form(), weights, first, plain.tolist())
        errors = errors - 0.5 * slope * (1 - (1 - alpha) ** np.arange(length)) / alpha
        known = errors[series.target == series.target]
        sigma = math.sqrt(float(known @ known) / max(len(known) - 3, 1))
        places = np.roll(places, -(length % len(places)))
        return FittedTheta(basis, series.end, alpha, slope, state.level, places, factors, length, sigma)


def _season(target: Floats, season: int, factors: bool) -> Floats:
    """The classical decomposition's season, neutral where there is none. Shape (season,)."""
    neutral = np.full(season, 1.0 if factors else 0.0)
    length = len(target)
    around = target - target.mean()
    power = float(around @ around)
    if season == 1 or length < 2 * season or power == 0:
        return neutral
    lagged = np.array([around[lag:] @ around[:-lag] for lag in range(1, season + 1)]) / power
    if abs(lagged[-1]) <= _SEASONALITY * math.sqrt((1 + 2 * float(lagged[:-1] @ lagged[:-1])) / length):
        return neutral
    window = np.full(season + 1 - season % 2, 1 / season)
    if season % 2 == 0:
        window[0] = window[-1] = 0.5 / season
    trend = np.convolve(target, window, mode="valid")
    start = len(window) // 2
    inner = target[start : start + len(trend)]
    rest = inner / trend if factors else inner - trend
    places = np.arange(start, start + len(trend)) % season
    profile = np.bincount(places, rest, minlength=season) / np.maximum(
        np.bincount(places, minlength=season), 1
    )
    normal: Floats = profile / profile.mean() if factors else profile - profile.mean()
    return normal


@dataclass(frozen=True, slots=True)
class FittedTheta(FittedForecast):
    """A level, a slope and a season.

    Attributes:
        alpha: The level's weight.
        slope: Of the trend line.
        level: The last level, deseasonalised.
        season: The season, the period after the origin first. Shape (season,).
        factors: Whether the season multiplies.
        length: Periods seen.
        sigma: Standard deviation of the one-step errors, deseasonalised.
    """

    alpha: float
    slope: float
    level: float
    season: Floats
    factors: bool
    length: int
    sigma: float

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "theta",
            "alpha": self.alpha,
            "slope": self.slope,
            "level": self.level,
            "season_length": len(self.season),
            "seasonal": "mul" if self.factors else "add",
            "sigma": self.sigma,
        }

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        ahead = steps - 1.0
        lag = (1 - (1 - self.alpha) ** self.length) / self.alpha
        plain = self.level + 0.5 * self.slope * (ahead + lag)
        deviation = self.sigma * np.sqrt(1 + ahead * self.alpha**2)
        places = self.season[(steps - 1) % len(self.season)]
        if self.factors:
            return normal_outlook(plain * places, deviation * places, self.basis.levels)
        return normal_outlook(plain + places, deviation, self.basis.levels)

    def _extended(self, newer: Series) -> FittedTheta:
        places = np.resize(self.season, len(newer))
        plain = newer.target / places if self.factors else newer.target - places
        before = State(self.level, 0.0, np.zeros(1))
        state, _ = advance(Form(), Weights(self.alpha), before, plain.tolist())
        season = np.roll(self.season, -(len(newer) % len(self.season)))
        return replace(
            self, origin=newer.end, level=state.level, season=season, length=self.length + len(newer)
        )
