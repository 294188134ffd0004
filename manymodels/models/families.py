"""The built-in families, and how a candidate of the job file becomes one.

A family is a frozen dataclass; its fields are its parameters, and what is validated and documented.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from manymodels.exceptions import JobError
from manymodels.models.contract import Family
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.estimators import nearest

__all__ = ["FAMILIES", "FamilyEntry", "build"]


@dataclass(frozen=True)
class FamilyEntry:
    """A built-in family, as the documents list it.

    Attributes:
        tasks: The tasks it can do.
        location: ``module:Class``; imported when a job first uses it.
        summary: One line for the documents.
        source: Where the method is described.
    """

    tasks: tuple[Task, ...]
    location: str
    summary: str
    source: str


_FORECAST = "manymodels.models.forecast"
_ANOMALY = "manymodels.models.anomaly"
_FPP = "Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed."

FAMILIES: dict[str, FamilyEntry] = {
    "mean": FamilyEntry(
        ("forecast",), f"{_FORECAST}.simple:Mean", "The mean of the history.", f"{_FPP}, 5.2 and 5.5"
    ),
    "naive": FamilyEntry(
        ("forecast",), f"{_FORECAST}.simple:Naive", "The last value.", f"{_FPP}, 5.2 and 5.5"
    ),
    "seasonal_naive": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.simple:SeasonalNaive",
        "The value one season ago.",
        f"{_FPP}, 5.2 and 5.5",
    ),
    "drift": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.simple:Drift",
        "The last value and the average change.",
        f"{_FPP}, 5.2 and 5.5",
    ),
    "ets": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.ets:Ets",
        "Exponential smoothing in state-space form: error, trend and season, additive or multiplicative.",
        "Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing (2008)",
    ),
    "holt_winters": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.ets:HoltWinters",
        "Level, additive trend and season by exponential smoothing.",
        "Winters, Management Science 6 (1960)",
    ),
    "theta": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.theta:Theta",
        "Simple exponential smoothing with half the slope of the trend line, deseasonalised.",
        "Assimakopoulos and Nikolopoulos, Int. J. Forecasting 16 (2000)",
    ),
    "sarimax": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.sarimax:Sarimax",
        "Seasonal ARIMA with the known-future features as regressors.",
        "Box and Jenkins, Time Series Analysis (1970); Durbin and Koopman (2012)",
    ),
    "croston": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.intermittent:Croston",
        "Intermittent demand: smoothed sizes over smoothed intervals.",
        "Croston, J. Oper. Res. Soc. 23 (1972); Syntetos and Boylan, Int. J. Forecasting 21 (2005)",
    ),
    "tsb": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.intermittent:Tsb",
        "Intermittent demand that may end: smoothed sizes times the smoothed chance of demand.",
        "Teunter, Syntetos and Babai, Eur. J. Oper. Res. 214 (2011)",
    ),
    "aggregated": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.aggregated:Aggregated",
        "Sums over several periods, forecast by another family and shared out.",
        "Nikolopoulos, Syntetos, Boylan, Petropoulos and Assimakopoulos, J. Oper. Res. Soc. 62 (2011)",
    ),
    "lag_regression": FamilyEntry(
        ("forecast",),
        f"{_FORECAST}.lag_regression:LagRegression",
        "Any scikit-learn regressor on lags, rolling means, calendar and known-future features, recursively.",
        "Bontempi, Ben Taieb and Le Borgne, Machine Learning Strategies for Time Series Forecasting (2013)",
    ),
    "isolation_forest": FamilyEntry(
        ("anomaly",),
        f"{_ANOMALY}.detector:IsolationForest",
        "How few random splits isolate a row.",
        "Liu, Ting and Zhou, Isolation Forest, IEEE Int. Conf. on Data Mining (2008)",
    ),
    "robust_zscore": FamilyEntry(
        ("anomaly",),
        f"{_ANOMALY}.robust_zscore:RobustZscore",
        "Distance from what is expected (a median, a rolling median or a regression) in robust standard deviations.",
        "Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993)",
    ),
    "ewma": FamilyEntry(
        ("anomaly",),
        f"{_ANOMALY}.ewma:Ewma",
        "Control limits around an exponentially weighted moving average: small lasting shifts.",
        "Roberts, Technometrics 1 (1959)",
    ),
}
"""Built-in families by their name in job files."""


def build(candidate: CandidateSpec, task: Task) -> Family:
    """The family of a candidate, with the candidate's parameters checked.

    A name with a colon is the user's own code (``module:Name``); one with a dot is a scikit-learn estimator.

    Raises:
        JobError: The family is not known or does another task, or a parameter is not known or is ill-typed.
    """
    family = candidate.family
    if ":" in family:
        from manymodels.models.custom import build_custom

        return build_custom(candidate, task)
    if "." in family:
        if task == "forecast":
            raise JobError(
                f"models: {family} is not a forecaster; "
                f"a forecast takes an estimator as `lag_regression: {{estimator: {family}}}`"
            )
        if task == "anomaly":
            from manymodels.models.anomaly.detector import SklearnDetector

            return SklearnDetector(candidate)
        from manymodels.models.tabular.family import SklearnFamily

        return SklearnFamily(candidate, task)
    entry = FAMILIES.get(family)
    fitting = sorted(name for name, other in FAMILIES.items() if task in other.tasks)
    if task != "forecast":
        fitting.append("estimators by import path")
    fitting.append("your own as `module:name`")
    if entry is None:
        raise JobError(
            f"models: no family {family!r}{nearest(family, FAMILIES)}; for task {task} there are "
            f"{', '.join(fitting)}"
        )
    if task not in entry.tasks:
        raise JobError(
            f"models: {family} does {' and '.join(entry.tasks)}, the job's task is {task}; "
            f"for it there are {', '.join(fitting)}"
        )
    module, name = entry.location.split(":")
    return construct(getattr(import_module(module), name), candidate)


def construct(kind: Any, candidate: CandidateSpec, section: str = "models") -> Family:
    """An instance of a family's dataclass from a candidate's parameters.

    Raises:
        JobError: A parameter is not known, is missing, or is ill-typed; with the candidate's name.
    """
    known = {field.name: field for field in fields(kind)}
    where = f"{section}: candidate {candidate.name!r}"
    for name in candidate.params:
        if name not in known:
            raise JobError(
                f"{where} has no parameter {name!r}{nearest(name, known)}; "
                + (f"it takes {', '.join(sorted(known))}" if known else "it takes none")
            )
    for name, field in known.items():
        if name not in candidate.params and field.default is MISSING and field.default_factory is MISSING:
            raise JobError(f"{where} needs the parameter {name!r}")
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for name, value in candidate.params.items():
        try:
            values[name] = TypeAdapter(hints[name], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise JobError(
                f"{where}: parameter {name}: {message[0].lower()}{message[1:]}; found {value!r}"
            ) from None
    try:
        return kind(**values)  # type: ignore[no-any-return]
    except ValueError as error:
        raise JobError(f"{where}: {error}") from None
