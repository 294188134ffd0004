"""What lag regressions of many keys see: designs by length, covariates on each key's scale, and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from manymodels.exceptions import ModelError
from manymodels.models.batched.contract import Ints, Panel, ranges
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.covariates import (
    MOST_CATEGORIES,
    Encoder,
    category,
    column_numbers,
    is_number,
    number,
)
from manymodels.models.forecast.lag_features import Design, calendar_features
from manymodels.models.forecast.lag_regression import LagRegression, design_of
from manymodels.models.tabular.columns import codes

__all__ = [
    "Covariate",
    "Histories",
    "Known",
    "calendar_of",
    "crossed_with",
    "designs_of",
    "kernels",
    "known_of",
]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Covariate:
    """A known-future feature.

    Attributes:
        name: The column.
        categories: Those of the whole frame; None for numbers.
    """

    name: str
    categories: tuple[Any, ...] | None = None

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return 1 if self.categories is None else len(self.categories)


@dataclass(frozen=True, eq=False)
class Known:
    """Known-future features on the scales of some keys.

    Attributes:
        covariates: The features.
        centre: What is taken off each, 0 from categories. Shape (keys, features).
        factor: What it is multiplied by: one over a number's deviation, 1 for categories where a key has at least two of
            them, else 0. Shape (keys, features).
    """

    covariates: tuple[Covariate, ...]
    centre: Floats
    factor: Floats

    @classmethod
    def nothing(cls, keys: int) -> Known:
        """No feature."""
        return cls((), np.empty((keys, 0)), np.empty((keys, 0)))

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return sum(covariate.width for covariate in self.covariates)

    def take(self, places: npt.NDArray[Any]) -> Known:
        """Those of some keys."""
        return replace(self, centre=self.centre[places], factor=self.factor[places])

    def encode(self, panel: Panel) -> tuple[Floats, Bools]:
        """The matrix of the keys' rows, and which rows lack a value; see ``Encoder.encode``."""
        rows = int(panel.offsets[-1])
        matrix, lacking, at = np.zeros((rows, self.width)), np.zeros(rows, dtype=np.bool_), 0
        for place, covariate in enumerate(self.covariates):
            centre, factor = self.centre[panel.owner, place], self.factor[panel.owner, place]
            if covariate.categories is None:
                values = (panel.flat(column_numbers(panel.rows, covariate.name)) - centre) * factor
                missing = ~np.isfinite(values)
                matrix[:, at] = np.where(missing, 0.0, values)
            else:
                found, names = codes(panel.rows, covariate.name)
                numbered = {name: code for code, name in enumerate(names)}
                flat = panel.flat(found)
                missing = flat < 0
                for column, name in enumerate(covariate.categories, at):
                    matrix[:, column] = (flat == numbered.get(name, -2)) * factor
            lacking |= missing
            at += covariate.width
        return matrix, lacking

    def encoder(self, place: int) -> Encoder:
        """The encoder of one key."""
        return Encoder(
            tuple(
                number(covariate.name, float(self.centre[place, n]), float(self.factor[place, n]))
                if covariate.categories is None
                else category(covariate.name, covariate.categories)
                for n, covariate in enumerate(self.covariates)
            )
        )


