from __future__ import annotations

from collections.abc import Callable

import pytest

from manymodels.selection.strategies import LEAST_ROWS, Ask, Halving, InOrder, Limits, Rung, Search, rungs_of


def run(search: Search, badness: Callable[[Ask], float | None], failing: set[int] | None = None) -> list[Ask]:
    """Everything that a search asks for, when configurations are as bad as this says."""
    asked = []
    while (ask := search.ask()) is not None:
        asked.append(ask)
        failed = ask.place in (failing or set())
        search.tell(None if failed else badness(ask), failed=failed)
        assert len(asked) < 1000
    return asked


def places(search: Search, values: list[float | None], failing: set[int] | None = None) -> list[int]:
    return [ask.place for ask in run(search, lambda ask: values[ask.place], failing)]


class Clock:
    """Every look at it takes a second."""

    def __init__(self) -> None:
        self.seconds = -1.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def test_without_limits_everything_is_tried_in_full() -> None:
    asked = run(InOrder([2, 0, 1], 3, Limits()), lambda ask: 1.0)
    assert asked == [Ask(2, 0, 3), Ask(0, 0, 3), Ask(1, 0, 3)]


def test_a_budget_of_trials_ends_the_search() -> None:
    assert places(InOrder(range(5), 1, Limits(trials=2)), [5, 4, 3, 2, 1]) == [0, 1]


def test_a_budget_goes_on_until_something_can_be_used() -> None:
    assert places(InOrder(range(5), 1, Limits(trials=2)), [0, 0, 0, 4, 5], {0, 1, 2}) == [0, 1, 2, 3]
    # No value is no failure: the rows may be too few to judge anything.
    assert places(InOrder(range(5), 1, Limits(trials=2)), [None] * 5) == [0, 1]


def test_patience_counts_trials_since_the_best() -> None:
    values: list[float | None] = [5, 6, 4, 4, None, 7, 1]
    assert places(InOrder(range(7), 1, Limits(patience=3)), values) == [0, 1, 2, 3, 4, 5]
    assert places(InOrder(range(7), 1, Limits(patience=4)), values) == list(range(7))


def test_a_target_that_is_met_ends_the_search() -> None:
    assert places(InOrder(range(4), 1, Limits(target=2.0)), [3, 2.5, 2, 1]) == [0, 1, 2]


def test_seconds_end_the_search_after_at_least_one_trial_and_say_so() -> None:
    search = InOrder(range(9), 1, Limits(seconds=(3, "the limit")), now=Clock())
    assert places(search, [1.0] * 9) == [0, 1, 2]
    assert search.stopped == "the limit"
    late = InOrder(range(9), 1, Limits(seconds=(0, "the limit")), now=Clock())
    assert places(late, [1.0] * 9) == [0]
    in_time = InOrder(range(3), 1, Limits(seconds=(9, "the limit")), now=Clock())
    assert (places(in_time, [1.0] * 3), in_time.stopped) == ([0, 1, 2], "")


@pytest.mark.parametrize(
    ("configurations", "splits", "rows", "rungs"),
    [
        (2, 9, 10**6, [Rung(9)]),
        (3, 9, 10**6, [Rung(3), Rung(9)]),
        (27, 9, 10**6, [Rung(1, 1 / 3), Rung(1), Rung(3), Rung(9)]),
        (27, 4, LEAST_ROWS, [Rung(1), Rung(2), Rung(4)]),
        (9, 1, 9 * LEAST_ROWS, [Rung(1, 1 / 9), Rung(1, 1 / 3), Rung(1)]),
        (9, 1, LEAST_ROWS, [Rung(1)]),
    ],
)
def test_rungs_have_fewer_windows_and_then_fewer_rows(
    configurations: int, splits: int, rows: int, rungs: list[Rung]
) -> None:
    found = rungs_of(configurations, splits, rows)
    assert [(rung.splits, pytest.approx(rung.share)) for rung in found] == [
        (r.splits, r.share) for r in rungs
    ]


def test_halving_drops_two_thirds_on_each_rung_and_judges_the_rest_on_what_is_new() -> None:
    rungs = [Rung(1, 1 / 3), Rung(1), Rung(3)]
    asked = run(Halving(range(9), rungs, Limits()), lambda ask: float(abs(ask.place - 4)))
    assert asked[:9] == [Ask(place, 0, 1, 1 / 3) for place in range(9)]
    assert asked[9:12] == [Ask(place, 0, 1) for place in (3, 4, 5)]  # what was judged on less is judged again
    assert asked[12:] == [Ask(4, 1, 3)]  # and of what was judged in full only the rest


def test_halving_keeps_what_has_no_value_yet_and_the_champion_and_drops_what_failed() -> None:
    values: list[float | None] = [1, 2, 3, None, 5, 6, 7]
    rungs = [Rung(1), Rung(3)]
    asked = run(Halving(range(7), rungs, Limits(), champion=5), lambda ask: values[ask.place], {0})
    assert [ask.place for ask in asked[7:]] == [1, 2, 3, 5]


def test_halving_keeps_its_limits() -> None:
    rungs = [Rung(1), Rung(3)]
    assert len(run(Halving(range(9), rungs, Limits(trials=3)), lambda ask: float(ask.place))) == 3 + 1
    target = run(Halving(range(9), rungs, Limits(target=0.5)), lambda ask: float(ask.place))
    assert [ask.place for ask in target[9:]] == [0]
    late = Halving(range(9), rungs, Limits(seconds=(5, "the limit")), now=Clock())
    assert len(run(late, lambda ask: 1.0)) == 5
    assert late.stopped == "the limit"


def test_halving_in_which_everything_fails_ends() -> None:
    assert len(run(Halving(range(4), [Rung(1), Rung(3)], Limits()), lambda ask: 1.0, set(range(4)))) == 4
