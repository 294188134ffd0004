"""From X and y to a job and its rows, and from a run to predictions: what the estimators share."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from manymodels.estimators.serving import check_failures, ladder_of
from manymodels.job.job import Job
from manymodels.job.resolve import level_columns
from manymodels.models.spec import Task
from manymodels.scoring.in_memory import MemoryScores, score_in_memory

if TYPE_CHECKING:
    from manymodels.training.in_memory import MemoryRun

__all__ = ["Columns", "Partitioned", "as_numbers"]

Columns = str | int | Sequence[str | int]
"""Columns of X: names, or positions."""


class Partitioned(BaseEstimator):  # type: ignore[misc]
    """One model per key; see ``PartitionedRegressor`` for the parameters."""

    _task: ClassVar[Task]
    _default: ClassVar[str]

    def __init__(
        self,
        models: Any = None,
        *,
        partition_by: Columns | None = None,
        time: str | int | None = None,
        categorical: Columns = (),
        min_rows: int = 10,
        evaluation: Mapping[str, Any] | None = None,
        fallback: Sequence[Any] = ("pooled", "naive"),
        training: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        compute: Any = None,
    ) -> None:
        self.models = models
        self.partition_by = partition_by
        self.time = time
        self.categorical = categorical
        self.min_rows = min_rows
        self.evaluation = evaluation
        self.fallback = fallback
        self.training = training
        self.random_state = random_state
        self.compute = compute

    def fit(self, X: Any, y: Any) -> Self:
        """Fit one model per key, and the ladder's models for the keys that have none.

        Args:
            X: Rows: the key columns, the time of a forecast, and what a model may learn from. Shape (rows, columns).
            y: What to predict; a forecast may have gaps (NaN). Shape (rows,).

        Raises:
            ValueError: X, y or a parameter is not what it must be.
            JobError: A parameter that the engine refuses, under its name in job files.
            DataError: Rows that the engine refuses: a null key, say.
            RunError: More keys failed than ``training["max_failed"]`` allows, or there is no model at all.
        """
        return self._fit(X, y)

    def _fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        from manymodels.training.in_memory import fit_in_memory

        frame = self._frame(X, reset=True)
        self._columns = list(frame.columns)
        if self.partition_by is None:
            raise ValueError("`partition_by` is missing: the key columns, by name or position")
        keys = _named(self._columns, self.partition_by, "partition_by")
        rest = [name for name in self._columns if name not in keys]
        if not rest:
            raise ValueError(
                f"Found array with {len(self._columns)} feature(s), all of them key columns, "
                "while at least one other is required."
            )
        time = None if self.time is None else _named(self._columns, self.time, "time")[0]
        data: dict[str, Any] = {
            "partition_by": keys,
            "time": time,
            "target": self._free("y"),
            "features": [name for name in rest if name != time],
            "categorical": _named(self._columns, self.categorical, "categorical"),
            "min_rows": self.min_rows,
        }
        frame[data["target"]] = self._target(y, len(frame))
        if sample_weight is not None:
            data["weight"] = self._free("sample_weight")
            frame[data["weight"]] = _check_sample_weight(sample_weight, frame, ensure_non_negative=True)
            frame = frame[frame[data["weight"]] > 0]
        job, estimators = self._job(data)
        run = fit_in_memory(
            job,
            self._prepared(frame, time),
            estimators=estimators,
            compute=None if self.compute is None else job.compute,
        )
        check_failures(run, job)
        self._keep(run, job)
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Predict every row with its key's model, or with the first rung of the ladder that serves it.

        Args:
            X: Rows with the columns that ``fit`` got. Shape (rows, columns).

        Returns:
            One value a row. Shape (rows,).

        Raises:
            ValueError: Nobody serves some rows: their key is unseen and there is no ladder, or they cannot be predicted.
        """
        return self._scores(X).values["prediction"]

    def predict_frame(self, X: Any) -> pd.DataFrame:
        """All that is predicted, and who predicted it.

        Args:
            X: As for ``predict``.

        Returns:
            ``prediction``, bounds of intervals and probabilities named as in the output of ``score``, and
            ``model_source``: ``key`` for the key's own model, else the rung of the ladder. Index of X.

        Raises:
            ValueError: As for ``predict``.
        """
        scores = self._scores(X)
        index = X.index if isinstance(X, pd.DataFrame) else None
        return pd.DataFrame({**scores.values, "model_source": scores.sources}, index=index)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.target_tags.required = True
        return tags

    # From X and y to a job and its rows

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """X as a DataFrame of our own, with texts as column names and without an index."""
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) == 0:
                raise ValueError(
                    f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required."
                )
            frame = X.reset_index(drop=True)
        else:
            # An array of objects holds anything: every column gets its own type.
            checked = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
            frame = pd.DataFrame(checked).infer_objects()
        names = getattr(self, "feature_names_in_", None)
        return frame.set_axis([f"x{n}" for n in range(frame.shape[1])] if names is None else names, axis=1)

    def _prepared(self, frame: pd.DataFrame, time: str | None) -> pd.DataFrame:
        """The rows as the engine takes them."""
        return frame

    def _free(self, name: str) -> str:
        """A column name that X does not have."""
        while name in self._columns:
            name += "_"
        return name

    def _target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        """The target, checked: one value a row."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        target: npt.NDArray[Any] = column_or_1d(y, warn=True)
        check_consistent_length(target, np.empty((rows, 0)))
        return target

    def _job(self, data: dict[str, Any]) -> tuple[Job, dict[str, bytes]]:
        """The job, and the pickled estimators among its candidates by name."""
        given = self._default if self.models is None else self.models
        candidates: list[Any] = []
        objects: dict[int, bytes] = {}
        for place, entry in enumerate(given if isinstance(given, list | tuple) else [given]):
            if hasattr(entry, "get_params"):
                kind = type(entry)
                candidates.append({"family": f"{kind.__module__}.{kind.__qualname__}"})
                objects[place] = _pickled(clone(entry), by_value=self.compute is not None)
            else:
                candidates.append(entry)
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
        fields: dict[str, Any] = {
            "name": "estimator",
            "task": self._task,
            "data": data,
            "models": candidates,
            "evaluation": dict(self.evaluation or {}),
            "training": {"seed": int(seed), **(self.training or {})},
            "fallback": [self._rung(entry) for entry in self.fallback],
        }
        if self.compute is not None:
            fields["compute"] = self.compute
        job = Job(**self._more(fields))
        return job, {job.models[place].name: content for place, content in objects.items()}

    def _rung(self, entry: Any) -> Any:
        if isinstance(entry, Mapping) and "level" in entry:
            return {**entry, "level": _named(self._columns, entry["level"], "fallback")}
        return entry

    def _more(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The job's fields, with those that only some tasks have."""
        return fields

    # From a run to predictions

    def _keep(self, run: MemoryRun, job: Job) -> None:
        names = job.data.partition_by
        columns = [run.rows.manifest.column(f"key:{name}").to_pylist() for name in names]
        keys = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        outcomes = [fitted.outcome for fitted in run.keys]
        self.outcomes_ = pd.DataFrame(
            {
                **dict(zip(names, columns, strict=True)),
                "state": [outcome.state for outcome in outcomes],
                "reason": [outcome.reason for outcome in outcomes],
                "candidate": [outcome.candidate for outcome in outcomes],
                "metric": np.array([outcome.metric for outcome in outcomes], dtype=np.float64),
                "rows": run.rows.manifest.column("rows").to_pylist(),
            }
        )
        fitted = zip(keys, (fitted.model for fitted in run.keys), strict=True)
        self.models_ = {key: model for key, model in fitted if model is not None}
        self.estimators_ = {key: getattr(model, "estimator", model) for key, model in self.models_.items()}
        self._job_data = job.data
        self._levels = level_columns(job)
        self._classes = run.spec.classes
        self._ladder = ladder_of(run, job)

    def _scores(self, X: Any) -> MemoryScores:
        from manymodels.dataset.roles import scoring_roles
        from manymodels.dataset.sources import open_source
        from manymodels.partitioning.split import split_in_memory

        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        data, place = self._job_data, self._free("row")
        frame[place] = np.arange(len(frame))
        source = open_source(data, self._prepared(frame, data.time))
        features = list(data.features or ())
        roles = scoring_roles(source, data, self._task, features=[*features, place], levels=self._levels)
        rows = split_in_memory(source, data, roles)
        reads = features if self._task != "forecast" else [str(data.time), *features]
        scores = score_in_memory(rows, reads, place, self._ladder)
        lost = scores.sources == ""
        if lost.any():
            key, reason = next(iter(scores.refused.items()))
            raise ValueError(
                f"no model serves {lost.sum():,} of {len(frame):,} rows; the first key is {key}: {reason}"
            )
        return scores


