"""Metrics: numbers that say how far predictions are from what happened.

Those that scikit-learn has are its own, or NumPy with its definition (a test holds them equal) where a large fleet
pays for each call: validating its input costs scikit-learn about a millisecond, more than many a fit. Sample weights
weigh fits, not metrics.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import JobError
from manymodels.models.contract import FitSpec, Floats, Predictions, interval_columns
from manymodels.models.spec import Task

__all__ = [
    "METRICS",
    "HeldOut",
    "Measured",
    "Metric",
    "default_metric",
    "perfect_value",
    "resolve_metric",
    "skill_scores",
]

Measured = float | str
"""A metric's value, or the reason why there is none."""


@dataclass(frozen=True)
class HeldOut:
    """Rows that a fit did not see, and what its model predicted for them.

    Attributes:
        actual: What happened, one value a row, none missing: float64; for a classification the classes; for
            an anomaly detection 1 for an anomaly and 0 for none.
        predictions: The model's, of the same rows.
        spec: What the fit knew.
        training: Forecasts: the target up to the cutoff, one value a period, oldest first, NaN where it is
            not known; empty for other tasks.
    """

    actual: npt.NDArray[Any]
    predictions: Predictions
    spec: FitSpec
    training: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def predicted(self) -> npt.NDArray[Any]:
        """The predicted value of each row; the score of an anomaly detection."""
        return self.predictions["score" if self.spec.task == "anomaly" else "prediction"]


@dataclass(frozen=True)
class Metric:
    """One way to compare candidates.

    Attributes:
        name: As in job files.
        function: From held-out rows to a number, or to the reason why there is none.
        higher_is_better: Whether the best candidate has the highest value.
        tasks: The tasks it applies to.
        source: Where it is defined.
    """

    name: str
    function: Callable[[HeldOut], Measured]
    higher_is_better: bool
    tasks: tuple[Task, ...]
    source: str

    def measure(self, held: HeldOut) -> Measured:
        """The value on held-out rows, finite; or the reason why there is none."""
        value = self.function(held)
        if isinstance(value, float) and not math.isfinite(value):
            return f"{self.name} is {value}"
        return value

    def badness(self, value: float) -> float:
        """The value turned so that lower is better."""
        return -value if self.higher_is_better else value

    @property
    def perfect(self) -> float | None:
        """The value of a perfect model: 0 for errors, 1 for the built-in metrics where higher is better.

        None for a user's own metric where higher is better: nobody knows how high.
        """
        return perfect_value(self.name, self.higher_is_better)

    def skill(self, value: float | None, baseline: float | None) -> float | None:
        """How much better than the naive baseline, of one key; see ``skill_scores``."""
        perfect = self.perfect
        if value is None or baseline is None or perfect is None or perfect == baseline:
            return None
        found = (value - baseline) / (perfect - baseline)
        return found if math.isfinite(found) else None


def perfect_value(name: str, higher_is_better: bool) -> float | None:
    """See ``Metric.perfect``."""
    if not higher_is_better:
        return 0.0
    return 1.0 if name in METRICS else None


def skill_scores(values: Floats, baselines: Floats, perfect: float | None) -> Floats:
    """How much better than the naive baseline: 1 is perfect, 0 as good as the baseline, below 0 worse.

    ``(value - baseline) / (perfect - baseline)``, which for errors is ``1 - value / baseline`` (Murphy, Skill Scores Based on
    the Mean Square Error and Their Relationships to the Correlation Coefficient, Monthly Weather Review 116, 1988).

    Args:
        values: Of a metric, NaN where there is none. Of any shape.
        baselines: The naive baseline's, on the same rows.
        perfect: See ``perfect_value``; without one there is no skill.

    Returns:
        NaN where a value is missing, or the baseline is perfect itself.
    """
    if perfect is None:
        return np.full(np.shape(values), np.nan)
    room = perfect - baselines
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = (values - baselines) / room
    return np.where(np.isfinite(found), found, np.nan)


