"""What a model of many keys sees of a period: the key's history up to an origin, some steps before it.

All that is learned from is relative to the key's own level at the origin, so that large and small, growing and shrinking keys
are alike. Seasonal lags are counted back from the origin, so that one model serves every step at once and never feeds on its
own forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.frequency import Ints, period_times
from manymodels.models.forecast.lag_model import Columns, Scale, by_period
from manymodels.models.forecast.lag_regression import LagRegression, columns_of
from manymodels.models.forecast.series import Series

__all__ = ["History", "View", "origins_of"]

Bools = npt.NDArray[np.bool_]

_LEVEL = 12
"""Periods of a level at least; it is a mean over whole seasons."""
_LAGS = 4
"""Seasons that are looked at one by one."""
_SEASONS = 8
"""Seasons that a mean at the same place is over."""
_MOST_COLUMNS = 80
"""Of a key's own regression: what is known ahead is not crossed with the season where it would have more."""
_PENALTY = 1.0
"""Ridge penalty of a key's own regression, in rows."""
_SHIFT = 0.3
"""Share of a key's mean size that is added before the logarithm where it has zeros."""
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class View:
    """How histories are looked at; the same for every key.

    Attributes:
        columns: Calendar and known-future columns of the keys' own regressions.
        season: Periods in a season.
        year: Periods in a year, whole seasons; 0 where seasons are years, or histories are too short for it.
        window: Periods of a level: whole seasons.
        horizon: Steps ahead.
        frequency: A normalised frequency.
        log: Whether levels are logarithms.
        memory: Periods after which a row counts half in a key's own regression.
    """

    columns: Columns
    season: int
    year: int
    window: int
    horizon: int
    frequency: str
    log: bool
    memory: float

    @classmethod
    def of(cls, spec: FitSpec, parts: list[Series]) -> View:
        """What fits the histories of some keys."""
        season, horizon = spec.season_length, spec.horizon
        frequency = str(spec.frequency)
        lengths = [len(series) for series in parts]
        families = [LagRegression(lags=(), crossed=spec.known_future), LagRegression(lags=())]
        columns = next(
            columns
            for family in families
            for columns in [columns_of(family, spec, parts, season)]
            if family is families[-1] or len(columns.crossed) * season <= _MOST_COLUMNS
        )
        window = season * -(-_LEVEL // season)
        turn = _year(frequency, season)
        year = turn if turn > season and np.median(lengths) >= turn + window + horizon else 0
        log = all(bool(np.nanmin(series.target) >= 0) for series in parts)
        return cls(columns, season, year, window, horizon, frequency, log, float(max(turn, 4 * season, 30)))

    def scale(self, series: Series) -> Scale:
        """Of a key.

        Raises:
            ModelError: A target below zero, where the others had none.
        """
        size = float(np.nanmean(np.abs(series.target))) or 1.0
        if not self.log:
            return Scale(factor=size)
        least = float(np.nanmin(series.target))
        if least < 0:
            raise ModelError(f"the model of many keys knows no target below zero, found {least:g}")
        return Scale(True, 0.0 if least > 0.02 * size else _SHIFT * size)

    def see(self, history: History, ends: Ints) -> tuple[Floats, Floats]:
        """What is seen of the steps after some origins.

        Args:
            history: Of a key; its other columns reach ``horizon`` periods beyond each origin, or to where they are known.
            ends: Periods before each origin, the origin's own included. Shape (origins,).

        Returns:
            Columns of shape (origins, horizon, columns), and what the key's own regression expects, levels of shape
            (origins, horizon).
        """
        season, window, horizon = self.season, self.window, self.horizon
        known = history.levels == history.levels
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, history.levels, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])

        def mean(start: Ints, stop: Ints) -> Floats:
            low, high = np.clip(start, 0, len(known)), np.clip(stop, 0, len(known))
            there = counts[high] - counts[low]
            return np.where(there > 0, (sums[high] - sums[low]) / np.maximum(there, 1), np.nan)

        whole = mean(np.zeros_like(ends), ends)
        level = mean(ends - window, ends)
        level = np.where(np.isnan(level), whole, level)
        steps = np.arange(1, horizon + 1)
        at = ends[:, None] - 1 + steps
        weights = self._own(history, ends)
        reach = max(window, _SEASONS * season)
        back = ends[:, None] - reach + np.arange(reach)
        there = (back >= 0) & known[np.maximum(back, 0)]
        safe = np.maximum(back, 0)
        left = np.where(
            there, history.levels[safe] - np.einsum("orp,op->or", history.static[safe], weights), np.nan
        )
        drift = _mean(left[:, -window:], axis=1)
        drift = np.where(np.isnan(drift), 0.0, drift)
        ahead = history.ahead(at)
        base = np.einsum("ohp,op->oh", history.static[ahead], weights) + drift[:, None]

        lagged = -(-steps // season) * season
        first = reach - 1 + steps - lagged  # the place in ``back`` of the same place in the last season
        places = first[None, :] - season * np.arange(_SEASONS)[:, None]
        inside = places >= 0
        values = np.where(there, history.levels[safe], np.nan)
        same = np.where(inside, values[:, np.maximum(places, 0)], np.nan) - level[:, None, None]
        rest = np.where(inside, left[:, np.maximum(places, 0)], np.nan) - drift[:, None, None]

        def every(column: Floats) -> Floats:
            return np.broadcast_to(column[:, None], at.shape)

        last = mean(ends - season, ends) - level
        parts = [
            base - level[:, None],
            *(same[:, number] for number in range(_LAGS)),
            _mean(same, axis=1),
            *(rest[:, number] for number in range(2)),
            _mean(rest, axis=1),
            every(level),
            every(last),
            every(_mean(left[:, -season:], axis=1) - drift),
            every(_mean(left[:, -max(season // 4, 1) :], axis=1) - drift),
            every(level - mean(ends - 2 * window, ends - window)),
            every(mean(ends - 2 * window, ends - window) - mean(ends - 3 * window, ends - 2 * window)),
            every(level - whole),
            every(_spread(left)),
            every(there.mean(axis=1)),
            np.broadcast_to(steps.astype(np.float64), at.shape),
        ]
        if self.year:
            turn = self.year * -(-steps // self.year)
            half = season // 2
            then = mean(ends - self.year - window, ends - self.year)
            past = at - turn
            value = np.where(
                (past >= 0) & known[np.maximum(past, 0)], history.levels[np.maximum(past, 0)], np.nan
            )
            parts += [
                value - then[:, None],
                mean(past - half, past + half + 1) - then[:, None],
                every(level - then),
            ]
        parts += self._calendar(history.start + at)
        return np.stack([*parts, *self._neighbours(history, at, ends)], axis=2), base

    def _own(self, history: History, ends: Ints) -> Floats:
        """The key's own regression on calendar and known-future columns at each origin. Shape (origins, columns)."""
        known = history.levels == history.levels
        width = history.static.shape[1]
        normal, right = np.zeros((width, width)), np.zeros(width)
        penalty = np.full(width, _PENALTY)
        penalty[0] = 1e-3  # the constant
        weights = np.empty((len(ends), width))
        before = 0
        fade = 0.5 ** (1 / self.memory)
        for place in np.argsort(ends, kind="stable"):
            end = int(ends[place])
            rows = np.flatnonzero(known[before:end]) + before
            X, y = history.static[rows], history.levels[rows] - history.centre
            faded = X * (fade ** (end - 1 - rows))[:, None]
            keep = fade ** (end - before)
            normal, right, before = keep * normal + faded.T @ X, keep * right + faded.T @ y, end
            weights[place] = np.linalg.solve(normal + np.diag(penalty), right)
        weights[:, 0] += history.centre
        return weights

    def _calendar(self, periods: Ints) -> list[Floats]:
        found = [(periods % self.season).astype(np.float64)] if self.season > 1 else []
        if self.frequency == "step":
            return found
        times = period_times(periods.ravel(), self.frequency)
        days = times.astype("datetime64[D]")
        months, years = times.astype("datetime64[M]"), times.astype("datetime64[Y]")
        parts = [
            months.astype(np.int64) % 12,
            (days - months.astype("datetime64[D]")) // _DAY,
            (days - years.astype("datetime64[D]")) // _DAY,
            (days.astype(np.int64) + 3) % 7,
            (times - days) // np.timedelta64(1, "h"),
        ]
        return [*found, *(np.asarray(part, dtype=np.float64).reshape(periods.shape) for part in parts)]

    def _neighbours(self, history: History, at: Ints, ends: Ints) -> list[Floats]:
        """Known-future columns of the period, of the one before and of the one after; and which of these have no row."""
        found = []
        for shift in (0, -1, 1):
            places = at + shift
            seen = (places >= 0) & (places < (ends + self.horizon)[:, None]) & (places < len(history.present))
            safe = np.where(seen, places, 0)
            found += [
                np.where(seen, history.known[safe, column], np.nan)
                for column in range(history.known.shape[1])
            ]
            if shift:
                found.append(np.where(seen, history.present[safe], np.nan))
        return found


@dataclass(frozen=True, slots=True)
class History:
    """A key's series and what is known beside it.

    Attributes:
        start: Number of the first period.
        levels: NaN where unknown. Shape (n,).
        present: Which periods have a row. Shape (n or more,).
        known: Encoded known-future columns; as many as ``present``.
        static: Columns of the key's own regression, a constant first; as many as ``present``.
        centre: The mean level.
    """

    start: int
    levels: Floats
    present: Bools
    known: Floats
    static: Floats
    centre: float

    @classmethod
    def of(cls, view: View, series: Series, scale: Scale) -> History:
        """The history of a series."""
        levels = scale.levels(series.target) / scale.factor
        present = series.row_of >= 0
        known = by_period(view.columns.known, series)
        static = _static(view, series.periods, present, known)
        return cls(series.start, levels, present, known, static, float(np.nanmean(levels)))

    def ahead(self, at: Ints) -> Ints:
        """The periods that are known, the last one for those beyond."""
        return np.minimum(at, len(self.present) - 1)

    def followed(self, view: View, present: Bools, known: Floats) -> History:
        """The same with what is known of the next periods.

        Args:
            view: How it is looked at.
            present: Which of them have a row. Shape (m,).
            known: Their encoded known-future columns. Shape (m, width).
        """
        count = len(self.levels)
        present = np.concatenate([self.present[:count], present])
        known = np.concatenate([self.known[:count], known])
        static = _static(view, self.start + np.arange(len(present)), present, known)
        return replace(self, present=present, known=known, static=static)

    def longer(self, view: View, newer: Series, scale: Scale) -> History:
        """The same with the periods that came after it."""
        added = History.of(view, newer, scale)
        levels = np.concatenate([self.levels, added.levels])
        present = np.concatenate([self.present[: len(self.levels)], added.present])
        known = np.concatenate([self.known[: len(self.levels)], added.known])
        static = _static(view, self.start + np.arange(len(present)), present, known)
        return History(self.start, levels, present, known, static, self.centre)


def origins_of(length: int, view: View, stride: int, phase: int) -> Ints:
    """Origins to learn from in a history: backwards from the last with a whole horizon after it.

    Args:
        length: Periods of the history.
        view: How it is looked at.
        stride: Periods between them.
        phase: Periods before the last one, below ``stride``.
    """
    least = max(min(view.season + 1, length // 2), 2)
    last = max(length - view.horizon, least)
    ends = np.arange(max(last - phase, least), least - 1, -stride)
    return ends[ends < length][::-1]


def _static(view: View, periods: Ints, present: Bools, known: Floats) -> Floats:
    columns = view.columns.static(periods, present, known, np.zeros((len(periods), 0)))
    return np.concatenate([np.ones((len(periods), 1)), columns], axis=1)


def _mean(values: Floats, axis: int) -> Floats:
    """The mean of what is there; NaN where nothing is."""
    there = values == values
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _spread(values: Floats) -> Floats:
    return np.sqrt(_mean(np.square(values - _mean(values, axis=1)[:, None]), axis=1))


def _year(frequency: str, season: int) -> int:
    """Periods in a year, whole seasons; 0 for positions."""
    if frequency == "step":
        return 0
    first, last = period_times(np.array([0, 1000]), frequency)
    days = float((last - first) / _DAY) / 1000
    return season * round(365.25 / days / season)
