"""Boosted trees over the histories of many keys: the parent that keys' own forecasts are blended with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError
from manymodels.models.contract import FitSpec, Floats, Predictions
from manymodels.models.forecast.fitted import FittedForecast, Outlook, normal_outlook
from manymodels.models.forecast.frequency import Ints
from manymodels.models.forecast.lag_model import Scale
from manymodels.models.forecast.origins import History, View, origins_of
from manymodels.models.forecast.series import Basis, Series
from manymodels.records import Rows

__all__ = ["BoundBoost", "FittedBoost", "GlobalBoost"]

_BLOCK = 64
"""Origins of a key that are looked at together."""
_TRIED = 60_000
"""Periods that the number of trees is tried on, at most."""
_LEAST = 500
"""Periods that it is tried on, at least."""
_MOST = 400
"""Trees that are tried."""
_SAME = 0.015
"""Of two numbers of trees that err alike, by so much, the lower one is taken."""
_STRIDE = 20
"""Trees between two trials."""
_ITERATIONS = 100
"""Trees where nothing can be tried."""


@dataclass(frozen=True)
class GlobalBoost:
    """One gradient boosting for all keys, which learns what each key's own regression at the origin leaves.

    See ``PooledFamily`` and ``View.see``. Targets are logarithms where no key goes below zero, else divided by the key's size;
    a period is learned from as seen from an origin up to one horizon before it.

    Attributes:
        rows: Periods that are learned from, at most; origins are left out by a seeded draw.
        iterations: Trees; null takes the fewest that do about as well as any on the last horizon of the histories, known only
            the time before it.
        rate: Learning rate.
        leaves: Leaves of a tree.
    """

    rows: int = 300_000
    iterations: int | None = None
    rate: float = 0.06
    leaves: int = 31

    name: ClassVar[str] = "global_boost"
    revision: ClassVar[int] = 1
    library: ClassVar[str] = "sklearn"

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> FittedBoost:
        """Fit the histories of many keys.

        Raises:
            ModelError: No history is long enough.
        """
        basis = Basis.of(spec)
        histories = list(_usable(keys, basis))
        if not histories:
            raise ModelError(f"none of {len(keys)} keys has a value in the target {basis.target}")
        view = View.of(spec, histories)
        table = self._table(view, histories, spec.seed)
        late = table.periods > max(series.end for series in histories) - view.horizon
        iterations, deviations = self._tried(table, late, view.horizon, spec.seed)
        regressor = self._fit(table.X, table.y, iterations, spec.seed)
        if deviations is None:
            deviations = np.full(view.horizon, float((table.y - regressor.predict(table.X)).std()))
        return FittedBoost(basis, view, regressor, deviations)

    def _fit(self, X: Any, y: Floats, iterations: int, seed: int) -> Any:
        from sklearn import config_context
        from sklearn.ensemble import HistGradientBoostingRegressor

        regressor = HistGradientBoostingRegressor(
            max_iter=iterations,
            learning_rate=self.rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=max(min(40, len(y) // 50), 5),
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed % 2**32,
        )
        with config_context(assume_finite=True):
            return regressor.fit(X, y)

    def _tried(
        self, table: _Table, late: npt.NDArray[np.bool_], horizon: int, seed: int
    ) -> tuple[int, Floats | None]:
        """How many trees do best on what is late, and by how much they err there at each step; None where it cannot be told."""
        early, judged = np.flatnonzero(~late), np.flatnonzero(late)
        if len(early) < _LEAST or len(judged) < horizon:
            return self.iterations or _ITERATIONS, None
        draw = np.random.default_rng(seed)
        early = np.sort(draw.permutation(early)[:_TRIED])
        judged = np.sort(draw.permutation(judged)[: _TRIED // 4])
        regressor = self._fit(table.X[early], table.y[early], self.iterations or _MOST, seed)
        tried: list[tuple[int, Floats]] = []
        for number, predicted in enumerate(regressor.staged_predict(table.X[judged]), 1):
            if number % _STRIDE == 0 or number == regressor.n_iter_:
                tried.append((number, table.y[judged] - predicted))
        misses = np.array([np.abs(left).mean() for _, left in tried])
        iterations, left = tried[int(np.argmax(misses <= misses.min() * (1 + _SAME)))]
        steps, squares = table.steps[judged], np.square(left)
        counts = np.bincount(steps, minlength=horizon + 1)[1:]
        sums = np.bincount(steps, squares, minlength=horizon + 1)[1:]
        deviations = np.sqrt(np.where(counts > 0, sums / np.maximum(counts, 1), squares.mean()))
        return self.iterations or iterations, deviations

    def _table(self, view: View, histories: list[Series], seed: int) -> _Table:
        """What is learned from."""
        draw = np.random.default_rng(seed)
        total = sum(len(series) for series in histories)
        stride = max(view.horizon // 4, round(total * view.horizon / self.rows), 1)
        X, y, steps, periods = [], [], [], []
        for series in histories:
            phase = int(draw.integers(stride))
            ends = origins_of(len(series), view, stride, phase)
            history = History.of(view, series, view.scale(series))
            for start in range(0, len(ends), _BLOCK):
                block = ends[start : start + _BLOCK]
                seen, base = view.see(history, block)
                at = block[:, None] - 1 + np.arange(1, view.horizon + 1)
                values = np.where(at < len(series), history.levels[history.ahead(at)], np.nan)
                use = values == values
                X.append(seen[use].astype(np.float32))
                y.append((values - base)[use])
                steps.append(np.nonzero(use)[1] + 1)
                periods.append(series.start + at[use])
        if not y or sum(len(part) for part in y) < 2:
            raise ModelError(f"{len(histories)} histories are too short to learn from")
        return _Table(np.concatenate(X), np.concatenate(y), np.concatenate(steps), np.concatenate(periods))


@dataclass(frozen=True, eq=False)
class _Table:
    """Periods to learn from, each as seen from an origin.

    Attributes:
        X: What is seen. Shape (n, columns).
        y: What the key's own regression leaves of the level. Shape (n,).
        steps: From the origin. Shape (n,).
        periods: Numbers of the periods. Shape (n,).
    """

    X: Any
    y: Floats
    steps: Ints
    periods: Ints


def _usable(keys: list[Rows], basis: Basis) -> Iterator[Series]:
    for rows in keys:
        try:
            yield Series.read(rows, basis)
        except ModelError:
            continue


@dataclass(frozen=True, slots=True)
class FittedBoost:
    """The trees; they forecast for a key once ``extend`` gave them the key's history.

    Attributes:
        basis: How rows become a series, and what comes out.
        view: How a history is looked at.
        regressor: Predicts what is left of a level.
        deviations: Standard deviations of its errors by step, in levels. Shape (horizon,).
    """

    basis: Basis
    view: View
    regressor: Any
    deviations: Floats

    def predict(self, rows: Rows) -> Predictions:
        """Refuse: there is no history to start from.

        Raises:
            ModelError: Always.
        """
        raise ModelError("the model of many keys starts from a key's history, and this key has none")

    def extend(self, rows: Rows) -> BoundBoost:
        """The forecast of the key with this history.

        Raises:
            UnusableRowsError: No row has a target.
            ModelError: A target below zero, where the fleet had none.
        """
        series = Series.read(rows, self.basis)
        scale = self.view.scale(series)
        return BoundBoost(self.basis, series.end, self, scale, History.of(self.view, series, scale))

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return {
            "family": "global_boost",
            "trees": int(self.regressor.n_iter_),
            "season_length": self.view.season,
        }


@dataclass(frozen=True, slots=True)
class BoundBoost(FittedForecast):
    """The trees and one key's history.

    Attributes:
        fleet: The trees.
        scale: The key's.
        history: The key's.
    """

    fleet: FittedBoost
    scale: Scale
    history: History

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return self.fleet.describe()

    def _outlook(self, steps: Ints, rows: Rows) -> Outlook:
        from sklearn import config_context

        # A key that ended before the others is asked for more: what is learned of the last step serves there too.
        horizon = max(self.fleet.view.horizon, int(steps.max(initial=1)))
        view, count = replace(self.fleet.view, horizon=horizon), len(self.history.levels)
        encoded, lacking = view.columns.known.encode(rows)
        present = np.zeros(view.horizon, dtype=np.bool_)
        present[steps - 1] = True
        known = np.zeros((view.horizon, encoded.shape[1]))
        known[steps - 1] = encoded
        history = self.history.followed(view, present, known)
        seen, base = view.see(history, np.array([count]))
        with config_context(assume_finite=True):
            ahead = base[0, steps - 1] + self.fleet.regressor.predict(seen[0, steps - 1].astype(np.float32))
        ahead[lacking] = np.nan
        deviations = self.fleet.deviations[np.minimum(steps, len(self.fleet.deviations)) - 1]
        scale = self.scale
        plain = normal_outlook(
            ahead * scale.factor,
            deviations * scale.factor,
            self.basis.levels,
        )
        with np.errstate(over="ignore"):
            return Outlook(scale.target(plain.mean), scale.target(plain.lower), scale.target(plain.upper))

    def _extended(self, newer: Series) -> BoundBoost:
        return replace(
            self, origin=newer.end, history=self.history.longer(self.fleet.view, newer, self.scale)
        )