def known_of(panel: Panel, spec: FitSpec) -> tuple[Known, Bools]:
    """The known-future features of some keys, and which keys they can be had of as ``Encoder.learn`` has them.

    Raises:
        ModelError: They cannot be had of any key: too many categories, or others than texts, numbers and truth values.
    """
    keys = len(panel)
    names = spec.known_future
    centre, factor = np.zeros((keys, len(names))), np.zeros((keys, len(names)))
    usable, covariates = np.ones(keys, dtype=np.bool_), []
    for place, name in enumerate(names):
        if name not in panel.rows.columns:
            raise ModelError(f"the rows have no column {name!r}")
        if name not in spec.categorical and is_number(panel.rows.values(name)):
            values = panel.flat(column_numbers(panel.rows, name))
            finite = np.isfinite(values)
            mean, deviation = _deviations(values[finite], panel.owner[finite], keys)
            # So little beside the mean that it may be rounding: which, is for the one fit to say.
            usable &= (deviation == 0) | (deviation > 1e-9 * np.abs(mean))
            centre[:, place] = mean
            factor[:, place] = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1.0), 0.0)
            covariates.append(Covariate(name))
            continue
        found, categories = codes(panel.rows, name)
        if len(categories) > MOST_CATEGORIES or not all(
            isinstance(one, str | int | float) for one in categories
        ):
            raise ModelError(f"categories of {name!r} that have no column each in all keys")
        flat = panel.flat(found)
        seen = np.zeros((keys, len(categories)), dtype=np.bool_)
        seen[panel.owner[flat >= 0], flat[flat >= 0]] = True
        factor[:, place] = seen.sum(axis=1) > 1
        covariates.append(Covariate(name, tuple(categories)))
    return Known(tuple(covariates), centre, factor), usable


