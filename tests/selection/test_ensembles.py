from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.evaluate import Evaluation
from manymodels.evaluation.metrics import METRICS, HeldOut, Metric
from manymodels.exceptions import CannotExtendError
from manymodels.models.contract import FitSpec
from manymodels.models.ensemble import Combination, EnsembleModel
from manymodels.models.fixed import FixedModel
from manymodels.records import Rows
from manymodels.selection.ensembles import JudgedEnsemble, judge_ensemble
from manymodels.selection.spec import EnsembleSpec

MAE = METRICS["mae"]
SPEC = FitSpec("forecast", target="y", time="t", frequency="step", horizon=2, levels=(80.0,))
CLASSES = FitSpec("classification", target="y", classes=("a", "b", "c"))


def evaluation(predicted: list[list[float]], actual: list[list[float]], metric: Metric = MAE) -> Evaluation:
    held = [
        HeldOut(
            np.array(happened, dtype=float),
            {"prediction": np.array(told, dtype=float)},
            FitSpec("regression", target="y"),
        )
        for told, happened in zip(predicted, actual, strict=True)
    ]
    return Evaluation(tuple(float(metric.measure(each)) for each in held), tuple(held), "", 0.0)


def judge(
    evaluations: list[Evaluation], wanted: EnsembleSpec, metric: Metric = MAE, shared: list[int] | None = None
) -> JudgedEnsemble:
    places = list(range(len(evaluations[0].values))) if shared is None else shared
    found = judge_ensemble(evaluations, places, FitSpec("regression", target="y"), metric, wanted)
    assert found is not None
    return found


def test_members_are_the_best_and_weigh_by_the_inverse_of_their_errors() -> None:
    actual = [[0.0, 0.0], [0.0, 0.0]]
    candidates = [
        evaluation([[9, 9], [9, 9]], actual),
        evaluation([[2, 2], [2, 2]], actual),
        evaluation([[-1, -1], [-1, -1]], actual),
    ]
    found = judge(candidates, EnsembleSpec(top=2))
    assert found.members == (2, 1)
    assert found.combination.weights == pytest.approx((2 / 3, 1 / 3))
    assert found.evaluation.values == pytest.approx((0.0, 0.0))


def test_a_split_is_judged_by_what_the_other_splits_taught() -> None:
    # Each of the first two is perfect on one split and far off on the other: chosen by all splits they would look good.
    actual = [[0.0], [0.0]]
    candidates = [
        evaluation([[0], [8]], actual),
        evaluation([[8], [0]], actual),
        evaluation([[5], [5]], actual),
    ]
    found = judge(candidates, EnsembleSpec(top=2))
    # On split 0 what was best on split 1 counts alone (its error there is zero), and the other way round.
    assert found.evaluation.values == pytest.approx((8.0, 8.0))
    assert set(found.members) == {0, 1}


def test_the_rival_is_chosen_like_the_ensemble_by_the_other_splits() -> None:
    actual = [[0.0], [0.0], [0.0]]
    # The lucky one is best on all splits together, yet never by what the other two splits say.
    steady = [evaluation([[2], [2], [2]], actual), evaluation([[-2], [-2], [-2]], actual)]
    found = judge([*steady, evaluation([[1], [1], [1]], actual)], EnsembleSpec(top=2))
    assert not found.better  # the third is the best of every two splits, and of the other
    lucky = evaluation([[0], [0], [4.5]], actual)
    found = judge([*steady, lucky], EnsembleSpec(top=3, combine="median"))
    assert lucky.values[2] == 4.5
    assert sum(value or 0 for value in found.evaluation.values) / 3 == pytest.approx(2 / 3)
    assert found.better


def test_halves_of_the_only_split_judge_each_other() -> None:
    actual = [[0.0, 0.0, 0.0, 0.0]]
    candidates = [evaluation([[0, 0, 8, 8]], actual), evaluation([[8, 8, 0, 0]], actual)]
    found = judge(candidates, EnsembleSpec())
    assert found.evaluation.values == pytest.approx((8.0,))
    held = found.evaluation.held[0]
    assert held is not None
    assert held.predictions["prediction"].tolist() == [8, 8, 8, 8]
    assert found.combination.weights == pytest.approx((0.5, 0.5))


def test_splits_that_not_all_candidates_have_do_not_count() -> None:
    actual = [[0.0], [0.0], [0.0]]
    first = evaluation([[1], [1], [1]], actual)
    second = evaluation([[-1], [-1], [7]], actual)
    found = judge([first, second], EnsembleSpec(), shared=[0, 1])
    assert found.evaluation.values[2] is None
    assert found.evaluation.held[2] is None
    assert found.evaluation.values[:2] == pytest.approx((0.0, 0.0))