def _mean(values: Floats) -> float:
    """As ``numpy.mean``, in half the time."""
    return float(np.add.reduce(values)) / len(values)


def _mae(held: HeldOut) -> Measured:
    return _mean(np.abs(held.actual - held.predicted))


def _rmse(held: HeldOut) -> Measured:
    errors = held.actual - held.predicted
    return math.sqrt(float(errors @ errors) / len(errors))


def _r2(held: HeldOut) -> Measured:
    if len(held.actual) < 2:
        return "r2 needs two held-out rows"
    errors = held.actual - held.predicted
    spread = held.actual - held.actual.mean()
    missed, total = float(errors @ errors), float(spread @ spread)
    if total == 0:
        return 1.0 if missed == 0 else 0.0
    return 1 - missed / total


def _wape(held: HeldOut) -> Measured:
    total = float(np.abs(held.actual).sum())
    if total == 0:
        return "wape is not defined where every held-out value is zero"
    return float(np.abs(held.actual - held.predicted).sum()) / total


def _smape(held: HeldOut) -> Measured:
    misses = np.abs(held.actual - held.predicted)
    sizes = np.abs(held.actual) + np.abs(held.predicted)
    # A zero forecast of a zero is no error; M4 has no such value.
    return 200 * _mean(np.divide(misses, sizes, out=np.zeros_like(sizes), where=sizes > 0))


def _mase(held: HeldOut) -> Measured:
    # Without two values one season apart the plain naive error takes the seasonal one's place.
    scale = _lagged(held.training, held.spec.season_length, np.abs)
    if scale is None and held.spec.season_length > 1:
        scale = _lagged(held.training, 1, np.abs)
    if scale is None or scale == 0:
        return _unscaled("mase", scale)
    return _mean(np.abs(held.actual - held.predicted)) / scale


def _rmsse(held: HeldOut) -> Measured:
    scale = _lagged(held.training[int(np.argmax(held.training != 0)) :], 1, np.square)
    if scale is None or scale == 0:
        return _unscaled("rmsse", scale)
    errors = held.actual - held.predicted
    return math.sqrt(float(errors @ errors) / len(errors) / scale)


def _lagged(values: Floats, lag: int, power: Callable[[Floats], Floats]) -> float | None:
    """Mean power of the changes over a lag; None without two known values so far apart."""
    changes = power(values[lag:] - values[:-lag])
    if len(changes) == 0:
        return None
    mean = _mean(changes)
    if not math.isnan(mean):
        return mean
    known = changes[~np.isnan(changes)]
    return _mean(known) if len(known) else None


def _unscaled(name: str, scale: float | None) -> str:
    if scale is None:
        return f"{name} has no scale: too few known values before the cutoff"
    return f"{name} has no scale: the target does not change before the cutoff"


def _pinball(held: HeldOut) -> Measured:
    if not held.spec.levels:
        return "pinball needs `forecast.levels`"
    losses = []
    for level in held.spec.levels:
        tail = (1 - level / 100) / 2
        for column, quantile in zip(interval_columns(level), (tail, 1 - tail), strict=True):
            errors = held.actual - held.predictions[column]
            losses.append(_mean(np.maximum(quantile * errors, (quantile - 1) * errors)))
    return sum(losses) / len(losses)


def _coverage(held: HeldOut) -> Measured:
    if not held.spec.levels:
        return "coverage needs `forecast.levels`"
    gaps = []
    for level in held.spec.levels:
        low, high = (held.predictions[column] for column in interval_columns(level))
        if np.isnan(low).any() or np.isnan(high).any():
            return f"a bound of the {level:g} % interval is no number"
        inside = (held.actual >= low) & (held.actual <= high)
        gaps.append(abs(_mean(inside.astype(np.float64)) - level / 100))
    return sum(gaps) / len(gaps)


