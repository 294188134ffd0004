"""The series of many keys, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.batched.contract import Ints, Panel, Spans, ranges
from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import period_index
from manymodels.models.forecast.series import Basis

__all__ = ["SeriesPanel"]


@dataclass(frozen=True, eq=False)
class SeriesPanel(Spans):
    """Regular series: one finite target in every period from the first to the last.

    Attributes:
        target: Targets of the whole frame. Shape (n,).
        starts: Place of each key's first value. Shape (keys,).
        stops: One past its last. Shape (keys,).
        origin: Number of each key's last period. Shape (keys,).
    """

    target: Floats
    starts: Ints
    stops: Ints
    origin: Ints

    @cached_property
    def values(self) -> Floats:
        """The values of all the keys, without what lies between them."""
        return self.target[ranges(self.starts, self.lengths)]

    def take(self, places: npt.NDArray[Any]) -> SeriesPanel:
        """Some of the series."""
        return SeriesPanel(self.target, self.starts[places], self.stops[places], self.origin[places])

    @cached_property
    def least(self) -> Floats:
        """The least value of each. Shape (keys,)."""
        found: Floats = np.minimum.reduceat(self.values, self.offsets[:-1]) if len(self) else np.empty(0)
        return found

    @classmethod
    def read(cls, panel: Panel, basis: Basis, least: int = 1) -> tuple[Ints, SeriesPanel]:
        """The regular series of a panel with at least so many values, and their places among the panel's keys."""
        target = panel.rows.numbers(basis.target)
        periods, unusable, breaks = panel.rows.derived(
            ("series", basis.target, basis.time, basis.frequency), lambda _: _irregular(panel, basis)
        )
        first = np.minimum(panel.starts + 1, panel.stops)
        regular = (
            (panel.lengths >= least)
            & (unusable[panel.stops] == unusable[panel.starts])
            & (breaks[panel.stops] == breaks[first])
        )
        places = np.flatnonzero(regular)
        starts, stops = panel.starts[places], panel.stops[places]
        return places, cls(target, starts, stops, periods[stops - 1])


def _irregular(panel: Panel, basis: Basis) -> tuple[Ints, Ints, Ints]:
    """The period of each row of a frame; how many rows before it have no finite target; how many do not follow on."""
    times = panel.rows.values(basis.time)
    periods = period_index(times, basis.frequency)
    missing = ~np.isfinite(panel.rows.numbers(basis.target))
    if times.dtype.kind == "M":
        missing |= np.isnat(times)
    return periods, _counted(missing), _counted(np.diff(periods, prepend=periods[:1] - 1) != 1)


def _counted(flags: npt.NDArray[np.bool_]) -> Ints:
    return np.concatenate([[0], np.cumsum(flags)])
