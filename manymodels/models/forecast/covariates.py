"""Covariates as numbers: standardised where they are numbers, one column a category where they are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ModelError
from manymodels.models.contract import Floats
from manymodels.records import Rows

__all__ = ["MOST_CATEGORIES", "Encoder", "category", "column_numbers", "is_number", "number"]

Bools = npt.NDArray[np.bool_]

MOST_CATEGORIES = 30
"""Rarer categories share the neutral code: a column each would cost more than it tells one key's model."""


@dataclass(frozen=True, slots=True)
class _Number:
    name: str
    centre: float
    factor: float

    @property
    def width(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class _Category:
    name: str
    values: tuple[Any, ...]

    @property
    def width(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Encoder:
    """Columns of rows to a matrix; learned from the training rows.

    A missing value, an unknown category and a period without a row are all zeros: the mean of a number, no
    category.

    Attributes:
        columns: One entry a column.
    """

    columns: tuple[_Number | _Category, ...] = ()

    @property
    def width(self) -> int:
        """Columns of the matrix."""
        return sum(column.width for column in self.columns)

    @classmethod
    def learn(cls, names: Sequence[str], categorical: Sequence[str], parts: Sequence[Rows]) -> Encoder:
        """Means, deviations and categories of some columns.

        Args:
            names: The columns.
            categorical: Those of them to treat as categories whatever their type.
            parts: The rows of one key, or of several.
        """
        return cls(tuple(_learned(name, name in categorical, parts) for name in names))

    def places(self, names: Sequence[str]) -> tuple[int, ...]:
        """The matrix columns of some columns.

        Raises:
            ModelError: One of them is not there.
        """
        found: list[int] = []
        known = [column.name for column in self.columns]
        for name in names:
            if name not in known:
                raise ModelError(
                    f"{name!r} is not a known-future feature; there are {', '.join(known) or 'none'}"
                )
            at = known.index(name)
            start = sum(column.width for column in self.columns[:at])
            found.extend(range(start, start + self.columns[at].width))
        return tuple(found)

    def encode(self, rows: Rows) -> tuple[Floats, Bools]:
        """The matrix of some rows, and which rows lack a value.

        Returns:
            Shapes (n, width) and (n,).

        Raises:
            ModelError: A column is not there.
        """
        matrix = np.zeros((len(rows), self.width))
        lacking = np.zeros(len(rows), dtype=np.bool_)
        at = 0
        for column in self.columns:
            if column.name not in rows.columns:
                raise ModelError(f"the rows have no column {column.name!r}")
            if isinstance(column, _Number):
                values = (column_numbers(rows, column.name) - column.centre) * column.factor
                missing = ~np.isfinite(values)
                matrix[:, at] = np.where(missing, 0.0, values)
            else:
                found = rows.values(column.name)
                missing = _missing(found)
                for place, category in enumerate(column.values, at):
                    matrix[:, place] = found == category
            lacking |= missing
            at += column.width
        return matrix, lacking


def number(name: str, centre: float, factor: float) -> _Number:
    """A column of numbers, whose mean is taken off and which is multiplied then."""
    return _Number(name, centre, factor)


def category(name: str, values: tuple[Any, ...]) -> _Category:
    """A column of categories, those that have a column of the matrix each."""
    return _Category(name, values)


def is_number(values: npt.NDArray[Any]) -> bool:
    """Whether a column is one of numbers by its type (or of times)."""
    return values.dtype.kind in "biufM"


def column_numbers(rows: Rows, name: str) -> Floats:
    """A column of numbers; times in days."""
    values = rows.values(name)
    if values.dtype.kind == "M":
        days: Floats = np.where(
            np.isnat(values), np.nan, values.astype("datetime64[us]").astype(np.int64) / 86.4e9
        )
        return days
    return rows.numbers(name)


def _missing(values: npt.NDArray[Any]) -> Bools:
    from pandas import isna

    missing: Bools = np.asarray(isna(values))
    return missing


def _learned(name: str, categorical: bool, parts: Sequence[Rows]) -> _Number | _Category:
    if not categorical and all(is_number(rows.values(name)) for rows in parts):
        values = np.concatenate([column_numbers(rows, name) for rows in parts])
        values = values[np.isfinite(values)]
        # A constant says nothing, and what it would say about other values is unknown. (Its deviation may be rounding.)
        varies = len(values) > 0 and values.min() < values.max()
        deviation = float(values.std()) if varies else 0.0
        return _Number(
            name, float(values.mean()) if len(values) else 0.0, 1 / deviation if deviation > 0 else 0.0
        )
    counts: Counter[Any] = Counter()
    for rows in parts:
        found = rows.values(name)
        counts.update(found[~_missing(found)].tolist())
    if len(counts) < 2:
        return _Category(name, ())
    common = sorted(counts, key=lambda value: (-counts[value], repr(value)))[:MOST_CATEGORIES]
    return _Category(name, tuple(common))
