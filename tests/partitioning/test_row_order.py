"""Rows are ordered by integers that hold key, time and row number, and every value of them counts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manymodels.partitioning.row_order import Field, key_fields, row_order, sort_keys, time_field

_LARGE = st.integers(-(2**63), 2**63 - 1)


def numbers(field: Field, rows: int) -> list[int]:
    found: list[int] = field.numbers(slice(0, rows)).tolist()
    return found


def wide(values: list[int]) -> Field:
    """A field of 64 bits, whatever the values."""
    words = np.array(values, np.uint64)
    return Field(64, lambda rows: words[rows])


@given(st.lists(st.one_of(_LARGE, st.integers(-3, 3)), min_size=1, max_size=50))
def test_times_keep_their_order_and_their_ties(values: list[int]) -> None:
    field = time_field(np.array(values))
    found = numbers(field, len(values))
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)))}
    assert np.array_equal(
        np.unique(np.array(found, np.uint64), return_inverse=True)[1], [ranks[value] for value in values]
    )
    assert max(found).bit_length() <= field.bits


def test_regular_times_take_a_bit_a_step() -> None:
    day = 86_400_000_000
    days = np.arange(40_000) % 300
    assert time_field(days * day - 7).bits == (299).bit_length()
    # A single time that is out of step, where no sample looks, makes the step shorter.
    times = days * day
    times[33_333] += day // 24
    field = time_field(times)
    assert field.bits == (299 * 24).bit_length()
    assert numbers(field, 40_000) == (times // (day // 24)).tolist()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, None, -1, 3, 2**62]),
        pa.array([2**64 - 1, 0, None, 7, 0], pa.uint64()),
        pa.array(["b", "", None, "a", "b"]),
        pa.array([None, None], pa.null()),
        pa.array([True, None, False]),
    ],
)
def test_keys_are_ranked_nulls_first(column: pa.Array) -> None:
    (field,) = key_fields(pa.table({"key": column}), ["key"])
    values: list[Any] = sorted({v for v in column.to_pylist() if v is not None})
    order = [None, *values] if column.null_count else values
    assert numbers(field, len(column)) == [order.index(value) for value in column.to_pylist()]


@given(st.lists(st.tuples(st.integers(0, 3), _LARGE), min_size=1, max_size=50))
def test_rows_come_in_order_whether_they_fit_an_integer_or_not(rows: list[tuple[int, int]]) -> None:
    keys, times = (np.array(column) for column in zip(*rows, strict=True))
    first = Field(2, lambda place: keys.view(np.uint64)[place])
    for fields in (
        [first, time_field(times)],
        [first, time_field(times // 2**40)],
        [wide(keys.tolist()), first],
    ):
        order = row_order(fields, len(rows))
        assert sorted(order.tolist()) == list(range(len(rows)))
        lines = list(zip(*(numbers(field, len(rows)) for field in fields), strict=True))
        assert [lines[row] for row in order.tolist()] == sorted(lines)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 12))
def test_pieces_hold_whole_keys_and_every_row_once(keys: list[int], pieces: int) -> None:
    (field,) = key_fields(pa.table({"key": keys}), ["key"])
    # Times that do not fit are left to who finishes the keys.
    for time in (None, time_field(np.arange(len(keys))), wide([0] * len(keys))):
        order = sort_keys([field], time, len(keys))
        assert order is not None
        found = [[keys[row] for row in order.numbers(*cut).tolist()] for cut in order.cuts(pieces)]
        assert [key for piece in found for key in piece] == sorted(keys)
        assert len(found) <= pieces
        assert all(before[-1] < after[0] for before, after in itertools.pairwise(found))


def test_keys_that_do_not_fit_have_no_order() -> None:
    assert sort_keys([wide([0, 1])], None, 2) is None
