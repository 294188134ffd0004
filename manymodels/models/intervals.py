"""Bounds put around the predictions of any model: half-widths that were learned from held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manymodels.models.contract import FittedModel, Floats, Predictions, interval_columns
from manymodels.models.fixed import FixedModel
from manymodels.models.forecast.frequency import Ints, period_index
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["IntervalForecast", "IntervalRegression", "Widths"]


@dataclass(frozen=True, eq=False)
class Widths:
    """Half-widths of the intervals of many keys: ``half``, times ``step ** growth`` for what lies some periods ahead.

    Attributes:
        growth: Zero where nothing lies ahead. Shape (keys,).
        half: One period ahead. Shape (keys, levels).
    """

    growth: Floats
    half: Floats

    def bounds(
        self,
        predictions: Floats,
        steps: Ints | None,
        owner: Ints,
        levels: tuple[float, ...],
        *,
        non_negative: bool,
    ) -> dict[str, Floats]:
        """Lower and upper bounds around predictions, by output column.

        Args:
            predictions: Shape (n,).
            steps: Periods ahead, from 1; None where nothing lies ahead. Shape (n,).
            owner: The key of each. Shape (n,).
            levels: Percent.
            non_negative: Whether none is below zero.
        """
        columns = {}
        for place, level in enumerate(levels):
            half = self.half[owner, place]
            if steps is not None:
                half = half * steps ** self.growth[owner]
            low, high = interval_columns(level)
            lower = predictions - half
            columns[low] = np.maximum(lower, 0.0) if non_negative else lower
            columns[high] = predictions + half
        return columns

    def describe(self, levels: tuple[float, ...]) -> dict[str, Any]:
        """Those of the only key, JSON-ready."""
        half = {f"{level:g}": float(self.half[0, place]) for place, level in enumerate(levels)}
        return {"from": "held-out errors", "half_width": half, "growth": float(self.growth[0])}


@dataclass(frozen=True, eq=False)
class IntervalForecast:
    """A forecast with intervals as wide as its errors on held-out rows say.

    Attributes:
        model: Forecasts; its own bounds, if any, are not used.
        basis: How rows become a series, and the levels.
        origin: Number of the last observed period.
        widths: Of this key.
    """

    model: FittedModel
    basis: Basis
    origin: int
    widths: Widths

    @classmethod
    def of(cls, model: FittedModel, rows: Rows, basis: Basis, widths: Widths) -> IntervalForecast:
        """The model of a key with these rows."""
        return cls(model, basis, Series.read(rows, basis).end, widths)

    def predict(self, rows: Rows) -> Predictions:
        """See ``FittedModel.predict``.

        Raises:
            ModelError: The model cannot predict the rows.
        """
        basis = self.basis
        predictions = np.asarray(self.model.predict(rows)["prediction"], dtype=np.float64)
        steps = period_index(rows.values(basis.time), basis.frequency) - self.origin
        # The model knows best whether it forecasts a period at all; here none is before the first.
        bounds = self.widths.bounds(
            predictions,
            np.maximum(steps, 1),
            np.zeros_like(steps),
            basis.levels,
            non_negative=basis.non_negative,
        )
        return {"prediction": predictions, **bounds}

    def extend(self, rows: Rows) -> IntervalForecast:
        """The same with the model extended; see ``FittedModel.extend``.

        Raises:
            CannotExtendError: The model would need a refit.
        """
        origin = max(self.origin, Series.read(rows, self.basis).end)
        return replace(self, model=self.model.extend(rows), origin=origin)

    def describe(self) -> Mapping[str, Any]:
        """What the model is, and the half-widths of its intervals one period ahead."""
        return {**self.model.describe(), "intervals": self.widths.describe(self.basis.levels)}


@dataclass(frozen=True, eq=False)
class IntervalRegression(FixedModel):
    """A regression with intervals as wide as its errors on held-out rows say.

    Attributes:
        model: Predicts.
        levels: Percent.
        widths: Of this key.
    """

    model: FittedModel
    levels: tuple[float, ...]
    widths: Widths

    def predict(self, rows: Rows) -> Predictions:
        """See ``FittedModel.predict``.

        Raises:
            ModelError: The model cannot predict the rows.
        """
        predictions = np.asarray(self.model.predict(rows)["prediction"], dtype=np.float64)
        owner = np.zeros(len(predictions), dtype=np.int64)
        bounds = self.widths.bounds(predictions, None, owner, self.levels, non_negative=False)
        return {"prediction": predictions, **bounds}

    def describe(self) -> Mapping[str, Any]:
        """What the model is, and the half-widths of its intervals."""
        return {**self.model.describe(), "intervals": self.widths.describe(self.levels)}
