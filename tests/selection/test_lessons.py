from __future__ import annotations

import json

import numpy as np
import pytest

from manymodels.selection.lessons import Lessons


def fleet(keys: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two kinds of keys, told apart by the first trait: configuration 0 suits one, 1 the other, 2 is mediocre for both."""
    rng = np.random.default_rng(seed)
    kind = np.arange(keys) % 2
    traits = np.column_stack([kind + rng.normal(0, 0.05, keys), rng.normal(0, 100, keys)])
    badness = np.column_stack([1 + 4.0 * kind, 1 + 4.0 * (1 - kind), np.full(keys, 1.4), np.full(keys, 9.0)])
    return traits, badness + rng.uniform(0, 0.01, badness.shape)


def test_the_order_is_that_of_similar_keys() -> None:
    traits, badness = fleet()
    lessons = Lessons.learn(traits, badness, trials=1)
    assert lessons.order([0.0, 0.0], range(4))[0] == 0
    assert lessons.order([1.0, 0.0], range(4))[0] == 1
    assert sorted(lessons.order([1.0, 0.0], range(4))) == [0, 1, 2, 3]


def test_what_comes_next_is_good_where_the_first_is_not() -> None:
    # Nothing tells the keys apart: mediocre everywhere is the best single bet, and the two others the best pair.
    traits, badness = fleet()
    lessons = Lessons.learn(np.zeros_like(traits), badness, trials=2)
    assert lessons.order([0.0, 0.0], range(4), 1)[0] == 2
    assert set(lessons.order([0.0, 0.0], range(4), 3)[:3]) == {0, 1, 2}
    assert lessons.order([0.0, 0.0], range(4))[-1] == 3


def test_what_failed_comes_last_and_what_was_not_tried_counts_as_elsewhere() -> None:
    badness = np.array([[1.0, 1.5, np.inf], [1.0, np.nan, 1.2], [1.0, 1.5, np.inf]])
    lessons = Lessons.learn(np.zeros((3, 1)), badness, trials=1)
    assert lessons.order([0.0], range(3)) == [0, 1, 2]
    assert lessons.losses.tolist() == [[0, 0.5, 1], pytest.approx([0, 0.5, 0.2]), [0, 0.5, 1]]


def test_more_is_better_metrics_are_learned_from_as_their_negative() -> None:
    lessons = Lessons.learn(np.zeros((2, 1)), -np.array([[0.9, 0.5], [0.8, 0.7]]), trials=1)
    assert lessons.order([0.0], range(2)) == [0, 1]


@pytest.mark.parametrize(
    "badness", [np.empty((0, 3)), np.full((2, 3), np.nan), np.array([[1.0, np.inf, np.nan]])]
)
def test_keys_that_compare_nothing_teach_nothing(badness: np.ndarray) -> None:
    lessons = Lessons.learn(np.zeros((len(badness), 2)), badness, trials=3)
    assert lessons.order([0.5, 0.5], range(3)) == [0, 1, 2]


def test_lessons_are_the_same_after_json() -> None:
    lessons = Lessons.learn(*fleet(), trials=2)
    again = Lessons.from_plain(json.loads(json.dumps(lessons.to_plain())))
    for traits in ([0.1, 3.0], [0.9, -40.0]):
        assert again.order(traits, range(4)) == lessons.order(traits, range(4))
    nothing = Lessons.learn(np.empty((0, 2)), np.empty((0, 3)), 1)
    assert Lessons.from_plain(json.loads(json.dumps(nothing.to_plain()))).order([0, 0], range(3)) == [0, 1, 2]


def test_only_what_is_for_the_key_is_ordered() -> None:
    traits, badness = fleet()
    lessons = Lessons.learn(traits, badness, trials=1)
    assert lessons.order([0.0, 0.0], [1, 2, 3]) == [1, 0, 2]  # places among these three
