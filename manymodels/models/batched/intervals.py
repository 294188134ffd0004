"""Bounds put around the forecasts of many keys at once; ``models.intervals`` for columns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from manymodels.models.batched.contract import ModelColumns, Panel, PanelPredictions, lists
from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import period_index
from manymodels.models.forecast.series import Basis
from manymodels.models.intervals import IntervalForecast, Widths

__all__ = ["IntervalForecasts"]

_GROWTH, _HALF = "interval_growth", "interval_half"


@dataclass(frozen=True, eq=False)
class IntervalForecasts(ModelColumns):
    """``IntervalForecast`` of many keys: the columns of the forecasts, which have an ``origin``, and two more."""

    schema: ClassVar[str] = "intervals/1"

    @classmethod
    def of(cls, forecasts: ModelColumns, basis: Basis, widths: Widths) -> IntervalForecasts:
        """The forecasts of some keys with intervals.

        Args:
            forecasts: With a column ``origin``.
            basis: How rows become a series, and the levels; its seed means nothing.
            widths: Of the same keys.
        """
        content = {**asdict(basis), "levels": list(basis.levels)}
        del content["seed"]
        table = forecasts.table.append_column(_GROWTH, [widths.growth])
        return cls(
            table.append_column(_HALF, lists(widths.half)),
            {"schema": forecasts.schema, "shared": dict(forecasts.shared), "basis": content},
            forecasts.seeds,
        )

    @cached_property
    def _forecasts(self) -> ModelColumns:
        from manymodels.models.batched.trainers import columns_of

        plain = self.table.drop_columns([_GROWTH, _HALF])
        return columns_of(self.shared["schema"], plain, self.shared["shared"], self.seeds)

    @cached_property
    def _widths(self) -> Widths:
        growth: Floats = self.numbers(_GROWTH)
        return Widths(growth, self.numbers(_HALF))

    @cached_property
    def _basis(self) -> Basis:
        content = self.shared["basis"]
        return Basis(**{**content, "levels": tuple(content["levels"]), "seed": 0})

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        found, basis = self._forecasts.predict(panel), self._basis
        periods = panel.rows.derived(
            ("periods", basis.time, basis.frequency),
            lambda _: period_index(panel.rows.values(basis.time), basis.frequency),
        )
        steps = panel.flat(periods) - self.numbers("origin")[panel.owner]
        predictions = found.values["prediction"]
        bounds = self._widths.bounds(predictions, np.maximum(steps, 1), panel.owner, basis)
        return PanelPredictions({"prediction": predictions, **bounds}, found.served)

    def model(self, place: int) -> IntervalForecast:
        """See ``ModelColumns.model``."""
        widths = Widths(self._widths.growth[place : place + 1], self._widths.half[place : place + 1])
        basis = replace(self._basis, seed=int(self.seeds[place]))
        return IntervalForecast(
            self._forecasts.model(place), basis, int(self.numbers("origin")[place]), widths
        )
