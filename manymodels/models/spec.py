"""The job file's ``models``, ``forecast``, ``anomaly`` and ``ranking`` sections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from manymodels.specs import Fraction, Spec

__all__ = [
    "AnomalySpec",
    "AutoSpec",
    "CandidateSpec",
    "ForecastSpec",
    "RankingSpec",
    "RegressionSpec",
    "Task",
    "WhenSpec",
]

Task = Literal["forecast", "regression", "classification", "anomaly", "ranking"]


class WhenSpec(Spec):
    """For which keys a candidate is tried; all that is said must hold."""

    min_rows: int | None = Field(default=None, ge=1)
    """The key has at least so many rows."""
    max_rows: int | None = Field(default=None, ge=1)
    """The key has at most so many rows."""
    min_seasons: float | None = Field(default=None, gt=0)
    """Forecasts: the rows cover at least so many seasons (`forecast.season_length`)."""
    max_season: int | None = Field(default=None, ge=1)
    """Forecasts: a season has at most so many periods."""
    daily: bool | None = None
    """Forecasts: whether a season is a day of 24, 48 or 96 periods, so that the week is a season too."""
    seasonal: bool | None = None
    """Forecasts: whether the season is significant: its autocorrelation, at 90 %, as in the M4 competition."""
    alive: bool | None = None
    """Forecasts: whether the target has changed in the last two seasons, or ten periods, or horizon, whichever is longest."""
    intermittent: bool | None = None
    """Forecasts: whether demands are 1.32 periods apart or more on average (Syntetos, Boylan and Croston, 2005)."""
    positive: bool | None = None
    """Forecasts: whether the target is above zero throughout."""

    @model_validator(mode="after")
    def _possible(self) -> WhenSpec:
        if self.min_rows is not None and self.max_rows is not None and self.min_rows > self.max_rows:
            raise ValueError(f"`min_rows` is {self.min_rows}, above `max_rows`, {self.max_rows}")
        return self

    @property
    def of_series(self) -> bool:
        """Whether it asks for more than the number of rows: for a forecast's series."""
        return bool(set(self.model_dump(exclude_none=True)) - {"min_rows", "max_rows"})


class CandidateSpec(Spec):
    """One setting to try for every key; written ``family`` or ``family: {param: value}``."""

    added = frozenset({"when"})

    name: str
    """Unique in the job; the family's name, numbered where it occurs twice."""
    family: str
    """A built-in family, the import path of an estimator (`package.module.Class`), or your own (`module:Class`,
    `module:function`)."""
    params: dict[str, Any] = {}
    """The family's parameters; a value may be a search space: `{uniform: [0, 1]}`, `{log_uniform: [0.001, 1000]}`,
    `{integers: [1, 5]}` or `{choice: [a, b]}`."""
    when: WhenSpec | None = None
    """For which keys it is tried; all when null."""


class AutoSpec(Spec):
    """What narrows or widens the candidates of `models: auto`."""

    allow: list[str] = []
    """Only these, by candidate or family; all when empty."""
    block: list[str] = []
    """Not these, by candidate or family."""
    include: list[str] = []
    """These too, by candidate or family: some cost much, or need a truth column, and are left out otherwise."""
    country: str | None = None
    """Forecasts: whose public holidays are features: the ISO code of a country, or of a part of it (`DE`, `DE-BY`)."""


class ForecastSpec(Spec):
    """What a forecast covers."""

    added = frozenset({"intervals"})

    horizon: int = Field(default=14, ge=1)
    """Periods ahead."""
    levels: list[float] = []
    """Prediction intervals, percent: `[80, 95]`."""
    intervals: Literal["auto", "conformal", "model"] = "auto"
    """Where bounds come from: `model`, its own method; `conformal`, its errors in the backtest; `auto`, the latter where the
    backtest has two windows or more, or the model has no method of its own."""
    season_length: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Periods in a season; by frequency when null (`step` has 1). `auto` looks in some keys for one of the seasons that the
    frequency suggests (of any length for `step`), and takes 1 where most have none."""
    non_negative: bool = False
    """Whether forecasts below zero are raised to zero."""

    @field_validator("levels")
    @classmethod
    def _percent(cls, levels: list[float]) -> list[float]:
        return _percents(levels)


class RegressionSpec(Spec):
    """What a regression tells beside its prediction."""

    levels: list[float] = []
    """Prediction intervals, percent: `[80, 95]`; as wide as the errors on held-out rows say."""

    @field_validator("levels")
    @classmethod
    def _percent(cls, levels: list[float]) -> list[float]:
        return _percents(levels)


def _percents(levels: list[float]) -> list[float]:
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