def _places(held: HeldOut, values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Classes as their places in ``spec.classes``; -1 for what is none of them."""
    places = {value: place for place, value in enumerate(held.spec.classes)}
    return np.array([places.get(value, -1) for value in values.tolist()], dtype=np.intp)


def _probabilities(held: HeldOut) -> Floats:
    """Shape (rows, classes)."""
    return np.column_stack([held.predictions[f"probability_{value}"] for value in held.spec.classes])


def _logloss(held: HeldOut) -> Measured:
    actual = _places(held, held.actual)
    least = np.finfo(np.float64).eps
    chosen = _probabilities(held)[np.arange(len(actual)), actual]
    return -_mean(np.log(np.clip(chosen, least, 1 - least)))


def _accuracy(held: HeldOut) -> Measured:
    return _mean(held.actual == held.predicted)


def _f1(held: HeldOut) -> Measured:
    # Shifted by one, so that a prediction that is no class at all counts against recall.
    actual, predicted = _places(held, held.actual) + 1, _places(held, held.predicted) + 1
    size = len(held.spec.classes) + 1
    hits = np.bincount(actual[actual == predicted], minlength=size)
    totals = np.bincount(actual, minlength=size) + np.bincount(predicted, minlength=size)
    if size != 3:
        seen = totals > 0
        return _mean(2 * hits[seen] / totals[seen])
    # The greater of two classes is the positive one, as scikit-learn orders them.
    if not (actual == 2).any():
        return f"f1 needs the class {held.spec.classes[1]!r} among the held-out rows"
    return float(2 * hits[2] / totals[2])


def _roc_auc(held: HeldOut) -> Measured:
    actual, probabilities = _places(held, held.actual), _probabilities(held)
    seen = np.unique(actual)
    if len(seen) < 2:
        return "roc_auc needs two classes among the held-out rows"
    if len(held.spec.classes) == 2:
        return _area(actual == 1, probabilities[:, 1])
    return sum(_area(actual == place, probabilities[:, place]) for place in seen) / len(seen)


def _area(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative (Mann and Whitney, 1947)."""
    if np.isnan(scores).any():
        return math.nan
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # tied scores share their mean rank
    first = int(np.count_nonzero(positive))
    above = float(ranks[positive].sum()) - first * (first + 1) / 2
    return above / (first * (len(positive) - first))


def _average_precision(held: HeldOut) -> Measured:
    from sklearn.metrics import average_precision_score

    if not held.actual.any():
        return "average_precision needs an anomaly among the held-out rows"
    return float(average_precision_score(held.actual, held.predicted))


def _ndcg(held: HeldOut) -> Measured:
    from sklearn.metrics import ndcg_score

    if len(held.actual) < 2:
        return "ndcg needs two held-out rows"
    if (held.actual < 0).any():
        return "ndcg needs targets of zero or more"
    if not held.actual.any():
        return "ndcg needs a held-out target above zero"
    return float(ndcg_score([held.actual], [held.predicted]))


_SKLEARN = "scikit-learn, Metrics and scoring: "

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "mase",
            _mase,
            False,
            ("forecast",),
            "Hyndman and Koehler, Int. J. Forecasting 22 (2006); scaled by the seasonal naive as in "
            "Makridakis, Spiliotis and Assimakopoulos, The M4 Competition, Int. J. Forecasting 36 (2020)",
        ),
        Metric(
            "smape",
            _smape,
            False,
            ("forecast",),
            "percent, 0 to 200; Makridakis, Spiliotis and Assimakopoulos, The M4 Competition, Int. J. "
            "Forecasting 36 (2020)",
        ),
        Metric("mae", _mae, False, ("forecast", "regression"), _SKLEARN + "mean_absolute_error"),
        Metric(
            "rmse", _rmse, False, ("forecast", "regression", "ranking"), _SKLEARN + "root_mean_squared_error"
        ),
        Metric(
            "wape",
            _wape,
            False,
            ("forecast",),
            "sum of absolute errors over the sum of absolute values; Kolassa and Schütz, Foresight 6 (2007)",
        ),
        Metric(
            "rmsse",
            _rmsse,
            False,
            ("forecast",),
            "Makridakis, Spiliotis and Assimakopoulos, The M5 Competition, Int. J. Forecasting 38 (2022); "
            "scaled from the first value that is not zero",
        ),
        Metric(
            "pinball",
            _pinball,
            False,
            ("forecast",),
            "mean over the bounds of all levels; Koenker and Bassett, Econometrica 46 (1978)",
        ),
        Metric(
            "coverage",
            _coverage,
            False,
            ("forecast",),
            "how far the share of outcomes inside an interval is from its level, mean over the levels; "
            "Christoffersen, Evaluating Interval Forecasts, Int. Economic Review 39 (1998)",
        ),
        Metric("r2", _r2, True, ("regression",), _SKLEARN + "r2_score"),
        Metric("logloss", _logloss, False, ("classification",), _SKLEARN + "log_loss"),
        Metric(
            "roc_auc",
            _roc_auc,
            True,
            ("classification",),
            _SKLEARN
            + "roc_auc_score; more than two classes: each against the rest, mean over those held out",
        ),
        Metric(
            "f1",
            _f1,
            True,
            ("classification",),
            _SKLEARN + "f1_score; of the greater of two classes, else the mean over the classes",
        ),
        Metric("accuracy", _accuracy, True, ("classification",), _SKLEARN + "accuracy_score"),
        Metric(
            "average_precision",
            _average_precision,
            True,
            ("anomaly",),
            _SKLEARN + "average_precision_score; of the scores against `evaluation.label`",
        ),
        Metric("ndcg", _ndcg, True, ("ranking",), _SKLEARN + "ndcg_score; of all held-out rows of the key"),
    )
}
"""Metrics by their name in job files."""

