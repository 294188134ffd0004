"""The job file's ``selection`` section."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from manymodels.specs import Duration, Fraction, Spec

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

    added: ClassVar[frozenset[str]] = frozenset(
        {
            "draws",
            "ensemble",
            "learn",
            "max_seconds",
            "max_seconds_per_key",
            "max_trials",
            "patience",
            "pilot",
            "search",
            "target_score",
        }
    )

    search: Literal["random", "halving"] = "random"
    """`random`: each configuration is judged in full; `halving`: all on little of the evaluation, the better third on more, and
    so on."""
    draws: int | None = Field(default=None, ge=1, le=10_000)
    """Configurations that a run draws of each candidate with search spaces; null is 16, or `max_trials` where that is more."""
    max_trials: int | None = Field(default=None, ge=1)
    """Configurations that are tried on a key, at most; null is all."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many trials in a row that were no better than the best before. Not with halving."""
    target_score: float | None = None
    """Stop once the metric is as good as this."""
    max_seconds_per_key: Duration | None = None
    """Begin no further trial of a key after this time. A safety limit: a key that hit it says so."""
    max_seconds: Duration | None = None
    """Of all searches of a run; shared among the keys by what each is estimated to take. A safety limit, too."""
    learn: bool = False
    """Try first what did best on similar keys: on those of earlier runs, and on a pilot sample of this run's keys, on which
    everything is tried."""
    pilot: int | Fraction | None = None
    """Keys of the pilot sample, or their share (5%); null is 5 %, at least 20 and at most 200."""
    ensemble: EnsembleSpec | None = None
    """Combine the best candidates of a key, where that does better than the best one in its evaluation; null is never. Not for
    anomaly detection."""

    @field_validator("pilot", mode="before")
    @classmethod
    def _count_or_fraction(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            raise ValueError(f"the pilot needs at least one key; found {value}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SelectionSpec:
        if self.patience is not None and self.search == "halving":
            raise ValueError(
                "`patience` has no meaning with `search: halving`, which drops configurations itself"
            )
        if self.learn and self.max_trials is None and self.patience is None and self.target_score is None:
            raise ValueError(
                "`learn` settles the order of the trials; set `max_trials`, `patience` or `target_score` to end them early"
            )
        return self

    @property
    def stepwise(self) -> bool:
        """Whether what is tried next on a key depends on what came out before, or on the clock."""
        stops = (self.patience, self.target_score, self.max_seconds_per_key, self.max_seconds)
        return self.search == "halving" or any(stop is not None for stop in stops)

    @property
    def drawn(self) -> int:
        """Configurations to draw of each candidate with spaces."""
        return self.draws or max(_DRAWS, self.max_trials or 0)
