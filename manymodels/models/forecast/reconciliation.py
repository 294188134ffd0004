"""Forecasts that add up: those of keys and of the sums of keys above them, reconciled, to the last cent.

Sources: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., chapter 11 (bottom-up, top-down by
forecast proportions, the general form); Wickramasuriya, Athanasopoulos and Hyndman, Optimal forecast reconciliation for
hierarchical and grouped time series through trace minimization, J. Am. Stat. Assoc. 114, 2019 (MinT); Schäfer and Strimmer,
A shrinkage approach to large-scale covariance matrix estimation, Stat. Appl. Genet. Mol. Biol. 4, 2005 (the shrinkage).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import Floats
from manymodels.models.forecast.frequency import Ints

__all__ = ["ErrorCovariance", "Tree", "bottom_up", "mint", "rounded", "top_down"]


@dataclass(frozen=True, eq=False)
class Tree:
    """Which keys are in which sum.

    Attributes:
        owners: Of each level, the nearest first: the node of each key. Shape (keys,) each; every node of a level lies in one
            node of the next.
        sizes: Nodes of each level.
    """

    owners: tuple[Ints, ...]
    sizes: tuple[int, ...]

    @property
    def starts(self) -> Ints:
        """The place of each level's first node among all nodes; the last entry is their number."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    def sums(self, values: Floats) -> Floats:
        """What the keys add up to, by node, level after level.

        Args:
            values: Of the keys; NaN is no part of any sum. Shape (periods, keys).

        Returns:
            Shape (periods, nodes); NaN where no key has a value.
        """
        there = values == values
        parts = []
        for owner, size in zip(self.owners, self.sizes, strict=True):
            parts.append(
                np.where(
                    _added(there, owner, size) > 0, _added(np.where(there, values, 0.0), owner, size), np.nan
                )
            )
        return np.concatenate(parts, axis=1)

    def parents(self, level: int) -> Ints:
        """The node of the next level that each node of a level lies in. Shape (nodes of the level,)."""
        found = np.zeros(self.sizes[level], dtype=np.int64)
        found[self.owners[level]] = self.owners[level + 1]
        return found


def _added(values: npt.NDArray[np.generic], owner: Ints, size: int) -> Floats:
    found = np.zeros((size, len(values)))
    np.add.at(found, owner, np.asarray(values, dtype=np.float64).T)
    return found.T


def bottom_up(keys: Floats, nodes: Floats, tree: Tree) -> Floats:
    """The keys' forecasts as they are."""
    return keys


def top_down(keys: Floats, nodes: Floats, tree: Tree) -> Floats:
    """The topmost level's forecasts, shared out by the proportions of the forecasts below.

    A node without a forecast of its own has the sum of its keys'; where the forecasts below add up to zero, each has the same
    share.

    Args:
        keys: Base forecasts, NaN where there is none. Shape (periods, keys).
        nodes: Base forecasts, NaN where there is none. Shape (periods, nodes).
        tree: Who is in whom.

    Returns:
        The keys' reconciled forecasts. Shape (periods, keys).
    """
    starts = tree.starts
    sums = tree.sums(keys)
    base = np.where(np.isnan(nodes), sums, nodes)
    last = len(tree.sizes) - 1
    whole = base[:, starts[last] : starts[last + 1]]
    for level in range(last - 1, -1, -1):
        here = base[:, starts[level] : starts[level + 1]]
        here = np.where(np.isnan(sums[:, starts[level] : starts[level + 1]]), np.nan, here)
        whole = _shared(whole, here, tree.parents(level), tree.sizes[level + 1])
    return _shared(whole, keys, tree.owners[0], tree.sizes[0])


def _shared(whole: Floats, parts: Floats, owner: Ints, size: int) -> Floats:
    there = parts == parts
    total = _added(np.where(there, parts, 0.0), owner, size)[:, owner]
    count = _added(there, owner, size)[:, owner]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total != 0, parts / total, 1 / np.maximum(count, 1))
    found: Floats = np.where(there, whole[:, owner] * share, np.nan)
    return found


