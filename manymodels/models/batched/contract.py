"""What a batched trainer is: many keys' rows in, their fitted models as columns out; no Python loop over keys.

The model of a key is the same that its family's ``fit`` gives (within 1e-9): a trainer leaves out the keys that it
cannot fit exactly so (gaps, missing values, too few rows), and those are fitted one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from manymodels.models.contract import FitSpec, FittedModel, Floats, Predictions
from manymodels.records import Rows

__all__ = [
    "BatchedTrainer",
    "Ints",
    "ModelColumns",
    "Panel",
    "PanelFit",
    "PanelPredictions",
    "Spans",
    "lists",
    "ranges",
    "segment_sums",
]

Ints = npt.NDArray[np.int64]


class Spans:
    """What panels share: key n has the places ``starts[n]`` to ``stops[n]`` of something that holds many keys."""

    starts: Ints
    stops: Ints

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def lengths(self) -> Ints:
        """Places of each key. Shape (keys,)."""
        return self.stops - self.starts

    @cached_property
    def offsets(self) -> Ints:
        """Where each key is when all are put one after the other: ``offsets[n]`` to ``offsets[n + 1]``. Shape (keys + 1,)."""
        return np.concatenate([[0], np.cumsum(self.lengths)])


@dataclass(frozen=True, eq=False)
class Panel(Spans):
    """Rows of many keys in one frame: key n has the rows ``starts[n]`` to ``stops[n]``; a view that copies nothing.

    Attributes:
        rows: All rows of the frame; what is ``derived`` from them, or their ``numbers``, is made once for all panels on it.
        starts: First row of each key, ascending. Shape (keys,).
        stops: One past its last row. Shape (keys,).
    """

    rows: Rows
    starts: Ints
    stops: Ints

    @cached_property
    def owner(self) -> Ints:
        """The key of each value in ``flat``. Shape (rows of all keys,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def flat(self, whole: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The keys' rows of a per-row array of the frame, one key after the other; a view where they adjoin."""
        if len(self) == 0:
            return whole[:0]
        if (self.starts[1:] == self.stops[:-1]).all():
            return whole[self.starts[0] : self.stops[-1]]
        return whole[ranges(self.starts, self.lengths)]

    def key(self, place: int) -> Rows:
        """One key's rows."""
        return self.rows.part(int(self.starts[place]), int(self.stops[place]))

    def take(self, places: npt.NDArray[Any]) -> Panel:
        """The panel of some of the keys."""
        return Panel(self.rows, self.starts[places], self.stops[places])

    def part(self, starts: Ints | int, stops: Ints) -> Panel:
        """The same keys with rows ``starts`` to ``stops`` each, counted from the key's first row."""
        return Panel(self.rows, self.starts + starts, self.starts + stops)


@dataclass(frozen=True, eq=False)
class PanelPredictions:
    """Predictions for the rows of a panel.

    Attributes:
        values: Output column to values, those of all the keys' rows one after the other (``Panel.flat``).
        served: Which keys could be predicted; the values of the others mean nothing, and ``ModelColumns.model`` says why.
            Shape (keys,).
    """

    values: Predictions
    served: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ModelColumns(ABC):
    """Fitted models of many keys as columns: no pickle, readable by SQL, scored all at once.

    What a segment of codec ``columns`` holds. Class and version are found by ``schema`` (``trainers.SCHEMAS``); a change of
    ``table`` or ``shared`` is a new schema, and the old class stays.

    Attributes:
        table: One row a model; numbers and lists of numbers or texts.
        shared: What all the models have in common, JSON-ready.
        seeds: The keys' seeds. Shape (models,).
    """

    table: pa.Table
    shared: Mapping[str, Any]
    seeds: Ints

    schema: ClassVar[str]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def take(self, places: npt.NDArray[Any]) -> Self:
        """Some of the models, in this order."""
        return replace(self, table=self.table.take(pa.array(places)), seeds=self.seeds[places])

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column as an array of shape (models,), or (models, size) for lists of one size."""
        column = self.table.column(name).combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            values: npt.NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
            return values.reshape(len(column), column.type.list_size)
        return np.asarray(column.to_numpy(zero_copy_only=False))

    @abstractmethod
    def predict(self, panel: Panel) -> PanelPredictions:
        """What ``model(n).predict`` gives for the rows of key n, for all keys at once.

        Args:
            panel: The rows of as many keys as there are models, in their order.
        """

    @abstractmethod
    def model(self, place: int) -> FittedModel:
        """One of the models, as its family's ``fit`` gives it."""


@dataclass(frozen=True, eq=False)
class PanelFit:
    """What a trainer made of a panel.

    Attributes:
        places: The keys of the panel that were fitted, ascending.
        columns: Their models; model n is that of key ``places[n]``.
    """

    places: Ints
    columns: ModelColumns


class BatchedTrainer(Protocol):
    """Fits all keys of a panel in one call; made by ``trainers.trainer_of`` from a family."""

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """Fit the keys that can be fitted exactly as their family would.

        Args:
            panel: The keys' rows.
            seeds: The keys' seeds. Shape (keys,).
            spec: What a fit needs to know; its own seed means nothing.
        """
        ...


def lists(values: npt.NDArray[Any]) -> pa.Array:
    """An array of shape (models, size) as a column of lists of one size; ``ModelColumns.numbers`` is the way back."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """``starts[0]``, ``starts[0] + 1``, …, then from ``starts[1]`` on: the row numbers of all keys."""
    shifts = starts - (np.cumsum(lengths) - lengths)
    numbers: Ints = np.arange(int(lengths.sum())) + np.repeat(shifts, lengths)
    return numbers


def segment_sums(values: Floats, starts: Ints, stops: Ints) -> Floats:
    """The sum of ``values[start:stop]`` for each pair; ``starts`` ascending, no pair empty. Shape (pairs, …)."""
    if len(starts) == 0:
        return np.empty((0, *values.shape[1:]))
    length = int(stops[0] - starts[0])
    if (stops - starts == length).all() and (starts[1:] == stops[:-1]).all():
        block = values[starts[0] : stops[-1]].reshape(len(starts), length, *values.shape[1:])
        # Of rows with a few columns a product is the sum eight times as fast.
        equal: Floats = block.sum(axis=1) if block.ndim == 2 else np.ones(length) @ block
        return equal
    bounds = np.empty(2 * len(starts), dtype=np.int64)
    bounds[::2], bounds[1::2] = starts, stops
    # A bound may not be the end of the array: the last sum runs to the end by itself.
    whole = values[: int(stops[-1])]
    sums: Floats = np.add.reduceat(whole, bounds[:-1])[::2]
    return sums
