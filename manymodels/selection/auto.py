"""``models: auto``: the candidates of each task, and for which keys each is tried.

The set is known when the job is loaded, so that the run's record, fingerprint and plan name every candidate; what is tried on
a key depends on the key (``when``, held against its rows by ``selection.applicability``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from manymodels.models.spec import AutoSpec, CandidateSpec, Task, WhenSpec
from manymodels.selection.spec import SelectionSpec

__all__ = ["ENSEMBLE_OF_AUTO", "SETS", "Entry", "auto_candidates", "with_auto", "with_auto_ensemble"]

_TABULAR = {"top": 3, "combine": "weighted", "keep": "better"}

ENSEMBLE_OF_AUTO: Mapping[str, Mapping[str, Any]] = {
    "forecast": {"top": 8, "combine": "median", "keep": "always"},
    "regression": _TABULAR,
    "ranking": _TABULAR,
    "classification": _TABULAR,
}
"""By task, the ensemble of a job with `models: auto` that says nothing of ensembles."""

_NAME = "auto"


def with_auto(models: Any, task: Task | None) -> Any:
    """The candidates as a job file has them, with what `auto` stands for in its place.

    Args:
        models: `auto`, `auto: {block: [ets]}`, or a list of candidates in which such an entry may be; what is none of these is
            for the job to refuse.
        task: Of the job; None where it is none.

    Raises:
        ValueError: See ``auto_candidates``, or a field that `auto` does not have.
    """
    entries = [models] if not isinstance(models, list) and _names_auto(models) else models
    if task is None or not isinstance(entries, list):
        return entries
    expanded: list[Any] = []
    for entry in entries:
        if entry == _NAME:
            expanded += auto_candidates(task, AutoSpec())
        elif isinstance(entry, Mapping) and set(entry) == {_NAME}:
            expanded += auto_candidates(task, _read(entry[_NAME]))
        else:
            expanded.append(entry)
    return expanded


def with_auto_ensemble(fields: Any) -> Any:
    """A job's fields, with an ensemble where its candidates are `auto` and nothing is said of ensembles.

    Args:
        fields: As in a job file, not yet checked.
    """
    if not isinstance(fields, Mapping) or not _names_auto(fields.get("models")):
        return fields
    task = fields.get("task")
    wanted = ENSEMBLE_OF_AUTO.get(task) if isinstance(task, str) else None
    if wanted is None:
        return fields
    selection = fields.get("selection") or {}
    if isinstance(selection, SelectionSpec):
        selection = selection.model_dump(exclude_unset=True)
    if not isinstance(selection, Mapping) or "ensemble" in selection:
        return fields
    return {**fields, "selection": {**selection, "ensemble": dict(wanted)}}


def _names_auto(models: Any) -> bool:
    entries = models if isinstance(models, list) else [models]
    return any(entry == _NAME or (isinstance(entry, Mapping) and set(entry) == {_NAME}) for entry in entries)


def _read(fields: Any) -> AutoSpec:
    try:
        return AutoSpec.model_validate({} if fields is None else fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"auto{': ' + where if where else ''}: {first['msg'].lower()}; it takes {', '.join(AutoSpec.model_fields)}"
        ) from None


def auto_candidates(task: Task, auto: AutoSpec) -> list[CandidateSpec]:
    """The candidates of a task, in the order in which they are tried.

    Raises:
        ValueError: A name that is no candidate of the task, or nothing is left.
    """
    every = SETS[task]
    names = {name for entry in every for name in entry.names}
    for name in (*auto.allow, *auto.block, *auto.include):
        if name not in names:
            close = get_close_matches(name, sorted(names), n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(
                f"auto: task {task} has no candidate {name!r}{meant} (it has {', '.join(sorted(names))})"
            )
    allowed, blocked, included = set(auto.allow), set(auto.block), set(auto.include)
    left = [
        entry.candidate(auto.country)
        for entry in every
        if (entry.names & allowed or entry.names & included or (entry.usual and not allowed))
        and not entry.names & blocked
    ]
    if not left:
        raise ValueError("auto: `allow` and `block` leave no candidate")
    return left


@dataclass(frozen=True)
class Entry:
    """A candidate of a set.

    Attributes:
        name: Its name.
        family: Its family.
        params: The family's parameters.
        when: For which keys it is tried.
        usual: Whether it is tried without being asked for.
    """

    name: str
    family: str
    params: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, Any] = field(default_factory=dict)
    usual: bool = True

    @property
    def names(self) -> set[str]:
        """What it can be called in `allow`, `block` and `include`."""
        return {self.name, self.family}

    def candidate(self, country: str | None = None) -> CandidateSpec:
        """As the job has it; with a country's holidays where its family can have them."""
        when = WhenSpec(**self.when) if self.when else None
        holidays = {"holidays": country} if country and self.family == "lag_regression" else {}
        return CandidateSpec(
            name=self.name, family=self.family, params={**self.params, **holidays}, when=when
        )


