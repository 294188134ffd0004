"""Your own models: ``module:Class`` and ``module:function``, from beside the job file or any installed package.

A class is an estimator: ``fit(X, y)`` and ``predict(X)``. For regression, classification and ranking it gets the
matrix that scikit-learn's estimators get. For a forecast X is a DataFrame of the time and the known-future
features and y the target; for anomaly detection X is a DataFrame of the time, the features and the target, y is
None, and ``predict`` (or ``score_samples`` or ``decision_function``, as scikit-learn has them) scores the rows.

A function is ``fit(frame, spec, **params)`` of a DataFrame of the key's rows and a ``FitSpec``; it returns a model whose
``predict(frame)`` gives one value a row: a number, a class, or for anomaly detection a score, higher for more
anomalous rows. A DataFrame with the task's output columns will do too: that is how to give intervals (they are
null otherwise), probabilities (1 for the predicted class otherwise, unless the model has ``predict_proba`` and
``classes_``) or flags (the share ``anomaly.rate`` of the training rows otherwise).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from manymodels.exceptions import DataError, JobError, ModelError, UnusableRowsError
from manymodels.models.anomaly.detector import outlier_scores
from manymodels.models.anomaly.watch import anomaly_columns, threshold_at
from manymodels.models.contract import (
    Family,
    FitSpec,
    FittedModel,
    Floats,
    Predictions,
    interval_columns,
)
from manymodels.models.fixed import FixedModel
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.estimators import check_names, import_attribute
from manymodels.models.tabular.family import SklearnFamily, Template
from manymodels.models.tabular.outputs import (
    class_columns,
    class_places,
    probability_column,
    usable_numbers,
    usable_probabilities,
)
from manymodels.records import Rows

__all__ = ["CustomFamily", "CustomModel", "build_custom"]


def build_custom(candidate: CandidateSpec, task: Task) -> Family:
    """The family of a candidate written ``module:name``.

    Raises:
        JobError: The module or the name is not there (with where it was looked for), importing it fails, it is
            neither such a class nor a function, or it does not take the parameters.
    """
    path, params = candidate.family, candidate.params
    where = f"models: candidate {candidate.name!r}"
    module, _, name = path.partition(":")
    place = f" beside the job file ({sys.path[0]}) or among the installed packages"
    found = import_attribute(module, name, where, place)
    if inspect.isclass(found):
        scores = ("predict", "score_samples", "decision_function") if task == "anomaly" else ("predict",)
        if not (hasattr(found, "fit") and any(hasattr(found, method) for method in scores)):
            raise JobError(f"{where}: {path} is no estimator: a class with `fit` and `predict` was expected")
        check_names(path, params, inspect.signature(found), where)
        make = partial(found, **params)
        try:
            template = Template.of(make)
        except Exception as error:
            raise JobError(f"{where}: {path}: {type(error).__name__}: {error}") from error
        if task in ("forecast", "anomaly"):
            return CustomFamily(path, partial(_fit_class, template))
        return SklearnFamily(candidate, task, make=make)
    if not callable(found):
        kind = type(found).__name__
        raise JobError(
            f"{where}: {path} is a {kind}; a class, or a function `fit(frame, spec)`, was expected"
        )
    signature = inspect.signature(found)
    first, rest = list(signature.parameters.values())[:2], list(signature.parameters.values())[2:]
    if len(first) < 2 or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in first):
        raise JobError(f"{where}: {path}{signature} must take the rows and the spec: `fit(frame, spec)`")
    check_names(path, params, signature.replace(parameters=rest), where)
    return CustomFamily(path, partial(_fit_function, partial(found, **params)))


@dataclass(frozen=True)
class CustomFamily:
    """Models that the user's own code fits on frames.

    Attributes:
        name: ``module:name``.
        fitter: From rows and spec to the user's model, and the columns that its ``predict`` gets (None for all).
    """

    name: str
    fitter: Callable[[Rows, FitSpec], tuple[Any, tuple[str, ...] | None]]

    @property
    def revision(self) -> int:
        """Always 1: the user's code has its own fingerprint."""
        return 1

    @property
    def isolated(self) -> bool:
        """Always: who knows what it does."""
        return True

    @property
    def library(self) -> str:
        """The top-level module, which may be an installed library's."""
        return self.name.partition(":")[0].partition(".")[0]

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Fit one key's rows.

        Raises:
            ModelError: The user's code returned no model, or one whose scores of the training rows are of no use.
        """
        fitted, columns = self.fitter(rows, spec)
        model = CustomModel(self.name, fitted, columns, spec)
        if not any(hasattr(fitted, method) for method in model.methods):
            raise ModelError(f"{self.name} must return a model with `predict(frame)`; found {_shown(fitted)}")
        if spec.task != "anomaly":
            return model
        return replace(model, threshold=threshold_at(model.predict(rows)["score"], spec.rate))


@dataclass(frozen=True, eq=False)
class CustomModel(FixedModel):
    """A model of the user's, its predictions checked.

    Attributes:
        family: ``module:name``.
        model: What the user's code fitted.
        columns: Columns that it gets to predict; None for all.
        spec: What was known when it was fitted.
        threshold: Anomaly detection: score above which a row is an anomaly.
    """

    family: str
    model: Any
    columns: tuple[str, ...] | None
    spec: FitSpec
    threshold: float = np.inf

    @property
    def methods(self) -> tuple[str, ...]:
        """What may score rows, the first one there is."""
        return (
            ("score_samples", "decision_function", "predict") if self.spec.task == "anomaly" else ("predict",)
        )

    def predict(self, rows: Rows) -> Predictions:
        """The task's output columns (``FittedModel.predict``).

        Raises:
            DataError: A column that the model needs is not there.
            ModelError: The user's model gave None, too few or too many values, or none of any use.
        """
        for name in self.columns or ():
            if name not in rows.columns:
                raise DataError(f"the rows have no column {name!r}, which {self.family} needs")
        frame = rows.frame(None if self.columns is None else list(self.columns))
        values = self._values(frame)
        given = values if isinstance(values, pd.DataFrame) else None
        main = "score" if self.spec.task == "anomaly" else "prediction"
        if given is not None:
            if main not in given.columns:
                raise ModelError(
                    f"{self.family} must predict a column `{main}`; found {', '.join(map(str, given.columns))}"
                )
            values = given[main]
        if self.spec.task == "classification":
            return self._classes(values, given, frame)
        numbers = usable_numbers(values, len(frame), self.family)
        if self.spec.task == "anomaly":
            if given is None or "is_anomaly" not in given.columns:
                return anomaly_columns(numbers, self.threshold)
            return {"score": numbers, "is_anomaly": given["is_anomaly"].to_numpy(dtype=bool)}
        columns = {"prediction": numbers}
        for level in self.spec.levels if self.spec.task == "forecast" else ():
            for name in interval_columns(level):
                columns[name] = np.full(len(frame), np.nan)
                if given is not None and name in given.columns:
                    columns[name] = given[name].to_numpy(dtype=np.float64)
        if self.spec.non_negative:
            columns = {name: np.maximum(bound, 0.0) for name, bound in columns.items()}
        return columns

    def describe(self) -> Mapping[str, Any]:
        """Family, and the class of the user's model."""
        kind = type(self.model)
        return {"family": self.family, "model": f"{kind.__module__}.{kind.__qualname__}"}

    def _values(self, frame: pd.DataFrame) -> Any:
        scored = self.spec.task == "anomaly" and any(hasattr(self.model, m) for m in self.methods[:2])
        return outlier_scores(self.model, frame) if scored else self.model.predict(frame)

    def _classes(self, values: Any, given: pd.DataFrame | None, frame: pd.DataFrame) -> Predictions:
        classes = self.spec.classes
        places = class_places(values, classes, len(frame), self.family)
        names = [probability_column(value) for value in classes]
        probabilities: Floats | None = None
        if given is not None and set(names) <= set(given.columns):
            probabilities = given[names].to_numpy(dtype=np.float64)
        elif given is None and hasattr(self.model, "predict_proba") and hasattr(self.model, "classes_"):
            seen = class_places(self.model.classes_, classes, len(self.model.classes_), self.family)
            probabilities = np.zeros((len(frame), len(classes)))
            found = usable_probabilities(self.model.predict_proba(frame), len(frame), len(seen), self.family)
            probabilities[:, seen] = found
        return class_columns(places, probabilities, classes)


def _fit_function(function: Callable[..., Any], rows: Rows, spec: FitSpec) -> tuple[Any, None]:
    return function(rows.frame(), spec), None


def _fit_class(template: Template, rows: Rows, spec: FitSpec) -> tuple[Any, tuple[str, ...]]:
    time = () if spec.time is None else (spec.time,)
    model = template.new(spec.seed)
    if spec.task == "anomaly":
        target = () if spec.target is None else (spec.target,)
        columns = (*time, *spec.features, *target)
        model.fit(rows.frame(list(columns)), None)
        return model, columns
    columns = (*time, *spec.known_future)
    targets = rows.numbers(str(spec.target))
    known = np.flatnonzero(~np.isnan(targets))
    if len(known) == 0:
        raise UnusableRowsError(f"the target {spec.target!r} has no value in {len(rows)} rows")
    model.fit(rows.take(known).frame(list(columns)), targets[known])
    return model, columns


def _shown(found: Any) -> str:
    return "None" if found is None else f"a {type(found).__name__}"
