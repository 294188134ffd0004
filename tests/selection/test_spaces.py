from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from manymodels.models.spec import CandidateSpec
from manymodels.selection.spaces import Space, configurations, has_spaces
from manymodels.selection.spec import SelectionSpec


def candidate(params: dict[str, Any], name: str = "ridge") -> CandidateSpec:
    return CandidateSpec(name=name, family="sklearn.linear_model.Ridge", params=params)


def drawn(params: dict[str, Any], seed: int = 0, **selection: Any) -> list[dict[str, Any]]:
    spec = SelectionSpec(**selection)
    return [found.params for found in configurations([candidate(params)], spec, seed)]


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"alpha": 1.0},
        {"alpha": None},
        {"class_weight": {"uniform": 3}},
        {"steps": [{"sklearn.linear_model.Ridge": {"alpha": 1}}]},
        {"fit": {"uniform": [0, 1], "choice": [1]}},
        {"levels": {"other": [1, 2]}},
    ],
)
def test_what_is_no_space_keeps_its_meaning(plain: dict[str, Any]) -> None:
    assert not has_spaces(candidate(plain))
    assert configurations([candidate(plain)], SelectionSpec(), 0) == (candidate(plain),)


def test_an_option_of_a_choice_is_taken_as_written() -> None:
    assert drawn({"p": {"choice": [{"choice": [1, 2]}]}}) == [{"p": {"choice": [1, 2]}}]


def test_spaces_are_found_anywhere_inside_the_parameters() -> None:
    params = {"steps": ["scaler", {"ridge": {"alpha": {"choice": [1, 2]}, "positive": True}}]}
    assert sorted(str(found) for found in drawn(params)) == [
        str({"steps": ["scaler", {"ridge": {"alpha": alpha, "positive": True}}]}) for alpha in (1, 2)
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"uniform": [1]}, "two numbers"),
        ({"uniform": [2, 1]}, "lowest, highest"),
        ({"uniform": ["a", "b"]}, "two numbers"),
        ({"uniform": [False, True]}, "two numbers"),
        ({"log_uniform": [0, 1]}, "above zero"),
        ({"integers": [0.5, 2]}, "two whole numbers"),
        ({"choice": []}, "at least one option"),
    ],
)
def test_a_space_that_is_none_is_refused_with_candidate_and_parameter(
    space: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"candidate ridge, parameter inner\.alpha: .*{message}"):
        drawn({"inner": {"alpha": space}})


def test_draws_lie_in_their_space_and_fill_it() -> None:
    found = drawn(
        {"a": {"uniform": [2, 4]}, "b": {"log_uniform": [0.01, 100]}, "c": {"integers": [1, 4]}}, draws=64
    )
    assert len(found) == 64
    a, b, c = (np.array([params[name] for params in found]) for name in "abc")
    assert a.min() >= 2
    assert a.max() <= 4
    # Evenly: of 64 independent draws one sixteenth of the range would often get none.
    assert np.histogram(a, 16, (2, 4))[0].min() >= 1
    assert np.histogram(np.log10(b), 16, (-2, 2))[0].min() >= 1
    assert np.bincount(c, minlength=5).tolist()[1:] == pytest.approx([16] * 4, abs=2)
    assert abs(np.corrcoef(a, np.log(b))[0, 1]) < 0.2


def test_draws_depend_on_the_seed_and_the_candidate_and_on_nothing_else() -> None:
    space = {"log_uniform": [1e-3, 1e3]}
    assert drawn({"alpha": space}) == drawn({"alpha": space})
    assert drawn({"alpha": space}) != drawn({"alpha": space}, seed=1)
    assert drawn({"alpha": space}, draws=5) == drawn({"alpha": space}, draws=9)[:5]
    both = {"alpha": space, "tol": {"uniform": [0, 1]}}
    assert drawn(both) == drawn(dict(reversed(both.items())))


def test_no_configuration_is_drawn_twice_and_small_spaces_are_drawn_whole() -> None:
    params = {"a": {"choice": ["x", "y", "z"]}, "b": {"integers": [0, 3]}}
    found = drawn(params, draws=12)
    assert {(p["a"], p["b"]) for p in found} == {(a, b) for a in "xyz" for b in range(4)}
    assert len(found) == 12
    assert len(drawn(params, draws=100)) == 12


def test_numbers_have_four_digits_and_stay_within_the_ends() -> None:
    space = Space("log_uniform", (1.23996e-3, 1.0))
    assert space.at(0.0) == 1.24e-3
    assert space.at(0.5) == 0.03521
    assert Space("uniform", (1.00009, 2)).at(0.0) == 1.00009


def test_a_budget_of_trials_cuts_off_the_later_draws_of_every_candidate() -> None:
    models = [
        candidate({"alpha": {"log_uniform": [1, 10]}}),
        candidate({}, "plain"),
        candidate({"alpha": {"choice": [1, 2]}}, "few"),
    ]
    names = [found.name for found in configurations(models, SelectionSpec(max_trials=6), 0)]
    assert names == ["ridge#1", "plain", "few#1", "ridge#2", "few#2", "ridge#3"]
    assert len(configurations(models, SelectionSpec(), 0)) == 16 + 1 + 2
    assert len(configurations(models, SelectionSpec(max_trials=30), 0)) == 30
