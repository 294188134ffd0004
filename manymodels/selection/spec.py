"""The job file's ``selection`` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manymodels.specs import Spec

__all__ = ["ENSEMBLE", "EnsembleSpec", "SelectionSpec"]

ENSEMBLE = "ensemble"
"""The name under which ensembles stand on leaderboards, beside the candidates."""

_DRAWS = 16


class EnsembleSpec(Spec):
    """A combination of the best candidates, kept where it does better than the best single one."""

    top: int = Field(default=3, ge=2)
    """Members at most: the best candidates of the key."""
    combine: Literal["weighted", "median"] = "weighted"
    """How members' predictions become one: their mean, weighted by the inverse of their errors, or their median."""
    keep: Literal["better", "always"] = "better"
    """`better`: where it does better than the candidate that the same held-out rows would have chosen; `always`: wherever it
    can be judged."""


class SelectionSpec(Spec):
    """How a key's model is searched for, and what else may become it."""

    draws: int | None = Field(default=None, ge=1, le=10_000)
    """Configurations that a run draws of each candidate with search spaces; null is 16, or `max_trials` where that is more."""
    max_trials: int | None = Field(default=None, ge=1)
    """Configurations that are tried on a key, at most; null is all."""
    ensemble: EnsembleSpec | None = None
    """Combine the best candidates of a key, where that does better than the best one in its evaluation; null is never. Not for
    anomaly detection."""

    @property
    def drawn(self) -> int:
        """Configurations to draw of each candidate with spaces."""
        return self.draws or max(_DRAWS, self.max_trials or 0)
