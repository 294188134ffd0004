"""Mean, naive, seasonal naive and drift: forecasts by one formula.

Forecasts and intervals follow Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.2
and 5.5; missing periods have no residual. Continued over newer rows, each equals a fit of the whole history.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import (
    FittedForecast,
    Outlook,
    bounded,
    need_rows,
    normal_outlook,
)
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.seasons import SeasonLength, season_of
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["Drift", "Mean", "Naive", "SeasonalNaive", "last_season", "naive_ahead", "naive_forecast"]


def _deviation(squares: float, freedom: int) -> float:
    """A residual standard deviation; NaN when there is nothing to judge by."""
    return math.sqrt(max(squares, 0.0) / freedom) if freedom > 0 else math.nan


@dataclass(frozen=True)
class Mean:
    """The mean of the history; one row is enough."""

    name: ClassVar[str] = "mean"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedMean:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        return FittedMean(basis, series.start - 1, 0, 0.0, 0.0)._extended(series)


@dataclass(frozen=True, slots=True)
class FittedMean(FittedForecast):
    """The mean of a history.

    Attributes:
        count: Observations.
        mean: Theirs.
        squares: Sum of their squared distances from it.
    """

    count: int
    mean: float
    squares: float

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {"family": "mean", "mean": self.mean, "sigma": _deviation(self.squares, self.count - 1)}

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        sigma = _deviation(self.squares, self.count - 1) * math.sqrt(1 + 1 / self.count)
        return normal_outlook(np.full(len(steps), self.mean), np.full(len(steps), sigma), self.basis.levels)

    def _extended(self, newer: Series) -> FittedMean:
        values = newer.target[newer.target == newer.target]
        # Chan, Golub and LeVeque (1983): means and squares of two parts, without cancellation.
        count, mean = len(values), float(values.mean())
        total = self.count + count
        apart = mean - self.mean
        squares = float(np.square(values - mean).sum()) + apart * apart * self.count * count / total
        return replace(
            self,
            origin=newer.end,
            count=total,
            mean=self.mean + apart * count / total,
            squares=self.squares + squares,
        )


@dataclass(frozen=True)
class SeasonalNaive:
    """The last value at the same place in the season; a season of rows is the least.

    A place that was never observed (a weekday on which a shop is closed) takes the mean of the others.

    Attributes:
        season_length: Periods in a season; the job's when null; week is seven of them, where they are days.
    """

    season_length: SeasonLength = None

    name: ClassVar[str] = "seasonal_naive"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedSeasonalNaive:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        season = season_of(self.season_length, spec)
        need_rows(self.name, season, len(series), season)
        return last_season(self.name, basis, series, season)


@dataclass(frozen=True)
class Naive:
    """The last value; one row is enough."""

    name: ClassVar[str] = "naive"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedSeasonalNaive:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        return last_season(self.name, basis, series, 1)


@dataclass(frozen=True, slots=True)
class FittedSeasonalNaive(FittedForecast):
    """The last season of a history; of one period for the naive forecast.

    Attributes:
        family: ``naive`` or ``seasonal_naive``.
        season: The last value at each place, the place after the origin first; NaN where never observed.
        squares: Sum of the squared changes from one value to the next at the same place.
        changes: Their number.
    """

    family: str
    season: Floats
    squares: float
    changes: int

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": self.family,
            "season_length": len(self.season),
            "sigma": _deviation(self.squares, self.changes),
        }

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        return _season_outlook(self.season, self.squares, self.changes, steps, self.basis.levels)

    def _extended(self, newer: Series) -> FittedSeasonalNaive:
        season, changes = _by_place(np.concatenate([self.season, newer.target]), len(self.season))
        return replace(
            self,
            origin=newer.end,
            season=season,
            squares=self.squares + float(np.square(changes).sum()),
            changes=self.changes + len(changes),
        )


def last_season(family: str, basis: Basis, series: Series, season: int) -> FittedSeasonalNaive:
    """The last season of a series that is at least that long."""
    latest, changes = _by_place(series.target, season)
    squares = float(np.square(changes).sum())
    return FittedSeasonalNaive(basis, series.end, family, latest, squares, len(changes))


def _season_outlook(
    season: Floats, squares: float, changes: int, steps: Ints, levels: tuple[float, ...]
) -> Outlook:
    known = season == season
    if not known.all():
        season = np.where(known, season, season[known].mean())
    seasons, places = np.divmod(steps - 1, len(season))
    deviation = _deviation(squares, changes) * np.sqrt(seasons + 1.0)
    return normal_outlook(season[places], deviation, levels)


def naive_forecast(basis: Basis, series: Series, season: int) -> FittedSeasonalNaive:
    """The naive model of a series: seasonal naive, or naive for one without a season or shorter than it."""
    if len(series) >= season > 1:
        return last_season("seasonal_naive", basis, series, season)
    return last_season("naive", basis, series, 1)


def naive_ahead(
    target: Floats, steps: Ints, season: int, *, non_negative: bool, levels: tuple[float, ...] = ()
) -> dict[str, Floats]:
    """What the naive model of a history says of some periods after it; see ``naive_forecast``.

    Args:
        target: One value a period, from the first known one on; NaN where it is not known.
        steps: Periods after the last one, from 1.
        season: Periods in a season.
        non_negative: Whether forecasts below zero are raised to zero.
        levels: Intervals wanted, in percent.
    """
    length = season if len(target) >= season > 1 else 1
    latest, changes = _by_place(target, length)
    outlook = _season_outlook(latest, float(np.square(changes).sum()), len(changes), steps, levels)
    return bounded(outlook, levels, non_negative=non_negative)


def _by_place(values: Floats, length: int) -> tuple[Floats, Floats]:
    """The last value at each place of the season, and the changes from one value to the next at the same place."""
    changes = values[length:] - values[:-length]
    if len(values) >= length and not math.isnan(values.sum()):
        return values[-length:].copy(), changes
    # One row a season, counted back from the end: a column is one place.
    blank = np.full(-len(values) % length, np.nan)
    table = np.concatenate([blank, values]).reshape(-1, length)
    latest = np.where(table == table, np.arange(len(table))[:, None], 0)
    latest = np.maximum.accumulate(latest, axis=0)
    filled = np.take_along_axis(table, latest, axis=0)
    changes = (table[1:] - filled[:-1]).ravel()
    return filled[-1].copy(), changes[changes == changes]


@dataclass(frozen=True)
class Drift:
    """The last value, going on by the average change from the first; two rows are the least."""

    name: ClassVar[str] = "drift"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = False
    library: ClassVar[str] = ""

    def fit(self, rows: Rows, spec: FitSpec) -> FittedDrift:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        need_rows(self.name, 2, series.observed)
        first = float(series.target[0])
        return FittedDrift(basis, series.start - 1, first, math.nan, 0, 0.0, 0.0, 0)._extended(series)


@dataclass(frozen=True, slots=True)
class FittedDrift(FittedForecast):
    """The line through the first and the last observation.

    Attributes:
        first: The first observation.
        last: The last one.
        length: Periods from the first to the last, both counted.
        total: Sum of the observed changes from one period to the next.
        squares: Sum of their squares.
        changes: Their number.
    """

    first: float
    last: float
    length: int
    total: float
    squares: float
    changes: int

    @property
    def slope(self) -> float:
        """The average change a period."""
        return (self.last - self.first) / (self.length - 1)

    @property
    def sigma(self) -> float:
        """Standard deviation of the changes around the slope."""
        around = self.squares - 2 * self.slope * self.total + self.changes * self.slope**2
        return _deviation(around, self.changes - 1)

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {"family": "drift", "slope": self.slope, "sigma": self.sigma}

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        ahead = steps.astype(np.float64)
        deviation = self.sigma * np.sqrt(ahead * (1 + ahead / (self.length - 1)))
        return normal_outlook(self.last + self.slope * ahead, deviation, self.basis.levels)

    def _extended(self, newer: Series) -> FittedDrift:
        values = np.concatenate([[self.last], newer.target])
        changes = np.diff(values)
        changes = changes[changes == changes]
        return replace(
            self,
            origin=newer.end,
            last=float(values[-1]),
            length=self.length + len(newer),
            total=self.total + float(changes.sum()),
            squares=self.squares + float(np.square(changes).sum()),
            changes=self.changes + len(changes),
        )
