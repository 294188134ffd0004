"""Which families have a batched trainer, and which columns belong to a schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import pyarrow as pa

from manymodels.exceptions import StoreFormatError
from manymodels.models.batched.contract import BatchedTrainer, Ints, ModelColumns
from manymodels.models.contract import Family
from manymodels.models.families import FAMILIES
from manymodels.models.spec import CandidateSpec, Task

__all__ = ["all_batched", "columns_of", "trainer_module", "trainer_of"]

_HERE = "manymodels.models.batched"
_FORECAST = "manymodels.models.forecast"
_ANOMALY = "manymodels.models.anomaly"

_TRAINERS: dict[str, str] = {
    f"{_FORECAST}.simple:Mean": f"{_HERE}.simple:BatchedMean.of",
    f"{_FORECAST}.simple:Naive": f"{_HERE}.simple:BatchedLastSeason.naive",
    f"{_FORECAST}.simple:SeasonalNaive": f"{_HERE}.simple:BatchedLastSeason.seasonal",
    f"{_FORECAST}.simple:Drift": f"{_HERE}.simple:BatchedDrift.of",
    f"{_FORECAST}.ets:Ets": f"{_HERE}.smoothing:BatchedEts",
    f"{_FORECAST}.ets:HoltWinters": f"{_HERE}.smoothing:BatchedEts",
    f"{_FORECAST}.theta:Theta": f"{_HERE}.smoothing:BatchedTheta",
    f"{_FORECAST}.intermittent:Croston": f"{_HERE}.intermittent:BatchedDemand",
    f"{_FORECAST}.intermittent:Tsb": f"{_HERE}.intermittent:BatchedDemand",
    f"{_FORECAST}.lag_regression:LagRegression": f"{_HERE}.lag_regression:BatchedLagRegression.of",
    f"{_ANOMALY}.ewma:Ewma": f"{_HERE}.anomaly:BatchedEwma",
    f"{_ANOMALY}.robust_zscore:RobustZscore": f"{_HERE}.anomaly:BatchedZscore.of",
}
"""Class of a family to what makes its batched trainer, or None where these parameters have none."""

_ESTIMATORS: dict[str, str] = {
    "regression": f"{_HERE}.linear:BatchedLinear.of",
    "ranking": f"{_HERE}.linear:BatchedLinear.of",
    "classification": f"{_HERE}.logistic:BatchedLogistic.of",
}
"""Task to the same, for estimators of scikit-learn."""

_SKLEARN = "manymodels.models.tabular.family:SklearnFamily"

_SCHEMAS: dict[str, str] = {
    "mean/1": f"{_HERE}.simple:Means",
    "last_season/1": f"{_HERE}.simple:LastSeasons",
    "drift/1": f"{_HERE}.simple:Drifts",
    "linear/1": f"{_HERE}.linear:LinearModels",
    "logistic/1": f"{_HERE}.logistic:LogisticModels",
    "smoothing/1": f"{_HERE}.smoothing:Smoothings",
    "theta/1": f"{_HERE}.smoothing:Thetas",
    "croston/1": f"{_HERE}.intermittent:Intervals",
    "tsb/1": f"{_HERE}.intermittent:Chances",
    "lag_regression/1": f"{_HERE}.lag_regression:LagRegressions",
    "interval_forecasts/1": f"{_HERE}.intervals:IntervalForecasts",
    "interval_regressions/1": f"{_HERE}.intervals:IntervalRegressions",
    "ewma/1": f"{_HERE}.anomaly:Charts",
    "robust_zscore/1": f"{_HERE}.anomaly:Zscores",
}
"""Every schema that was ever written, and the class that reads it."""


def trainer_of(family: Family) -> BatchedTrainer | None:
    """The batched trainer that fits as a family does; None where there is none.

    The class must be the very one: a subclass may do anything, and is fitted one by one.
    """
    location = f"{type(family).__module__}:{type(family).__qualname__}"
    task = getattr(family, "task", "")
    place = _ESTIMATORS.get(task) if location == _SKLEARN else _TRAINERS.get(location)
    made: BatchedTrainer | None = None if place is None else _found(place)(family)
    return made


def all_batched(families: Iterable[Family]) -> bool:
    """Whether each of the families has a batched trainer."""
    return all(trainer_of(family) is not None for family in families)


def trainer_module(candidate: CandidateSpec, task: Task) -> str | None:
    """Where a candidate's batched trainer and its models are defined; None where no parameters would give it one.

    Nothing is imported to find out.
    """
    family = candidate.family
    if family.startswith("sklearn.linear_model."):
        place = _ESTIMATORS.get(task)
    else:
        place = _TRAINERS.get(FAMILIES[family].location) if family in FAMILIES else None
    return None if place is None else place.partition(":")[0]


def columns_of(schema: str, table: pa.Table, shared: Mapping[str, Any], seeds: Ints) -> ModelColumns:
    """The models of a segment of codec ``columns``.

    Raises:
        StoreFormatError: This version does not know the schema.
    """
    place = _SCHEMAS.get(schema)
    if place is None:
        raise StoreFormatError(
            f"models are kept as {schema!r}, this version of manymodels reads {', '.join(sorted(_SCHEMAS))}; "
            "load them with the version that wrote them, or a newer one"
        )
    columns: ModelColumns = _found(place)(table, shared, seeds)
    return columns


def _found(place: str) -> Any:
    module, _, path = place.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
