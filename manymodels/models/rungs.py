"""The ladder's models: one over many keys' rows, for keys that have no usable model of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from manymodels.exceptions import JobError
from manymodels.models.contract import Family, FitSpec, FittedModel, PooledFamily
from manymodels.models.spec import CandidateSpec, Task
from manymodels.records import Rows

__all__ = ["ParentFamily", "PooledRows", "naive_family", "parent_family", "pooled_estimator", "pooled_family"]

_DEFAULTS: dict[Task, str] = {
    "regression": "sklearn.ensemble.HistGradientBoostingRegressor",
    "ranking": "sklearn.ensemble.HistGradientBoostingRegressor",
    "classification": "sklearn.ensemble.HistGradientBoostingClassifier",
    "anomaly": "isolation_forest",
}


class ParentFamily(PooledFamily, Protocol):
    """What fits the levels that keys are blended with; ``Family`` says what the names mean."""

    @property
    def name(self) -> str:
        """Of the family."""
        ...

    @property
    def revision(self) -> int:
        """Of the models that it makes."""
        ...

    @property
    def library(self) -> str:
        """That fits."""
        ...


@dataclass(frozen=True)
class PooledRows:
    """A family whose model of many keys is its model of all their rows as one; the key is no feature.

    Attributes:
        family: What fits.
    """

    family: Family

    @property
    def name(self) -> str:
        """See ``Family.name``."""
        return self.family.name

    @property
    def revision(self) -> int:
        """See ``Family.revision``."""
        return self.family.revision

    @property
    def library(self) -> str:
        """See ``Family.library``."""
        return self.family.library

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> FittedModel:
        """Fit the rows of many keys.

        Raises:
            ModelError: These rows cannot be fitted, with the reason.
        """
        return self.family.fit(Rows.joined(keys), spec)


def pooled_family(task: Task, candidates: list[CandidateSpec], *, featureless: bool = False) -> PooledFamily:
    """What fits the ``pooled`` rung and the levels.

    Forecasts have their own. For the other tasks it is the job's first candidate where that is an estimator by
    import path, else histogram gradient boosting; for anomaly detection an isolation forest. Regressions and
    rankings add the level of a key that has rows of its own. Without features, which only the user's own functions can
    do, it is the naive model of all rows.

    Raises:
        JobError: The candidate cannot be built.
    """
    estimator = pooled_estimator(task, candidates)
    if estimator is None:
        from manymodels.models.forecast.pooled import PooledForecast

        return PooledForecast()
    if featureless and task != "anomaly":
        return naive_family(task)
    from manymodels.models.families import build

    family = build(estimator, task)
    if task in ("regression", "ranking"):
        from manymodels.models.tabular.pooled import PooledRegression

        return PooledRegression(family)
    return PooledRows(family)


def parent_family(task: Task, parent: CandidateSpec | None) -> ParentFamily:
    """What fits the levels that keys are blended with.

    Args:
        task: The job's.
        parent: As the job has it; None is boosted trees: ``global_boost`` for forecasts, else scikit-learn's.

    Raises:
        JobError: There is no such model of many keys, or it has no such parameter.
    """
    from manymodels.models.families import build, construct

    if task == "forecast":
        from manymodels.models.forecast.global_boost import GlobalBoost
        from manymodels.models.forecast.pooled import PooledForecast

        kinds: dict[str, Any] = {"global_boost": GlobalBoost, "pooled": PooledForecast}
        if parent is None:
            return GlobalBoost()
        if parent.family not in kinds:
            raise JobError(
                f"hierarchy.parent: a forecast takes {' or '.join(kinds)}; found {parent.family!r}"
            )
        made: Any = construct(kinds[parent.family], parent, "hierarchy.parent")
        return made  # type: ignore[no-any-return]
    default = _DEFAULTS[task]
    family = build(parent or CandidateSpec(name=default, family=default), task)
    if task == "classification":
        return PooledRows(family)
    from manymodels.models.tabular.pooled import PooledRegression

    return PooledRegression(family)


def pooled_estimator(task: Task, candidates: Sequence[CandidateSpec]) -> CandidateSpec | None:
    """The estimator that fits the ``pooled`` rung and the levels; None for forecasts, which have their own."""
    if task == "forecast":
        return None
    first = candidates[0].family if candidates else ""
    if "." in first and ":" not in first:
        return candidates[0]
    return CandidateSpec(name=_DEFAULTS[task], family=_DEFAULTS[task])


def naive_family(task: Task) -> PooledFamily:
    """What fits the ``naive`` rung.

    Forecasts have their own; otherwise it is the mean of the target, the shares of the classes, or robust
    z-scores of each numeric column from its median.
    """
    if task == "forecast":
        from manymodels.models.forecast.pooled import NaiveForecast

        return NaiveForecast()
    if task == "anomaly":
        from manymodels.models.anomaly.robust_zscore import RobustZscore

        return PooledRows(RobustZscore(expectation="median"))
    from manymodels.models.tabular.constant import NaiveTabular

    return NaiveTabular()
