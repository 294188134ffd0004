"""The job: the specs of all rooms, composed, and what is checked across them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from manymodels.compute.spec import ComputeSpec
from manymodels.dataset.spec import DataSpec
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.models.spec import AnomalySpec, CandidateSpec, ForecastSpec, RankingSpec, Task
from manymodels.specs import Duration, Fraction, Size, Spec

__all__ = ["JobSpec", "LevelSpec", "PromotionSpec", "StoreSpec", "TrainingSpec"]


class TrainingSpec(Spec):
    """What trains, and the limits of each fit."""

    only: Literal["changed", "all", "failed"] = "changed"
    """Keys to train: those with a cause to, all, or those that failed last time."""
    timeout: Duration = 60.0
    """Per key and candidate."""
    memory: Size = 2 * 2**30
    """Per key: resident size of the child process."""
    retries: int = Field(default=1, ge=0)
    """For a crash, a timeout or a memory hog; an exception is not retried."""
    isolation: Literal["auto", "process", "none"] = "auto"
    """`process`: every fit in the child process; `none`: in the worker; `auto`: the child for code that is not the
    product's own."""
    max_failed: int | Fraction = 0.01
    """Of the attempted keys (1%), or a count; above it the run promotes nothing and exits with 3."""
    seed: int = Field(default=0, ge=0)
    """Of the run; a key's seed is derived from it and the key."""

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
    """How much better, relative to the champion's metric."""


class StoreSpec(Spec):
    """Where runs, models and the registry are kept."""

    path: str = ".manymodels"
    """Folder or URL."""
    registry: str | None = None
    """Database URL (`postgresql+psycopg://host/db`); an SQLite file in the folder when null."""


class JobSpec(Spec):
    """A job file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """The model set's name in the registry."""
    task: Task
    """What the models do."""
    data: DataSpec
    """Where the rows are, and which column is what."""
    models: list[CandidateSpec] = Field(min_length=1)
    """Candidates, tried for every key."""
    forecast: ForecastSpec = ForecastSpec()
    """What a forecast covers."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """How candidates are compared, per key."""
    training: TrainingSpec = TrainingSpec()
    """What trains, and the limits of each fit."""
    anomaly: AnomalySpec = AnomalySpec()
    """How much is anomalous."""
    ranking: RankingSpec = RankingSpec()
    """What a ranking returns."""
    fallback: list[Literal["pooled", "naive"] | LevelSpec] = ["pooled", "naive"]
    """Who serves keys without a usable model, in order; `[]` is nobody."""
    promotion: PromotionSpec = PromotionSpec()
    """Which new versions become live."""
    compute: ComputeSpec = ComputeSpec()
    """Where it runs; or a file in configs/compute/."""
    store: StoreSpec = StoreSpec()
    """Where runs, models and the registry are kept; a folder, a URL, or `path` and `registry`."""

    @field_validator("store", mode="before")
    @classmethod
    def _bare_store(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("models", mode="before")
    @classmethod
    def _short_candidates(cls, value: Any) -> Any:
        return _named(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        data = self.data
        if self.task == "forecast" and data.time is None:
            raise ValueError("a forecast needs `data.time`, the time column")
        if self.task != "anomaly" and data.target is None:
            raise ValueError(f"task {self.task} needs `data.target`, the column to predict")
        if self.task == "anomaly" and len(self.models) > 1 and self.evaluation.label is None:
            raise ValueError(
                "anomaly detection takes one candidate, or `evaluation.label` with the truth to choose among several"
            )
        if self.task not in ("forecast", "anomaly") and len(self.models) > 1:
            if self.evaluation.holdout == 0 and self.evaluation.folds is None:
                raise ValueError("several candidates need `evaluation.holdout` above 0, or `folds`, to choose among them")
        if "://" in self.store.path and not self.store.path.startswith("file://") and self.store.registry is None:
            raise ValueError("a store at a URL needs `store.registry`, a database URL")
        roles: dict[str, str] = {}
        for role, columns in (
            ("partition_by", data.partition_by),
            ("time", [data.time] if data.time else []),
            ("target", [data.target] if data.target else []),
            ("weight", [data.weight] if data.weight else []),
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


def _named(entries: list[Any]) -> list[Any]:
    """Candidates as written (`naive`, `{ets: {…}}`) in full, with unique names."""
    full: list[Any] = []
    used: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, CandidateSpec):
            entry = entry.model_dump()
        if isinstance(entry, str):
            family, params = entry, {}
        elif isinstance(entry, dict) and len(entry) == 1 and "family" not in entry:
            family, params = next(iter(entry.items()))
            params = {} if params is None else params
        else:
            full.append(entry)
            continue
        if not isinstance(family, str) or not isinstance(params, dict):
            full.append({"name": str(family), "family": family, "params": params})
            continue
        used[family] = used.get(family, 0) + 1
        name = family if used[family] == 1 else f"{family}-{used[family]}"
        full.append({"name": name, "family": family, "params": params})
    return full
