"""Forecasts for keys without a usable model of their own: one lag regression of the whole fleet, and naive rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats, Predictions
from manymodels.models.forecast.fitted import normal_outlook, outlook_columns
from manymodels.models.forecast.frequency import period_index
from manymodels.models.forecast.lag_model import Columns, Prepared, Scale, filled_levels, learn, spread
from manymodels.models.forecast.lag_regression import FittedLagRegression, LagRegression, columns_of, tails
from manymodels.models.forecast.regressors import Regressor, learner_of
from manymodels.models.forecast.series import Basis, Series
from manymodels.models.forecast.simple import FittedSeasonalNaive, naive_forecast
from manymodels.records import Rows

__all__ = ["FittedPool", "FleetProfile", "NaiveForecast", "PooledForecast"]

_MOST_ROWS = 200_000
"""Rows that the fleet's regression is fitted to; more keys are left out by a seeded draw."""
_ESTIMATOR = "sklearn.linear_model.Ridge"
_SHIFT = 0.3
"""Share of a key's mean size that is added before the logarithm, so that zeros have one."""


@dataclass(frozen=True)
class PooledForecast:
    """One ridge regression on lags over the histories of many keys, each on the scale of its own size.

    The scale is the logarithm where no key goes below zero, else the size. Boosted trees were more accurate
    on retail data, less on others, and 30 times slower to forecast with, step by step; this may have to
    serve many keys.

    See ``PooledFamily``. A key's history is given by ``extend``; a short one is continued backwards for the
    lags that it lacks, by its first season or its mean.
    """

    name: ClassVar[str] = "pooled"
    revision: ClassVar[int] = 1
    library: ClassVar[str] = ""

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> FittedPool:
        """Fit the histories of many keys.

        Raises:
            ModelError: No history is long enough.
        """
        basis = Basis.of(spec)
        histories = _drawn(list(_usable(keys, basis)), spec.seed)
        if not histories:
            raise ModelError(f"none of {len(keys)} keys has a value in the target {basis.target}")
        columns = columns_of(LagRegression(), spec, histories, spec.season_length)
        log = all(bool(np.nanmin(series.target) >= 0) for series in histories)
        prepared = []
        for series in histories:
            scale = _own_scale(series, log)
            levels = filled_levels(series, scale, columns.design.season)
            prepared.append(Prepared.of(series, levels, scale, columns))
        learner = learner_of(_ESTIMATOR, {}, spec.seed)
        stops = [len(series) for series in histories]
        regressor = learn(columns.design, prepared, stops, learner)
        deviations = spread(columns.design, prepared, spec.horizon, learner) if basis.levels else np.empty(0)
        return FittedPool(basis, columns, regressor, deviations, log)


def _usable(keys: list[Rows], basis: Basis) -> Iterator[Series]:
    for rows in keys:
        try:
            yield Series.read(rows, basis)
        except ModelError:
            continue


def _drawn(histories: list[Series], seed: int) -> list[Series]:
    order = np.random.default_rng(seed).permutation(len(histories))
    total = np.cumsum([len(histories[at]) for at in order])
    count = max(int(np.searchsorted(total, _MOST_ROWS, side="right")), 1)
    return [histories[at] for at in np.sort(order[:count])]


def _own_scale(series: Series, log: bool) -> Scale:
    size = float(np.nanmean(np.abs(series.target))) or 1.0
    if not log:
        return Scale(factor=size)
    plain = Scale(True, _SHIFT * size)
    return replace(plain, centre=float(np.nanmean(plain.levels(series.target))))


def _before(levels: Floats, count: int, season: int) -> Floats:
    """What is taken for the periods before a short history: its first season again, its mean where it has none."""
    if len(levels) < season:
        return np.full(count, levels.mean())
    return np.resize(levels[:season][::-1], count)[::-1]


