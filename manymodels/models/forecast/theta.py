"""The theta method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.seasons import SeasonLength, season_of
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.models.forecast.smoothing import Form, State, Weights, advance, smooth
from manymodels.records import Rows

__all__ = ["LEAST", "FittedTheta", "Theta", "Thetas", "fit_thetas", "remembered"]

LEAST = 4
"""Rows that a fit needs."""


@dataclass(frozen=True)
class Theta:
    """Simple exponential smoothing plus half the slope of the trend line, of the deseasonalised history.

    The season is taken off by classical decomposition where the history covers two seasons and its
    autocorrelation at the season is significant: a factor where the target is positive, else a sum. Needs
    four rows. Formula: Assimakopoulos and Nikolopoulos (2000); intervals: Hyndman and Billah, Int. J.
    Forecasting 19 (2003). Missing values are filled for the fit (``series.fill``).

    Attributes:
        season_length: Periods in a season; the job's when null; week is seven of them, where they are days.
    """

    season_length: SeasonLength = None

    name: ClassVar[str] = "theta"
    revision: ClassVar[int] = 2
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = "numba"

    def fit(self, rows: Rows, spec: FitSpec) -> FittedTheta:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        need_rows(self.name, LEAST, series.observed)
        length = len(series)
        season = season_of(self.season_length, spec)
        found = fit_thetas(fill(series.target, season), np.array([0, length]), season)
        known = found.errors[series.target == series.target]
        sigma = math.sqrt(float(known @ known) / max(len(known) - 3, 1))
        return FittedTheta(
            basis,
            series.end,
            float(found.alpha[0]),
            float(found.slope[0]),
            float(found.level[0]),
            found.season[0],
            bool(found.factors[0]),
            length,
            sigma,
        )


@dataclass(frozen=True, slots=True)
class Thetas:
    """What was fitted to some series.

    Attributes:
        alpha: Level weights. Shape (series,).
        slope: Of the trend lines. Shape (series,).
        level: Last levels, deseasonalised. Shape (series,).
        season: Seasons, the period after the last first. Shape (series, season).
        factors: Whether each multiplies. Shape (series,).
        errors: One-step errors of the series one after the other, deseasonalised.
    """

    alpha: Floats
    slope: Floats
    level: Floats
    season: Floats
    factors: npt.NDArray[np.bool_]
    errors: Floats


def fit_thetas(target: Floats, offsets: Ints, season: int) -> Thetas:
    """Fit the theta method to series.

    Args:
        target: The series one after the other, without NaN.
        offsets: Where each is. Shape (series + 1,).
        season: Periods in a season.
    """
    from manymodels.models.forecast.theta_kernel import decompose_each

    plain, places, factors, slope = decompose_each(np.array(target), np.array(offsets), season)
    found = smooth(plain, offsets, Form())
    lengths = np.diff(offsets)
    alpha, owner = found.weights[:, 0], np.repeat(np.arange(len(lengths)), lengths)
    at = np.arange(len(target)) - offsets[:-1][owner]
    errors = found.errors - 0.5 * slope[owner] * remembered(alpha[owner], at)
    turned = (lengths[:, None] + np.arange(season)) % season
    return Thetas(alpha, slope, found.last[:, 0], np.take_along_axis(places, turned, axis=1), factors, errors)


def remembered(alpha: Any, length: Any) -> Any:
    """The weights of so many periods, summed: how much of the slope a level lags behind. Numbers, or arrays."""
    return -np.expm1(length * np.log1p(-alpha)) / alpha


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
        plain = self.level + 0.5 * self.slope * (ahead + remembered(self.alpha, self.length))
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
