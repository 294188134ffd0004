from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evaluation_rows import regression, surrounded

from manymodels.evaluation.cuts import cuts
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import make_splits

ENGINES = np.repeat(np.arange(10), [3, 9, 1, 4, 7, 2, 8, 5, 6, 2])


def grouped(evaluation: EvaluationSpec, groups: Any = ENGINES, times: Any = None, seed: int = 0) -> list[Any]:
    groups = np.asarray(groups)
    found = list(cuts(len(groups), evaluation, seed, times=times, groups=groups))
    for train, held in found:
        assert not set(groups[train]) & set(groups[held]), "a group is on both sides"
    return [(sorted(set(groups[train])), sorted(set(groups[held]))) for train, held in found]


def test_a_part_of_the_groups_is_held_out_whole() -> None:
    ((train, held),) = grouped(EvaluationSpec(holdout=0.3))
    assert len(held) == 3
    assert sorted(train + held) == list(range(10))
    assert grouped(EvaluationSpec(holdout=0.3)) == [(train, held)]
    assert grouped(EvaluationSpec(holdout=0.3), seed=1) != [(train, held)]


def test_folds_hold_out_every_group_once() -> None:
    folds = grouped(EvaluationSpec(folds=4))
    assert sorted(group for _, held in folds for group in held) == list(range(10))
    assert [len(train) + len(held) for train, held in folds] == [10] * 4
    assert len(grouped(EvaluationSpec(folds=5), groups=[0, 0, 1, 1, 2])) == 3


def test_groups_that_follow_each_other_are_held_out_from_the_last_on() -> None:
    # Rows are in the order of time; the visits of three patients overlap.
    groups = np.array([0, 0, 1, 0, 1, 2, 1, 3, 3])
    times = np.arange(9)
    assert grouped(EvaluationSpec(holdout=0.25), groups, times) == [([0, 1, 2], [3])]
    assert grouped(EvaluationSpec(folds=3), groups, times) == [([0, 1, 2], [3]), ([0, 1], [2]), ([0], [1])]


def test_groups_with_a_clock_of_their_own_have_no_order() -> None:
    cycle = np.concatenate([np.arange(count) for count in np.bincount(ENGINES)])
    order = np.argsort(cycle, kind="stable")
    with_time = grouped(EvaluationSpec(folds=4), ENGINES[order], cycle[order])
    assert sorted(group for _, held in with_time for group in held) == list(range(10))


@pytest.mark.parametrize("evaluation", [EvaluationSpec(), EvaluationSpec(folds=3)])
def test_one_group_cannot_be_split(evaluation: EvaluationSpec) -> None:
    assert grouped(evaluation, groups=[7] * 20) == []


def test_rows_without_a_group_are_one_group() -> None:
    import pandas as pd

    frame = pd.DataFrame({"sales": np.arange(12.0), "visit": ["a"] * 4 + [None] * 4 + ["b"] * 4})
    splits = make_splits(surrounded(frame), regression(), EvaluationSpec(folds=3, groups="visit"))
    held = [split.actual.tolist() for split in splits]
    assert sorted(held) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
