"""A key's own model and that of its level, blended; and the level's model as it was before each cutoff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manymodels.exceptions import ModelError
from manymodels.models.contract import FittedModel, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.intervals import IntervalForecast, IntervalRegression
from manymodels.records import Rows

__all__ = ["Blended", "Parent", "blend_of", "completed", "for_key", "mixed"]

_CLASS = "probability_"


@dataclass(frozen=True)
class Parent:
    """A level's model, and what it was when it had not seen what was held out of its keys.

    Attributes:
        model: Fitted on all rows.
        before: By window or fold: fitted on what each key had before it; None where that could not be fitted.
    """

    model: FittedModel
    before: tuple[FittedModel | None, ...] = ()

    def predict(self, rows: Rows) -> Predictions:
        """See ``FittedModel.predict``."""
        return self.model.predict(rows)

    def extend(self, rows: Rows) -> FittedModel:
        """The model for the key that has these rows."""
        return for_key(self.model, rows)

    def describe(self) -> Mapping[str, Any]:
        """See ``FittedModel.describe``."""
        return self.model.describe()


@dataclass(frozen=True)
class Blended:
    """A key's own model, and how much of its level's is added.

    The level's model is stored once, and is none of this one's parts until ``with_parent`` brings it: a key's version holds
    the weight.

    Attributes:
        own: The key's.
        level: Whose model is added: ``pooled`` or ``level:region``.
        weight: Of the key's own model; the rest is the level's.
        classes: Of a classification.
        parent: The level's model, for this key.
    """

    own: FittedModel
    level: str
    weight: float
    classes: tuple[Any, ...] = ()
    parent: FittedModel | None = None

    def with_parent(self, parent: FittedModel) -> Blended:
        """The same with the level's model, which was given the key's rows (``extend``)."""
        return replace(self, parent=parent)

    def predict(self, rows: Rows) -> Predictions:
        """See ``FittedModel.predict``.

        Raises:
            ModelError: The level's model was not brought.
        """
        if self.parent is None:
            raise ModelError(
                f"{1 - self.weight:.0%} of this model is that of its level, {self.level}: give it with `with_parent`, or take "
                "the key's part alone, `own`"
            )
        return mixed(self.own.predict(rows), self.parent.predict(rows), self.weight, self.classes)

    def extend(self, rows: Rows) -> Blended:
        """The same over newer rows; see ``FittedModel.extend``."""
        parent = None if self.parent is None else self.parent.extend(rows)
        return replace(self, own=self.own.extend(rows), parent=parent)

    def describe(self) -> Mapping[str, Any]:
        """What the key's own model is, and the blend."""
        return {**self.own.describe(), "blended_with": self.level, "own_weight": self.weight}


def blend_of(model: FittedModel) -> Blended | None:
    """The blend in a model, which may have bounds put around it."""
    if isinstance(model, IntervalForecast | IntervalRegression):
        return blend_of(model.model)
    return model if isinstance(model, Blended) else None


def completed(model: FittedModel, parent: FittedModel | None) -> FittedModel:
    """A model whose blend has its level's model for this key; the key's part alone without one."""
    if isinstance(model, IntervalForecast | IntervalRegression):
        return replace(model, model=completed(model.model, parent))
    if isinstance(model, Blended):
        return model.own if parent is None else model.with_parent(parent)
    return model


def for_key(model: FittedModel, rows: Rows) -> FittedModel:
    """A level's model for the key that has these rows: from its level, or continued over its history.

    A model that is the same for every key stays as it is.
    """
    return model if isinstance(model, FixedModel) else model.extend(rows)


def mixed(own: Predictions, parent: Predictions, weight: float, classes: tuple[Any, ...] = ()) -> Predictions:
    """Predictions of two models, averaged: values, bounds of intervals, and probabilities.

    A value that only one of the two has is that one's own.

    Args:
        own: Of the key's model.
        parent: Of the level's.
        weight: Of the former.
        classes: Of a classification, whose prediction is then the likeliest.
    """
    found: dict[str, Any] = {}
    for name, values in own.items():
        first = np.asarray(values)
        if name not in parent or (classes and not name.startswith(_CLASS)):
            found[name] = first
            continue
        second = np.asarray(parent[name], dtype=np.float64)
        both = weight * first + (1 - weight) * second
        found[name] = np.where(np.isfinite(second), both, first)
    if classes:
        shares = np.column_stack([found[f"{_CLASS}{value}"] for value in classes])
        kind = np.asarray(own["prediction"]).dtype
        found["prediction"] = np.array(list(classes), dtype=kind)[shares.argmax(axis=1)]
    return found
