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

__all__ = ["SHARES", "Croston", "FittedCroston", "FittedTsb", "Tsb"]

_Share = Annotated[float, Field(gt=0, le=1)]

SHARES = np.linspace(0, 1, 41)
"""Shares at which the quantiles of sizes are kept."""


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
        ratios = _ratios(values, self.alpha)
        start = FittedCroston(basis, series.end, self.alpha, math.nan, ratios, self.variant, math.nan, 0)
        return start.through(values)


@dataclass(frozen=True)
class Tsb:
    """The smoothed size of demands times the smoothed chance of one; one row is enough.

    The chance starts from the history's average and sinks in every period without demand, so that a product
    that is no longer sold ends near zero. Teunter, Syntetos and Babai (2011).

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
        chance = np.count_nonzero(values) / len(values)
        ratios = _ratios(values, self.alpha)
        start = FittedTsb(basis, series.end, self.alpha, math.nan, ratios, self.beta, chance)
        return start.through(values)


def _demands(series: Series) -> Floats:
    values: Floats = series.target[series.target == series.target]
    if values.min() < 0:
        raise ModelError(f"intermittent demand cannot be negative, found {values.min():g}")
    return values


def _smoothed(values: Floats, start: float, weight: float) -> list[float]:
    """The exponentially smoothed level before each value, and after the last; a NaN start is the first value."""
    level, levels = start, [start]
    for value in values.tolist():
        level = value if math.isnan(level) else level + weight * (value - level)
        levels.append(level)
    return levels


def _ratios(values: Floats, weight: float) -> Floats:
    """Quantiles of each demand's ratio to the smoothed size before it; NaN below two demands. Shape (41,)."""
    sizes = values[values > 0]
    if len(sizes) < 2:
        return np.full(len(SHARES), math.nan)
    ratios: Floats = np.quantile(sizes[1:] / np.array(_smoothed(sizes, math.nan, weight)[1:-1]), SHARES)
    return ratios


@dataclass(frozen=True, slots=True)
class _FittedDemand(FittedForecast):
    """A flat forecast of demands that come by chance.

    Attributes:
        alpha: How fast the size follows the data.
        size: The smoothed size; NaN before the first demand.
        ratios: Quantiles of a size's ratio to the smoothed size. Shape (41,).
    """

    alpha: float
    size: float
    ratios: Floats

    @property
    @abstractmethod
    def chance(self) -> float:
        """The chance of demand in a period."""

    @property
    @abstractmethod
    def rate(self) -> float:
        """Demand a period."""

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        half = np.array(self.basis.levels)[:, None] / 200
        flat = np.ones(len(steps))
        return Outlook(
            self.rate * flat, self._quantiles(0.5 - half) * flat, self._quantiles(0.5 + half) * flat
        )

    def _quantiles(self, shares: Floats) -> Floats:
        """Quantiles of one period's demand."""
        none = 1 - self.chance
        if none == 1:
            return np.zeros(shares.shape)
        sizes = self.size * np.interp((shares - none) / self.chance, SHARES, self.ratios)
        return np.where(shares <= none, 0.0, sizes)


@dataclass(frozen=True, slots=True)
class FittedCroston(_FittedDemand):
    """A size and an interval.

    Attributes:
        variant: ``classic`` or ``sba``.
        interval: The smoothed interval in periods; NaN before the first demand.
        waited: Periods since the last demand.
    """

    variant: str
    interval: float
    waited: int

    @property
    def chance(self) -> float:
        """The chance of demand in a period."""
        return 0.0 if math.isnan(self.interval) else 1 / self.interval

    @property
    def rate(self) -> float:
        """Demand a period."""
        if math.isnan(self.interval):
            return 0.0
        return self.size / self.interval * (1 - self.alpha / 2 if self.variant == "sba" else 1)

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "croston",
            "variant": self.variant,
            "alpha": self.alpha,
            "size": None if math.isnan(self.size) else self.size,
            "interval": None if math.isnan(self.interval) else self.interval,
        }

    def through(self, values: Floats) -> FittedCroston:
        """The model after some periods."""
        at = np.flatnonzero(values)
        if len(at) == 0:
            return replace(self, waited=self.waited + len(values))
        waits = np.diff(at, prepend=-1 - self.waited).astype(np.float64)
        return replace(
            self,
            size=_smoothed(values[at], self.size, self.alpha)[-1],
            interval=_smoothed(waits, self.interval, self.alpha)[-1],
            waited=len(values) - 1 - int(at[-1]),
        )

    def _extended(self, newer: Series) -> FittedCroston:
        return replace(self.through(_demands(newer)), origin=newer.end)


@dataclass(frozen=True, slots=True)
class FittedTsb(_FittedDemand):
    """A size and a chance.

    Attributes:
        beta: How fast the chance follows the data.
        probability: The smoothed chance.
    """

    beta: float
    probability: float

    @property
    def chance(self) -> float:
        """The chance of demand in a period."""
        return self.probability

    @property
    def rate(self) -> float:
        """Demand a period."""
        return 0.0 if math.isnan(self.size) else self.size * self.probability

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "tsb",
            "alpha": self.alpha,
            "beta": self.beta,
            "size": None if math.isnan(self.size) else self.size,
            "chance": self.probability,
        }

    def through(self, values: Floats) -> FittedTsb:
        """The model after some periods."""
        happened = (values > 0).astype(np.float64)
        return replace(
            self,
            size=_smoothed(values[values > 0], self.size, self.alpha)[-1],
            probability=_smoothed(happened, self.probability, self.beta)[-1],
        )

    def _extended(self, newer: Series) -> FittedTsb:
        return replace(self.through(_demands(newer)), origin=newer.end)
