"""Models that say the same for every row: keys with one class, and the naive rung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from manymodels.models.contract import FitSpec, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.tabular.outputs import class_columns
from manymodels.models.tabular.targets import labelled
from manymodels.records import Rows

__all__ = ["ConstantModel", "NaiveTabular"]


@dataclass(frozen=True)
class ConstantModel(FixedModel):
    """The same prediction for every row.

    Attributes:
        family: What made it.
        mean: Regression and ranking: what is predicted.
        classes: Classification: the classes of the whole data set.
        probabilities: Classification: one for each class; the first of the most probable is predicted.
        reason: Why the model is constant.
    """

    family: str
    mean: float | None = None
    classes: tuple[Any, ...] = ()
    probabilities: tuple[float, ...] = ()
    reason: str = ""

    @classmethod
    def of_class(cls, family: str, classes: tuple[Any, ...], place: int, reason: str) -> ConstantModel:
        """One class, for certain."""
        certain = tuple(float(other == place) for other in range(len(classes)))
        return cls(family, classes=classes, probabilities=certain, reason=reason)

    def predict(self, rows: Rows) -> Predictions:
        """The constant, once a row."""
        if not self.classes:
            return {"prediction": np.full(len(rows), self.mean)}
        places = np.full(len(rows), int(np.argmax(self.probabilities)))
        return class_columns(places, np.tile(self.probabilities, (len(rows), 1)), self.classes)

    def describe(self) -> Mapping[str, Any]:
        """Family, the constant, and why."""
        said = {"family": self.family, "notes": [self.reason]}
        if not self.classes:
            return {**said, "mean": self.mean}
        return {**said, "probabilities": dict(zip(map(str, self.classes), self.probabilities, strict=True))}


class NaiveTabular:
    """The naive rung: the weighted mean of the target, or the weighted shares of the classes."""

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> ConstantModel:
        """The constant model of the keys' rows.

        Raises:
            UnusableRowsError: No row has a target, or the target is infinite.
        """
        known = labelled(Rows.joined(keys), spec)
        if not known.classes:
            return ConstantModel(
                "naive",
                mean=float(np.average(known.target, weights=known.weights)),
                reason="mean of the target",
            )
        counts = np.bincount(known.target, weights=known.weights, minlength=len(known.classes))
        return ConstantModel(
            "naive",
            classes=known.classes,
            probabilities=tuple((counts / counts.sum()).tolist()),
            reason="shares of the classes",
        )