@dataclass(frozen=True, slots=True)
class FittedPool:
    """The fleet's regression; it forecasts for a key once ``extend`` gave it the key's history.

    Attributes:
        basis: How rows become a series, and what comes out.
        columns: What the regression reads.
        regressor: Fitted.
        deviations: Standard deviation of the scaled errors, by steps ahead.
        log: Whether scales are logarithms.
    """

    basis: Basis
    columns: Columns
    regressor: Regressor
    deviations: Floats
    log: bool

    def predict(self, rows: Rows) -> Predictions:
        """Refuse: there is no history to start from.

        Raises:
            ModelError: Always.
        """
        raise ModelError("the pooled forecast starts from a key's history, and this key has none")

    def extend(self, rows: Rows) -> FittedLagRegression:
        """The forecast of the key with this history.

        Raises:
            UnusableRowsError: No row has a target.
            ModelError: A target below zero, where the fleet had none.
        """
        series = Series.read(rows, self.basis)
        scale = _own_scale(series, self.log)
        levels = filled_levels(series, scale, self.columns.design.season)
        levels, known, past = tails(self.columns, scale, series, levels)
        missing = self.columns.design.reach - len(levels)
        if missing > 0:
            levels = np.concatenate([_before(levels, missing, self.columns.design.season), levels])
            known = np.concatenate([np.zeros(missing, dtype=np.bool_), known])
        return FittedLagRegression(
            self.basis,
            series.end,
            "pooled",
            _ESTIMATOR,
            self.columns,
            self.regressor,
            scale,
            self.deviations,
            levels,
            known,
            past,
        )

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {"family": "pooled", "estimator": _ESTIMATOR}


@dataclass(frozen=True)
class NaiveForecast:
    """Seasonal naive for a key with a history (naive below a season), the fleet's profile without one.

    See ``PooledFamily``.
    """

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> FleetProfile:
        """The mean of the fleet at each place in the season, over every key's last season.

        Raises:
            ModelError: No key has a value.
        """
        basis = Basis.of(spec)
        season = spec.season_length
        total, squares, count = np.zeros(season), np.zeros(season), np.zeros(season)
        for series in _usable(keys, basis):
            last = series.target[-season:]
            places = (series.end - np.arange(len(last))[::-1]) % season
            known = last == last
            np.add.at(total, places[known], last[known])
            np.add.at(squares, places[known], np.square(last[known]))
            np.add.at(count, places[known], 1)
        if not count.sum():
            raise ModelError(f"none of {len(keys)} keys has a value in the target {basis.target}")
        whole = total.sum() / count.sum()
        mean = np.where(count > 0, total / np.maximum(count, 1), whole)
        spread = float(np.sqrt(max(squares.sum() / count.sum() - whole * whole, 0.0)))
        return FleetProfile(basis, mean, spread)


@dataclass(frozen=True, slots=True)
class FleetProfile:
    """What a typical key of the fleet looks like.

    Attributes:
        basis: How rows become a series, and what comes out.
        season: Mean at each place, by period number modulo the season.
        deviation: Standard deviation over the fleet: what is unknown about a key that was never seen.
    """

    basis: Basis
    season: Floats
    deviation: float

    def predict(self, rows: Rows) -> Predictions:
        """The fleet's mean at each period's place in the season; see ``FittedModel.predict``."""
        periods = period_index(rows.values(self.basis.time), self.basis.frequency)
        mean = self.season[periods % len(self.season)]
        outlook = normal_outlook(mean, np.full(len(mean), self.deviation), self.basis.levels)
        return outlook_columns(outlook, self.basis)

    def extend(self, rows: Rows) -> FittedSeasonalNaive:
        """The naive forecast of the key with this history.

        Raises:
            UnusableRowsError: No row has a target.
        """
        return naive_forecast(self.basis, Series.read(rows, self.basis), len(self.season))

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {"family": "naive", "season_length": len(self.season), "mean": float(self.season.mean())}