def _named(columns: list[str], chosen: Columns, parameter: str) -> list[str]:
    """Names of the columns that a parameter gives by name or position.

    Raises:
        ValueError: X does not have one.
    """
    names = []
    for entry in [chosen] if isinstance(chosen, str | int | np.integer) else chosen:
        if isinstance(entry, str) and entry in columns:
            names.append(entry)
        elif not isinstance(entry, str) and -len(columns) <= entry < len(columns):
            names.append(columns[entry])
        else:
            raise ValueError(f"`{parameter}`: X has no column {entry!r}; it has {', '.join(columns)}")
    return names


def as_numbers(target: npt.NDArray[Any], *, allow_nan: bool = False) -> npt.NDArray[np.float64]:
    """A target as finite numbers; with ``allow_nan`` some, but not all, may be missing.

    Raises:
        ValueError: It is no number, infinite, or missing.
    """
    numbers = target.astype(np.float64)
    assert_all_finite(numbers, allow_nan=allow_nan and not np.isnan(numbers).all(), input_name="y")
    return numbers


def _pickled(estimator: Any, *, by_value: bool) -> bytes:
    """An unfitted estimator; ``by_value`` where another process may not find its class (a notebook's)."""
    import cloudpickle

    if not by_value:
        try:
            return pickle.dumps(estimator)
        except Exception:  # lambdas and the like, which cloudpickle knows
            return bytes(cloudpickle.dumps(estimator))
    return bytes(cloudpickle.dumps(estimator))
