"""Ranks within one key."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from manymodels.models.ranking import rank_rows


def test_the_highest_prediction_is_rank_one() -> None:
    assert rank_rows(np.array([0.5, 3.0, -1.0, 2.0])).tolist() == [3, 1, 4, 2]


def test_ties_go_by_row_order() -> None:
    assert rank_rows(np.array([1.0, 2.0, 1.0, 2.0])).tolist() == [3, 1, 4, 2]


def test_rows_without_a_prediction_come_last() -> None:
    assert rank_rows(np.array([np.nan, -5.0, np.nan, -np.inf])).tolist() == [3, 1, 4, 2]


def test_rows_below_the_top_have_rank_zero() -> None:
    assert rank_rows(np.array([0.5, 3.0, -1.0, 2.0]), 2).tolist() == [0, 1, 0, 2]
    assert rank_rows(np.array([0.5, 3.0]), 5).tolist() == [2, 1]


def test_no_rows_have_no_ranks() -> None:
    assert rank_rows(np.array([]), 3).tolist() == []


@given(st.lists(st.floats(allow_nan=False), max_size=30))
def test_ranks_are_a_permutation_in_the_order_of_the_predictions(values: list[float]) -> None:
    predictions = np.array(values, dtype=np.float64)
    ranks = rank_rows(predictions)
    assert sorted(ranks.tolist()) == list(range(1, len(values) + 1))
    assert predictions[np.argsort(ranks)].tolist() == sorted(values, reverse=True)
