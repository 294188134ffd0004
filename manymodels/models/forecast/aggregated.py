"""The ``aggregated`` family: sums over several periods are forecast, and shared out among the periods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from manymodels.exceptions import JobError, ModelError
from manymodels.models.contract import Family, FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook, need_rows, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.models.spec import CandidateSpec
from manymodels.records import Rows

__all__ = ["Aggregated", "FittedAggregate"]

_PROFILE = 12
"""Blocks that the shares of their periods come from, at most."""


@dataclass(frozen=True)
class Aggregated:
    """Sums over blocks of periods are forecast by another family, without covariates, and shared out among the periods.

    Noise and zeros cancel out in sums. Blocks are counted back from the end of the history; what is left at its beginning is
    not used. A block that is a season (or several) is shared out as the last twelve were; any other equally. Bounds are those
    of a normal distribution with the deviation from what the block before would have given. Needs two blocks, and what the
    other family needs. Missing values are filled (``series.fill``).

    Source: Nikolopoulos, Syntetos, Boylan, Petropoulos and Assimakopoulos, J. Oper. Res. Soc. 62 (2011), for intermittent
    demand.

    Attributes:
        periods: In a block; when null the average distance of demands, rounded up, where that is more than one, else the
            season.
        model: The family that forecasts the sums.
        params: Its parameters.
    """

    periods: Annotated[int, Field(ge=2)] | None = None
    model: str = "ets"
    params: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "aggregated"
    revision: ClassVar[int] = 1

    def __post_init__(self) -> None:
        try:
            self._family()
        except JobError as error:
            raise ValueError(f"`model`: {error}") from None

    @property
    def isolated(self) -> bool:
        """See ``Family.isolated``."""
        return self._family().isolated

    @property
    def library(self) -> str:
        """See ``Family.library``."""
        return self._family().library

    def fit(self, rows: Rows, spec: FitSpec) -> FittedAggregate:
        """Fit one key's rows; see ``Family.fit``."""
        basis = Basis.of(spec)
        series = Series.read(rows, basis)
        values = fill(series.target, spec.season_length)
        periods = self.periods or _usual_periods(values, spec.season_length)
        need_rows(self.name, 2 * periods, series.observed)
        blocks = _blocks(values[len(values) % periods :], periods)
        shares = np.full(periods, 1 / periods)
        if periods % spec.season_length == 0:
            recent = blocks[-_PROFILE:].sum(axis=0)
            shares = recent / recent.sum() if recent.min() >= 0 and recent.sum() > 0 else shares
        longer, left = divmod(spec.season_length, periods)
        inner = replace(
            spec,
            frequency="step",
            season_length=longer if left == 0 and longer > 1 else 1,
            horizon=math.ceil(spec.horizon / periods) + 1,
            levels=(),
            features=(),
            known_future=(),
            categorical=(),
            weight=None,
        )
        sums = blocks.sum(axis=1)
        model = self._family().fit(_rows(basis, sums, 0), inner)
        if not isinstance(model, FittedForecast):
            raise ModelError(f"{self.name}: `model` {self.model} cannot forecast sums")
        sigma = float(np.sqrt(np.square(blocks[1:] - np.outer(sums[:-1], shares)).mean()))
        return FittedAggregate(basis, series.end, periods, shares, model, np.empty(0), sigma)

    def _family(self) -> Family:
        from manymodels.models.families import build  # which imports this module

        if ":" in self.model:
            raise JobError(f"{self.model} is your own code; a built-in forecast family is expected")
        return build(CandidateSpec(name=self.model, family=self.model, params=self.params), "forecast")


def _usual_periods(values: Floats, season: int) -> int:
    """Periods in a block, when none are given.

    Raises:
        ModelError: Neither demands that are apart, nor a season.
    """
    distance = math.ceil(len(values) / max(int(np.count_nonzero(values)), 1))
    found = distance if distance > 1 else season
    if found == 1:
        raise ModelError("aggregated: demands in every period and no season; give the number of `periods`")
    return found


def _blocks(values: Floats, periods: int) -> Floats:
    """Values of shape (n,) as blocks of shape (n // periods, periods)."""
    return values.reshape(-1, periods)


def _rows(basis: Basis, sums: Floats, first: int) -> Rows:
    """Sums as rows of positions."""
    return Rows(pd.DataFrame({basis.time: np.arange(first, first + len(sums)), basis.target: sums}))


@dataclass(frozen=True, slots=True)
class FittedAggregate(FittedForecast):
    """A forecast of sums, and how they are shared out.

    Attributes:
        periods: In a block.
        shares: Of each period of a block. Shape (periods,).
        model: Forecasts the sums.
        rest: Values after the last complete block, fewer than ``periods``. Shape (n,).
        sigma: Standard deviation of a period's value from what the block before gives.
    """

    periods: int
    shares: Floats
    model: FittedForecast
    rest: Floats
    sigma: float

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "aggregated",
            "periods": self.periods,
            "shares": self.shares.tolist(),
            "sigma": self.sigma,
            "model": dict(self.model.describe()),
        }

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        block, place = np.divmod(steps - 1 + len(self.rest), self.periods)
        first = self.model.origin + 1
        ahead = _rows(self.basis, np.zeros(int(block.max(initial=0)) + 1), first)
        mean = self.model.predict(ahead)["prediction"][block] * self.shares[place]
        return normal_outlook(mean, np.full(len(steps), self.sigma), self.basis.levels)

    def _extended(self, newer: Series) -> FittedAggregate:
        at, known = np.arange(len(newer)), np.flatnonzero(newer.target == newer.target)
        values = np.concatenate([self.rest, np.interp(at, known, newer.target[known])])
        whole = len(values) // self.periods * self.periods
        model = self.model
        if whole:
            sums = _blocks(values[:whole], self.periods).sum(axis=1)
            model = model.extend(_rows(self.basis, sums, model.origin + 1))
        return replace(self, origin=newer.end, model=model, rest=values[whole:])
