"""Feature columns as numbers and codes: converted once for a whole batch of keys, then cut.

A column is a ``number`` (booleans are 0 and 1), a ``time`` (seconds since 1970 UTC; durations in seconds)
or a ``category`` (text, and what the job declares as one).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from manymodels.exceptions import DataError
from manymodels.models.contract import Floats
from manymodels.records import Rows

__all__ = ["Kind", "codes", "column_numbers", "kinds", "medians", "numbers", "sorted_medians"]

Kind = Literal["number", "time", "category"]
Codes = npt.NDArray[np.intp]


def kinds(rows: Rows, names: tuple[str, ...], categorical: Collection[str] = ()) -> dict[str, Kind]:
    """What each column is, by its type.

    Raises:
        DataError: A column is not there.
    """

    def make(frame: pd.DataFrame) -> dict[str, Kind]:
        return {n: "category" if n in categorical else _kind(_column(frame, n)) for n in names}

    return rows.derived(("kinds", names, tuple(categorical)), make)


def numbers(rows: Rows, names: tuple[str, ...]) -> Floats:
    """Columns as a float64 matrix of shape (rows, columns), not to be changed in place.

    Missing and infinite values are NaN.

    Raises:
        DataError: A column is not there, or holds what is no number.
    """

    def make(frame: pd.DataFrame) -> Floats:
        matrix = np.empty((len(frame), len(names)))
        for place, name in enumerate(names):
            matrix[:, place] = _numbers(_column(frame, name))
        matrix[np.isinf(matrix)] = np.nan
        return matrix

    return rows.derived(("numbers", names), make)[rows.places]


def column_numbers(rows: Rows, name: str) -> Floats:
    """One column as in ``numbers``, but that infinite values stay; of floats a view on the frame. Shape (rows,)."""
    return rows.derived(("number", name), lambda frame: _numbers(_column(frame, name)))[rows.places]


def medians(values: Floats) -> Floats:
    """Median of what is not NaN in each column; NaN for a column without a value.

    Ten times as fast as NumPy's ``nanmedian`` on the rows of one key.
    """
    ordered = np.sort(values, axis=0)
    return sorted_medians(ordered, len(values) - np.isnan(ordered).sum(axis=0))


def sorted_medians(ordered: Floats, counts: npt.NDArray[np.intp]) -> Floats:
    """The same of sorted columns, NaN last, with ``counts`` values each."""
    every = np.arange(len(counts))
    middle: Floats = (ordered[(counts - 1) // 2, every] + ordered[counts // 2, every]) / 2
    return middle


def codes(rows: Rows, name: str) -> tuple[Codes, list[Any]]:
    """A column as codes, and the whole batch's sorted values that they number; -1 where a value is missing.

    Raises:
        DataError: The column is not there.
    """

    def make(frame: pd.DataFrame) -> tuple[Codes, list[Any]]:
        column = _column(frame, name)
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(object)  # the order of its categories may differ between files
        found, values = pd.factorize(column, sort=True)
        return found, values.tolist()

    found, values = rows.derived(("codes", name), make)
    return found[rows.places], values


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    try:
        return frame[name]
    except KeyError:
        raise DataError(
            f"the rows have no column {name!r}, which the model needs; "
            f"they have {', '.join(map(str, frame.columns))}"
        ) from None


def _kind(column: pd.Series) -> Kind:
    dtype = column.dtype
    types = pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        return "time"
    if types.is_numeric_dtype(dtype):  # booleans too
        return "number"
    if not types.is_object_dtype(dtype):
        return "category"
    inferred = types.infer_dtype(column, skipna=True)
    if inferred in ("boolean", "integer", "floating", "mixed-integer-float", "decimal"):
        return "number"
    if inferred in ("date", "datetime", "datetime64", "timedelta"):
        return "time"
    return "category"


def _numbers(column: pd.Series) -> Floats:
    try:
        if _kind(column) == "time":
            return _seconds(column)
        found: Floats = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column {column.name!r}: numbers were expected, as in training; "
            f"found type {column.dtype} ({error})"
        ) from None
    return found


def _seconds(column: pd.Series) -> Floats:
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        ticks = column.to_numpy("timedelta64[us]")
    else:
        utc = pd.to_datetime(column, utc=True)
        ticks = utc.dt.tz_localize(None).to_numpy("datetime64[us]")
    seconds: Floats = ticks.astype(np.int64) / 1e6
    seconds[np.isnat(ticks)] = np.nan
    return seconds