_DEFAULTS: dict[Task, str] = {
    "forecast": "mase",
    "regression": "rmse",
    "classification": "logloss",
    "anomaly": "average_precision",
    "ranking": "rmse",
}


def default_metric(task: Task) -> str:
    """The metric of a task whose job names none; an anomaly detection's needs ``evaluation.label``."""
    return _DEFAULTS[task]


def resolve_metric(name: str, task: Task) -> Metric:
    """The metric of a name, or the user's own ``module:function``.

    A user's function takes ``(actual, predicted)``, two arrays of one length, and returns a float, or None
    where it has no value; lower is better unless the function has a true attribute ``higher_is_better``.

    Raises:
        JobError: There is no such metric, it is for other tasks, or it cannot be imported.
    """
    if ":" in name:
        return _own(name, task)
    metric = METRICS.get(name)
    fitting = [known.name for known in METRICS.values() if task in known.tasks]
    if metric is None:
        close = difflib.get_close_matches(name, METRICS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise JobError(
            f"evaluation.metric: no metric {name!r}{hint}; for task {task} there are {', '.join(fitting)}, "
            "and your own as `module:function`"
        )
    if task not in metric.tasks:
        raise JobError(
            f"evaluation.metric: {name} is for {' and '.join(metric.tasks)}, the job's task is {task}; for "
            f"it there are {', '.join(fitting)}"
        )
    return metric


@dataclass(frozen=True)
class _Own:
    """A user's function as a metric's."""

    name: str
    function: Callable[[npt.NDArray[Any], npt.NDArray[Any]], float | None]

    def __call__(self, held: HeldOut) -> Measured:
        value = self.function(held.actual, held.predicted)
        return f"{self.name} returned None" if value is None else float(value)


def _own(name: str, task: Task) -> Metric:
    module, _, path = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise JobError(
            f"evaluation.metric: could not import {name!r}: {type(error).__name__}: {error}; expected "
            "`module:function`, with the module beside the job file"
        ) from error
    if not callable(found):
        raise JobError(
            f"evaluation.metric: {name!r}: expected a function of (actual, predicted), found {type(found).__name__}"
        )
    return Metric(name, _Own(name, found), bool(getattr(found, "higher_is_better", False)), (task,), "")
