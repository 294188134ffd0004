"""Measures of drift, as free functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Shift", "ks_distance", "ks_limit", "mean_shift", "stability_index"]

Floats = npt.NDArray[np.float64]

_BINS = 10
_SLACK = 0.5


@dataclass(frozen=True)
class Shift:
    """Whether the mean of a sequence left zero.

    Attributes:
        height: The largest cumulative sum, in root mean squares; of the lower sum it is negative.
        start: Place where the sum that is the largest left zero: about where the shift began.
    """

    height: float
    start: int


def mean_shift(residuals: Floats) -> Shift | None:
    """The larger of the two one-sided cumulative sums of scaled residuals, with a slack of a half.

    Page, Continuous inspection schemes, Biometrika 41 (1954); Montgomery, Introduction to Statistical Quality Control,
    chapter 9. The scale is the residuals' own root mean square: residuals of forecasts several steps ahead are not
    independent, and a scale from their successive changes, as in charts of individual values, would take every swing of
    theirs for a shift. None without a residual, or when all are zero.

    Args:
        residuals: In time order, none missing. Shape (n,).
    """
    deviation = float(np.sqrt(np.mean(np.square(residuals)))) if len(residuals) else 0.0
    if deviation == 0:
        return None
    scaled = residuals / deviation
    upper, lower = _one_sided(scaled - _SLACK), _one_sided(-scaled - _SLACK)
    return upper if upper.height >= lower.height else Shift(-lower.height, lower.start)


def _one_sided(steps: Floats) -> Shift:
    """The peak of the cumulative sum that starts again whenever it would fall below zero."""
    total = np.concatenate([[0.0], np.cumsum(steps)])
    floor = np.minimum.accumulate(total)
    heights = total - floor
    peak = int(np.argmax(heights))
    start = int(np.flatnonzero(total[: peak + 1] == floor[peak])[-1])
    return Shift(float(heights[peak]), min(start, len(steps) - 1))


def ks_distance(reference: Floats, values: Floats) -> float:
    """The largest distance between two empirical distributions (two-sample Kolmogorov-Smirnov); 0 where one is empty.

    Smirnov, Annals of Mathematical Statistics 19 (1948).

    Args:
        reference: None missing. Shape (n,).
        values: None missing. Shape (m,).
    """
    if not len(reference) or not len(values):
        return 0.0
    reference, values = np.sort(reference), np.sort(values)
    both = np.concatenate([reference, values])
    below = np.searchsorted(reference, both, side="right") / len(reference)
    found = np.searchsorted(values, both, side="right") / len(values)
    return float(np.abs(below - found).max())


def ks_limit(reference: int, values: int, alpha: float) -> float:
    """The distance that samples of one distribution exceed with this probability, by Smirnov's asymptotic formula.

    Args:
        reference: Rows of the one.
        values: Rows of the other.
        alpha: The probability.
    """
    return float(np.sqrt(-np.log(alpha / 2) / 2 * (1 / reference + 1 / values)))


def stability_index(reference: npt.NDArray[Any], values: npt.NDArray[Any]) -> float | None:
    """The population stability index: the symmetrised relative entropy of two samples in bins.

    Bins are tenths of the reference, or its values where it has few, or texts; missing values are a bin. Half a row is
    added to every bin, so that an empty one has a share. As a rule of thumb less than 0.1 is stable and more than 0.25 has
    shifted. None where a sample is empty.

    Siddiqi, Credit Risk Scorecards (2006), chapter 8; it is Jeffreys' divergence (Kullback and Leibler, 1951).

    Args:
        reference: Numbers (missing: NaN) or objects (missing: None). Shape (n,).
        values: Of the same kind. Shape (m,).
    """
    if not len(reference) or not len(values):
        return None
    before, after = _shares(reference, values)
    return float(((after - before) * np.log(after / before)).sum())


def _shares(reference: npt.NDArray[Any], values: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    import pandas as pd

    known = ~pd.isna(reference)
    if reference.dtype.kind == "f" and len(np.unique(reference[known])) > _BINS:
        edges = np.unique(np.quantile(reference[known], np.linspace(0, 1, _BINS + 1)[1:-1]))

        def bins(sample: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
            return np.where(np.isnan(sample), len(edges) + 1, np.searchsorted(edges, sample, side="right"))

        count = len(edges) + 2
    else:
        _, kinds = pd.factorize(reference[known])

        def bins(sample: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
            places = pd.Index(kinds).get_indexer(sample)
            # A value that the reference never had is a bin of its own, a missing one another.
            return np.where(pd.isna(sample), len(kinds) + 1, np.where(places < 0, len(kinds), places))

        count = len(kinds) + 2
    counts = np.stack([np.bincount(bins(sample), minlength=count) for sample in (reference, values)])
    smoothed = counts[:, counts.any(axis=0)] + 0.5
    shares = smoothed / smoothed.sum(axis=1, keepdims=True)
    return shares[0], shares[1]