def _deviations(values: Floats, owner: Ints, keys: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each key's values, both 0 without one; of equal values it is 0, not rounding."""
    count = np.maximum(np.bincount(owner, minlength=keys), 1)
    mean = np.bincount(owner, values, keys) / count
    apart = values - mean[owner]
    deviation = np.sqrt(np.bincount(owner, apart * apart, keys) / count)
    same = np.ones(keys, dtype=np.bool_)
    same[owner[1:][(owner[1:] == owner[:-1]) & (values[1:] != values[:-1])]] = False
    return mean, np.where(same, 0.0, deviation)


def designs_of(
    family: LagRegression, frequency: str, season: int, lengths: Ints
) -> list[tuple[Design, Ints]]:
    """The designs of some histories by their length, and which histories have each; they start at 0 and have length 1.

    Raises:
        ModelError: A calendar feature that needs times.
    """
    places: dict[Design, list[Ints]] = {}
    for length in np.unique(lengths).tolist():
        design = replace(design_of(family, frequency, season, 0, length), length=1)
        places.setdefault(design, []).append(np.flatnonzero(lengths == length))
    return [(design, np.sort(np.concatenate(parts))) for design, parts in places.items()]


def calendar_of(design: Design, periods: Ints, closed: Bools, start: Ints, length: Ints) -> Floats:
    """The calendar of periods of many keys: ``calendar_features``, but the trend starts and grows with each key."""
    matrix = calendar_features(design, periods, closed)
    at = 0
    for name in design.calendar:
        if name == "trend":
            matrix[:, at] = (periods - start) / length
        at += design.width(name)
    return matrix


def crossed_with(known: Floats, crossed: Sequence[int], periods: Ints, season: int) -> Floats:
    """A copy of some columns for each place in the season; see ``Columns.static``. Shape (n, crossed times season)."""
    place = np.equal.outer(periods % season, np.arange(season))
    return np.concatenate(
        [np.empty((len(known), 0)), *(place * known[:, [column]] for column in crossed)], axis=1
    )


def _recent_of(design: Design, scaled: Floats, rows: Ints) -> Floats:
    """Lags and rolling means of some rows; see ``Design.recent``.

    Args:
        design: Which.
        scaled: The histories one after the other. Shape (n,).
        rows: Places in it, each with ``reach`` values of its own history before. Shape (m,).
    """
    parts = [scaled[rows - lag] for lag in design.lags]
    for window in design.windows:
        parts.append(sliding_window_view(scaled, window).mean(axis=1)[rows - window])
    return np.stack(parts, axis=1) if parts else np.empty((len(rows), 0))


def kernels(design: Design, weights: Floats) -> Floats:
    """Weights of the ``reach`` periods before each; see ``Design.kernel``. Shape (keys, reach)."""
    kernel = np.zeros((len(weights), design.reach))
    for place, lag in enumerate(design.lags):
        kernel[:, -lag] += weights[:, place]
    for place, window in enumerate(design.windows, len(design.lags)):
        kernel[:, -window:] += weights[:, [place]] / window
    return kernel


@dataclass(frozen=True, eq=False)
class Histories:
    """Regular histories, ready to be regressed.

    Attributes:
        panel: The keys' rows.
        series: Their targets.
        known: Known-future features.
        levels: The histories one after the other; see ``Scale``.
        shift: What was added before the logarithm. Shape (keys,).
        centre: What is taken off a level, or its difference. Shape (keys,).
        deviation: Of the same, 0 where it is constant. Shape (keys,).
        weights: Of the rows, one history after the other.
    """

    panel: Panel
    series: SeriesPanel
    known: Known
    levels: Floats
    shift: Floats
    centre: Floats
    deviation: Floats
    weights: Floats

    @property
    def factor(self) -> Floats:
        """What is divided by when the centre is off. Shape (keys,)."""
        return np.where(self.deviation > 0, self.deviation, 1.0)

    @classmethod
    def of(
        cls, panel: Panel, series: SeriesPanel, known: Known, lag: int, log: bool, weight: str | None
    ) -> Histories:
        """The histories of some series, each on its own scale.

        Args:
            panel: The rows of the series.
            series: At least ``lag`` + 1 values each.
            known: Of the same keys.
            lag: Periods of the difference; 0 for none.
            log: Whether levels are logarithms.
            weight: Column of the rows' weights.
        """
        levels, shift = series.values, np.zeros(len(series))
        if log:
            shift = (series.least == 0).astype(np.float64)
            levels = np.log(levels + shift[panel.owner])
        moved = ranges(series.offsets[:-1] + lag, series.lengths - lag)
        changes = levels[moved] - levels[moved - lag] if lag else levels
        centre, deviation = _deviations(changes, panel.owner[moved], len(series))
        weights = np.ones(len(levels)) if weight is None else panel.flat(panel.rows.numbers(weight)).copy()
        return cls(panel, series, known, levels, shift, centre, deviation, weights)

    def take(self, places: npt.NDArray[Any]) -> Histories:
        """Those of some keys."""
        rows = ranges(self.series.offsets[places], self.series.lengths[places])
        return Histories(
            self.panel.take(places),
            self.series.take(places),
            self.known.take(places),
            self.levels[rows],
            self.shift[places],
            self.centre[places],
            self.deviation[places],
            self.weights[rows],
        )

    def scaled(self, lag: int) -> Floats:
        """What is regressed; the first ``lag`` values of a history mean nothing. Shape (rows of all keys,)."""
        moved = self.levels.copy()
        if lag:
            moved[lag:] -= self.levels[:-lag]
        scaled: Floats = (moved - self.centre[self.panel.owner]) / self.factor[self.panel.owner]
        return scaled

    def table(self, design: Design, crossed: Sequence[int], lag: int) -> tuple[Floats, Floats, Floats]:
        """Columns, values and weights of each history's periods but the first ``reach + lag``."""
        first, owner = design.reach + lag, self.panel.owner
        lengths = self.series.lengths
        rows = ranges(self.series.offsets[:-1] + first, lengths - first)
        scaled = self.scaled(lag)
        start = self.series.origin - lengths + 1
        periods = start[owner] + np.arange(len(owner)) - self.series.offsets[:-1][owner]
        never = np.zeros(len(rows), dtype=np.bool_)
        calendar = calendar_of(design, periods[rows], never, start[owner[rows]], lengths[owner[rows]])
        known = self.known.encode(self.panel)[0][rows]
        parts = [
            _recent_of(design, scaled, rows),
            calendar,
            known,
            crossed_with(known, crossed, periods[rows], design.season),
        ]
        return np.concatenate(parts, axis=1), scaled[rows], self.weights[rows]
