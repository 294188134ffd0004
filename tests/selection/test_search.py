"""The search on one key, with models: what is tried, what stands on the leaderboard, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.metrics import METRICS
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.evaluation.splits import make_splits
from manymodels.models.contract import FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.records import AttemptFailure, Rows
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.lessons import Lessons
from manymodels.selection.search import asked_of
from manymodels.selection.spec import SelectionSpec
from manymodels.selection.strategies import Ask
from manymodels.selection.traits import TRAITS

STEPS = 200
ROWS = Rows(pd.DataFrame({"t": np.arange(STEPS), "y": np.arange(STEPS) % 10 * 1.0}))
SPEC = FitSpec("forecast", target="y", time="t", frequency="step", horizon=10)
WINDOWS = EvaluationSpec(backtest=BacktestSpec(windows=4), keep="all")


class Model:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, rows: Rows) -> dict[str, Any]:
        return {"prediction": np.full(len(rows), self.value)}


class Constant:
    """Predicts a constant, and notes the rows that it was fitted on."""

    name, revision, isolated, library = "constant", 1, False, ""

    def __init__(self, value: float, on_fit: Callable[[], None] = lambda: None) -> None:
        self.value, self.on_fit, self.fits = value, on_fit, list[int]()

    def fit(self, rows: Rows, spec: FitSpec) -> Any:
        self.fits.append(len(rows))
        self.on_fit()
        return Model(self.value)


def choose(
    values: list[float], *, evaluation: EvaluationSpec = WINDOWS, **more: Any
) -> tuple[KeyFit, list[Constant]]:
    families = [Constant(value) for value in values]
    selection = SelectionSpec(**more.pop("selection", {}))
    candidates = [
        (CandidateSpec(name=f"c{place}", family="constant"), family) for place, family in enumerate(families)
    ]
    steps = fit_key(ROWS, candidates, SPEC, evaluation, METRICS["mae"], selection, **more)  # type: ignore[arg-type]
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, families


def names(fit: KeyFit) -> list[str]:
    return [score.candidate for score in fit.scores]


def test_patience_and_target_leave_the_rest_untried_and_off_the_leaderboard() -> None:
    fit, families = choose([9, 5, 7, 8, 4.5], selection={"patience": 2})
    assert (fit.candidate, names(fit)) == ("c1", ["c1", "c2", "c3", "c0"])
    assert families[4].fits == []
    fit, _ = choose([9, 5, 4.5], selection={"target_score": 2.6})
    assert names(fit) == ["c1", "c0"]


def test_a_higher_is_better_target_is_met_from_below() -> None:
    metric = METRICS["r2"]
    assert metric.higher_is_better
    steps = fit_key(
        Rows(pd.DataFrame({"t": np.arange(20), "y": np.arange(20.0)})),
        [
            (CandidateSpec(name=n, family="constant"), Constant(v))
            for n, v in (("a", 0.0), ("b", 17.5), ("c", 17.4))
        ],
        FitSpec("regression", target="y", time="t"),
        EvaluationSpec(),
        metric,
        SelectionSpec(target_score=-0.01),
    )
    assert list(steps) == ["a", "b", "b"]


def test_halving_fits_less_and_finds_the_same() -> None:
    values = [30.0, 25, 4.5, 12, 11, 10, 9, 8, 7]
    whole, all_families = choose(values)
    fit, families = choose(values, selection={"search": "halving"})
    assert fit.candidate == whole.candidate == "c2"
    assert fit.metric == whole.metric
    assert sum(len(family.fits) for family in families) < sum(len(f.fits) for f in all_families) / 2
    # What was dropped is on the leaderboard, without a value that could be compared.
    assert len(fit.scores) == 9
    assert [score.metric is None for score in fit.scores] == [False] + [True] * 8
    assert {test.candidate for test in fit.backtests if test.window == 3} == {"c2"}


def test_halving_on_one_window_begins_with_the_newest_rows() -> None:
    one = EvaluationSpec(backtest=BacktestSpec(windows=1))
    _, families = choose([30.0, 4.5, 12], evaluation=one, selection={"search": "halving"})
    assert [family.fits for family in families] == [[63], [63, 190, 200], [63]]


def test_a_shorter_split_has_the_newest_rows_or_a_seeded_part() -> None:
    split = make_splits(ROWS, SPEC, WINDOWS)[0]
    (short,) = asked_of(Ask(0, 0, 1, 0.25), [split], SPEC)
    assert short.train.values("t").tolist() == list(range(190 - 48, 190))
    spec = FitSpec("regression", target="y", seed=3)
    (part,) = asked_of(Ask(0, 0, 1, 0.25), [split], spec)
    times = part.train.values("t").tolist()
    assert len(times) == 48
    assert times == sorted(times) != list(range(190 - 48, 190))
    (again,) = asked_of(Ask(0, 0, 1, 0.25), [split], spec)
    assert again.train.values("t").tolist() == times


def test_the_champion_is_tried_first_and_compared_in_full() -> None:
    values = [9, 8, 7, 6, 5, 4.5]
    fit, _ = choose(values, incumbent="c3", selection={"max_trials": 1})
    assert names(fit) == ["c3"]
    fit, _ = choose(values, incumbent="c0", min_gain=0.99, selection={"search": "halving"})
    assert fit.candidate == "c0"
    assert fit.metric is not None


def test_a_limit_in_seconds_is_said() -> None:
    fit, _ = choose([9, 5, 7], seconds=0.0)
    assert (fit.state, fit.candidate) == ("trained", "c0")
    assert fit.reason == "stopped early by `selection.max_seconds`"
    fit, _ = choose([9, 5, 7], seconds=1e9, selection={"max_seconds_per_key": 1e-9})
    assert fit.reason == "stopped early by `selection.max_seconds_per_key`"
    fit, _ = choose([9, 5, 7], seconds=1e9)
    assert fit.reason == ""


def lessons(best: int, count: int) -> Lessons:
    badness = np.full((6, count), 2.0)
    badness[:, best] = 1.0
    return Lessons.learn(np.zeros((6, len(TRAITS))), badness, 1)


def test_lessons_settle_the_order_and_without_them_everything_is_tried() -> None:
    learn = {"learn": True, "max_trials": 2}
    fit, _ = choose([9, 5, 7, 4.5], selection=learn, lessons=lessons(3, 4))
    assert names(fit) == ["c3", "c0"]
    assert len(fit.traits) == len(TRAITS)
    pilot, _ = choose([9, 5, 7, 4.5], selection=learn)
    assert len(pilot.scores) == 4
    nothing, _ = choose([9, 5, 7, 4.5])
    assert nothing.traits == ()


def test_when_all_that_was_suggested_fails_the_next_ones_are_tried() -> None:
    crash = AttemptFailure("crash", "SIGSEGV", "signal 11", candidate="c3")
    learn = {"learn": True, "max_trials": 1}
    fit, _ = choose([9, 5, 7, 4.5], selection=learn, lessons=lessons(3, 4), blamed={"c3": crash})
    assert fit.state == "trained"
    assert names(fit) == ["c0", "c3"]
    assert fit.scores[-1].error == "SIGSEGV: signal 11"


@pytest.mark.parametrize("limit", [{"max_trials": 2}, {"patience": 1}, {"search": "halving"}])
def test_a_restart_after_a_crash_tries_the_same(limit: dict[str, Any]) -> None:
    # The child died in c1, which is blamed: what was tried before it is tried again, and counts once.
    crash = AttemptFailure("crash", "SIGSEGV", "signal 11", candidate="c1")
    fit, _ = choose([5, 4.5, 6, 7], selection=limit, blamed={"c1": crash})
    again, _ = choose([5, 4.5, 6, 7], selection=limit, blamed={"c1": crash})
    assert (names(fit), fit.candidate) == (names(again), again.candidate)
    assert fit.candidate == "c0"
