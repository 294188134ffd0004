"""The engine behind lag regressions: one key's or the fleet's history as a table, a regressor, and its recursion.

The target is put on a common scale first: logarithm, difference, then centred and divided. What comes
before the centring is called a level here, since differences are taken of it and forecasts are added up to
it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from manymodels.exceptions import ModelError
from manymodels.models.contract import Floats
from manymodels.models.forecast.covariates import Encoder
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.lag_features import Design, calendar_features, fill_back
from manymodels.models.forecast.regressors import Learner, Linear, Regressor
from manymodels.models.forecast.series import Series
from manymodels.records import Rows

__all__ = [
    "LEAST_ROWS",
    "ORIGINS",
    "Columns",
    "Prepared",
    "Scale",
    "by_period",
    "filled_levels",
    "learn",
    "path",
    "path_of",
    "spread",
]

Bools = npt.NDArray[np.bool_]

ORIGINS = 40
"""Cutoffs in the held-out part from which forecasts are made to measure their errors."""
LEAST_ROWS = 10
"""Rows that a regression is fitted to, at least."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How a target becomes what is regressed.

    Attributes:
        log: Whether levels are logarithms.
        shift: What is added before the logarithm: 1 where there are zeros.
        lag: Periods of the difference; 0 for none.
        centre: What is taken off (of differences, if any).
        factor: What is divided by then.
    """

    log: bool = False
    shift: float = 0.0
    lag: int = 0
    centre: float = 0.0
    factor: float = 1.0

    def levels(self, target: Floats) -> Floats:
        """Levels of a target.

        Raises:
            ModelError: The logarithm of something negative.
        """
        if not self.log:
            return target
        if np.nanmin(target) + self.shift <= 0:
            raise ModelError(
                f"`transform: log` needs a target that is not negative, found {np.nanmin(target):g}"
            )
        return np.log(target + self.shift)

    def target(self, levels: Floats) -> Floats:
        """The target at some levels."""
        return np.exp(levels) - self.shift if self.log else levels

    def scaled(self, levels: Floats) -> Floats:
        """What is regressed, ``lag`` periods fewer. Shape (series, n - lag)."""
        moved = levels[:, self.lag :] - levels[:, : -self.lag] if self.lag else levels
        return (moved - self.centre) / self.factor


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns a lag regression has; what is learned from rows before the regression itself.

    Attributes:
        design: Lags, rolling means, calendar.
        known: Encodes the known-future features.
        past: Encodes the other features.
        delay: Periods by which the other features are late: the horizon, so that they are known at every
            step.
        crossed: Columns of ``known`` that also get a copy for each place in the season.
        usually_closed: Places in the season that seldom have a row. Shape (season,).
    """

    design: Design
    known: Encoder
    past: Encoder
    delay: int
    crossed: tuple[int, ...]
    usually_closed: Bools

    def skipped(self, periods: Ints, present: Bools) -> Bools:
        """Periods without a row that usually have none: they are not forecast but filled. Shape (n,)."""
        closed: Bools = ~present & self.usually_closed[periods % len(self.usually_closed)]
        return closed

    def static(self, periods: Ints, present: Bools, known: Floats, past: Floats) -> Floats:
        """All columns but lags and rolling means.

        Args:
            periods: Consecutive ones. Shape (n,).
            present: Whether each has a row. Shape (n,).
            known: Encoded known-future features. Shape (n, width).
            past: Encoded other features of ``delay`` periods before. Shape (n, width).
        """
        closed = ~present & ~self.usually_closed[periods % len(self.usually_closed)]
        parts = [calendar_features(self.design, periods, closed), known, past]
        if self.crossed:
            place = np.equal.outer(periods % self.design.season, np.arange(self.design.season))
            parts.extend(place * known[:, [column]] for column in self.crossed)
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One key's history, ready to be regressed.

    Attributes:
        levels: Without NaN. Shape (n,).
        known: Periods with a target. Shape (n,).
        skipped: Periods that are filled rather than forecast. Shape (n,).
        static: See ``Columns.static``. Shape (n, columns).
        scale: How levels are regressed.
        weights: Row weights. Shape (n,).
    """

    levels: Floats
    known: Bools
    skipped: Bools
    static: Floats
    scale: Scale
    weights: Floats | None = None

    @classmethod
    def of(
        cls, series: Series, levels: Floats, scale: Scale, columns: Columns, weights: Floats | None = None
    ) -> Prepared:
        """The history of a series, with its covariates."""
        periods, present = series.periods, series.row_of >= 0
        known = by_period(columns.known, series)
        past = np.zeros((len(series), columns.past.width))
        if past.shape[1] and len(series) > columns.delay:
            past[columns.delay :] = by_period(columns.past, series)[: -columns.delay]
        return cls(
            levels,
            series.target == series.target,
            columns.skipped(periods, present),
            columns.static(periods, present, known, past),
            scale,
            weights,
        )

    def first(self, design: Design) -> int:
        """The first period whose lags are all in the history."""
        return design.reach + self.scale.lag

    def table(self, design: Design, stop: int) -> tuple[Floats, Floats, Floats | None]:
        """Columns, values and weights of the observed periods before ``stop``."""
        first = self.first(design)
        scaled = self.scale.scaled(self.levels[None, :stop])
        use = self.known[first:stop]
        recent = design.recent(scaled, design.reach, scaled.shape[1])[0]
        X = np.concatenate([recent, self.static[first:stop]], axis=1)[use]
        y = scaled[0, design.reach :][use]
        return X, y, None if self.weights is None else self.weights[first:stop][use]


def by_period(encoder: Encoder, series: Series) -> Floats:
    """Encoded columns of a series, zeros in periods without a row. Shape (n, width)."""
    if not encoder.columns:
        return np.zeros((len(series), 0))
    matrix, _ = encoder.encode(series.rows)
    return np.where((series.row_of >= 0)[:, None], matrix[series.row_of], 0.0)


def filled_levels(series: Series, scale: Scale, season: int) -> Floats:
    """Levels of a series, unknown ones filled looking back. Shape (n,)."""
    known = series.target == series.target
    levels = np.where(known, scale.levels(series.target), 0.0)
    fill_back(levels[None, :], known[None, :], season, 1, len(levels))
    return levels


def learn(design: Design, keys: Sequence[Prepared], stops: Sequence[int], learner: Learner) -> Regressor:
    """Fit a regressor to the histories of some keys, each up to its stop.

    Raises:
        ModelError: Too few rows, or no column.
    """
    tables = [
        key.table(design, stop) for key, stop in zip(keys, stops, strict=True) if stop > key.first(design)
    ]
    rows = sum(len(table[1]) for table in tables)
    if rows < LEAST_ROWS:
        raise ModelError(
            f"needs at least {LEAST_ROWS} rows after its longest lag ({design.reach}), found {rows}"
        )
    X = np.concatenate([table[0] for table in tables])
    y = np.concatenate([table[1] for table in tables])
    if X.shape[1] == 0:
        raise ModelError(
            "nothing to learn from: no lags, no rolling means, no calendar and no known-future features"
        )
    weights = [table[2] for table in tables if table[2] is not None]
    return learner(X, y, np.concatenate(weights) if weights else None)


def path(
    design: Design,
    regressor: Regressor,
    scale: Scale,
    levels: Floats,
    known: Bools,
    static: Floats,
    skipped: Bools,
) -> Floats:
    """Forecast levels step by step, feeding forecasts back as lags, for many histories at once.

    Args:
        design: Lags and rolling means.
        regressor: Predicts scaled values.
        scale: Of all histories.
        levels: Histories that end at the origin. Shape (series, n), n at least ``reach + lag``.
        known: Which of them were observed. Shape (series, n).
        static: The other columns of the steps. Shape (series, horizon, columns).
        skipped: Steps that are filled rather than forecast. Shape (series, horizon).

    Returns:
        Shape (series, horizon).
    """
    count, length = levels.shape
    horizon = static.shape[1]
    whole = np.concatenate([levels, np.zeros((count, horizon))], axis=1)
    there = np.concatenate([known, ~skipped], axis=1)
    lag, reach = scale.lag, design.reach
    if isinstance(regressor, Linear):
        ahead = _linear_steps(design, regressor, static)
        block = 1
    else:
        ahead = _table_steps(design, regressor, static)
        block = min(design.block, lag or horizon, horizon)
    skips = bool(skipped.any())
    for start in range(length, length + horizon, block):
        stop = min(start + block, length + horizon)
        change = ahead(scale.scaled(whole[:, start - reach - lag : start]), start - length, stop - length)
        step = change * scale.factor + scale.centre
        whole[:, start:stop] = step + whole[:, start - lag : stop - lag] if lag else step
        if skips:
            fill_back(whole, there, design.season, start, stop)
    return whole[:, length:]


Steps = Callable[[Floats, int, int], Floats]
"""Scaled values of some steps, from the ``reach`` scaled values before the first of them."""


def _linear_steps(design: Design, regressor: Linear, static: Floats) -> Steps:
    """A linear regressor's steps: what does not depend on earlier ones is worked out for all steps at once."""
    recent = len(design.lags) + len(design.windows)
    given = static @ regressor.weights[recent:] + regressor.intercept
    kernel = design.kernel(regressor.weights[:recent])

    def ahead(before: Floats, start: int, stop: int) -> Floats:
        result: Floats = given[:, start:stop] + (before @ kernel)[:, None]
        return result

    return ahead


