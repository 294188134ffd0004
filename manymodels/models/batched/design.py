"""The preprocessing of many keys at once: what ``tabular.preprocessing`` fits for one, and the matrices that come of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.models.batched.contract import Ints, Panel, ranges, segment_sums
from manymodels.models.contract import Floats
from manymodels.models.tabular.columns import codes, column_numbers, kinds
from manymodels.models.tabular.preprocessing import MAX_CATEGORIES, Encoder, is_constant

__all__ = ["Encoders", "by_key", "fit_encoders", "padded"]

_WIDEST = 512
"""Columns of the union of all keys' categories, at most: the matrices have one for each."""

_RAGGED = 1.25
"""How much longer the longest key of a padded group may be than the shortest."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Encoders:
    """The encoders of many keys, which standardise numbers and have an indicator for each value of a category.

    A key's matrix has the columns of all of them: those that its own encoder lacks are zero.

    Attributes:
        columns: Feature columns with numbers and times.
        used: Which of them had a value in training. Shape (keys, columns).
        fill: What takes the place of a missing number. Shape (keys, columns).
        center: Taken off. Shape (keys, columns).
        scale: Divided by. Shape (keys, columns).
        categories: Categorical columns, and the values that any key has, sorted.
        present: Which of those values a key has. Shape (keys, values of all categories).
    """

    columns: tuple[str, ...]
    used: Flags
    fill: Floats
    center: Floats
    scale: Floats
    categories: tuple[tuple[str, tuple[Any, ...]], ...]
    present: Flags

    def matrix(self, panel: Panel) -> Floats:
        """The keys' rows as one matrix of shape (rows of all keys, columns and values of categories).

        Raises:
            DataError: A column is not there, or holds what is no number.
        """
        width = len(self.columns)
        found = np.empty((len(panel.owner), width + self.present.shape[1]))
        if width:
            values = found[:, :width]
            _fill_numbers(values, panel, self.columns)
            missing = np.isnan(values)
            if missing.any():
                np.copyto(values, np.repeat(self.fill, panel.lengths, axis=0), where=missing)
            by_key(np.subtract, values, self.center, panel.lengths)
            by_key(np.divide, values, self.scale, panel.lengths)
            if not self.used.all():
                by_key(np.multiply, values, self.used, panel.lengths)
        first = width
        for name, known in self.categories:
            places = panel.flat(_places(panel, name, known))
            block = found[:, first : first + len(known)]
            block[:] = places[:, None] == np.arange(len(known))
            by_key(np.multiply, block, self.present[:, first - width :][:, : len(known)], panel.lengths)
            first += len(known)
        return found

    def one(self, place: int) -> tuple[Encoder, Flags]:
        """One key's encoder, and which columns of ``matrix`` are its own."""
        used = self.used[place]
        categories, first = [], 0
        for name, values in self.categories:
            here = self.present[place, first : first + len(values)]
            first += len(values)
            if here.any():
                categories.append(
                    (name, tuple(v for v, there in zip(values, here.tolist(), strict=True) if there))
                )
        own = np.concatenate([used, self.present[place]])
        if not used.any():
            return Encoder((), None, None, None, None, tuple(categories), "columns"), own
        encoder = Encoder(
            self.columns,
            None if used.all() else np.flatnonzero(used),
            self.fill[place, used],
            self.center[place, used],
            self.scale[place, used],
            tuple(categories),
            "columns",
        )
        return encoder, own


def fit_encoders(
    panel: Panel, features: tuple[str, ...], categorical: tuple[str, ...]
) -> tuple[Flags, Encoders] | None:
    """The encoders of a panel's keys, and for which keys they are what ``fit_encoder`` makes; None where they cannot be had.

    Args:
        panel: The rows that the estimators will be fitted on.
        features: Feature columns.
        categorical: Those of them that are categories whatever their type.

    Raises:
        DataError: A feature is not there, or holds what is no number.
    """
    kind = kinds(panel.rows, features, categorical)
    columns = tuple(name for name in features if kind[name] != "category")
    counts: list[Ints] = []
    categories: list[tuple[str, tuple[Any, ...]]] = []
    usable = np.ones(len(panel), dtype=bool)
    for name in features:
        if kind[name] != "category":
            continue
        found, values = codes(panel.rows, name)
        if len(values) > _WIDEST or not all(isinstance(value, str | int) for value in values):
            return None
        seen = panel.owner * (len(values) + 1) + panel.flat(found) + 1
        count = np.bincount(seen, minlength=len(panel) * (len(values) + 1)).reshape(len(panel), -1)[:, 1:]
        usable &= (count > 0).sum(axis=1) <= MAX_CATEGORIES
        counts.append(count)
        categories.append((name, tuple(values)))
    if sum(len(values) for _, values in categories) > _WIDEST:
        return None
    present = np.hstack(counts) > 0 if counts else np.zeros((len(panel), 0), dtype=bool)
    matrix = np.empty((len(panel.owner), len(columns)))
    _fill_numbers(matrix, panel, columns)
    used, fill, center, scale = _fit_numbers(panel, matrix)
    usable &= used.any(axis=1) | present.any(axis=1)
    return usable, Encoders(columns, used, fill, center, scale, tuple(categories), present)


