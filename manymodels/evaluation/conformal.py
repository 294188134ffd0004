"""How wide intervals must be, by what held-out residuals say: conformal prediction from few and related residuals.

The size of a forecast's residual is modelled as a power of the number of periods ahead, so that the residuals of all steps of
all windows can be pooled. The half-width at a level is the quantile of the pooled sizes, as in split conformal prediction
(Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, Distribution-Free Predictive Inference for Regression, J. Am. Stat. Assoc.
113, 2018): not at the level p, but at p (n + 1) / n. There n is not the number of residuals, which resemble their neighbours,
but the number of unrelated ones that tell as much (Bayley and Hammersley, The "Effective" Number of Independent Observations in
an Autocorrelated Time Series, J. R. Stat. Soc. Suppl. 8, 1946). Where a level asks for more than n residuals can tell, their
size is taken as normal with unknown variance: Student's t with n degrees of freedom, and at least the largest residual.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import Floats
from manymodels.models.intervals import Widths

__all__ = ["crossed_widths", "residual_widths"]

_POWERS = np.linspace(0.0, 1.0, 11)
_MOST_ALIKE = 0.9
"""Autocorrelation at most: with more, a few residuals would tell nothing at all."""
_LEAST = 3.0
"""Unrelated residuals at least, where there are as many."""


def residual_widths(residuals: Floats, levels: tuple[float, ...], apart: int | None) -> Widths:
    """Half-widths of the intervals of many keys.

    Args:
        residuals: What happened less what was predicted, NaN where that is not known. Shape (keys, windows, steps): for
            other tasks than forecasts (keys, splits, rows).
        levels: Percent, ascending.
        apart: Periods between the windows' cutoffs, which overlap where that is less than the steps; None where nothing lies
            ahead: sizes do not grow.

    Returns:
        Of each key; NaN where it has no residual.
    """
    known = ~np.isnan(residuals)
    sizes = np.where(known, np.abs(residuals), 0.0)
    largest = sizes.max(axis=(1, 2), initial=0.0)
    sizes /= np.where(largest > 0, largest, 1.0)[:, None, None]
    count = known.sum(axis=(1, 2)).astype(np.float64)
    windows = known.any(axis=2).sum(axis=1)
    growth, fresh = np.zeros(len(residuals)), np.ones(len(residuals))
    if apart is not None:
        # One window's growth may be that window's own story: it is believed the more, the more there are.
        growth = _growth(sizes.sum(axis=1), known.sum(axis=1)) * windows / (windows + 1)
        horizon = sizes.shape[2]
        sizes /= (np.arange(1, horizon + 1) ** growth[:, None])[:, None, :]
        # Where windows overlap, the same period is forecast twice.
        fresh = (horizon + (windows - 1) * min(apart, horizon)) / np.maximum(windows * horizon, 1)
    alike = np.minimum(_alike(sizes, known, count), _MOST_ALIKE)
    unrelated = np.maximum(count * fresh * (1 - alike) / (1 + alike), np.minimum(_LEAST, count))
    widths = _quantiles(sizes, known, count, unrelated, levels)
    return Widths(growth, np.where(count[:, None] > 0, widths * largest[:, None], np.nan))


def crossed_widths(residuals: Floats, levels: tuple[float, ...], apart: int | None) -> list[Widths]:
    """For each window the half-widths by the residuals of all others: what intervals would have been promised there.

    Args:
        residuals: See ``residual_widths``.
        levels: See ``residual_widths``.
        apart: See ``residual_widths``.

    Returns:
        Of each key; NaN where no other window has a residual.
    """
    keys, windows, _ = residuals.shape
    if windows == 0:
        return []
    others = np.repeat(residuals[None], windows, axis=0)
    others[np.arange(windows), :, np.arange(windows)] = np.nan
    whole = residual_widths(others.reshape(windows * keys, *residuals.shape[1:]), levels, apart)
    parts = zip(np.split(whole.growth, windows), np.split(whole.half, windows), strict=True)
    return [Widths(growth, half) for growth, half in parts]


def _growth(totals: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    """The power of the step that sizes grow by, from 0 to 1: the likeliest one for exponential sizes with such a mean.

    Args:
        totals: Sum of the sizes at each step. Shape (keys, steps).
        counts: Residuals at each step. Shape (keys, steps).
    """
    logs = np.log(np.arange(1, totals.shape[1] + 1))
    count = np.maximum(counts.sum(axis=1), 1)
    means = (totals @ np.exp(-np.outer(logs, _POWERS))) / count[:, None]
    seen = means.min(axis=1) > 0
    cost = np.log(np.where(seen[:, None], means, 1.0)) + np.outer(counts @ logs / count, _POWERS)
    # The least of those that are as good, whatever the last digit says.
    least = (cost <= cost.min(axis=1, keepdims=True) + 1e-9).argmax(axis=1)
    return np.where(seen, _POWERS[least], 0.0)


def _alike(sizes: Floats, known: npt.NDArray[np.bool_], count: Floats) -> Floats:
    """How much neighbours resemble each other: the autocorrelation of sizes within windows, not below 0. Shape (keys,)."""
    mean = sizes.sum(axis=(1, 2)) / np.maximum(count, 1)
    apart = np.where(known, sizes - mean[:, None, None], 0.0)
    total = np.square(apart).sum(axis=(1, 2))
    shared = (apart[:, :, 1:] * apart[:, :, :-1]).sum(axis=(1, 2))
    found: Floats = np.maximum(shared / np.where(total > 0, total, 1.0), 0.0)
    return found


def _quantiles(
    sizes: Floats,
    known: npt.NDArray[np.bool_],
    count: Floats,
    unrelated: Floats,
    levels: tuple[float, ...],
) -> Floats:
    """Quantiles of sizes, not falling with the level. Shape (keys, levels)."""
    from scipy.special import stdtrit

    keys = len(sizes)
    ordered = np.sort(np.where(known, sizes, np.inf).reshape(keys, -1), axis=1)
    last = np.maximum(count - 1, 0)
    each = np.arange(keys)
    top = np.where(count > 0, ordered[each, last.astype(np.int64)], 0.0)
    deviation = np.sqrt(np.square(sizes).sum(axis=(1, 2)) / np.maximum(count, 1))
    freedom = np.maximum(unrelated, 1.0)
    found = np.empty((keys, len(levels)))
    for place, level in enumerate(levels):
        share = level / 100 * (1 + 1 / freedom)
        at = np.minimum(share, 1.0) * last
        below = np.floor(at).astype(np.int64)
        lower, upper = ordered[each, below], ordered[each, np.minimum(below + 1, last.astype(np.int64))]
        with np.errstate(invalid="ignore"):  # a key without residuals
            inside = lower + (upper - lower) * (at - below)
        few = np.flatnonzero(share > 1)
        free = freedom[few]
        normal = deviation[few] * stdtrit(free, 0.5 + level / 200) * np.sqrt(1 + 1 / free)
        inside[few] = np.maximum(top[few], normal)
        found[:, place] = inside
    return np.maximum.accumulate(found, axis=1) if len(levels) else found
