"""What a tabular fit learns from: the rows that have a target, their targets and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.tabular.columns import codes
from manymodels.records import Rows

__all__ = ["Labelled", "class_codes", "labelled"]


@dataclass(frozen=True)
class Labelled:
    """Rows with a target each.

    Attributes:
        rows: The rows, without those that have no target or no weight.
        target: Float64; for a classification the places of the classes in ``classes``.
        weights: Sample weights, where the job names a column.
        classes: Classification: the classes of the whole data set.
    """

    rows: Rows
    target: npt.NDArray[Any]
    weights: Floats | None
    classes: tuple[Any, ...] = ()


def labelled(rows: Rows, spec: FitSpec) -> Labelled:
    """The rows of a key that a regression, ranking or classification can learn from.

    Rows whose target or weight is missing, or whose weight is zero, are left out.

    Raises:
        UnusableRowsError: No row is left, a target is infinite, or a weight is negative or infinite.
        ModelError: The target is no number, or is not one of the classes of the data set.
    """
    column = spec.target
    if column is None:
        raise ModelError(f"{spec.task} needs a target column")
    classes = spec.classes
    target: npt.NDArray[Any]
    if spec.task == "classification":
        target, classes = class_codes(rows, column, spec.classes)
        known = target >= 0
    else:
        target = _numbers(rows, column)
        if np.isinf(target).any():
            raise UnusableRowsError(
                f"the target {column!r} is infinite in {np.isinf(target).sum()} of {len(rows)} rows"
            )
        known = ~np.isnan(target)
    if not known.any():
        raise UnusableRowsError(f"the target {column!r} has no value in {len(rows)} rows")
    weights = None
    if spec.weight is not None:
        weights = _numbers(rows, spec.weight)
        if (weights < 0).any() or np.isinf(weights).any():
            raise UnusableRowsError(f"a weight in {spec.weight!r} is negative or infinite")
        known &= weights > 0
        if not known.any():
            raise UnusableRowsError(
                f"no row has both a value of the target {column!r} and a weight in {spec.weight!r}"
            )
    if known.all():
        return Labelled(rows, target, weights, classes)
    kept = np.flatnonzero(known)
    return Labelled(rows.take(kept), target[kept], None if weights is None else weights[kept], classes)


def _numbers(rows: Rows, column: str) -> Floats:
    try:
        return rows.numbers(column)
    except (TypeError, ValueError) as error:
        raise ModelError(f"column {column!r}: numbers were expected ({error})") from None


def class_codes(
    rows: Rows, column: str, classes: tuple[Any, ...]
) -> tuple[npt.NDArray[np.intp], tuple[Any, ...]]:
    """The places of a column's values among the classes, -1 for a missing one; and the classes, the column's if none are given.

    Raises:
        ModelError: A value is none of the classes.
    """
    found, values = codes(rows, column)
    if not classes:
        classes = tuple(values[code] for code in np.unique(found[found >= 0]))
    place_of = {value: place for place, value in enumerate(classes)}
    # The last entry stands for a missing value, whose code is -1.
    places = np.array([*(place_of.get(value, -2) for value in values), -1], dtype=np.intp)[found]
    if (places == -2).any():
        stranger = values[found[places == -2][0]]
        raise ModelError(f"the target {column!r} has {stranger!r}, which is none of the data set's classes")
    return places, classes
