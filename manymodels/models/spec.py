"""The job file's ``models``, ``forecast``, ``anomaly`` and ``ranking`` sections."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from manymodels.specs import Fraction, Spec

__all__ = ["AnomalySpec", "CandidateSpec", "ForecastSpec", "RankingSpec", "Task"]

Task = Literal["forecast", "regression", "classification", "anomaly", "ranking"]


class CandidateSpec(Spec):
    """One setting to try for every key; written ``family`` or ``family: {param: value}``."""

    name: str
    """Unique in the job; the family's name, numbered where it occurs twice."""
    family: str
    """A built-in family, the import path of an estimator (`package.module.Class`), or your own (`module:Class`,
    `module:function`)."""
    params: dict[str, Any] = {}
    """The family's parameters; a value may be a search space: `{uniform: [0, 1]}`, `{log_uniform: [0.001, 1000]}`,
    `{integers: [1, 5]}` or `{choice: [a, b]}`."""


class ForecastSpec(Spec):
    """What a forecast covers."""

    horizon: int = Field(default=14, ge=1)
    """Periods ahead."""
    levels: list[float] = []
    """Prediction intervals, percent: `[80, 95]`."""
    season_length: int | None = Field(default=None, ge=1)
    """Periods in a season; by frequency when null (`step` has 1)."""
    non_negative: bool = False
    """Whether forecasts below zero are raised to zero."""

    @field_validator("levels")
    @classmethod
    def _percent(cls, levels: list[float]) -> list[float]:
        for level in levels:
            if not 0 < level < 100:
                raise ValueError(f"a level is a percentage between 0 and 100; found {level}")
        return sorted(set(levels))


class AnomalySpec(Spec):
    """How much is anomalous."""

    rate: Fraction = 0.01
    """Expected share of anomalous rows; sets the threshold."""


class RankingSpec(Spec):
    """What a ranking returns."""

    top: int | None = Field(default=None, ge=1)
    """Rows to keep per key, best first; all when null."""
