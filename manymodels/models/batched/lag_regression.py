"""Linear lag regressions of many keys at once: normal equations for all, and recursive forecasts for all.

The models are those of ``forecast.lag_regression``. Left to fits one by one are keys with a season that is longer than
their history, jobs with features that are not known ahead, and least squares whose columns nearly depend on each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from manymodels.exceptions import ModelError
from manymodels.models.batched.contract import Ints, Panel, PanelFit, PanelPredictions, lists, ranges
from manymodels.models.batched.forecasts import ForecastColumns, shared_of
from manymodels.models.batched.lag_table import (
    Covariate,
    Histories,
    Known,
    calendar_of,
    crossed_with,
    designs_of,
    kernels,
    known_of,
)
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.covariates import Encoder
from manymodels.models.forecast.fitted import FittedForecast, Outlook, bounded, normal_outlook
from manymodels.models.forecast.lag_features import Design
from manymodels.models.forecast.lag_model import LEAST_ROWS, ORIGINS, Columns, Scale
from manymodels.models.forecast.lag_regression import FittedLagRegression, LagRegression, design_of
from manymodels.models.forecast.regressors import Linear, is_plain_ridge
from manymodels.models.forecast.seasons import season_of
from manymodels.models.forecast.series import Basis

__all__ = ["BatchedLagRegression", "LagRegressions"]

_LEAST_SQUARES = "sklearn.linear_model.LinearRegression"
_CELLS = 1 << 22
"""Numbers of a table that is worked on at once, about."""
_WIDTH = 32
"""Columns of a usual table."""
_DEPENDENT, _INDEPENDENT = 1e-13, 1e-6
"""Eigenvalues of the normal equations, as shares of the largest, that are surely zero, and surely not."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LagRegressions(ForecastColumns):
    """``FittedLagRegression`` of many keys, whose lags and calendar may differ with their histories' length."""

    schema: ClassVar[str] = "lag_regression/1"
    kind: ClassVar[type[FittedForecast]] = FittedLagRegression

    @property
    def covariates(self) -> tuple[Covariate, ...]:
        """The known-future features."""
        given = self.constants["covariates"]
        return tuple(
            Covariate(one["name"], None if one["categories"] is None else tuple(one["categories"]))
            for one in given
        )

    @property
    def known(self) -> Known:
        """The known-future features on the keys' scales."""
        covariates = self.covariates
        if not covariates:
            return Known((), np.empty((len(self), 0)), np.empty((len(self), 0)))
        return Known(covariates, self.numbers("known_centre"), self.numbers("known_factor"))

    def design(self, lags: str, calendar: str, start: int, length: int) -> Design:
        """A design; lags and calendar as a row of the table has them."""
        season, windows = self.constants["season"], tuple(self.constants["windows"])
        names: Any = tuple(calendar.split())
        country = self.constants.get("holidays") or ""  # models of before have none
        return Design(
            tuple(map(int, lags.split())),
            windows,
            names,
            season,
            self.basis.frequency,
            start,
            length,
            country if "holiday" in names else "",
        )

    def model(self, place: int) -> FittedLagRegression:
        """See ``ModelColumns.model``."""
        row, constants = self.table.slice(place, 1).to_pylist()[0], self.constants
        season, levels = constants["season"], np.array(row["levels"])
        columns = Columns(
            self.design(row["lags"], row["calendar"], row["start"], row["length"]),
            self.known.encoder(place),
            Encoder(),
            constants["horizon"],
            tuple(constants["crossed"]),
            np.zeros(season, dtype=np.bool_),
        )
        return FittedLagRegression(
            self._basis(int(self.seeds[place])),
            row["origin"],
            LagRegression.name,
            constants["estimator"],
            columns,
            Linear(np.array(row["weights"]), row["intercept"]),
            Scale(constants["log"], row["shift"], constants["lag"], row["centre"], row["factor"]),
            np.array(row["deviations"]) if self.basis.levels else np.empty(0),
            levels,
            np.ones(len(levels), dtype=np.bool_),
            np.empty((0, 0)),
        )

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        if all(covariate.name in panel.rows.columns for covariate in self.covariates):
            return super().predict(panel)
        nothing = self._normal(*np.full((2, int(panel.offsets[-1])), np.nan))
        values = bounded(nothing, self.basis.levels, non_negative=self.basis.non_negative)
        return PanelPredictions(values, np.zeros(len(panel), dtype=np.bool_))

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        factor, shift = self.numbers("factor")[panel.owner], self.numbers("shift")[panel.owner]
        ahead = np.empty(len(steps))
        for design, places in self._designs():
            span = max(_CELLS // (int(steps.max(initial=1)) * _WIDTH), 1)
            for first in range(0, len(places), span):
                part = places[first : first + span]
                rows = ranges(panel.offsets[part], panel.lengths[part])
                ahead[rows] = self._levels(design, part, steps[rows], panel.take(part))

        def target(levels: Floats) -> Floats:
            with np.errstate(over="ignore"):
                return np.exp(levels) - shift if self.constants["log"] else levels

        intervals = self.basis.levels
        if not intervals:
            return Outlook(target(ahead), np.empty((0, len(steps))), np.empty((0, len(steps))))
        spread = self.numbers("deviations")
        deviation = spread[panel.owner, np.minimum(steps, spread.shape[1]) - 1] * factor
        plain = normal_outlook(ahead, deviation, intervals)
        return Outlook(target(ahead), target(plain.lower), target(plain.upper))

    def _designs(self) -> list[tuple[Design, Ints]]:
        """Each design, as one that starts at 0 and has length 1, and the models of it."""
        texts = np.array([self.table.column(name).to_pylist() for name in ("lags", "calendar")], dtype=object)
        each: Any = texts[0] + "|" + texts[1]
        names, group = np.unique(each.astype(str), return_inverse=True)
        return [
            (self.design(lags, calendar, 0, 1), np.flatnonzero(group == number))
            for number, (lags, calendar) in enumerate(name.split("|") for name in names.tolist())
        ]

    def _levels(self, design: Design, places: Ints, steps: Ints, panel: Panel) -> Floats:
        """Forecast levels of the rows of some keys, all of one design; NaN where a feature is missing."""
        from manymodels.models.batched.lag_kernel import forecast_levels

        count, farthest = len(places), int(steps.max(initial=1))
        ahead = np.arange(1, farthest + 1)
        periods = (self.numbers("origin")[places][:, None] + ahead).ravel()
        encoded, lacking = self.known.take(places).encode(panel)
        cell = panel.owner * farthest + steps - 1
        asked = np.zeros(count * farthest, dtype=np.bool_)
        asked[cell] = True
        known = np.zeros((len(periods), encoded.shape[1]))
        known[cell] = encoded
        last = np.zeros(count, dtype=np.int64)
        np.maximum.at(last, panel.owner, steps)
        closed = ~asked & (ahead <= last[:, None]).ravel()

        def wide(name: str) -> Ints:
            return np.repeat(self.numbers(name)[places], farthest)

        calendar = calendar_of(design, periods, closed, wide("start"), wide("length"))
        crossed = crossed_with(known, self.constants["crossed"], periods, design.season)
        static = np.concatenate([calendar, known, crossed], axis=1).reshape(count, farthest, -1)
        table = self.table.take(pa.array(places))
        weights, levels = (
            np.asarray(table.column(name).combine_chunks().flatten().to_numpy()).reshape(count, -1)
            for name in ("weights", "levels")
        )
        recent = len(design.lags) + len(design.windows)
        given = (
            np.einsum("ksw,kw->ks", static, weights[:, recent:]) + self.numbers("intercept")[places][:, None]
        )
        found = forecast_levels(
            np.array(levels),
            given,
            kernels(design, weights),
            self.constants["lag"],
            self.numbers("centre")[places],
            self.numbers("factor")[places],
        )
        values: Floats = found.ravel()[cell]
        values[lacking] = np.nan
        return values


@dataclass(frozen=True)
class BatchedLagRegression:
    """Plain ridge regression, or least squares, on lags, calendar and known-future features.

    Attributes:
        family: With its lags and so on.
        alpha: The ridge's penalty; 0 for least squares.
    """

    family: LagRegression
    alpha: float

    @classmethod
    def of(cls, family: LagRegression) -> BatchedLagRegression | None:
        """That of the family; None for other estimators."""
        if is_plain_ridge(family.estimator, family.params):
            return cls(family, float(family.params.get("alpha", 1.0)))
        return cls(family, 0.0) if (family.estimator, family.params) == (_LEAST_SQUARES, {}) else None

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        basis, family = Basis.of(spec), self.family
        season = season_of(family.season_length, spec)
        lag, log = family.lag(season), family.logged
        places, series = SeriesPanel.read(panel, basis, least=max(season, lag + LEAST_ROWS))
        known, crossed, usable = self._known(panel.take(places), season, spec)
        if log:
            usable &= series.least >= 0
        places, series, known = places[usable], series.take(usable), known.take(usable)
        histories = Histories.of(panel.take(places), series, known, lag, log, spec.weight)
        tables, order = [], []
        for design, part in self._parts(histories, season, lag, basis):
            table, solved = self._fit(design, histories.take(part), crossed, lag, spec)
            tables.append(table)
            order.append(part[solved])
        found = np.concatenate(order)
        rank = np.argsort(found)
        shared = shared_of(
            basis,
            season=season,
            windows=list(family.rolling),
            covariates=[asdict(covariate) for covariate in known.covariates],
            crossed=list(crossed),
            horizon=spec.horizon,
            estimator=family.estimator,
            log=log,
            lag=lag,
            holidays=family.holidays,
        )
        fitted = places[found[rank]]
        columns = LagRegressions(pa.concat_tables(tables).take(pa.array(rank)), shared, seeds[fitted])
        return PanelFit(fitted, columns)

    def _known(self, panel: Panel, season: int, spec: FitSpec) -> tuple[Known, tuple[int, ...], Bools]:
        """Known-future features, those of their columns that are crossed with the season, and the keys that can be fitted."""
        try:
            if not set(spec.features) <= set(spec.known_future):
                raise ModelError("features that are not known ahead")
            design_of(self.family, Basis.of(spec).frequency, season, 0, LEAST_ROWS)
            known, usable = known_of(panel, spec)
            crossed = known.encoder(0).places(self.family.crossed) if season > 1 and len(panel) else ()
        except ModelError:  # the fit of the one key says why, or is made of more
            return Known.nothing(len(panel)), (), np.zeros(len(panel), dtype=np.bool_)
        if spec.weight is not None:
            weights = panel.flat(panel.rows.numbers(spec.weight))
            usable[panel.owner[~(weights > 0)]] = False
        return known, crossed, usable

    def _parts(
        self, histories: Histories, season: int, lag: int, basis: Basis
    ) -> Iterator[tuple[Design, Ints]]:
        """Histories of one design, as many as are worked on at once; one part at least."""
        lengths = histories.series.lengths
        found = False
        for design, places in (
            designs_of(self.family, basis.frequency, season, lengths) if len(lengths) else ()
        ):
            long = places[lengths[places] >= design.reach + lag + LEAST_ROWS]
            width = len(design.lags) + len(design.windows) + len(design.calendar) + histories.known.width
            if len(long) == 0 or width == 0 or design.reach + lag == 0:
                continue
            share = np.cumsum(lengths[long] * _WIDTH) // _CELLS
            for number in np.unique(share):
                found = True
                yield design, long[share == number]
        if not found:
            yield Design((1,), (), (), season, basis.frequency, 0, 1), np.empty(0, dtype=np.int64)

    def _fit(
        self, design: Design, histories: Histories, crossed: tuple[int, ...], lag: int, spec: FitSpec
    ) -> tuple[pa.Table, Bools]:
        """The models of some histories of one design, and which of them could be fitted."""
        series, lengths, first = histories.series, histories.series.lengths, design.reach + lag
        X, y, weights = histories.table(design, crossed, lag)
        stops = np.cumsum(lengths - first)
        solution, intercept, solved = self._solve(X, y, weights, stops - lengths + first, stops)
        table: dict[str, Any] = {
            "origin": series.origin,
            "start": series.origin - lengths + 1,
            "length": lengths,
            "lags": [" ".join(map(str, design.lags))] * len(series),
            "calendar": [" ".join(design.calendar)] * len(series),
            "weights": _ragged(solution),
            "intercept": intercept,
            "shift": histories.shift,
            "centre": histories.centre,
            "factor": histories.factor,
            "levels": _ragged(histories.levels[(series.offsets[1:] - first)[:, None] + np.arange(first)]),
        }
        if histories.known.covariates:
            table["known_centre"] = lists(histories.known.centre)
            table["known_factor"] = lists(histories.known.factor)
        if spec.levels:
            deviations, judged = self._spread(design, histories, (X, y, weights), lag, spec.horizon)
            solved &= judged
            table["deviations"] = lists(deviations)
        return pa.table(table).filter(pa.array(solved)), solved

    def _spread(
        self,
        design: Design,
        histories: Histories,
        table: tuple[Floats, Floats, Floats],
        lag: int,
        horizon: int,
    ) -> tuple[Floats, Bools]:
        """Standard deviations of scaled errors by step, see ``lag_model.spread``; which of them are to be trusted."""
        from manymodels.models.batched.lag_kernel import spread_errors

        first, lengths = design.reach + lag, histories.series.lengths - design.reach - lag
        starts = np.cumsum(lengths) - lengths
        # A third of the history at most; room for the cutoffs with a whole horizon after them.
        held = np.minimum(horizon + ORIGINS, histories.series.lengths // 3)
        # Of a history that is too short to hold anything out: the deviation of the scaled values themselves.
        deviations = np.repeat((histories.deviation > 0).astype(np.float64)[:, None], horizon, axis=1)
        enough = np.flatnonzero(lengths - held >= LEAST_ROWS)
        solution, intercept, judged = self._solve(*table, starts[enough], (starts + lengths - held)[enough])
        some, wanted = histories.take(enough), ranges(starts[enough], lengths[enough])
        owner, recent = (
            np.repeat(np.arange(len(enough)), lengths[enough]),
            len(design.lags) + len(design.windows),
        )
        given = np.zeros(len(some.levels))
        given[ranges(some.series.offsets[:-1] + first, lengths[enough])] = (
            np.einsum("nw,nw->n", table[0][wanted, recent:], solution[owner, recent:]) + intercept[owner]
        )
        deviations[enough] = spread_errors(
            some.levels,
            some.series.offsets,
            given,
            kernels(design, solution),
            lag,
            some.centre,
            some.factor,
            held[enough],
            horizon,
            ORIGINS,
        )
        trusted = np.ones(len(lengths), dtype=np.bool_)
        trusted[enough] = judged
        return deviations, trusted

    def _solve(
        self, X: Floats, y: Floats, weights: Floats, starts: Ints, stops: Ints
    ) -> tuple[Floats, Floats, Bools]:
        """Coefficients and intercepts of many tables, and which of them are to be trusted to the last digits."""
        from manymodels.models.batched.lag_kernel import normal_equations, residual_moments

        means, mean, normal, moments = normal_equations(X, y, weights, starts, stops)
        solved: Bools = np.ones(len(starts), dtype=np.bool_)
        solution: Floats
        if self.alpha > 0:
            normal[:, np.arange(X.shape[1]), np.arange(X.shape[1])] += self.alpha
            solution = np.asarray(np.linalg.solve(normal, moments[..., None])[..., 0], dtype=np.float64)
        else:
            # The shortest of all solutions, as scikit-learn's; once more for what rounding left over.
            sizes, directions = np.linalg.eigh(normal)
            share = sizes / np.maximum(sizes[:, -1:], np.finfo(np.float64).tiny)
            solved = ~((share > _DEPENDENT) & (share < _INDEPENDENT)).any(axis=1)
            inverse = np.where(share >= _INDEPENDENT, 1 / np.where(share >= _INDEPENDENT, sizes, 1.0), 0.0)

            def shortest(right: Floats) -> Floats:
                along = np.einsum("kij,ki->kj", directions, right) * inverse
                found: Floats = np.einsum("kij,kj->ki", directions, along)
                return found

            solution = shortest(moments)
            solution += shortest(residual_moments(X, y, weights, starts, stops, means, mean, solution))
        intercept: Floats = mean - np.einsum("ki,ki->k", means, solution)
        return solution, intercept, solved


def _ragged(values: npt.NDArray[Any]) -> pa.Array:
    """An array of shape (keys, size) as a column of lists, which others of another size may follow."""
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
