"""Predictions checked and laid out: what a model gives must be one usable value a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError
from manymodels.models.contract import Floats, Predictions

__all__ = ["class_columns", "class_places", "probability_column", "usable_numbers", "usable_probabilities"]


def probability_column(value: Any) -> str:
    """Output column with the probability of a class."""
    return f"probability_{value}"


def usable_numbers(values: Any, rows: int, who: str) -> Floats:
    """Predictions as float64 of shape (rows,).

    Args:
        values: What a model's ``predict`` gave.
        rows: How many rows it was given.
        who: The model, for messages.

    Raises:
        ModelError: It is None, has another length, holds what is no number, or not one finite number.
    """
    array = _one_a_row(values, rows, who)
    try:
        if array.dtype.kind in "USmM" or (array.dtype == object and any(isinstance(v, str) for v in array)):
            raise TypeError(f"{array[0]!r}")
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{who} must predict numbers; found type {array.dtype} ({error})") from None
    if rows and not np.isfinite(numbers).any():
        raise ModelError(f"{who} must predict numbers; all {rows} predictions are NaN or infinite")
    return numbers


def usable_probabilities(values: Any, rows: int, classes: int, who: str) -> Floats:
    """Predicted probabilities as float64 of shape (rows, classes).

    Raises:
        ModelError: They have another shape, are no numbers, or are all NaN.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{who} must predict probabilities; found {error}") from None
    if array.shape != (rows, classes):
        raise ModelError(
            f"{who} must predict {classes} probabilities a row; found shape {array.shape} for {rows} rows"
        )
    if rows and np.isnan(array).all():
        raise ModelError(f"{who} must predict probabilities; all of {rows} rows are NaN")
    return array


def class_places(values: Any, classes: Sequence[Any], rows: int, who: str) -> npt.NDArray[np.intp]:
    """Predicted classes as places in ``classes``.

    Raises:
        ModelError: As for ``usable_numbers``, or a prediction is none of the classes.
    """
    predicted = _one_a_row(values, rows, who).tolist()
    place_of = {value: place for place, value in enumerate(classes)}
    try:
        return np.array([place_of[value] for value in predicted], dtype=np.intp)
    except (KeyError, TypeError) as error:
        shown = ", ".join(map(repr, classes))
        raise ModelError(f"{who} must predict classes of the data set ({shown}); found {error}") from None


def class_columns(
    places: npt.NDArray[np.intp], probabilities: Floats | None, classes: Sequence[Any]
) -> Predictions:
    """A classification's output.

    Args:
        places: Each row's predicted class, a place in ``classes``.
        probabilities: Shape (rows, classes); None for models without: 1 for the predicted class.
        classes: Of the whole data set.
    """
    if probabilities is None:
        probabilities = np.zeros((len(places), len(classes)))
        probabilities[np.arange(len(places)), places] = 1.0
    kinds = {type(value) for value in classes}
    plain = len(kinds) == 1 and kinds <= {bool, int, float}
    columns: dict[str, npt.NDArray[Any]] = {
        "prediction": np.array(classes, dtype=kinds.pop() if plain else object)[places]
    }
    for place, value in enumerate(classes):
        columns[probability_column(value)] = probabilities[:, place]
    return columns


def _one_a_row(values: Any, rows: int, who: str) -> npt.NDArray[Any]:
    if values is None:
        raise ModelError(f"{who} must predict one value a row; found None for {rows} rows")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ModelError(
            f"{who} must predict one value a row; found lists of unequal length ({error})"
        ) from None
    if array.shape in ((rows, 1), (1, rows)):
        array = array.reshape(rows)
    if array.shape != (rows,):
        found = f"{len(array)} values" if array.ndim == 1 else f"an array of shape {array.shape}"
        raise ModelError(f"{who} must predict one value a row; found {found} for {rows} rows")
    return array
