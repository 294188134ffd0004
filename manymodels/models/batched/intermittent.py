"""Intermittent demand for many keys at once; the formulas are those of ``forecast.intermittent``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from manymodels.models.batched.contract import Ints, Panel, PanelFit, lists
from manymodels.models.batched.forecasts import ForecastColumns, shared_of
from manymodels.models.batched.series import SeriesPanel
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.forecast.fitted import FittedForecast, Outlook
from manymodels.models.forecast.intermittent import SHARES, Croston, FittedCroston, FittedTsb, Tsb
from manymodels.models.forecast.series import Basis

__all__ = ["BatchedDemand", "Chances", "Intervals"]


def _known(values: Floats) -> Floats:
    """Zero where nothing was ever demanded."""
    found: Floats = np.nan_to_num(values, nan=0.0)
    return found


class _Demands(ForecastColumns):
    """Flat forecasts of demands that come by chance."""

    @property
    @abstractmethod
    def chance(self) -> Floats:
        """The chance of demand in a period. Shape (keys,)."""

    @property
    @abstractmethod
    def rate(self) -> Floats:
        """Demand a period. Shape (keys,)."""

    def _outlook(self, steps: Ints, panel: Panel) -> Outlook:
        half = np.array(self.basis.levels)[:, None] / 200
        bounds = [self._quantiles(share)[:, panel.owner] for share in (0.5 - half, 0.5 + half)]
        return Outlook(self.rate[panel.owner], *bounds)

    def _quantiles(self, shares: Floats) -> Floats:
        """Quantiles of one period's demand. Shape (levels, keys)."""
        chance = self.chance
        none = 1 - chance
        # The ratios are kept at evenly spaced shares: which two of them are around the one wanted?
        wanted = (shares - none) / np.where(chance > 0, chance, 1.0) * (len(SHARES) - 1)
        wanted = np.clip(wanted, 0, len(SHARES) - 1)
        low = np.minimum(wanted.astype(np.int64), len(SHARES) - 2)
        ratios, each = self.numbers("ratios"), np.arange(len(self))
        ratio = ratios[each, low] + (ratios[each, low + 1] - ratios[each, low]) * (wanted - low)
        return np.where((shares <= none) | (none == 1), 0.0, self.numbers("size") * ratio)


@dataclass(frozen=True, eq=False)
class Intervals(_Demands):
    """``FittedCroston`` of many keys."""

    schema: ClassVar[str] = "croston/1"
    kind: ClassVar[type[FittedForecast]] = FittedCroston

    @property
    def chance(self) -> Floats:
        """The chance of demand in a period. Shape (keys,)."""
        return _known(1 / self.numbers("interval"))

    @property
    def rate(self) -> Floats:
        """Demand a period. Shape (keys,)."""
        corrected = 1 - self.constants["alpha"] / 2 if self.constants["variant"] == "sba" else 1
        return _known(self.numbers("size") / self.numbers("interval") * corrected)


@dataclass(frozen=True, eq=False)
class Chances(_Demands):
    """``FittedTsb`` of many keys."""

    schema: ClassVar[str] = "tsb/1"
    kind: ClassVar[type[FittedForecast]] = FittedTsb

    @property
    def chance(self) -> Floats:
        """The chance of demand in a period. Shape (keys,)."""
        found: Floats = self.numbers("probability")
        return found

    @property
    def rate(self) -> Floats:
        """Demand a period. Shape (keys,)."""
        return _known(self.numbers("size") * self.numbers("probability"))


@dataclass(frozen=True)
class BatchedDemand:
    """Croston's method, or that of Teunter, Syntetos and Babai, on regular histories.

    Attributes:
        family: With its weights.
    """

    family: Croston | Tsb

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        # Imported here: numba takes half a second.
        from manymodels.models.batched.intermittent_kernel import smooth_demands

        basis, family = Basis.of(spec), self.family
        places, series = SeriesPanel.read(panel, basis)
        usable = series.least >= 0
        places, series = places[usable], series.take(usable)
        beta = family.beta if isinstance(family, Tsb) else 0.0
        size, interval, waited, chance, ratios = smooth_demands(
            series.values, series.offsets, family.alpha, beta, SHARES
        )
        common = {
            "origin": series.origin,
            "size": size,
            "ratios": lists(ratios),
        }
        if isinstance(family, Tsb):
            table = pa.table({**common, "probability": chance})
            shared = shared_of(basis, alpha=family.alpha, beta=beta)
            return PanelFit(places, Chances(table, shared, seeds[places]))
        table = pa.table({**common, "interval": interval, "waited": waited})
        shared = shared_of(basis, alpha=family.alpha, variant=family.variant)
        return PanelFit(places, Intervals(table, shared, seeds[places]))
