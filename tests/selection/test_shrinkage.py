from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.metrics import METRICS, Metric
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.exceptions import ModelError
from manymodels.models.blended import Blended, Parent, mixed
from manymodels.models.contract import FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.records import Rows
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.shrinkage import fit_parent

MAE = METRICS["mae"]
SPEC = FitSpec("regression", target="y", time="day")
DAYS = pd.date_range("2024-01-01", periods=200)


class Constant:
    """A model of one value; as a level's it is the same for every key."""

    name, revision, isolated, library = "constant", 1, False, ""

    def __init__(self, value: float) -> None:
        self.value = value

    def fit(self, rows: Rows, spec: FitSpec) -> Any:
        return self.fit_pooled([rows], spec) if np.isnan(self.value) else self

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> Any:
        return Constant(float(np.mean(np.concatenate([rows.numbers("y") for rows in keys]))))

    def predict(self, rows: Rows) -> dict[str, Any]:
        return {"prediction": np.full(len(rows), self.value)}

    def extend(self, rows: Rows) -> Any:
        return self


def rows_of(values: Any) -> Rows:
    return Rows(pd.DataFrame({"day": DAYS[: len(values)], "y": np.asarray(values, dtype=float)}))


def fitted(
    rows: Rows, own: float, parents: Mapping[str, Parent], holdout: float, metric: Metric = MAE
) -> KeyFit:
    candidates = [(CandidateSpec(name="own", family="own"), Constant(own))]
    steps = fit_key(rows, candidates, SPEC, EvaluationSpec(holdout=holdout), metric, parents=parents)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def choose(rows: Rows, own: float, **parents: float) -> KeyFit:
    above = {name: Parent(Constant(value), (Constant(value),)) for name, value in parents.items()}
    return fitted(rows, own, above, holdout=0.5)


def test_of_the_weights_that_cannot_be_told_from_the_best_the_nearest_to_equal_is_taken() -> None:
    values = 8.0 + np.tile(
        [-2.0, 2.0], 50
    )  # 0.8 of the key's own is right: 2.00 at 0.8, 2.24 at 0.7, 2.83 at 0.6
    above = {"pooled": Parent(Constant(0.0), (Constant(0.0),))}

    found = {
        held: fitted(rows_of(values[: 2 * held]), 10.0, above, holdout=0.5, metric=METRICS["rmse"])
        for held in (2, 20, 50)
    }

    assert {held: fit.own_weight for held, fit in found.items()} == {2: 0.6, 20: 0.7, 50: 0.8}
    assert isinstance(found[50].model, Blended)
    assert found[50].backtests[0].predictions["prediction"] == pytest.approx(8.0)
    assert found[50].metric == pytest.approx(2.0)
    assert found[50].scores[0].metric == pytest.approx(np.sqrt(8))  # the candidate's own


def test_a_key_whose_own_model_is_better_alone_is_not_blended() -> None:
    fit = choose(rows_of(np.full(20, 10.0)), own=10.0, pooled=0.0)

    assert (fit.parent, fit.own_weight, fit.metric) == ("", None, 0.0)
    assert isinstance(fit.model, Constant)


def test_the_better_of_several_levels_is_taken() -> None:
    fit = choose(rows_of(np.full(100, 8.0)), own=10.0, **{"level:region": 30.0, "pooled": 7.0})

    assert fit.parent == "pooled"


def test_a_key_too_short_to_be_judged_is_blended_with_its_nearest_level_at_equal_weights() -> None:
    fit = choose(rows_of([3.0, 4.0]), own=10.0, **{"level:region": 30.0, "pooled": 0.0})

    assert (fit.parent, fit.own_weight, fit.metric) == ("level:region", 0.5, None)


def test_a_level_that_was_not_fitted_without_the_held_out_rows_is_not_judged_by_them() -> None:
    fit = fitted(rows_of(np.full(40, 8.0)), 10.0, {"pooled": Parent(Constant(8.0), (None,))}, holdout=0.2)

    assert fit.parent == ""


