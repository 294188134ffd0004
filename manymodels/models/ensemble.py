"""A combination of models: each member predicts, and what comes out is their weighted mean or their median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import FittedModel, Floats, Predictions
from manymodels.models.tabular.outputs import class_columns, probability_column
from manymodels.records import Rows

__all__ = ["Combination", "EnsembleModel"]


@dataclass(frozen=True)
class Combination:
    """How the predictions of some models become one.

    Every output column is combined by itself: for bounds it means that quantiles are averaged, not densities (Lichtendahl,
    Grushka-Cockayne and Winkler, Is It Better to Average Probabilities or Quantiles?, Management Science 59, 2013). The
    probabilities of a classification are, and the class is the most probable one.

    Attributes:
        weights: Of each model, positive or zero, 1 in sum; None for the median.
        classes: Classification: those of the whole data set.
    """

    weights: tuple[float, ...] | None
    classes: tuple[Any, ...] = ()

    def of(self, predictions: Sequence[Predictions]) -> dict[str, npt.NDArray[Any]]:
        """The models' predictions of the same rows as one, in the same columns."""
        if not self.classes:
            return {name: self._one([each[name] for each in predictions]) for name in predictions[0]}
        names = [probability_column(value) for value in self.classes]
        found = np.column_stack([self._one([each[name] for each in predictions]) for name in names])
        total = found.sum(axis=1, keepdims=True)
        if self.weights is None and (total == 0).any():  # every class is improbable to most of the models
            mean = np.mean([np.column_stack([each[name] for name in names]) for each in predictions], axis=0)
            found = np.where(total == 0, mean, found)
            total = found.sum(axis=1, keepdims=True)
        return dict(class_columns(found.argmax(axis=1), found / total, self.classes))

    def _one(self, columns: Sequence[npt.NDArray[Any]]) -> Floats:
        values = np.array(columns, dtype=np.float64)
        one: Floats = np.median(values, axis=0) if self.weights is None else np.array(self.weights) @ values
        return one


@dataclass(frozen=True, eq=False)
class EnsembleModel:
    """Some models of one key that predict together.

    Attributes:
        candidates: Names of the candidates that the members are of.
        members: Each fitted on all rows.
        combination: How their predictions become one.
    """

    candidates: tuple[str, ...]
    members: tuple[FittedModel, ...]
    combination: Combination

    def predict(self, rows: Rows) -> Predictions:
        """See ``FittedModel.predict``.

        Raises:
            ModelError: A member cannot predict the rows.
        """
        return self.combination.of([member.predict(rows) for member in self.members])

    def extend(self, rows: Rows) -> EnsembleModel:
        """The ensemble of the extended members; see ``FittedModel.extend``.

        Raises:
            CannotExtendError: A member would need a refit.
        """
        return replace(self, members=tuple(member.extend(rows) for member in self.members))

    def describe(self) -> Mapping[str, Any]:
        """How it combines, and what its members are."""
        weights = self.combination.weights
        shares = [None] * len(self.members) if weights is None else list(weights)
        return {
            "family": "ensemble",
            "combine": "median" if weights is None else "weighted",
            "members": [
                {"candidate": name, "weight": share, **member.describe()}
                for name, share, member in zip(self.candidates, shares, self.members, strict=True)
            ],
        }
