"""Bounds put around the predictions of many keys at once; ``models.intervals`` for columns."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from manymodels.models.batched.contract import Ints, ModelColumns, Panel, PanelPredictions, lists
from manymodels.models.contract import FittedModel, Floats
from manymodels.models.forecast.frequency import period_index
from manymodels.models.forecast.series import Basis
from manymodels.models.intervals import IntervalForecast, IntervalRegression, Widths

__all__ = ["IntervalForecasts", "IntervalRegressions"]

_GROWTH, _HALF = "interval_growth", "interval_half"


@dataclass(frozen=True, eq=False)
class _Bounded(ModelColumns):
    """Models of many keys with intervals: the models' columns, and two more."""

    @classmethod
    def _around(cls, models: ModelColumns, widths: Widths, **shared: Any) -> Any:
        table = models.table.append_column(_GROWTH, [widths.growth])
        content = {"schema": models.schema, "shared": dict(models.shared), **shared}
        return cls(table.append_column(_HALF, lists(widths.half)), content, models.seeds)

    @cached_property
    def _models(self) -> ModelColumns:
        from manymodels.models.batched.trainers import columns_of

        plain = self.table.drop_columns([_GROWTH, _HALF])
        return columns_of(self.shared["schema"], plain, self.shared["shared"], self.seeds)

    @cached_property
    def _widths(self) -> Widths:
        growth: Floats = self.numbers(_GROWTH)
        return Widths(growth, self.numbers(_HALF))

    def _one(self, place: int) -> Widths:
        rows = slice(place, place + 1)
        return Widths(self._widths.growth[rows], self._widths.half[rows])

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        found = self._models.predict(panel)
        predictions = found.values["prediction"]
        return PanelPredictions({"prediction": predictions, **self._bounds(predictions, panel)}, found.served)

    @abstractmethod
    def _bounds(self, predictions: Floats, panel: Panel) -> dict[str, Floats]:
        """The bounds of predictions for the rows of a panel."""


@dataclass(frozen=True, eq=False)
class IntervalForecasts(_Bounded):
    """``IntervalForecast`` of many keys."""

    schema: ClassVar[str] = "interval_forecasts/1"

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
        found: IntervalForecasts = cls._around(forecasts, widths, basis=content)
        return found

    @cached_property
    def _basis(self) -> Basis:
        content = self.shared["basis"]
        return Basis(**{**content, "levels": tuple(content["levels"]), "seed": 0})

    def _bounds(self, predictions: Floats, panel: Panel) -> dict[str, Floats]:
        basis = self._basis
        periods: Ints = panel.rows.derived(
            ("periods", basis.time, basis.frequency),
            lambda _: period_index(panel.rows.values(basis.time), basis.frequency),
        )
        steps = np.maximum(panel.flat(periods) - self.numbers("origin")[panel.owner], 1)
        return self._widths.bounds(
            predictions, steps, panel.owner, basis.levels, non_negative=basis.non_negative
        )

    def model(self, place: int) -> FittedModel:
        """See ``ModelColumns.model``."""
        basis = replace(self._basis, seed=int(self.seeds[place]))
        origin = int(self.numbers("origin")[place])
        return IntervalForecast(self._models.model(place), basis, origin, self._one(place))


@dataclass(frozen=True, eq=False)
class IntervalRegressions(_Bounded):
    """``IntervalRegression`` of many keys."""

    schema: ClassVar[str] = "interval_regressions/1"

    @classmethod
    def of(cls, regressions: ModelColumns, levels: tuple[float, ...], widths: Widths) -> IntervalRegressions:
        """The regressions of some keys with intervals.

        Args:
            regressions: Of the keys.
            levels: Percent.
            widths: Of the same keys.
        """
        found: IntervalRegressions = cls._around(regressions, widths, levels=list(levels))
        return found

    def _bounds(self, predictions: Floats, panel: Panel) -> dict[str, Floats]:
        levels = tuple(self.shared["levels"])
        return self._widths.bounds(predictions, None, panel.owner, levels, non_negative=False)

    def model(self, place: int) -> FittedModel:
        """See ``ModelColumns.model``."""
        return IntervalRegression(self._models.model(place), tuple(self.shared["levels"]), self._one(place))
