"""The job file's ``hierarchy`` section."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from manymodels.models.spec import CandidateSpec
from manymodels.specs import Duration, Spec

__all__ = ["HierarchySpec"]


def _in_full(entry: Any) -> Any:
    """A parent as written (`pooled`, or `global_boost: {…}`) with its fields named."""
    if isinstance(entry, str):
        return {"name": entry, "family": entry}
    if isinstance(entry, dict) and "family" not in entry and len(entry) == 1:
        family, params = next(iter(entry.items()))
        return {"name": family, "family": family, "params": {} if params is None else params}
    return {"name": entry["family"], **entry} if isinstance(entry, dict) and "family" in entry else entry


class HierarchySpec(Spec):
    """Levels above the keys: models of many keys that a key's own model is blended with, and sums that forecasts add up to."""

    levels: list[list[str]] = Field(default=[[]], min_length=1)
    """Columns that are constant within a key, of each level, the nearest first; `[]` is all keys: `[[region], []]`."""
    blend: bool = True
    """Whether a key's model is blended with its level's, by a weight that its backtest chooses."""
    parent: Annotated[CandidateSpec | None, BeforeValidator(_in_full)] = None
    """What a level's model is. Null: `global_boost` for forecasts, else histogram gradient boosting. Forecasts: also `pooled`
    (ridge on lags); other tasks: an estimator by import path."""
    rows: int = Field(default=1_000_000, ge=1)
    """Rows that a level's model is fitted on, at most: a seeded sample of whole keys."""
    timeout: Duration = 600.0
    """Per level model, with its fits before each cutoff."""
    reconcile: Literal["bottom_up", "top_down", "mint"] | None = None
    """Forecasts: how the keys' forecasts and those of the levels' sums are made to add up; null is not at all."""
    decimals: int = Field(default=2, ge=0, le=9)
    """Reconciled forecasts are rounded to so many decimals, and add up exactly."""

    @field_validator("levels")
    @classmethod
    def _once(cls, levels: list[list[str]]) -> list[list[str]]:
        for place, level in enumerate(levels):
            if level in levels[:place]:
                raise ValueError(f"level {level} is listed twice")
        return levels

    @model_validator(mode="after")
    def _nested(self) -> HierarchySpec:
        for below, above in zip(self.levels, self.levels[1:], strict=False):
            if self.reconcile is not None and not set(above) < set(below):
                raise ValueError(
                    f"to add up, a level must have some of the columns of the level before it; found {above} after {below}; "
                    "write [[region, district], [region], []]"
                )
        return self
