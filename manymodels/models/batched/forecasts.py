"""What the forecasts of many keys share: the periods asked for, intervals, limits, and a model of their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from manymodels.models.batched.contract import Ints, ModelColumns, Panel, PanelPredictions
from manymodels.models.contract import Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, bounded, normal_outlook
from manymodels.models.forecast.frequency import period_index
from manymodels.models.forecast.series import Basis

__all__ = ["ForecastColumns", "shared_of"]


_CELLS = 1 << 22
"""Keys times steps that are worked out at once."""


def shared_of(basis: Basis, **constants: Any) -> dict[str, Any]:
    """What the models of a fleet have in common: the basis but for the key's seed, and fields of one value for all."""
    content = asdict(basis)
    del content["seed"]
    return {"basis": {**content, "levels": list(basis.levels)}, "constants": constants}


@dataclass(frozen=True, eq=False)
class ForecastColumns(ModelColumns):
    """Fitted forecasts: the fields of ``kind`` as columns, with ``origin`` among them."""

    kind: ClassVar[type[FittedForecast]]

    @property
    def basis(self) -> Basis:
        """How rows become a series, and what comes out."""
        return self._basis(0)

    @property
    def constants(self) -> Mapping[str, Any]:
        """Fields that have one value for all the models."""
        found: Mapping[str, Any] = self.shared["constants"]
        return found

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        basis = self.basis
        periods = panel.rows.derived(
            ("periods", basis.time, basis.frequency),
            lambda _: period_index(panel.rows.values(basis.time), basis.frequency),
        )
        steps = panel.flat(periods) - self.numbers("origin")[panel.owner]
        early = steps < 1
        outlook = self._outlook(np.maximum(steps, 1), panel)
        served = np.ones(len(panel), dtype=bool)
        served[panel.owner[early | np.isinf(outlook.mean)]] = False
        return PanelPredictions(bounded(outlook, basis.levels, non_negative=basis.non_negative), served)

    def model(self, place: int) -> FittedForecast:
        """See ``ModelColumns.model``."""
        row = {name: _value(self.table.column(name)[place].as_py()) for name in self.table.column_names}
        return self.kind(basis=self._basis(int(self.seeds[place])), **self.constants, **row)

    def _basis(self, seed: int) -> Basis:
        content = self.shared["basis"]
        return Basis(**{**content, "levels": tuple(content["levels"]), "seed": seed})

    def _normal(self, mean: Floats, deviation: Floats) -> Outlook:
        """A normal distribution at each period. Shapes (n,)."""
        return normal_outlook(mean, deviation, self.basis.levels)

    def _by_step(
        self, steps: Ints, panel: Panel, make: Callable[[slice, int], Sequence[Floats]]
    ) -> list[Floats]:
        """Values that depend on the key and on how many steps ahead a row is.

        Args:
            steps: From 1. Shape (rows of all keys,).
            panel: The rows.
            make: Those of a span of keys for steps 1 to a number of them. Shapes (keys, steps).

        Returns:
            One value a row of each.
        """
        farthest = int(steps.max(initial=1))
        size = max(_CELLS // farthest, 1)
        parts = []
        for first in range(0, max(len(panel), 1), size):
            last = min(first + size, len(panel))
            rows = slice(int(panel.offsets[first]), int(panel.offsets[last]))
            place = (panel.owner[rows] - first, steps[rows] - 1)
            parts.append([grid[place] for grid in make(slice(first, last), farthest)])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    @abstractmethod
    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        """Forecasts at steps after each key's origin, from 1, for the rows of a panel. Shapes (rows of all keys,)."""


def _value(found: Any) -> Any:
    return np.array(found) if isinstance(found, list) else found