_SMOOTH = {"alive": True, "intermittent": False}
_SPARSE = {"alive": True, "intermittent": True}
_PLAIN = {**_SMOOTH, "seasonal": False}
_SEASONAL = {**_SMOOTH, "seasonal": True, "min_seasons": 3}
_WEEKLY = {"alive": True, "daily": True}
_LEARNING = {**_SMOOTH, "min_rows": 40}

_NEAR = {"lags": "neighbours", "params": {"alpha": 0.1}}

_FORECAST = (
    Entry("naive", "naive", when={"alive": False}),
    Entry("theta", "theta", when=_SMOOTH),
    Entry("tsb", "tsb", when=_SPARSE),
    Entry("croston", "croston", {"variant": "sba"}, _SPARSE),
    Entry("mean", "mean", when=_SPARSE),
    Entry("aggregated", "aggregated", when=_SPARSE, usual=False),
    Entry("seasonal_naive", "seasonal_naive", when={"alive": True}),
    Entry("level", "ets", {"seasonal": None}, _PLAIN),
    Entry("damped_trend", "ets", {"trend": "add", "damped": True, "seasonal": None}, _PLAIN),
    Entry("ets", "ets", {"trend": "add"}, _SEASONAL),
    Entry(
        "ets_factors",
        "ets",
        {"error": "mul", "trend": "add", "seasonal": "mul"},
        {**_SEASONAL, "positive": True},
    ),
    Entry("week_naive", "seasonal_naive", {"season_length": "week"}, {**_WEEKLY, "min_seasons": 15}),
    Entry("week_ets", "ets", {"season_length": "week"}, {**_WEEKLY, "min_seasons": 22}),
    Entry("lags", "lag_regression", {**_NEAR}, _LEARNING),
    Entry("lags_log", "lag_regression", {**_NEAR, "transform": "log"}, {**_LEARNING, "positive": True}),
    Entry("dense_lags", "lag_regression", {"lags": "dense"}, _LEARNING),
    Entry(
        "dense_lags_log",
        "lag_regression",
        {"lags": "dense", "transform": "log"},
        {**_LEARNING, "positive": True},
    ),
    Entry("change", "lag_regression", {"lags": "dense", "transform": "difference"}, _LEARNING),
    Entry(
        "season_change",
        "lag_regression",
        {"lags": "dense", "transform": "seasonal_difference"},
        {**_LEARNING, "seasonal": True, "min_seasons": 4},
    ),
    Entry(
        "sarimax",
        "sarimax",
        {"order": [1, 0, 1]},
        {**_SMOOTH, "min_rows": 30, "max_rows": 500, "min_seasons": 3, "max_season": 12},
        usual=False,
    ),
    Entry(
        "boosted_lags",
        "lag_regression",
        {"estimator": "sklearn.ensemble.HistGradientBoostingRegressor", "transform": "difference"},
        {**_SMOOTH, "min_rows": 300},
        usual=False,
    ),
)

_MANY, _SOME = {"min_rows": 200}, {"min_rows": 60, "max_rows": 100_000}

_REGRESSION = (
    Entry("ridge", "sklearn.linear_model.Ridge"),
    Entry("ridge_strong", "sklearn.linear_model.Ridge", {"alpha": 100.0}),
    Entry("elastic_net", "sklearn.linear_model.ElasticNetCV", {"l1_ratio": 0.5}, _SOME),
    Entry(
        "extra_trees",
        "sklearn.ensemble.ExtraTreesRegressor",
        {"n_estimators": 200, "min_samples_leaf": 3},
        _SOME,
    ),
    Entry(
        "boosting",
        "sklearn.ensemble.HistGradientBoostingRegressor",
        {"learning_rate": 0.05, "max_iter": 200},
        _MANY,
    ),
)

_CLASSIFICATION = (
    Entry("logistic", "sklearn.linear_model.LogisticRegression", {"max_iter": 1000}),
    Entry("logistic_strong", "sklearn.linear_model.LogisticRegression", {"C": 0.03, "max_iter": 1000}),
    Entry(
        "extra_trees",
        "sklearn.ensemble.ExtraTreesClassifier",
        {"n_estimators": 200, "min_samples_leaf": 3},
        _SOME,
    ),
    Entry(
        "boosting",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        {"learning_rate": 0.05, "max_iter": 100},
        _MANY,
    ),
)

_ANOMALY = (
    Entry("robust_zscore", "robust_zscore"),
    Entry("isolation_forest", "isolation_forest", usual=False),
    Entry("ewma", "ewma", usual=False),
)

SETS: dict[Task, tuple[Entry, ...]] = {
    "forecast": _FORECAST,
    "regression": _REGRESSION,
    "ranking": _REGRESSION,
    "classification": _CLASSIFICATION,
    "anomaly": _ANOMALY,
}
"""The candidates of each task, in the order in which they are tried."""
