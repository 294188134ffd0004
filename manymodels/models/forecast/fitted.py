"""What all fitted forecasts share: the periods asked for, intervals, limits, and going on over newer rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from manymodels.exceptions import ModelError
from manymodels.models.contract import Floats, Predictions, interval_columns
from manymodels.models.forecast.frequency import Ints, period_index
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["FittedForecast", "Outlook", "bounded", "need_rows", "normal_outlook", "outlook_columns"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast for some periods.

    Attributes:
        mean: Shape (n,).
        lower: Lower bounds, one row a level. Shape (levels, n).
        upper: Upper bounds.
    """

    mean: Floats
    lower: Floats
    upper: Floats


@cache
def _quantiles(levels: tuple[float, ...]) -> Floats:
    """Half-widths of central normal intervals, in standard deviations. Shape (levels, 1)."""
    normal = NormalDist()
    return np.array([[normal.inv_cdf(0.5 + level / 200)] for level in levels]).reshape(-1, 1)


@cache
def _columns(levels: tuple[float, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(interval_columns(level) for level in levels)


def normal_outlook(mean: Floats, deviation: Floats, levels: tuple[float, ...]) -> Outlook:
    """A normal distribution at each period.

    Args:
        mean: Shape (n,).
        deviation: Standard deviations; NaN makes the bounds NaN. Shape (n,).
        levels: Percent.
    """
    if not levels:
        none = np.empty((0, len(mean)))
        return Outlook(mean, none, none)
    half = _quantiles(levels) * deviation
    return Outlook(mean, mean - half, mean + half)


def outlook_columns(outlook: Outlook, basis: Basis) -> dict[str, Floats]:
    """A forecast as output columns; see ``bounded``.

    Raises:
        ModelError: The forecast grows beyond all numbers.
    """
    if np.isinf(outlook.mean).any():
        raise ModelError("the forecast grows beyond all numbers")
    return bounded(outlook, basis.levels, non_negative=basis.non_negative)


def bounded(outlook: Outlook, levels: tuple[float, ...], *, non_negative: bool) -> dict[str, Floats]:
    """A forecast as output columns, its bounds in order; with ``non_negative`` nothing is below zero."""
    mean = np.maximum(outlook.mean, 0.0) if non_negative else outlook.mean
    columns: dict[str, Floats] = {"prediction": mean}
    for (low, high), lower, upper in zip(_columns(levels), outlook.lower, outlook.upper, strict=True):
        columns[low] = np.minimum(np.maximum(lower, 0.0) if non_negative else lower, mean)
        columns[high] = np.maximum(upper, mean)
    return columns


def need_rows(family: str, least: int, found: int, season: int = 1) -> None:
    """Refuse a history that is too short.

    Raises:
        ModelError: ``found`` is less than ``least``.
    """
    if found < least:
        at = f" with season {season}" if season > 1 else ""
        raise ModelError(f"{family}{at} needs at least {least} rows, found {found}")


@dataclass(frozen=True, slots=True)
class FittedForecast(ABC):
    """A fitted forecast: small, and independent of the library that fitted it.

    Attributes:
        basis: How rows become a series, and what comes out.
        origin: Number of the last observed period.
    """

    basis: Basis
    origin: int

    def predict(self, rows: Rows) -> Predictions:
        """Forecasts for the rows' periods; see ``FittedModel.predict``.

        Bounds are ordered (lower, forecast, upper); with ``non_negative`` all three are at least zero. Bounds
        are NaN where the history was too short to judge by.

        Raises:
            ModelError: A row lies at or before the cutoff, or the forecast grows beyond all numbers.
        """
        basis = self.basis
        steps = period_index(rows.values(basis.time), basis.frequency) - self.origin
        if len(steps) and steps.min() < 1:
            first = rows.values(basis.time)[int(steps.argmin())]
            raise ModelError(f"a forecast starts after the last training row; {first} is not after it")
        outlook = self._outlook(steps, rows)
        return outlook_columns(outlook, basis)

    def extend(self, rows: Rows) -> Self:
        """The same model continued over the rows after its origin; see ``FittedModel.extend``.

        Raises:
            UnusableRowsError: No row has a target.
            CannotExtendError: This model would need a refit.
        """
        newer = Series.read(rows, self.basis).after(self.origin)
        return self if newer is None else self._extended(newer)

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """What it is: ``family`` and its fitted parameters, JSON-ready."""

    @abstractmethod
    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        """Forecasts at some steps after the origin, from 1; ``rows`` has the known-future features."""

    @abstractmethod
    def _extended(self, newer: Series) -> Self:
        """The same model, continued over a series that starts one period after the origin."""
