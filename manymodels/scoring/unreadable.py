"""Numbers that came as text: one word in a CSV column makes all of it text, and must not cost the other rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import Predictions
from manymodels.partitioning.store import PartitionStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["blanked", "read_numbers", "turned_text"]

_NUMBERS = ("int", "float", "decimal", "bool")


def turned_text(trained: PartitionStore, scored: PartitionStore, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that were numbers in training and are text in the rows to score."""
    then, now = trained.details.columns, scored.details.columns
    return tuple(name for name in columns if then.get(name) in _NUMBERS and now.get(name) == "string")


def read_numbers(frame: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.bool_] | None:
    """Read the texts of some columns as numbers, in place.

    Returns:
        The rows in which one is no number; None when there are no such columns.
    """
    import pandas as pd

    if not columns:
        return None
    bad = np.zeros(len(frame), dtype=bool)
    for name in columns:
        numbers = pd.to_numeric(frame[name], errors="coerce").astype(np.float64)
        bad |= (numbers.isna() & frame[name].notna()).to_numpy()
        frame[name] = numbers
    return bad


def blanked(values: Predictions, bad: npt.NDArray[np.bool_]) -> Predictions:
    """Predictions without those of bad rows: a number that could not be read is no missing value to be filled in."""
    if not bad.any():
        return values
    found: dict[str, npt.NDArray[Any]] = {}
    for name, array in values.items():
        floating = np.asarray(array).dtype.kind == "f"
        column = np.array(array, dtype=np.float64 if floating else object)
        column[bad] = np.nan if floating else None
        found[name] = column
    return found
