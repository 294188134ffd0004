"""The job: the specs of all rooms, composed, and what is checked across them."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from manymodels.compute.spec import ComputeSpec
from manymodels.dataset.spec import DataSpec
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.job.hierarchy import HierarchySpec
from manymodels.models.spec import AnomalySpec, CandidateSpec, ForecastSpec, RankingSpec, RegressionSpec, Task
from manymodels.monitoring.spec import MonitorSpec
from manymodels.selection.auto import with_auto, with_auto_ensemble
from manymodels.selection.spaces import check_spaces, has_spaces
from manymodels.selection.spec import ENSEMBLE, SelectionSpec
from manymodels.specs import Duration, Fraction, Size, Spec

__all__ = ["JobSpec", "LevelSpec", "MaxRowsSpec", "PromotionSpec", "StoreSpec", "TrainingSpec"]


class MaxRowsSpec(Spec):
    """How many rows of a key are fitted, and which."""

    rows: int = Field(ge=2)
    """A key with more is cut to so many, for evaluation and fit; `max_rows: 100000` for short. Without it all are fitted."""
    keep: Literal["last", "sample"] | None = None
    """`last`: the newest; `sample`: a seeded sample, in the order of the rows. Null is `last` where there is a time column,
    else `sample`; a forecast keeps the last."""


class TrainingSpec(Spec):
    """What trains, and the limits of each fit."""

    only: Literal["changed", "all", "failed", "listed"] = "changed"
    """Keys to train: those with a cause to, all, those that failed last time, or those that monitoring lists."""
    timeout: Duration = 60.0
    """Per key and candidate."""
    memory: Size = 2 * 2**30
    """Per key: resident size of the child process. A candidate that is estimated to need more for a key's rows is not tried on
    it."""
    max_rows: MaxRowsSpec | None = None
    """The most rows of a key that are fitted; a number, or `{rows: 100000, keep: last}`. Null is all of them."""
    deadline: Duration | None = None
    """Of the whole run, the split included: past it no further batch begins, those in flight finish, and the run is
    `interrupted`, to be resumed. A resumed run has as much again."""
    retries: int = Field(default=1, ge=0)
    """For a crash, a timeout or a memory hog; an exception is not retried."""
    isolation: Literal["auto", "process", "none"] = "auto"
    """`process`: every fit in the child process; `none`: in the worker; `auto`: the child for code that is
    not the product's own."""
    max_failed: int | Fraction = 0.01
    """Of the attempted keys (1%), or a count; above it the run promotes nothing and exits with 3."""
    seed: int = Field(default=0, ge=0)
    """Of the run; a key's seed is derived from it and the key."""

    @field_validator("max_rows", mode="before")
    @classmethod
    def _bare_rows(cls, value: Any) -> Any:
        return {"rows": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("max_failed", mode="before")
    @classmethod
    def _count_or_fraction(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            raise ValueError(f"`max_failed` cannot be negative; found {value}")
        return value


class LevelSpec(Spec):
    """A rung of the ladder: one model per value of columns that are constant within a key."""

    level: list[str] = Field(min_length=1)
    """The columns."""


class PromotionSpec(Spec):
    """Which new versions become live."""

    alias: str = Field(default="champion", pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    """The alias that moves."""
    rule: Literal["better", "always", "never"] = "better"
    """`better`: only versions that beat the champion on the same evaluation."""
    min_gain: Fraction = 0.0
    """How much better, relative to the champion's metric. Forecasts: the champion's configuration is evaluated in the run, on
    the same windows as the others; one that does not beat it by so much is not chosen."""


class StoreSpec(Spec):
    """Where runs, models and the registry are kept."""

    path: str = ".manymodels"
    """Folder or URL."""
    registry: str | None = None
    """Database URL (`postgresql+psycopg://host/db`); an SQLite file in the folder when null."""


def _in_full(entry: Any) -> Any:
    """A candidate as written (`naive`, or `ets: {…}`) with its fields named; pydantic judges the rest."""
    if isinstance(entry, str):
        return {"name": entry, "family": entry}
    if not isinstance(entry, dict):
        return entry
    if "family" in entry:
        return {"name": entry["family"], **entry}
    if len(entry) != 1:
        raise ValueError(
            f"a candidate is a family, or one `family: {{parameter: value}}`; found {len(entry)} fields; "
            "are the parameters indented deeper than the family?"
        )
    family, params = next(iter(entry.items()))
    if params is not None and not isinstance(params, dict):
        raise ValueError(f"the parameters of {family} must be a mapping; found {params!r}")
    return {"name": family, "family": family, "params": {} if params is None else params}


class JobSpec(Spec):
    """A job file."""

    added = frozenset({"regression", "selection"})

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The model set's name in the registry."""
    task: Task
    """What the models do."""
    data: DataSpec
    """Where the rows are, and which column is what."""
    models: list[Annotated[CandidateSpec, BeforeValidator(_in_full)]] = Field(min_length=1)
    """Candidates, tried for every key that their `when` holds for; each `family`, or `family: {parameter: value}`. `auto` is a
    set of candidates by task, which can be narrowed (`auto: {block: [ets]}`)."""
    forecast: ForecastSpec = ForecastSpec()
    """What a forecast covers."""
    regression: RegressionSpec = RegressionSpec()
    """What a regression tells beside its prediction."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """How candidates are compared, per key."""
    selection: SelectionSpec = SelectionSpec()
    """How a key's model is searched for, and what else may become it."""
    training: TrainingSpec = TrainingSpec()
    """What trains, and the limits of each fit."""
    anomaly: AnomalySpec = AnomalySpec()
    """How much is anomalous."""
    ranking: RankingSpec = RankingSpec()
    """What a ranking returns."""
    fallback: list[Literal["pooled", "naive"] | LevelSpec] = Field(default=["pooled", "naive"])
    """Who serves keys without a usable model, in order; `[]` is nobody."""
    hierarchy: HierarchySpec | None = None
    """Levels above the keys: models that a key's own is blended with, and sums that forecasts add up to. Null is none."""
    promotion: PromotionSpec = PromotionSpec()
    """Which new versions become live."""
    monitor: MonitorSpec = MonitorSpec()
    """When a key's model is to be trained again, by what happened after its predictions."""
    compute: ComputeSpec = ComputeSpec()
    """Where it runs: `local`, `serial`, a file with these fields, or the fields themselves."""
    store: StoreSpec = StoreSpec()
    """Where runs, models and the registry are kept; a folder, a URL, or `path` and `registry`."""

    @field_validator("store", mode="before")
    @classmethod
    def _bare_store(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("compute", mode="before")
    @classmethod
    def _bare_target(cls, value: Any) -> Any:
        return {"target": value} if isinstance(value, str) and value in ("local", "serial") else value

    @model_validator(mode="before")
    @classmethod
    def _auto_ensemble(cls, fields: Any) -> Any:
        return with_auto_ensemble(fields)

    @field_validator("models", mode="before")
    @classmethod
    def _auto(cls, value: Any, info: ValidationInfo) -> Any:
        return with_auto(value, info.data.get("task"))

    @field_validator("models")
    @classmethod
    def _unique_names(cls, candidates: list[CandidateSpec]) -> list[CandidateSpec]:
        return _numbered(candidates)

    @field_validator("fallback")
    @classmethod
    def _unique_rungs(cls, rungs: list[Any]) -> list[Any]:
        for place, rung in enumerate(rungs):
            if rung in rungs[:place]:
                name = rung if isinstance(rung, str) else f"level {rung.level}"
                raise ValueError(f"{name} is listed twice")
        return rungs

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        data = self.data
        for candidate in self.models:
            _require_plain(candidate.params, f"`models`, candidate {candidate.name}")
            check_spaces(candidate)
        several = len(self.models) > 1 or any(has_spaces(candidate) for candidate in self.models)
        _require_plain(data.csv, "`data.csv`")
        _require_plain(self.compute.security, "`compute.security`")
        if self.task == "forecast" and data.time is None:
            raise ValueError("a forecast needs `data.time`, the time column")
        if self.task != "anomaly" and data.target is None:
            raise ValueError(f"task {self.task} needs `data.target`, the column to predict")
        if self.task == "anomaly" and several and self.evaluation.label is None:
            raise ValueError(
                "anomaly detection takes one candidate without search spaces, "
                "or `evaluation.label` with the truth to choose among several"
            )
        self._ensemble_can_be()
        groups = self.evaluation.groups
        if groups is not None and self.task == "forecast":
            raise ValueError("`evaluation.groups` is not for forecasts, which are judged on windows of time")
        held_out = self.evaluation.holdout > 0 or self.evaluation.folds is not None
        if self.task not in ("forecast", "anomaly") and several and not held_out:
            raise ValueError(
                "several candidates, or search spaces, need `evaluation.holdout` above 0, or `folds`, to choose among them"
            )
        if data.time is None:
            for field, value in (("as_of", data.as_of), ("window", data.window)):
                if value is not None:
                    raise ValueError(f"`data.{field}` needs `data.time`, the column that it looks at")
        if self.regression.levels and self.task != "regression":
            raise ValueError(
                f"`regression.levels` is for regressions, the job's task is {self.task}"
                + ("; use `forecast.levels`" if self.task == "forecast" else "; remove it")
            )
        if self.regression.levels and not held_out:
            raise ValueError(
                "`regression.levels` needs held-out rows: `evaluation.holdout` above 0, or `folds`"
            )
        keep = None if self.training.max_rows is None else self.training.max_rows.keep
        if keep == "sample" and self.task == "forecast":
            raise ValueError(
                "`training.max_rows.keep` is sample, which would leave gaps in a series; use last"
            )
        if keep == "last" and data.time is None:
            raise ValueError("`training.max_rows.keep` is last, which needs `data.time`; use sample")
        if (
            "://" in self.store.path
            and not self.store.path.startswith("file://")
            and self.store.registry is None
        ):
            raise ValueError("a store at a URL needs `store.registry`, a database URL")
        self._check_hierarchy(held_out)
        roles: dict[str, str] = {}
        for role, columns in (
            ("partition_by", data.partition_by),
            ("time", [data.time] if data.time else []),
            ("target", [data.target] if data.target else []),
            ("weight", [data.weight] if data.weight else []),
            ("evaluation.groups", [groups] if groups else []),
            ("evaluation.label", [self.evaluation.label] if groups and self.evaluation.label else []),
        ):
            for column in columns:
                if column in roles:
                    raise ValueError(f"column {column!r} is both `{roles[column]}` and `{role}`")
                roles[column] = role
        for role, columns in (("features", data.features or []), ("known_future", data.known_future)):
            for column in columns:
                if column in roles:
                    raise ValueError(f"column {column!r} is both `{roles[column]}` and in `{role}`")
                if column in data.ignore:
                    raise ValueError(f"column {column!r} is in `{role}` and in `ignore`")
        return self

    def _ensemble_can_be(self) -> None:
        if self.selection.ensemble is None:
            return
        if self.task == "anomaly":
            raise ValueError("`selection.ensemble` is not for anomaly detection; remove it")
        if any(candidate.name == ENSEMBLE for candidate in self.models):
            raise ValueError(
                f"a candidate is named {ENSEMBLE!r}, which is the name of `selection.ensemble` on leaderboards; "
                "give the candidate another name"
            )

    def _check_hierarchy(self, held_out: bool) -> None:
        hierarchy = self.hierarchy
        if hierarchy is None:
            return
        if hierarchy.reconcile is not None and self.task != "forecast":
            raise ValueError(f"`hierarchy.reconcile` is for forecasts; the job's task is {self.task}")
        if hierarchy.blend and self.task == "anomaly":
            raise ValueError(
                "anomaly scores are not blended; set `hierarchy.blend` to false, or leave `hierarchy` out"
            )
        if hierarchy.blend and self.task != "forecast" and not held_out:
            raise ValueError(
                "`hierarchy.blend` needs `evaluation.holdout` above 0, or `folds`, to choose the weights by"
            )
        if hierarchy.parent is not None:
            _require_plain(hierarchy.parent.params, "`hierarchy.parent`")


def _numbered(candidates: list[CandidateSpec]) -> list[CandidateSpec]:
    """The candidates with unique names: a family that occurs again is `ets-2`."""
    used: set[str] = set()
    explicit = {candidate.name for candidate in candidates if candidate.name != candidate.family}
    named = []
    for candidate in candidates:
        name, number = candidate.name, 1
        while name in used or (number > 1 and name in explicit):
            if candidate.name != candidate.family:
                raise ValueError(f"two candidates are named {name!r}; name them apart")
            number += 1
            name = f"{candidate.family}-{number}"
        used.add(name)
        named.append(candidate if number == 1 else candidate.model_copy(update={"name": name}))
    return named


def _require_plain(value: Any, where: str, depth: int = 0) -> None:
    """Refuse what a job file could not hold: the job is kept as JSON with every run."""
    if depth > 40:
        raise ValueError(f"{where}: nested more than 40 deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{where}: names must be text; found {name!r}")
            _require_plain(name, where)
            _require_plain(inner, f"{where}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _require_plain(inner, where, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: must be a finite number; found {value}")
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{where}: a lone surrogate is no text; found {value!r}")
    elif value is not None and not isinstance(value, str | bool | int | float):
        raise ValueError(
            f"{where}: must be text, a number, true, false, null, or a list or mapping of them; "
            f"found {type(value).__name__}"
        )
