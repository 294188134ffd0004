"""A linear Gaussian state-space model at one point in time: enough to go on filtering and to forecast.

Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed., 4.3 and 4.11.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import Floats

__all__ = ["StateSpace"]

Places = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class StateSpace:
    """One observed series, one source of noise; matrices of which most entries are zero are kept by their entries.

    Attributes:
        size: Of the state.
        rows: Row of each entry of the transition. Shape (entries,).
        columns: Column of each entry. Shape (entries,).
        entries: Their values. Shape (entries,).
        design: What of the state is observed. Shape (size,).
        noise: What a unit of noise adds to the state. Shape (size,).
        variance: Of the noise.
        state: Its expectation for the next period. Shape (size,).
        covariance: Of that; empty when it is that of the noise alone, as it is after a long history without
            gaps.
    """

    size: int
    rows: Places
    columns: Places
    entries: Floats
    design: Floats
    noise: Floats
    variance: float
    state: Floats
    covariance: Floats

    @classmethod
    def of(
        cls,
        transition: Floats,
        design: Floats,
        noise: Floats,
        variance: float,
        state: Floats,
        covariance: Floats,
    ) -> StateSpace:
        """From full matrices; see the attributes. ``transition`` has shape (size, size)."""
        rows, columns = np.nonzero(transition)
        space = cls(
            len(state),
            rows.astype(np.uint16),
            columns.astype(np.uint16),
            transition[rows, columns],
            design,
            noise,
            variance,
            state,
            covariance,
        )
        return space._settled(state, covariance)

    def advance(self, values: Floats) -> StateSpace:
        """After some observations; a NaN teaches nothing. Shape (n,)."""
        transition, covariance, state = self._transition(), self._covariance(), self.state
        added = self.variance * np.outer(self.noise, self.noise)
        for value in values.tolist():
            if value == value:
                seen = covariance @ self.design
                spread = float(self.design @ seen)
                if spread > 0:
                    gain = seen / spread
                    state = state + gain * (value - float(self.design @ state))
                    covariance = covariance - np.outer(gain, seen)
            state = transition @ state
            covariance = transition @ covariance @ transition.T + added
            covariance = (covariance + covariance.T) / 2
        return self._settled(state, covariance)

    def forecast(self, horizon: int) -> tuple[Floats, Floats]:
        """Means and variances of the next observations. Shapes (horizon,)."""
        transition, covariance, state = self._transition(), self._covariance(), self.state
        added = self.variance * np.outer(self.noise, self.noise)
        means, variances = np.empty(horizon), np.empty(horizon)
        for step in range(horizon):
            means[step] = self.design @ state
            variances[step] = self.design @ covariance @ self.design
            state = transition @ state
            covariance = transition @ covariance @ transition.T + added
        return means, np.maximum(variances, 0.0)

    def _transition(self) -> Floats:
        matrix = np.zeros((self.size, self.size))
        matrix[self.rows, self.columns] = self.entries
        return matrix

    def _covariance(self) -> Floats:
        if len(self.covariance):
            return self.covariance
        return self.variance * np.outer(self.noise, self.noise)

    def _settled(self, state: Floats, covariance: Floats) -> StateSpace:
        """With a state, its covariance left out where it is that of the noise alone."""
        alone = self.variance * np.outer(self.noise, self.noise)
        if np.allclose(covariance, alone, rtol=1e-6, atol=1e-6 * self.variance):
            covariance = np.empty((0, 0))
        return replace(self, state=state, covariance=covariance)
