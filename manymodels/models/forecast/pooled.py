"""Forecasts for keys without a usable model of their own: one lag regression of the whole fleet, and naive rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.lag_model import Columns, Prepared, Scale, filled_levels, learn, spread
from manymodels.models.forecast.lag_regression import FittedLagRegression, LagRegression, columns_of, tails
from manymodels.models.forecast.regressors import Regressor, learner_of
from manymodels.models.forecast.series import Basis, Series
from manymodels.models.forecast.simple import FittedSeasonalNaive, last_season
from manymodels.records import Rows

__all__ = ["FittedPool", "FleetProfile", "NaiveForecast", "PooledForecast"]

_MOST_ROWS = 200_000
"""Rows that the fleet's regression is fitted to; more keys are left out by a seeded draw."""
_ESTIMATOR = "sklearn.linear_model.Ridge"


@dataclass(frozen=True)
class PooledForecast:
    """One lag regression over the histories of many keys, each divided by its own mean size.

    See ``PooledFamily``. A key's history is given by ``extend``; lags that a short one lacks take its mean.
    """

    estimator: str = _ESTIMATOR
    log: bool = False

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> FittedPool:
        """Fit the histories of many keys.

        Raises:
            ModelError: No history is long enough.
        """
        basis = Basis.of(spec)
        histories = _drawn(list(_usable(keys, basis)), spec.seed)
        if not histories:
            raise ModelError(f"none of {len(keys)} keys has a value in the target {basis.target}")
        family = LagRegression()
        columns = columns_of(family, spec, histories, spec.season_length)
        shift=1.0
        prepared = []
        for series in histories:
            scale = _own_scale(series, self.log)
            prepared.append(Prepared.of(series, filled_levels(series, scale, columns.design.season), scale, columns))
        learner = learner_of(self.estimator, {}, spec.seed)
        stops = [len(series) for series in histories]
        regressor = learn(columns.design, prepared, stops, learner)
        deviations = spread(columns.design, prepared, spec.horizon, learner) if basis.levels else np.empty(0)
        return FittedPool(basis, columns, regressor, deviations, self.log)


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
    if log:
        u = np.log(series.target+1.0)
        return Scale(True, 1.0, 0, float(np.nanmean(u)), 1.0)
    size = float(np.nanmean(np.abs(series.target)))
    return Scale(factor=size or 1.0)


@dataclass(frozen=True, slots=True)
class FittedPool:
    basis: Basis
    columns: Columns
    regressor: Regressor
    deviations: Floats
    log: bool

    def extend(self, rows: Rows) -> FittedLagRegression:
        series = Series.read(rows, self.basis)
        scale = _own_scale(series, self.log)
        levels = filled_levels(series, scale, self.columns.design.season)
        levels, known, past = tails(self.columns, scale, series, levels)
        missing = self.columns.design.reach - len(levels)
        if missing > 0:
            levels = np.concatenate([np.full(missing, levels.mean()), levels])
            known = np.concatenate([np.zeros(missing, dtype=np.bool_), known])
        return FittedLagRegression(
            self.basis, series.end, "pooled", _ESTIMATOR, self.columns, self.regressor, scale, self.deviations, levels, known, past
        )
