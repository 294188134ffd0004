"""Which candidates are tried on a key: what their ``when`` asks for, held against the key's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError
from manymodels.models.batched.contract import Ints, Panel, Spans
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.seasons import DAYS
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.models.spec import CandidateSpec, WhenSpec
from manymodels.records import Rows

__all__ = ["applicable", "panel_applicable"]

Bools = npt.NDArray[np.bool_]

INTERMITTENT = 1.32
"""Periods from demand to demand, at least; Syntetos, Boylan and Croston, J. Oper. Res. Soc. 56 (2005)."""
_LEAST_LIFE = 10


@dataclass(frozen=True, eq=False)
class _Traits(Spans):
    """What rules ask of some series, without NaN.

    Attributes:
        values: The series one after the other.
        starts: Where each begins. Shape (keys,).
        stops: One past its end. Shape (keys,).
        rows: Rows of each key. Shape (keys,).
        season: Periods in a season.
        horizon: Periods to forecast.
    """

    values: Floats
    starts: Ints
    stops: Ints
    rows: Ints
    season: int
    horizon: int

    @cached_property
    def alive(self) -> Bools:
        """Whether each changed lately."""
        recent = max(2 * self.season, self.horizon, _LEAST_LIFE)
        changes = np.concatenate([[0, 0], np.cumsum(self.values[1:] != self.values[:-1])])
        first = np.maximum(self.stops - recent, self.starts)
        found: Bools = changes[self.stops] > changes[first + 1]
        return found

    @cached_property
    def intermittent(self) -> Bools:
        """Whether demands are far apart in each."""
        demands = np.concatenate([[0], np.cumsum(self.values != 0)])
        found: Bools = self.lengths >= INTERMITTENT * (demands[self.stops] - demands[self.starts])
        return found

    @cached_property
    def positive(self) -> Bools:
        """Whether each is above zero throughout."""
        least: Bools = np.minimum.reduceat(self.values, self.starts) > 0
        return least

    @cached_property
    def seasonal(self) -> Bools:
        """Whether the season of each is significant."""
        from manymodels.models.forecast.theta_kernel import seasonal_each

        return seasonal_each(np.array(self.values), self.offsets, self.season)

    def meet(self, when: WhenSpec) -> Bools:
        """The keys that a rule holds for. Shape (keys,)."""
        met = _rows_meet(self.rows, when)
        if when.min_seasons is not None:
            met &= self.lengths >= when.min_seasons * self.season
        if when.max_season is not None:
            met &= self.season <= when.max_season
        if when.daily is not None:
            met &= (self.season in DAYS) == when.daily
        for name in ("alive", "intermittent", "positive", "seasonal"):
            asked = getattr(when, name)
            if asked is not None:
                met &= getattr(self, name) == asked
        return met


def applicable(rows: Rows, candidates: Sequence[CandidateSpec], spec: FitSpec) -> list[bool]:
    """Which candidates are tried on a key.

    Rows that make no series are for every candidate: the fit says what is wrong with them.

    Args:
        rows: The key's.
        candidates: Of the job.
        spec: What the fits know.
    """
    counts = np.array([len(rows)])
    traits = None
    if _of_series(candidates, spec):
        try:
            series = Series.read(rows, Basis.of(spec))
        except ModelError:
            return [True] * len(candidates)
        values = fill(series.target, spec.season_length)
        whole = np.array([0]), np.array([len(values)])
        traits = _Traits(values, *whole, counts, spec.season_length, spec.horizon)
    return [bool(_met(candidate.when, counts, traits)[0]) for candidate in candidates]


def panel_applicable(panel: Panel, candidates: Sequence[CandidateSpec], spec: FitSpec) -> Bools:
    """Which candidates are tried on the keys of a panel: what ``applicable`` says of each; none on keys with gaps.

    Returns:
        Shape (candidates, keys).
    """
    found = np.zeros((len(candidates), len(panel)), dtype=np.bool_)
    if not _of_series(candidates, spec):
        for number, candidate in enumerate(candidates):
            found[number] = _met(candidate.when, panel.lengths, None)
        return found
    places, series = SeriesPanel.read(panel, Basis.of(spec))
    if len(places) == 0:
        return found
    ends, rows = (series.offsets[:-1], series.offsets[1:]), panel.lengths[places]
    traits = _Traits(series.values, *ends, rows, spec.season_length, spec.horizon)
    for number, candidate in enumerate(candidates):
        found[number, places] = _met(candidate.when, rows, traits)
    return found


def _of_series(candidates: Sequence[CandidateSpec], spec: FitSpec) -> bool:
    return spec.task == "forecast" and any(
        candidate.when is not None and candidate.when.of_series for candidate in candidates
    )


def _met(when: WhenSpec | None, rows: Ints, traits: _Traits | None) -> Bools:
    if when is None:
        return np.ones(len(rows), dtype=np.bool_)
    return _rows_meet(rows, when) if traits is None else traits.meet(when)


def _rows_meet(rows: Ints, when: WhenSpec) -> Bools:
    met = np.ones(len(rows), dtype=np.bool_)
    if when.min_rows is not None:
        met &= rows >= when.min_rows
    if when.max_rows is not None:
        met &= rows <= when.max_rows
    return met
