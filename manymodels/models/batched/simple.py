"""Mean, naive, seasonal naive and drift for many keys at once; the formulas are those of ``forecast.simple``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from manymodels.models.batched.contract import Ints, Panel, PanelFit, lists, segment_sums
from manymodels.models.batched.forecasts import ForecastColumns, shared_of
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook
from manymodels.models.forecast.seasons import SeasonLength, season_of
from manymodels.models.forecast.series import Basis
from manymodels.models.forecast.simple import (
    Drift,
    FittedDrift,
    FittedMean,
    FittedSeasonalNaive,
    Mean,
    Naive,
    SeasonalNaive,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BatchedDrift", "BatchedLastSeason", "BatchedMean", "Drifts", "LastSeasons", "Means"]


def _deviation(squares: Floats, freedom: Ints) -> Floats:
    """Residual standard deviations; NaN where there is nothing to judge by."""
    found: Floats = np.sqrt(np.maximum(squares, 0.0) / np.where(freedom > 0, freedom, np.nan))
    return found


@dataclass(frozen=True, eq=False)
class Means(ForecastColumns):
    """``FittedMean`` of many keys."""

    schema: ClassVar[str] = "mean/1"
    kind: ClassVar[type[FittedForecast]] = FittedMean

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        count = self.numbers("count")
        sigma = _deviation(self.numbers("squares"), count - 1) * np.sqrt(1 + 1 / count)
        return self._normal(self.numbers("mean")[panel.owner], sigma[panel.owner])


@dataclass(frozen=True)
class BatchedMean:
    """The mean of each history."""

    @classmethod
    def of(cls, family: Mean) -> BatchedMean:
        """That of the family."""
        return cls()

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        basis = Basis.of(spec)
        places, series = SeriesPanel.read(panel, basis)
        mean = segment_sums(series.target, series.starts, series.stops) / series.lengths
        apart = series.values - np.repeat(mean, series.lengths)
        squares = segment_sums(apart * apart, series.offsets[:-1], series.offsets[1:])
        table = pa.table({"origin": series.origin, "count": series.lengths, "mean": mean, "squares": squares})
        return PanelFit(places, Means(table, shared_of(basis), seeds[places]))


@dataclass(frozen=True, eq=False)
class LastSeasons(ForecastColumns):
    """``FittedSeasonalNaive`` of many keys, all of one season."""

    schema: ClassVar[str] = "last_season/1"
    kind: ClassVar[type[FittedForecast]] = FittedSeasonalNaive

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        season = self.numbers("season")
        seasons, places = np.divmod(steps - 1, season.shape[1])
        sigma = _deviation(self.numbers("squares"), self.numbers("changes"))
        return self._normal(season[panel.owner, places], sigma[panel.owner] * np.sqrt(seasons + 1.0))


@dataclass(frozen=True)
class BatchedLastSeason:
    """The last value, or the last season, of each history.

    Attributes:
        family: ``naive`` or ``seasonal_naive``.
        season_length: Periods in a season; the job's when None.
    """

    family: str
    season_length: SeasonLength

    @classmethod
    def naive(cls, family: Naive) -> BatchedLastSeason:
        """That of the naive family."""
        return cls("naive", 1)

    @classmethod
    def seasonal(cls, family: SeasonalNaive) -> BatchedLastSeason:
        """That of the seasonal naive family."""
        return cls(family.name, family.season_length)

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        basis = Basis.of(spec)
        length = season_of(self.season_length, spec)
        places, series = SeriesPanel.read(panel, basis, least=length)
        season = series.target[(series.stops - length)[:, None] + np.arange(length)]

        def squared(_: pd.DataFrame) -> Floats:
            moved = np.zeros(len(series.target))
            np.square(series.target[length:] - series.target[:-length], out=moved[length:])
            return moved

        moved = panel.rows.derived(("squared changes", basis.target, length), squared)
        changes = series.lengths - length
        squares = np.zeros(len(places))
        longer = changes > 0
        squares[longer] = segment_sums(moved, series.starts[longer] + length, series.stops[longer])
        table = pa.table(
            {
                "origin": series.origin,
                "season": lists(season),
                "squares": squares,
                "changes": changes,
            }
        )
        return PanelFit(places, LastSeasons(table, shared_of(basis, family=self.family), seeds[places]))


@dataclass(frozen=True, eq=False)
class Drifts(ForecastColumns):
    """``FittedDrift`` of many keys."""

    schema: ClassVar[str] = "drift/1"
    kind: ClassVar[type[FittedForecast]] = FittedDrift

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        changes, total = self.numbers("changes"), self.numbers("total")
        slope = (self.numbers("last") - self.numbers("first")) / (self.numbers("length") - 1)
        around = self.numbers("squares") - 2 * slope * total + changes * slope**2
        sigma, length = _deviation(around, changes - 1)[panel.owner], self.numbers("length")[panel.owner]
        ahead = steps.astype(np.float64)
        mean = self.numbers("last")[panel.owner] + slope[panel.owner] * ahead
        return self._normal(mean, sigma * np.sqrt(ahead * (1 + ahead / (length - 1))))


@dataclass(frozen=True)
class BatchedDrift:
    """The last value of each history, going on by the average change."""

    @classmethod
    def of(cls, family: Drift) -> BatchedDrift:
        """That of the family."""
        return cls()

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        basis = Basis.of(spec)
        places, series = SeriesPanel.read(panel, basis, least=2)
        steps = np.diff(series.target, prepend=0.0)
        total = segment_sums(steps, series.starts + 1, series.stops)
        squares = segment_sums(steps * steps, series.starts + 1, series.stops)
        table = pa.table(
            {
                "origin": series.origin,
                "first": series.target[series.starts],
                "last": series.target[series.stops - 1],
                "length": series.lengths,
                "total": total,
                "squares": squares,
                "changes": series.lengths - 1,
            }
        )
        return PanelFit(places, Drifts(table, shared_of(basis), seeds[places]))