def test_a_median_needs_no_weights() -> None:
    actual = [[0.0], [0.0]]
    candidates = [evaluation([[v], [v]], actual) for v in (1, -1, 30)]
    found = judge(candidates, EnsembleSpec(combine="median"))
    assert found.combination.weights is None
    assert found.evaluation.values == pytest.approx((1.0, 1.0))


def test_a_metric_where_more_is_better_weighs_by_what_is_missing_to_perfect() -> None:
    actual = [[0.0, 1.0, 2.0]] * 2
    r2 = METRICS["r2"]
    candidates = [
        evaluation([[0, 1, 3]] * 2, actual, r2),  # 1 - 1/2
        evaluation([[0, 1, 2.5]] * 2, actual, r2),  # 1 - 1/8
    ]
    found = judge(candidates, EnsembleSpec(), r2)
    assert found.members == (1, 0)
    assert found.combination.weights == pytest.approx((0.8, 0.2))


def test_without_a_perfect_value_members_weigh_the_same() -> None:
    own = Metric("m:gain", lambda held: float(-np.abs(held.predicted).mean()), True, ("regression",), "")
    actual = [[0.0], [0.0]]
    candidates = [evaluation([[1], [1]], actual, own), evaluation([[3], [3]], actual, own)]
    assert judge(candidates, EnsembleSpec(), own).combination.weights == (0.5, 0.5)


def test_one_candidate_or_one_row_makes_no_ensemble() -> None:
    spec = FitSpec("regression", target="y")
    one = evaluation([[1.0, 1.0]], [[0.0, 0.0]])
    assert judge_ensemble([one], [0], spec, MAE, EnsembleSpec()) is None
    short = evaluation([[1.0]], [[0.0]])
    assert judge_ensemble([short, short], [0], spec, MAE, EnsembleSpec()) is None
    assert judge_ensemble([one, one], [], spec, MAE, EnsembleSpec()) is None


class Member:
    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, rows: Rows) -> dict[str, Any]:
        level = np.full(len(rows), self.value)
        return {"prediction": level, "prediction_lo_80": level - 1, "prediction_hi_80": level + 1}

    def extend(self, rows: Rows) -> Member:
        return Member(self.value + len(rows))

    def describe(self) -> dict[str, Any]:
        return {"family": "member", "value": self.value}


class Fixed(Member, FixedModel):
    extend = FixedModel.extend  # type: ignore[assignment]


ROWS = Rows(pd.DataFrame({"t": [1, 2]}))


def test_an_ensemble_predicts_extends_and_says_what_it_is() -> None:
    model = EnsembleModel(("a", "b"), (Member(0.0), Member(4.0)), Combination((0.75, 0.25)))
    loaded = pickle.loads(pickle.dumps(model))
    predicted = loaded.predict(ROWS)
    assert predicted["prediction"].tolist() == [1.0, 1.0]
    assert predicted["prediction_lo_80"].tolist() == [0.0, 0.0]
    assert loaded.extend(ROWS).predict(ROWS)["prediction_hi_80"].tolist() == [4.0, 4.0]
    said = model.describe()
    assert (said["family"], said["combine"]) == ("ensemble", "weighted")
    assert said["members"][1] == {"candidate": "b", "weight": 0.25, "family": "member", "value": 4.0}
    with pytest.raises(CannotExtendError):
        EnsembleModel(("a", "b"), (Member(0.0), Fixed(1.0)), Combination(None)).extend(ROWS)


def shares(*values: float) -> dict[str, Any]:
    names = [f"probability_{value}" for value in CLASSES.classes]
    best = CLASSES.classes[int(np.argmax(values))]
    return {"prediction": np.array([best], dtype=object)} | {
        name: np.array([value]) for name, value in zip(names, values, strict=True)
    }


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((0.5, 0.25, 0.25), [0.5, 0.25, 0.25]), (None, [1 / 3, 1 / 3, 1 / 3])],
)
def test_probabilities_are_combined_and_add_up(
    weights: tuple[float, ...] | None, expected: list[float]
) -> None:
    # Each is certain of another class: the medians are all zero.
    told = Combination(weights, CLASSES.classes).of([shares(1, 0, 0), shares(0, 1, 0), shares(0, 0, 1)])
    found = [float(told[f"probability_{value}"][0]) for value in CLASSES.classes]
    assert found == pytest.approx(expected)
    assert told["prediction"].tolist() == ["a"]


def test_the_median_of_probabilities_is_made_to_add_up() -> None:
    told = Combination(None, CLASSES.classes).of(
        [shares(0.6, 0.4, 0), shares(0.2, 0.8, 0), shares(0.5, 0, 0.5)]
    )
    assert [float(told[f"probability_{value}"][0]) for value in CLASSES.classes] == pytest.approx(
        [0.5 / 0.9, 0.4 / 0.9, 0.0]
    )