def _table_steps(design: Design, regressor: Regressor, static: Floats) -> Steps:
    """Any regressor's steps, as many at once as do not depend on each other."""

    def ahead(before: Floats, start: int, stop: int) -> Floats:
        count, steps = len(before), stop - start
        whole = np.concatenate([before, np.zeros((count, steps))], axis=1)
        X = np.concatenate(
            [design.recent(whole, design.reach, design.reach + steps), static[:, start:stop]], axis=2
        )
        return np.asarray(regressor.predict(X.reshape(count * steps, -1)), dtype=np.float64).reshape(
            count, steps
        )

    return ahead


def spread(design: Design, keys: Sequence[Prepared], horizon: int, learner: Learner) -> Floats:
    """Standard deviation of scaled forecast errors by step, measured on a held-out last part of the histories.

    A regressor fitted to what comes before forecasts from many cutoffs in that part; errors of one key are
    divided by its scale's factor. Deviations never shrink with the step. Beyond what a short history can
    show, the last one goes on; where none is long enough, it is the deviation of the scaled values themselves.

    Returns:
        Shape (horizon,).
    """
    # A third of the history at most; room for about forty cutoffs with a whole horizon after them.
    held = [min(horizon + ORIGINS, len(key.levels) // 3) for key in keys]
    stops = [len(key.levels) - part for key, part in zip(keys, held, strict=True)]
    try:
        regressor = learn(design, keys, stops, learner)
    except ModelError:
        return _unskilled(keys, horizon)
    squares, counts = np.zeros(horizon), np.zeros(horizon)
    for key, part in zip(keys, held, strict=True):
        # A short part shows only the first steps.
        ahead = min(horizon, max(part - 4, 1))
        before = max(key.first(design), 1)
        origins = np.arange(max(len(key.levels) - part, before), len(key.levels) - ahead + 1)
        origins = origins[:: max(len(origins) // ORIGINS, 1)]
        if len(origins) == 0 or part < 1:
            continue
        reach = max(before, 2 * design.season) if key.skipped.any() else before
        reach = min(reach, int(origins[0]))
        history = sliding_window_view(key.levels, reach)[origins - reach]
        known = sliding_window_view(key.known, reach)[origins - reach]
        steps = origins[:, None] + np.arange(ahead)
        forecast = path(design, regressor, key.scale, history, known, key.static[steps], key.skipped[steps])
        errors = np.where(key.known[steps], (forecast - key.levels[steps]) / key.scale.factor, 0.0)
        squares[:ahead] += np.square(errors).sum(axis=0)
        counts[:ahead] += key.known[steps].sum(axis=0)
    seen = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0
    if seen == 0:
        return _unskilled(keys, horizon)
    from scipy.optimize import isotonic_regression

    variances = squares[:seen] / np.maximum(counts[:seen], 1.0)
    rising = isotonic_regression(variances, weights=np.maximum(counts[:seen], 1e-9)).x
    deviations: Floats = np.sqrt(np.append(rising, np.full(horizon - seen, rising[-1])))
    return deviations


def _unskilled(keys: Sequence[Prepared], horizon: int) -> Floats:
    """The deviation of the scaled values: what a forecast is off when it knows no better than their mean."""
    values = [key.scale.scaled(key.levels[None])[0][key.known[key.scale.lag :]] for key in keys]
    return np.full(horizon, float(np.concatenate(values).std()))


def path_of(
    columns: Columns,
    regressor: Regressor,
    scale: Scale,
    origin: int,
    levels: Floats,
    known: Bools,
    past: Floats,
    steps: Ints,
    rows: Rows,
) -> tuple[Floats, Bools]:
    """Levels at some steps after the origin of one history, and which of the rows lack a value.

    Args:
        columns: Of the regression.
        regressor: Predicts scaled values.
        scale: Of the history.
        origin: Number of its last period.
        levels: Its last levels. Shape (n,).
        known: Which of them were observed. Shape (n,).
        past: Its last encoded other features, ``delay`` periods. Shape (delay, width).
        steps: From 1. Shape (m,).
        rows: A row for each step, with the known-future features.

    Returns:
        Shapes (m,) and (m,).
    """
    horizon = int(steps.max(initial=1))
    periods = origin + np.arange(1, horizon + 1)
    encoded, lacking = columns.known.encode(rows)
    asked = np.zeros(horizon, dtype=np.bool_)
    asked[steps - 1] = True
    future = np.zeros((horizon, columns.known.width))
    future[steps - 1] = encoded
    late = past[np.minimum(np.arange(horizon), len(past) - 1)] if len(past) else np.zeros((horizon, 0))
    static = columns.static(periods, asked, future, late)
    skipped = columns.skipped(periods, asked)
    ahead = path(columns.design, regressor, scale, levels[None], known[None], static[None], skipped[None])
    return ahead[0][steps - 1], lacking
