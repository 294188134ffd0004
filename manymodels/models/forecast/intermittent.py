"""Intermittent demand: Croston's method and the method of Teunter, Syntetos and Babai.

Missing periods are skipped: they count neither as demand nor as time. Intervals are quantiles of the
one-step errors in the history, the same at every step, since these forecasts are flat.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["Croston", "FittedCroston", "FittedTsb", "Tsb"]

_Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Croston:
    """The smoothed size of demands over the smoothed interval between them; one row is enough.

    Croston (1972); ``sba`` corrects its bias: Syntetos and Boylan (2005).

    Attributes:
        variant: ``classic`` or ``sba``.
        alpha: How fast size and interval follow the data.
    """

    variant: Literal["classic", "sba"] = "classic"
    alpha: _Share = 0.1

    name: ClassVar[str] = "croston"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedCroston:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        values = _demands(series)
        start = FittedCroston(
            basis, series.end, np.empty(0), np.empty(0), self.variant, self.alpha, 0.0, math.nan, 0
        )
        fitted, forecasts = start.through(values)
        lower, upper = _error_quantiles(values - forecasts, basis.levels)
        return replace(fitted, lower=lower, upper=upper)


@dataclass(frozen=True)
class Tsb:
    """The smoothed size of demands times the smoothed chance of one; one row is enough.

    The chance sinks in every period without demand, so that a product that is no longer sold ends near
    zero. Teunter, Syntetos and Babai (2011).

    Attributes:
        alpha: How fast the size follows the data.
        beta: How fast the chance does.
    """

    alpha: _Share = 0.1
    beta: _Share = 0.1

    name: ClassVar[str] = "tsb"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedTsb:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        values = _demands(series)
        start = FittedTsb(basis, series.end, np.empty(0), np.empty(0), self.alpha, self.beta, 0.0, math.nan)
        fitted, forecasts = start.through(values)
        lower, upper = _error_quantiles(values - forecasts, basis.levels)
        return replace(fitted, lower=lower, upper=upper)


def _demands(series: Series) -> Floats:
    values: Floats = series.target[series.target == series.target]
    if values.min() < 0:
        raise ModelError(f"intermittent demand cannot be negative, found {values.min():g}")
    return values


def _error_quantiles(errors: Floats, levels: tuple[float, ...]) -> tuple[Floats, Floats]:
    """What to add to a forecast for its bounds. Shapes (levels,)."""
    known = errors[errors == errors]
    if len(known) < 2:
        unknown = np.full(len(levels), math.nan)
        return unknown, unknown
    half = np.array(levels) / 200
    return np.quantile(known, 0.5 - half), np.quantile(known, 0.5 + half)


@dataclass(frozen=True, slots=True)
class _FittedDemand(FittedForecast):
    """A flat forecast with the quantiles of its errors.

    Attributes:
        lower: Error at each level's lower bound. Shape (levels,).
        upper: Error at each level's upper bound.
    """

    lower: Floats
    upper: Floats

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        mean = np.full(len(steps), self.rate)
        return Outlook(mean, mean + self.lower[:, None], mean + self.upper[:, None])

    @property
    @abstractmethod
    def rate(self) -> float:
        """Demand a period."""


@dataclass(frozen=True, slots=True)
class FittedCroston(_FittedDemand):
    """A size and an interval.

    Attributes:
        variant: ``classic`` or ``sba``.
        alpha: How fast both follow the data.
        size: The smoothed size.
        interval: The smoothed interval in periods; NaN before the first demand.
        waited: Periods since the last demand.
    """

    variant: str
    alpha: float
    size: float
    interval: float
    waited: int

    @property
    def rate(self) -> float:
        """Demand a period."""
        if math.isnan(self.interval):
            return 0.0
        return self.size / self.interval * self._correction

    @property
    def _correction(self) -> float:
        return 1 - self.alpha / 2 if self.variant == "sba" else 1.0

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "croston",
            "variant": self.variant,
            "alpha": self.alpha,
            "size": self.size,
            "interval": None if math.isnan(self.interval) else self.interval,
        }

    def through(self, values: Floats) -> tuple[FittedCroston, Floats]:
        """The model after some periods, and its forecast of each of them; NaN before the first demand."""
        at = np.flatnonzero(values)
        size, interval, rates = self.size, self.interval, [self.rate if self.interval > 0 else math.nan]
        waits = np.diff(at, prepend=-1 - self.waited)
        for demand, wait in zip(values[at].tolist(), waits.tolist(), strict=True):
            if math.isnan(interval):
                size, interval = demand, float(wait)
            else:
                size += self.alpha * (demand - size)
                interval += self.alpha * (wait - interval)
            rates.append(size / interval * self._correction)
        # The forecast of a period is the rate after the last demand before it.
        forecasts = np.array(rates)[np.searchsorted(at, np.arange(len(values)))]
        waited = len(values) - 1 - int(at[-1]) if len(at) else self.waited + len(values)
        return replace(self, size=size, interval=interval, waited=waited), forecasts

    def _extended(self, newer: Series) -> FittedCroston:
        return replace(self.through(_demands(newer))[0], origin=newer.end)


@dataclass(frozen=True, slots=True)
class FittedTsb(_FittedDemand):
    """A size and a chance.

    Attributes:
        alpha: How fast the size follows the data.
        beta: How fast the chance does.
        size: The smoothed size.
        chance: The smoothed chance of demand in a period; NaN before the first period.
    """

    alpha: float
    beta: float
    size: float
    chance: float

    @property
    def rate(self) -> float:
        """Demand a period."""
        return self.size * self.chance

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "tsb",
            "alpha": self.alpha,
            "beta": self.beta,
            "size": self.size,
            "chance": self.chance,
        }

    def through(self, values: Floats) -> tuple[FittedTsb, Floats]:
        """The model after some periods, and its forecast of each of them; NaN for the first of all."""
        size, chance, forecasts = self.size, self.chance, []
        if math.isnan(chance):
            # Starts from the average chance and the first demand's size.
            chance = float(np.count_nonzero(values)) / len(values)
            size = float(values[np.argmax(values > 0)])
        for value in values.tolist():
            forecasts.append(size * chance)
            if value > 0:
                chance += self.beta * (1 - chance)
                size += self.alpha * (value - size)
            else:
                chance -= self.beta * chance
        return replace(self, size=size, chance=chance), np.array(forecasts)

    def _extended(self, newer: Series) -> FittedTsb:
        return replace(self.through(_demands(newer))[0], origin=newer.end)