@dataclass(frozen=True, eq=False)
class ErrorCovariance:
    """The covariance of the base forecasts' errors, shrunk towards its diagonal; never formed.

    It is ``shrinkage * diag(variances) + (1 - shrinkage) * errors' errors / n``: a diagonal and a matrix of rank n, so that
    what MinT needs of it costs n x series, for however many series.

    Attributes:
        variances: Shape (series,).
        errors: What is held of the correlations, zero where unknown. Shape (n, series).
        shrinkage: Between 0 and 1.
    """

    variances: Floats
    errors: Floats
    shrinkage: float

    @classmethod
    def of(cls, errors: Floats, sizes: Floats) -> ErrorCovariance:
        """Estimate it from backtests.

        Args:
            errors: Actual less predicted, a row a held-out period; NaN where unknown. Shape (n, series).
            sizes: Typical forecasts; a series without errors is thought to be as wrong for its size as the median one.
        """
        there = errors == errors
        count = there.sum(axis=0)
        filled = np.where(there, errors, 0.0)
        variances = np.square(filled).sum(axis=0) / np.maximum(count, 1)
        usable = (count > 0) & (variances > 0)
        squares = np.square(np.maximum(np.abs(sizes), 1e-12))
        typical = float(np.median(variances[usable] / squares[usable])) if usable.any() else 1.0
        variances = np.where(usable, variances, typical * squares)
        scaled = np.where(usable, filled / np.sqrt(variances), 0.0)
        return cls(variances, filled * usable, _shrinkage(scaled))

    @property
    def diagonal(self) -> Floats:
        """What is added to the shrunk errors' products: the share of the diagonal, and what unknown errors lack of it."""
        n = max(len(self.errors), 1)
        lacking = self.variances - np.square(self.errors).sum(axis=0) / n
        found: Floats = self.shrinkage * self.variances + (1 - self.shrinkage) * lacking
        return found

    def times(self, matrix: Floats) -> Floats:
        """The product with a matrix. Shape (series, columns) to (series, columns)."""
        together = self.errors.T @ (self.errors @ matrix) / max(len(self.errors), 1)
        return self.diagonal[:, None] * matrix + (1 - self.shrinkage) * together

    def form(self, constraint: Any) -> Floats:
        """``C W C'`` of a sparse matrix. Shape (rows, series) to (rows, rows)."""
        half = constraint @ self.errors.T
        apart = constraint.multiply(self.diagonal[None, :]) @ constraint.T
        found: Floats = apart.toarray() + half @ half.T * ((1 - self.shrinkage) / max(len(self.errors), 1))
        return found

    def only(self, series: npt.NDArray[np.bool_]) -> ErrorCovariance:
        """Of some of the series."""
        return ErrorCovariance(self.variances[series], self.errors[:, series], self.shrinkage)


def _shrinkage(scaled: Floats) -> float:
    """How far correlations are shrunk towards zero (Schäfer and Strimmer, 2005, table 1, target D), in n x n operations.

    Args:
        scaled: Errors with mean square 1. Shape (n, series).
    """
    n = len(scaled)
    if n < 2:
        return 1.0
    squares = np.square(scaled)
    gram = scaled @ scaled.T
    own = (
        squares.sum(axis=0) / n
    )  # the correlations of series with themselves: ones, but where errors are missing
    # Over all pairs of different series: their squared correlations, and the variances of these.
    correlations = float(np.square(gram).sum()) / n**2 - float(np.square(own).sum())
    products = float(np.square(squares.sum(axis=1)).sum()) - float(np.square(squares).sum())
    variances = (products - n * correlations) / (n * (n - 1))
    return float(np.clip(variances / correlations, 0.0, 1.0)) if correlations > 0 else 1.0


