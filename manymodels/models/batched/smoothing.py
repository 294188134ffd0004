"""Exponential smoothing and the theta method for many keys at once.

The fits are those of the families, which are given one series; see ``forecast.smoothing`` and ``forecast.theta``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from manymodels.models.batched.contract import Ints, Panel, PanelFit, lists, segment_sums
from manymodels.models.batched.forecasts import ForecastColumns, shared_of
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.ets import Ets, FittedEts, HoltWinters
from manymodels.models.forecast.fitted import FittedForecast, Outlook, normal_outlook
from manymodels.models.forecast.seasons import season_of
from manymodels.models.forecast.series import Basis
from manymodels.models.forecast.smoothing import Form, Weights, smooth
from manymodels.models.forecast.theta import LEAST, FittedTheta, Theta, fit_thetas, remembered

__all__ = ["BatchedEts", "BatchedTheta", "Smoothings", "Thetas"]


def _sigma(errors: Floats, series: SeriesPanel, parameters: int) -> Floats:
    """Standard deviation of each key's errors, given the numbers that were estimated. Shape (keys,)."""
    squares = segment_sums(errors * errors, series.offsets[:-1], series.offsets[1:])
    found: Floats = np.sqrt(squares / np.maximum(series.lengths - parameters, 1))
    return found


@dataclass(frozen=True, eq=False)
class Smoothings(ForecastColumns):
    """``FittedEts`` of many keys, all of one form."""

    schema: ClassVar[str] = "smoothing/1"
    kind: ClassVar[type[FittedForecast]] = FittedEts

    @property
    def form(self) -> Form:
        """The components."""
        return Form(**self.constants["form"])

    def model(self, place: int) -> FittedEts:
        """See ``ModelColumns.model``."""
        row = self.table.slice(place, 1).to_pylist()[0]
        return FittedEts(
            self._basis(int(self.seeds[place])),
            row["origin"],
            self.constants["family"],
            self.form,
            Weights(row["alpha"], row["beta"], row["gamma"], row["phi"]),
            row["level"],
            row["slope"],
            np.array(row["season"]),
            row["sigma"],
        )

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        form = self.form
        names = ("level", "slope", "alpha", "beta", "gamma", "phi", "sigma")
        numbers = {name: self.numbers(name)[:, None] for name in names}
        season = self.numbers("season")

        def grids(keys: slice, farthest: int) -> tuple[Floats, Floats]:
            level, slope, alpha, beta, gamma, phi, sigma = (numbers[name][keys] for name in names)
            ahead = np.arange(1, farthest + 1)
            dampings = np.cumsum(phi ** ahead.astype(np.float64), axis=1)
            base = level * slope**dampings if form.trend == "mul" else level + slope * dampings
            places = season[keys][:, (ahead - 1) % season.shape[1]]
            mean = base * places if form.seasonal == "mul" else base + places
            if not form.additive:
                return mean, mean
            carried = alpha + beta * dampings[:, :-1]
            if form.seasonal:
                carried = carried + gamma * (ahead[:-1] % form.season == 0)
            spread = np.concatenate([np.zeros_like(level), np.cumsum(carried**2, axis=1)], axis=1)
            return mean, sigma * np.sqrt(1 + spread)

        with np.errstate(over="ignore"):
            mean, deviation = self._by_step(steps, panel, grids)
        if form.additive:
            return normal_outlook(mean, deviation, self.basis.levels)
        return self._simulated(mean, steps, panel)

    def _simulated(self, mean: Floats, steps: Ints, panel: Panel) -> Outlook:
        """With bounds from simulated paths, drawn from each key's seed: key by key."""
        lower = np.empty((len(self.basis.levels), len(mean)))
        upper = np.empty_like(lower)
        for place in range(len(panel)) if self.basis.levels else ():
            rows = slice(int(panel.offsets[place]), int(panel.offsets[place + 1]))
            ahead = steps[rows]
            bounds = self.model(place).simulated(int(ahead.max(initial=1)))
            lower[:, rows], upper[:, rows] = bounds[0][:, ahead - 1], bounds[1][:, ahead - 1]
        return Outlook(mean, lower, upper)


@dataclass(frozen=True)
class BatchedEts:
    """Exponential smoothing of regular histories.

    Attributes:
        family: ``ets`` or ``holt_winters``.
    """

    family: Ets | HoltWinters

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        basis, form = Basis.of(spec), self.family.form(spec)
        places, series = SeriesPanel.read(panel, basis, least=form.least)
        if not form.additive:
            positive = series.least > 0
            places, series = places[positive], series.take(positive)
        found = smooth(series.values, series.offsets, form)
        table = pa.table(
            {
                "origin": series.origin,
                **dict(zip(("alpha", "beta", "gamma", "phi"), found.weights.T.copy(), strict=True)),
                "level": found.last[:, 0],
                "slope": found.last[:, 1],
                "season": lists(found.last[:, 2:]),
                "sigma": _sigma(found.errors, series, form.size),
            }
        )
        shared = shared_of(basis, family=self.family.name, form=asdict(form))
        return PanelFit(places, Smoothings(table, shared, seeds[places]))


@dataclass(frozen=True, eq=False)
class Thetas(ForecastColumns):
    """``FittedTheta`` of many keys, all of one season."""

    schema: ClassVar[str] = "theta/1"
    kind: ClassVar[type[FittedForecast]] = FittedTheta

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        alpha, slope, level = self.numbers("alpha"), self.numbers("slope"), self.numbers("level")
        season, owner, ahead = self.numbers("season"), panel.owner, steps - 1.0
        lag = remembered(alpha, self.numbers("length"))
        plain = level[owner] + 0.5 * slope[owner] * (ahead + lag[owner])
        deviation = self.numbers("sigma")[owner] * np.sqrt(1 + ahead * alpha[owner] ** 2)
        places, factors = season[owner, (steps - 1) % season.shape[1]], self.numbers("factors")[owner]
        mean = np.where(factors, plain * places, plain + places)
        return self._normal(mean, np.where(factors, deviation * places, deviation))


@dataclass(frozen=True)
class BatchedTheta:
    """The theta method on regular histories.

    Attributes:
        family: With its season.
    """

    family: Theta

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        basis = Basis.of(spec)
        places, series = SeriesPanel.read(panel, basis, least=LEAST)
        found = fit_thetas(series.values, series.offsets, season_of(self.family.season_length, spec))
        table = pa.table(
            {
                "origin": series.origin,
                "alpha": found.alpha,
                "slope": found.slope,
                "level": found.level,
                "season": lists(found.season),
                "factors": found.factors,
                "length": series.lengths,
                "sigma": _sigma(found.errors, series, 3),
            }
        )
        return PanelFit(places, Thetas(table, shared_of(basis), seeds[places]))
