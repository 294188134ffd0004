from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.metrics import METRICS
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.spec import CandidateSpec, WhenSpec
from manymodels.records import Rows
from manymodels.selection.applicability import applicable, panel_applicable
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.panels import fit_panel

sys.path.append(str(Path(__file__).parents[1] / "models"))
from batched_panels import panel_of, series_panel
from forecast_cases import family, spec

RULES = [
    {},
    {"min_rows": 40},
    {"max_rows": 40},
    {"min_seasons": 5},
    {"max_season": 6},
    {"daily": True},
    {"seasonal": True},
    {"seasonal": False, "alive": True},
    {"alive": False},
    {"intermittent": True},
    {"intermittent": False, "positive": True},
    {"positive": False},
]


def _candidate(name: str, when: dict[str, Any]) -> CandidateSpec:
    return CandidateSpec(name=name, family=name, when=WhenSpec(**when))


def _series(values: Any) -> Rows:
    days = pd.date_range("2024-01-01", periods=len(values))
    return Rows(pd.DataFrame({"day": days, "y": np.asarray(values, dtype=float)}))


def _asked(rows: Rows, **when: Any) -> bool:
    (found,) = applicable(rows, [_candidate("mean", when)], spec())
    return found


def test_a_panel_has_the_candidates_of_keys_one_by_one() -> None:
    panel = series_panel(3, keys=48)
    candidates = [_candidate("mean", when) for when in RULES]
    found = panel_applicable(panel, candidates, spec())
    regular = found.any(axis=0)
    assert 30 <= regular.sum() < 48  # those with gaps are left out
    for place in np.flatnonzero(regular):
        assert found[:, place].tolist() == applicable(panel.key(place), candidates, spec()), f"key {place}"
    for number in range(1, len(RULES)):
        assert len(set(found[number, regular].tolist())) == (
            1 if {"max_season", "daily"} & set(RULES[number]) else 2
        )


def test_without_rules_keys_with_gaps_have_every_candidate() -> None:
    panel = series_panel(3, keys=16)
    assert panel_applicable(
        panel, [_candidate("mean", {}), _candidate("naive", {"min_rows": 1})], spec()
    ).all()


def test_a_series_that_ended_is_not_alive() -> None:
    rng = np.random.default_rng(0)
    demand = rng.poisson(3, 60).astype(float)
    assert _asked(_series(demand), alive=True)
    # Two seasons of the job are 14 days, and so is the horizon.
    assert _asked(_series([*demand, 2.0, *np.zeros(14)]), alive=False)
    assert _asked(_series([*demand, 2.0, *np.zeros(13)]), alive=True)
    assert _asked(_series(np.full(60, 3.0)), alive=False)


def test_demand_is_intermittent_from_a_distance_of_1_32_periods() -> None:
    def with_demands(count: int) -> Rows:
        values = np.zeros(132)
        values[np.linspace(0, 131, count).astype(int)] = 2.0
        return _series(values)

    assert _asked(with_demands(100), intermittent=True)
    assert _asked(with_demands(101), intermittent=False)


def test_a_season_must_be_significant() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, 84)
    assert _asked(_series(10 + 3 * np.sin(2 * np.pi * np.arange(84) / 7) + noise), seasonal=True)
    assert _asked(_series(10 + noise), seasonal=False)


def test_rows_that_make_no_series_are_for_every_candidate() -> None:
    assert _asked(_series([np.nan, np.nan]), alive=True)


def _alone(panel: Panel, place: int, candidates: list[CandidateSpec]) -> KeyFit:
    named = [(candidate, family(candidate.family)) for candidate in candidates]
    steps = fit_key(panel.key(place), named, spec(seed=place), EvaluationSpec(), METRICS["mae"])
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def test_rules_leave_both_ways_of_choosing_the_same() -> None:
    panel = series_panel(2, keys=32)
    candidates = [
        _candidate("mean", {"intermittent": True}),
        _candidate("seasonal_naive", {"seasonal": True}),
        _candidate("drift", {"seasonal": False, "min_rows": 40}),
        _candidate("naive", {"max_rows": 60}),
        _candidate("sarimax", {"alive": False}),  # has no batched trainer
    ]
    choice = fit_panel(
        panel,
        np.arange(len(panel)),
        [trainer_of(family(candidate.family)) for candidate in candidates],
        spec(),
        EvaluationSpec(),
        METRICS["mae"],
        applicable=panel_applicable(panel, candidates, spec()),
    )
    chosen = {int(place): candidates[won.candidate].name for won in choice.winners for place in won.places}
    assert len(chosen) >= 10
    assert len(set(chosen.values())) >= 3
    dead = panel_applicable(panel, candidates, spec())[4]
    assert dead.any()
    assert not set(np.flatnonzero(dead).tolist()) & set(chosen)
    for place, name in chosen.items():
        one = _alone(panel, place, candidates)
        assert (one.state, one.candidate) == ("trained", name), f"key {place}"
        tried = {candidates[number].name for number in np.flatnonzero(choice.tried[:, place])}
        assert {score.candidate for score in one.scores} == tried


def test_a_key_that_no_candidate_is_for_is_left_to_the_ladder() -> None:
    panel = series_panel(2, keys=2)
    found = _alone(panel, 0, [_candidate("mean", {"min_rows": 1000})])
    assert (found.state, found.reason) == ("fallback", "no candidate is for a key like this (`when`)")


def test_a_rule_that_nothing_can_meet_is_refused() -> None:
    with pytest.raises(ValueError, match="`min_rows` is 9, above `max_rows`, 3"):
        WhenSpec(min_rows=9, max_rows=3)


def test_panels_of_one_series_each_agree() -> None:
    frames = [pd.DataFrame({"day": pd.date_range("2024-01-01", periods=1), "y": [1.0]})]
    candidates = [_candidate("mean", {"alive": True}), _candidate("naive", {"positive": True})]
    panel = panel_of(frames)
    assert panel_applicable(panel, candidates, spec())[:, 0].tolist() == [False, True]
    assert applicable(panel.key(0), candidates, spec()) == [False, True]
