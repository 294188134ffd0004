"""One key's series: the target on the regular grid of periods, with its covariates beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.frequency import Ints, period_index, period_times
from manymodels.records import Rows

__all__ = ["Basis", "Series", "fill"]

_SPARSEST = 100
"""Periods a row, at most: a grid much finer than the data would only fill memory."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a fitted forecast keeps of its ``FitSpec``: how rows become a series, and what comes out.

    Attributes:
        target: Column to predict.
        time: Time column.
        frequency: A normalised frequency.
        gaps: What the target is in periods without a row.
        on_duplicate_time: How rows of one period are combined.
        levels: Prediction intervals, percent.
        non_negative: Whether forecasts below zero are raised to zero.
        seed: Of every random draw.
    """

    target: str
    time: str
    frequency: str
    gaps: str
    on_duplicate_time: str
    levels: tuple[float, ...]
    non_negative: bool
    seed: int

    @classmethod
    def of(cls, spec: FitSpec) -> Basis:
        """The part of a spec that outlives the fit.

        Raises:
            ModelError: The spec has no target, time or frequency.
        """
        if spec.target is None or spec.time is None or spec.frequency is None:
            raise ModelError("a forecast needs a target, a time column and a frequency")
        return cls(
            spec.target,
            spec.time,
            spec.frequency,
            spec.gaps,
            spec.on_duplicate_time,
            spec.levels,
            spec.non_negative,
            spec.seed,
        )


@dataclass(frozen=True, slots=True)
class Series:
    """A target on consecutive periods, from its first observation to its last.

    Attributes:
        start: Number of the first period.
        target: One value a period, NaN where there is none. Shape (n,).
        rows: The rows it was made of.
        row_of: The row of each period, the last one of several, -1 where there is none. Shape (n,).
    """

    start: int
    target: Floats
    rows: Rows
    row_of: Ints

    def __len__(self) -> int:
        return len(self.target)

    @property
    def end(self) -> int:
        """Number of the last period."""
        return self.start + len(self.target) - 1

    @property
    def periods(self) -> Ints:
        """Numbers of the periods. Shape (n,)."""
        return np.arange(self.start, self.start + len(self.target))

    @property
    def observed(self) -> int:
        """Periods with a target."""
        return int(np.count_nonzero(self.target == self.target))

    @classmethod
    def read(cls, rows: Rows, basis: Basis) -> Series:
        """The series of a key's rows.

        Periods before the first target and after the last are left out.

        Raises:
            UnusableRowsError: No row has a target, or a target is infinite.
            ModelError: Several rows fall into one period, and nothing says how to combine them.
        """
        target = rows.numbers(basis.target)
        if np.isinf(target).any():
            raise UnusableRowsError(f"an infinite value in the target {basis.target}")
        known = np.flatnonzero(target == target)
        if len(known) == 0:
            raise UnusableRowsError(f"no value in the target {basis.target} ({len(rows)} rows)")
        times = rows.values(basis.time)
        if times.dtype.kind == "M" and np.isnat(times).any():
            raise UnusableRowsError(f"a row without a time in {basis.time}")
        first, last = int(known[0]), int(known[-1])
        periods = period_index(times[first : last + 1], basis.frequency)
        target = target[first : last + 1]
        row_of = np.arange(first, last + 1)
        if int(periods[-1] - periods[0]) == len(periods) - 1 and bool((np.diff(periods) == 1).all()):
            return cls(int(periods[0]), target, rows, row_of)
        return _regular(periods, target, row_of, rows, basis)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column's values by period; in a period without a row those of another row (see ``row_of``)."""
        return self.rows.values(name)[self.row_of]

    def after(self, period: int) -> Series | None:
        """The periods after one; those before the first row are NaN. None when there are none."""
        if self.end <= period:
            return None
        missing = self.start - period - 1
        if missing <= 0:
            return Series(period + 1, self.target[-missing:], self.rows, self.row_of[-missing:])
        return Series(
            period + 1,
            np.concatenate([np.full(missing, np.nan), self.target]),
            self.rows,
            np.concatenate([np.full(missing, -1), self.row_of]),
        )


def _regular(periods: Ints, target: Floats, row_of: Ints, rows: Rows, basis: Basis) -> Series:
    """The series of rows that have gaps, duplicates, or no order."""
    steps = np.diff(periods)
    if (steps < 0).any():
        order = np.argsort(periods, kind="stable")
        periods, target, row_of = periods[order], target[order], row_of[order]
        steps = np.diff(periods)
    if (steps == 0).any():
        starts = np.flatnonzero(np.concatenate([[True], steps > 0]))
        target = _combined(periods, target, starts, basis)
        row_of = row_of[np.append(starts[1:], len(periods)) - 1]
        periods = periods[starts]
    start, length = int(periods[0]), int(periods[-1] - periods[0]) + 1
    if length > _SPARSEST * (len(periods) + 100):
        raise ModelError(
            f"{len(periods)} rows in {length:,} periods of frequency {basis.frequency}; "
            "set data.frequency to the distance between rows"
        )
    grid = np.full(length, np.nan)
    grid[periods - start] = target
    at = np.full(length, -1)
    at[periods - start] = row_of
    if basis.gaps != "leave" and length > len(periods):
        absent = at < 0
        grid[absent] = _gap_values(grid, basis.gaps)[absent]
    return Series(start, grid, rows, at)


def _combined(periods: Ints, target: Floats, starts: Ints, basis: Basis) -> Floats:
    """One target a period, from rows sorted by period; sums and means leave nulls out."""
    rule = basis.on_duplicate_time
    if rule == "error":
        double = periods[:-1][np.diff(periods) == 0][:1]
        when = period_times(double, basis.frequency)[0]
        raise ModelError(
            f"several rows in the period {when} (frequency {basis.frequency}); "
            "set data.on_duplicate_time to last, sum or mean"
        )
    if rule == "last":
        latest: Floats = target[np.append(starts[1:], len(periods)) - 1]
        return latest
    known = target == target
    count = np.add.reduceat(known.astype(np.float64), starts)
    total = np.add.reduceat(np.where(known, target, 0.0), starts)
    if rule == "mean":
        total = total / np.maximum(count, 1.0)
    return np.where(count > 0, total, np.nan)


def _gap_values(target: Floats, rule: str) -> Floats:
    if rule == "zero":
        return np.zeros(len(target))
    known = np.flatnonzero(target == target)
    if rule == "ffill":
        latest = np.searchsorted(known, np.arange(len(target)), side="right") - 1
        filled: Floats = target[known[np.maximum(latest, 0)]]
        return filled
    inner: Floats = np.interp(np.arange(len(target)), known, target[known])
    return inner


def fill(target: Floats, season: int) -> Floats:
    """A target without NaN, for families that cannot take one.

    Missing values are interpolated linearly, between what is left when the mean of each place in the season
    is taken off (where the season is longer than one and each of its places was observed twice or more).

    Args:
        target: From an observation to an observation. Shape (n,).
        season: Periods in a season.
    """
    missing = target != target
    if not missing.any():
        return target
    places = np.arange(len(target)) % season
    profile = np.zeros(len(target))
    known = ~missing
    if season > 1 and len(target) >= 2 * season:
        count = np.bincount(places[known], minlength=season)
        if count.min() >= 2:
            profile = (np.bincount(places[known], target[known], minlength=season) / count)[places]
    rest = target - profile
    at = np.arange(len(target))
    return np.where(missing, np.interp(at, at[known], rest[known]) + profile, target)