def _fill_numbers(values: Floats, panel: Panel, columns: tuple[str, ...]) -> None:
    """Put the numbers of a panel's rows into a matrix, NaN for what is missing or infinite.

    A matrix of the panel's own, not a part of one for the whole frame: where panels are blocks of it, theirs stay in the
    processor's cache, and memory is touched once.
    """
    for place, name in enumerate(columns):
        values[:, place] = panel.flat(column_numbers(panel.rows, name))
    values[np.isinf(values)] = np.nan


def _fit_numbers(panel: Panel, values: Floats) -> tuple[Flags, Floats, Floats, Floats]:
    """Which columns have values, their medians, and mean and deviation of the filled columns. Shapes (keys, columns).

    ``values`` is changed in place.
    """
    starts, stops, lengths = panel.offsets[:-1], panel.offsets[1:], panel.lengths[:, None]
    missing = np.isnan(values)
    known = lengths - (segment_sums(missing.astype(np.float64), starts, stops) if missing.any() else 0.0)
    used = np.broadcast_to(known > 0, (len(panel), values.shape[1])).copy()
    fill = _medians(panel, values, known, used)
    if missing.any():
        np.copyto(values, np.repeat(fill, panel.lengths, axis=0), where=missing)
    center = segment_sums(values, starts, stops) / lengths
    by_key(np.subtract, values, center, panel.lengths)
    values *= values
    variance = segment_sums(values, starts, stops) / lengths
    scale = np.where(is_constant(variance, center, lengths), 1.0, np.sqrt(variance))
    return used, fill, np.where(used, center, 0.0), np.where(used, scale, 1.0)


def _medians(panel: Panel, values: Floats, known: npt.NDArray[Any], used: Flags) -> Floats:
    """The median of each column's values, 0 where there are none. Shape (keys, columns)."""
    found = np.zeros(used.shape)
    counts = np.broadcast_to(known, used.shape).astype(np.int64)
    for keys, block in padded(values, panel.offsets):
        ordered = np.array(block.transpose(0, 2, 1), order="C")  # a copy, which is sorted in place
        beyond = np.arange(block.shape[1]) >= panel.lengths[keys][:, None, None]
        np.copyto(ordered, np.inf, where=beyond | np.isnan(ordered))
        ordered.sort(axis=2)
        count = counts[keys]
        low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, block.shape[1] - 1)
        middle = np.take_along_axis(ordered, np.stack([low, high], axis=2), axis=2)
        found[keys] = middle.sum(axis=2) / 2
    return np.where(used, found, 0.0)


def by_key(operation: np.ufunc, values: npt.NDArray[Any], others: npt.NDArray[Any], lengths: Ints) -> None:
    """Combine each key's rows with the key's own values, in place.

    Args:
        operation: Of two arguments.
        values: The keys' rows, one key after the other. Shape (rows, columns).
        others: Shape (keys, columns).
        lengths: Rows of each key.
    """
    if len(lengths) and (lengths == lengths[0]).all():
        view = np.lib.stride_tricks.as_strided(
            values,
            (len(lengths), int(lengths[0]), values.shape[1]),
            (values.strides[0] * int(lengths[0]), *values.strides),
        )
        operation(view, others[:, None, :], out=view)
    else:
        operation(values, np.repeat(others, lengths, axis=0), out=values)


def _places(panel: Panel, name: str, known: tuple[Any, ...]) -> npt.NDArray[np.intp]:
    """The place in ``known`` of each row's value; -1 for a missing or unknown one."""
    found, values = codes(panel.rows, name)
    place_of = {value: place for place, value in enumerate(known)}
    places = np.array([*(place_of.get(value, -1) for value in values), -1], dtype=np.intp)
    return places[found]


def padded(values: npt.NDArray[Any], offsets: Ints) -> Iterator[tuple[Ints, npt.NDArray[Any]]]:
    """Keys' rows as blocks of shape (keys, longest, …), zero after the end of a key; keys of about one length together.

    Args:
        values: The keys' rows, one key after the other. Shape (rows, …).
        offsets: Where each key's begin. Shape (keys + 1,).

    Yields:
        The keys of a block, and the block.
    """
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(order):
        shortest = int(lengths[order[first]])
        last = int(np.searchsorted(lengths[order], max(shortest * _RAGGED, shortest + 8), side="right"))
        keys = np.sort(order[first:last])
        longest = int(lengths[keys].max())
        if (lengths[keys] == longest).all():
            rows = values if len(keys) == len(lengths) else values[ranges(offsets[keys], lengths[keys])]
            yield keys, rows.reshape(len(keys), longest, *values.shape[1:])
        else:
            block = np.zeros((len(keys), longest, *values.shape[1:]))
            at = np.arange(longest) < lengths[keys][:, None]
            block[at] = values[ranges(offsets[keys], lengths[keys])]
            yield keys, block
        first = last
