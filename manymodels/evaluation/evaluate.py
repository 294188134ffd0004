"""Judging one candidate on one key: fit on a part of the rows, predict the rest, measure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from manymodels.evaluation.metrics import HeldOut, Measured, Metric
from manymodels.evaluation.splits import Split
from manymodels.exceptions import CannotExtendError, ModelError
from manymodels.models.contract import Family, FitSpec, FittedModel, Predictions
from manymodels.records import Rows

__all__ = ["Evaluation", "evaluate", "fit_checked"]


@dataclass(frozen=True)
class Evaluation:
    """How a candidate did on one key.

    Attributes:
        values: The metric on each split, None where there is none.
        held: What was predicted on each split; None where nothing usable was.
        reason: Why the first None is one; empty when there is none.
        fit_seconds: Wall time inside fit and predict.
    """

    values: tuple[float | None, ...]
    held: tuple[HeldOut | None, ...]
    reason: str
    fit_seconds: float

    @property
    def mean(self) -> float | None:
        """The mean of the values; None where there is none."""
        known = [value for value in self.values if value is not None]
        return sum(known) / len(known) if known else None

    def extended(self, further: Evaluation) -> Evaluation:
        """The evaluation on these splits and on further ones."""
        return Evaluation(
            self.values + further.values,
            self.held + further.held,
            self.reason or further.reason,
            self.fit_seconds + further.fit_seconds,
        )


def evaluate(
    family: Family, splits: Sequence[Split], spec: FitSpec, metric: Metric, *, cadence: int = 1
) -> Evaluation:
    """Fit and measure a candidate on every split.

    With a cadence above 1 only every so many splits are fitted, from the oldest on: the model goes on over the history of
    those after it, or is fitted again where it cannot.

    Where ``fit`` refuses a split's rows with a ``ModelError`` (too few before this cutoff, say) the split
    has no value: all rows may be enough.

    Raises:
        ModelError: It fits nothing that predicts, or predicts the wrong number of values, or none that are
            numbers.
        Exception: Whatever the family, its model, or the user's own metric raise.
    """
    values: list[float | None] = []
    held: list[HeldOut | None] = []
    reason = ""
    seconds = 0.0
    model: FittedModel | None = None
    for age, split in enumerate(reversed(splits)):
        began = time.perf_counter()
        judged: HeldOut | str
        try:
            model = _continued(None if age % cadence == 0 else model, family, split, spec)
        except ModelError as error:
            model, judged = None, str(error)
            seconds += time.perf_counter() - began
        else:
            predictions = model.predict(split.held)
            seconds += time.perf_counter() - began
            judged = _judged(predictions, split, spec)
        measured: Measured = judged if isinstance(judged, str) else metric.measure(judged)
        held.append(None if isinstance(judged, str) else judged)
        if isinstance(measured, str):
            values.append(None)
            reason = measured
        else:
            values.append(measured)
    return Evaluation(tuple(reversed(values)), tuple(reversed(held)), reason, seconds)


def _continued(model: FittedModel | None, family: Family, split: Split, spec: FitSpec) -> FittedModel:
    """An earlier split's model continued to this one's cutoff, else a model fitted on its rows."""
    if model is not None and split.history is not None:
        with suppress(CannotExtendError):
            return model.extend(split.history)
    return fit_checked(family, split.train, spec)


def fit_checked(family: Family, rows: Rows, spec: FitSpec) -> FittedModel:
    """Fit, and refuse what is no model.

    Raises:
        ModelError: These rows cannot be fitted, or the family made something without ``predict``.
    """
    model = family.fit(rows, spec)
    if not hasattr(model, "predict"):
        raise ModelError(f"{family.name} made a {type(model).__name__}, expected a model with `predict`")
    return model


def _judged(predictions: Predictions, split: Split, spec: FitSpec) -> HeldOut | str:
    """The judged rows with their predictions, or the reason why they cannot be measured.

    Raises:
        ModelError: The predictions are not what a model of this task gives.
    """
    main = "score" if spec.task == "anomaly" else "prediction"
    if not isinstance(predictions, Mapping) or main not in predictions:
        raise ModelError(f"`predict` gave {_shape(predictions)}, expected columns with `{main}`")
    columns = {}
    for name, values in predictions.items():
        if len(values) != len(split.held):
            raise ModelError(f"`predict` gave {len(values)} values in `{name}` for {len(split.held)} rows")
        columns[name] = np.asarray(values)[split.judged]
    if spec.task == "classification":
        return HeldOut(split.actual, columns, spec)
    numbers = columns[main] = columns[main].astype(np.float64)
    bad = len(numbers) - int(np.count_nonzero(np.isfinite(numbers)))
    if bad == len(numbers):
        raise ModelError(f"`predict` gave no finite number for any of {bad} rows")
    if bad:
        return f"`predict` gave no finite number for {bad} of {len(numbers)} rows"
    return HeldOut(split.actual, columns, spec, split.training)


def _shape(found: Any) -> str:
    return f"columns {list(found)}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
