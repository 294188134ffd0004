"""Bounds put around the predictions of any model: half-widths that were learned from held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import FittedModel, Floats, Predictions, interval_columns
from manymodels.models.forecast.frequency import period_index
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["IntervalForecast", "Widths"]


@dataclass(frozen=True, eq=False)
class Widths:
    """Half-widths of the intervals of many keys: ``half * step ** growth``, by periods ahead.

    Attributes:
        growth: Shape (keys,).
        half: One period ahead. Shape (keys, levels).
    """

    growth: Floats
    half: Floats

    def bounds(
        self, predictions: Floats, steps: npt.NDArray[np.int64], owner: npt.NDArray[np.int64], basis: Basis
    ) -> dict[str, Floats]:
        """Lower and upper bounds around predictions, by output column; with ``basis.non_negative`` none below zero.

        Args:
            predictions: Shape (n,).
            steps: Periods ahead, from 1. Shape (n,).
            owner: The key of each. Shape (n,).
            basis: The levels.
        """
        reach = steps ** self.growth[owner]
        columns = {}
        for place, level in enumerate(basis.levels):
            half = self.half[owner, place] * reach
            low, high = interval_columns(level)
            lower = predictions - half
            columns[low] = np.maximum(lower, 0.0) if basis.non_negative else lower
            columns[high] = predictions + half
        return columns


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
        owner = np.zeros(len(steps), dtype=np.int64)
        # The model knows best whether it forecasts a period at all; here none is before the first.
        return {
            "prediction": predictions,
            **self.widths.bounds(predictions, np.maximum(steps, 1), owner, basis),
        }

    def extend(self, rows: Rows) -> IntervalForecast:
        """The same with the model extended; see ``FittedModel.extend``.

        Raises:
            CannotExtendError: The model would need a refit.
        """
        origin = max(self.origin, Series.read(rows, self.basis).end)
        return replace(self, model=self.model.extend(rows), origin=origin)

    def describe(self) -> Mapping[str, Any]:
        """What the model is, and the half-widths of its intervals one period ahead."""
        half = {
            f"{level:g}": float(self.widths.half[0, place]) for place, level in enumerate(self.basis.levels)
        }
        intervals = {"from": "held-out residuals", "half_width": half, "growth": float(self.widths.growth[0])}
        return {**self.model.describe(), "intervals": intervals}