def mint(keys: Floats, nodes: Floats, tree: Tree, covariance: ErrorCovariance) -> Floats:
    """The coherent forecasts with the least sum of error variances (MinT), in the form of constraints.

    ``y - W C' (C W C')^-1 C y``, where C says that each node is the sum of its keys: only a matrix of nodes x nodes is solved.

    Args:
        keys: Base forecasts, NaN where there is none. Shape (periods, keys).
        nodes: Base forecasts, NaN where there is none. Shape (periods, nodes).
        tree: Who is in whom.
        covariance: Of the nodes' errors and then the keys'.

    Returns:
        The keys' reconciled forecasts. Shape (periods, keys).
    """
    from scipy.linalg import solve
    from scipy.sparse import csr_array, eye_array, hstack

    found = keys.copy()
    count, width = nodes.shape[1], keys.shape[1]
    members = np.concatenate(
        [owner + start for owner, start in zip(tree.owners, tree.starts[:-1], strict=True)]
    )
    of_key = np.tile(np.arange(width), len(tree.owners))
    summing = csr_array((np.ones(len(members)), (members, of_key)), shape=(count, width))
    both = np.concatenate([nodes == nodes, keys == keys], axis=1)
    patterns, which = np.unique(both, axis=0, return_inverse=True)
    for number, there in enumerate(patterns):
        periods = np.flatnonzero(which.ravel() == number)
        mine = summing[:, np.flatnonzero(there[count:])]
        in_sum = there[:count] & (mine.sum(axis=1) > 0)
        if not in_sum.any():
            continue
        first = int(in_sum.sum())
        series = np.concatenate([in_sum, there[count:]])
        constraint = csr_array(hstack([eye_array(first), -mine[np.flatnonzero(in_sum)]]))
        base = np.concatenate([nodes, keys], axis=1)[np.ix_(periods, series)]
        errors = covariance.only(series)
        moved = solve(errors.form(constraint), constraint @ base.T, assume_a="pos")
        better = base - errors.times(constraint.T @ moved).T
        found[np.ix_(periods, there[count:])] = better[:, first:]
    return found


def rounded(keys: Floats, tree: Tree, decimals: int) -> tuple[Floats, Floats]:
    """Coherent forecasts, rounded so that they still add up: no one moves by a whole unit of the last decimal.

    The topmost sums are rounded. What they are is shared out among their parts: each is rounded down, and those that lost most
    are rounded up instead, until the units add up (the method of largest remainders).

    Args:
        keys: NaN where there is no forecast. Shape (periods, keys).
        tree: Who is in whom.
        decimals: Kept.

    Returns:
        The keys' and the nodes' forecasts. Shapes (periods, keys) and (periods, nodes).
    """
    unit = 10.0**decimals
    starts, sums = tree.starts, tree.sums(keys)
    last = len(tree.sizes) - 1
    levels: list[Floats] = [np.empty(0)] * (last + 1)
    levels[last] = np.rint(sums[:, starts[last] :] * unit)
    for level in range(last - 1, -1, -1):
        here = sums[:, starts[level] : starts[level + 1]] * unit
        levels[level] = _dealt(levels[level + 1], here, tree.parents(level))
    units = _dealt(levels[0], keys * unit, tree.owners[0])
    return units / unit, np.concatenate(levels, axis=1) / unit


def _dealt(whole: Floats, parts: Floats, owner: Ints) -> Floats:
    """Whole units of each part that add up to its owner's. Shape (periods, parts)."""
    floors = np.floor(parts)
    found = floors.copy()
    for period in range(len(parts)):
        there = np.flatnonzero(~np.isnan(parts[period]))
        if len(there) == 0:
            continue
        mine = owner[there]
        lost = parts[period, there] - floors[period, there]
        short = whole[period].copy()
        np.subtract.at(short, mine, floors[period, there])
        order = np.lexsort((np.arange(len(there)), -lost, mine))
        first = np.concatenate([[True], mine[order][1:] != mine[order][:-1]])
        rank = np.arange(len(order)) - np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
        number = np.bincount(mine, minlength=len(short))
        each, rest = np.divmod(short[mine[order]], np.maximum(number[mine[order]], 1))
        found[period, there[order]] += each + (rank < rest)
    return found