def test_a_levels_earlier_models_see_nothing_of_what_is_held_out_of_their_keys() -> None:
    keys = [rows_of([*np.full(8, level), 1e6, 1e6]) for level in (1.0, 3.0)]

    parent = fit_parent(Constant(0.0), keys, [1, 2], SPEC, EvaluationSpec(holdout=0.2))  # type: ignore[arg-type]

    assert [model.value for model in parent.before] == [2.0]  # type: ignore[union-attr]
    assert parent.model.value > 1e5  # type: ignore[attr-defined]


def test_a_key_with_nothing_to_hold_out_is_no_part_of_the_earlier_models() -> None:
    keys = [rows_of(np.full(10, 5.0)), rows_of([7.0, 7.0])]

    parent = fit_parent(Constant(0.0), keys, [1, 2], SPEC, EvaluationSpec(holdout=0.2))  # type: ignore[arg-type]

    assert [model.value for model in parent.before] == [5.0]  # type: ignore[union-attr]


def test_a_blend_asks_for_its_levels_model() -> None:
    blend = Blended(Constant(1.0), "pooled", 0.75)  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="25% of this model is that of its level, pooled"):
        blend.predict(rows_of([1.0]))
    found = blend.with_parent(Constant(5.0)).predict(rows_of([1.0]))  # type: ignore[arg-type]
    assert found["prediction"].tolist() == [2.0]


def test_bounds_and_probabilities_are_averaged_and_the_likeliest_class_is_predicted() -> None:
    own = {
        "prediction": np.array(["a", "a"]),
        "probability_a": np.array([0.6, 0.9]),
        "probability_b": np.array([0.4, 0.1]),
    }
    parent = {
        "prediction": np.array(["b", "a"]),
        "probability_a": np.array([0.0, 0.8]),
        "probability_b": np.array([1.0, 0.2]),
    }

    found = mixed(own, parent, 0.5, ("a", "b"))

    assert found["prediction"].tolist() == ["b", "a"]
    assert found["probability_a"].tolist() == pytest.approx([0.3, 0.85])


def test_a_value_that_the_level_has_not_is_the_keys_own() -> None:
    found = mixed(
        {"prediction": np.array([1.0, 2.0]), "prediction_lo_80": np.array([0.5, 1.0])},
        {"prediction": np.array([3.0, np.nan])},
        0.5,
    )

    assert found["prediction"].tolist() == [2.0, 2.0]
    assert found["prediction_lo_80"].tolist() == [0.5, 1.0]


def test_on_short_noisy_keys_blending_beats_the_keys_alone_and_the_level_alone() -> None:
    """Means of eight noisy rows each, around means that differ by key: the setting in which shrinkage pays."""
    draw = np.random.default_rng(5)
    truths = 10 + draw.normal(0, 0.5, 400)
    keys = [rows_of(truth + draw.normal(0, 1.0, 8)) for truth in truths]
    parent = fit_parent(Constant(0.0), keys, list(range(400)), SPEC, EvaluationSpec(holdout=0.4))  # type: ignore[arg-type]
    found = {"key": [], "level": [], "blend": []}  # type: dict[str, list[float]]
    for rows, truth in zip(keys, truths, strict=True):
        fit = fitted(rows, np.nan, {"pooled": parent}, holdout=0.4, metric=METRICS["rmse"])
        own, above = float(rows.numbers("y").mean()), parent.model.value  # type: ignore[attr-defined]
        weight = 1.0 if fit.own_weight is None else fit.own_weight
        for name, value in (("key", own), ("level", above), ("blend", weight * own + (1 - weight) * above)):
            found[name].append((value - truth) ** 2)
    errors = {name: float(np.mean(values)) for name, values in found.items()}
    assert errors["blend"] < 0.95 * min(errors["key"], errors["level"]), errors
