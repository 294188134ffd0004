"""Regression, ranking and classification per key: equal to scikit-learn, and steady where a key is odd."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from manymodels.exceptions import CannotExtendError, DataError, ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec, FittedModel
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.constant import ConstantModel
from manymodels.models.tabular.family import SklearnFamily, fitting
from manymodels.models.tabular.model import TabularModel
from manymodels.records import Rows

RIDGE = "sklearn.linear_model.Ridge"
FOREST = "sklearn.ensemble.RandomForestRegressor"
BOOSTING = "sklearn.ensemble.HistGradientBoostingRegressor"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
NUMBERS = ("a", "b", "c")
FEATURES = (*NUMBERS, "kind")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def table(rows: int = 120, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=NUMBERS)
    frame["kind"] = rng.choice(["x", "y", "z"], rows)
    frame["y"] = 2 * frame["a"] - frame["b"] + (frame["kind"] == "x") * 3 + rng.normal(0, 0.3, rows)
    frame["w"] = rng.integers(1, 5, rows).astype(float)
    return frame


def family(path: str, task: Task = "regression", **params: Any) -> SklearnFamily:
    return SklearnFamily(CandidateSpec(name="x", family=path, params=params), task)


def spec(task: Task = "regression", **fields: Any) -> FitSpec:
    return FitSpec(**{"task": task, "target": "y", "features": FEATURES, "seed": 11, **fields})


def fit(frame: pd.DataFrame, path: str, known: FitSpec | None = None, **params: Any) -> FittedModel:
    known = known or spec()
    return family(path, known.task, **params).fit(Rows(frame), known)


def predictions(model: FittedModel, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    return model.predict(Rows(frame))["prediction"]


def onehot(*before: object) -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), *before), list(NUMBERS)),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["kind"]),
    )


def ordinal() -> Any:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_column_transformer(("passthrough", list(NUMBERS)), (encoder, ["kind"]))


# Equality with scikit-learn


@pytest.mark.parametrize(
    ("path", "params", "reference"),
    [
        (RIDGE, {"alpha": 3.0}, make_pipeline(onehot(StandardScaler()), Ridge(alpha=3.0))),
        (
            "sklearn.pipeline.Pipeline",
            {"steps": [{RIDGE: {"alpha": 3.0}}]},
            make_pipeline(onehot(), Ridge(alpha=3.0)),
        ),
        (
            FOREST,
            {"n_estimators": 5},
            make_pipeline(ordinal(), RandomForestRegressor(5, random_state=11)),
        ),
        (
            BOOSTING,
            {"max_iter": 10},
            make_pipeline(
                ordinal(),
                HistGradientBoostingRegressor(max_iter=10, categorical_features=[3], random_state=11),
            ),
        ),
    ],
)
def test_predictions_equal_those_of_a_plain_pipeline(
    path: str, params: dict[str, Any], reference: Pipeline
) -> None:
    known, new = table(seed=1), table(seed=2)
    reference.fit(known[list(FEATURES)], known["y"])
    model = fit(known, path, **params)
    np.testing.assert_allclose(predictions(model, new), reference.predict(new[list(FEATURES)]), rtol=1e-9)


def test_probabilities_equal_those_of_a_plain_pipeline() -> None:
    known, new = table(seed=1), table(seed=2)
    known["y"] = np.where(known["y"] > 1, "high", "low")
    # A plain logistic regression is taken on to its minimum, which lbfgs only comes near.
    to_the_minimum = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    reference = make_pipeline(onehot(StandardScaler()), to_the_minimum)
    reference.fit(known[list(FEATURES)], known["y"])
    model = fit(known, LOGISTIC, spec("classification", classes=("high", "low")))
    found = model.predict(Rows(new))
    assert list(found) == ["prediction", "probability_high", "probability_low"]
    expected = reference.predict_proba(new[list(FEATURES)])
    np.testing.assert_allclose(found["probability_high"], expected[:, 0], rtol=1e-7)
    np.testing.assert_allclose(found["probability_low"], expected[:, 1], rtol=1e-7)
    np.testing.assert_array_equal(found["prediction"], reference.predict(new[list(FEATURES)]))


@pytest.mark.parametrize(
    "name", ["Lasso", "HuberRegressor", "BayesianRidge", "LinearRegression", "SGDRegressor"]
)
def test_the_short_cut_of_linear_models_predicts_what_they_do(name: str) -> None:
    frame = table()
    model = fit(frame, f"sklearn.linear_model.{name}")
    assert isinstance(model, TabularModel)
    matrix = model.encoder.matrix(Rows(frame))
    np.testing.assert_allclose(predictions(model, frame), model.estimator.predict(matrix), rtol=1e-12)


# Rows, targets and weights


def test_rows_without_a_target_do_not_count() -> None:
    frame = table()
    holes = frame.copy()
    holes.loc[::3, "y"] = np.nan
    holes.loc[::3, "a"] = 1e6
    kept = frame[np.arange(len(frame)) % 3 != 0].reset_index(drop=True)
    np.testing.assert_array_equal(predictions(fit(holes, RIDGE), frame), predictions(fit(kept, RIDGE), frame))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.nan, "the target 'y' has no value in 120 rows"),
        (np.inf, "the target 'y' is infinite in 120 of 120 rows"),
    ],
)
def test_a_target_without_numbers_is_unusable(target: float, message: str) -> None:
    with pytest.raises(UnusableRowsError, match=message):
        fit(table().assign(y=target), RIDGE)


def test_one_infinite_target_makes_the_rows_unusable() -> None:
    frame = table()
    frame.loc[7, "y"] = -np.inf
    with pytest.raises(UnusableRowsError, match="infinite in 1 of 120 rows"):
        fit(frame, RIDGE)


def test_a_constant_target_is_predicted() -> None:
    np.testing.assert_allclose(predictions(fit(table().assign(y=4.0), RIDGE), table(seed=3)), 4.0)


def test_text_as_a_regressions_target_is_refused() -> None:
    with pytest.raises(ModelError, match="column 'y': numbers were expected"):
        fit(table().assign(y="high"), RIDGE)


def test_a_whole_weight_counts_like_that_many_rows() -> None:
    frame = table()
    repeated = frame.loc[frame.index.repeat(frame["w"].astype(int))].reset_index(drop=True)
    path, params = "sklearn.pipeline.Pipeline", {"steps": [{RIDGE: {}}]}
    weighted = fit(frame, path, spec(weight="w"), **params)
    np.testing.assert_allclose(
        predictions(weighted, frame), predictions(fit(repeated, path, **params), frame), rtol=1e-9
    )
    assert not np.allclose(predictions(weighted, frame), predictions(fit(frame, path, **params), frame))


def test_rows_without_weight_do_not_count() -> None:
    frame = table()
    frame.loc[:9, "w"] = 0.0
    frame.loc[10:19, "w"] = np.nan
    kept = frame.loc[20:].reset_index(drop=True)
    known = spec(weight="w")
    np.testing.assert_array_equal(
        predictions(fit(frame, RIDGE, known), frame), predictions(fit(kept, RIDGE, known), frame)
    )


@pytest.mark.parametrize(
    ("weight", "message"),
    [(-1.0, "is negative or infinite"), (np.inf, "is negative or infinite"), (0.0, "no row has both")],
)
def test_weights_that_weigh_nothing_make_the_rows_unusable(weight: float, message: str) -> None:
    with pytest.raises(UnusableRowsError, match=message):
        fit(table().assign(w=weight), RIDGE, spec(weight="w"))


def test_an_estimator_without_sample_weights_says_so() -> None:
    model = fit(table(), "sklearn.neighbors.KNeighborsRegressor", spec(weight="w"))
    assert model.describe()["notes"] == ["sklearn.neighbors.KNeighborsRegressor takes no sample weights"]


def test_missing_features_and_unseen_categories_are_predicted() -> None:
    new = table(seed=8)
    new.loc[:10, "a"] = np.nan
    new.loc[5:15, "kind"] = "never seen"
    new.loc[16:20, "kind"] = None
    for path in (RIDGE, FOREST, BOOSTING, "sklearn.ensemble.GradientBoostingRegressor"):
        assert np.isfinite(predictions(fit(table(), path), new)).all()


def test_a_missing_feature_column_is_named() -> None:
    model = fit(table(), RIDGE)
    with pytest.raises(DataError, match="no column 'b'"):
        model.predict(Rows(table().drop(columns="b")))
    with pytest.raises(DataError, match="no column 'd'"):
        fit(table(), RIDGE, spec(features=("a", "d")))


def test_no_feature_with_a_value_is_unusable() -> None:
    with pytest.raises(UnusableRowsError, match="no feature has a value"):
        fit(table().assign(a=np.nan), RIDGE, spec(features=("a",)))


# Classes


def labels(frame: pd.DataFrame, low: Any, middle: Any, high: Any) -> pd.DataFrame:
    y = frame["y"].to_numpy()
    values = [low if v < 0 else middle if v < 2 else high for v in y]
    return frame.assign(y=pd.Series(values, dtype=None))


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (("bad", "good", "ok"), ["probability_bad", "probability_good", "probability_ok"]),
        ((1, 2, 7), ["probability_1", "probability_2", "probability_7"]),
        ((False, True), ["probability_False", "probability_True"]),
    ],
)
def test_predicted_classes_are_of_the_original_type(classes: tuple[Any, ...], columns: list[str]) -> None:
    frame = labels(table(), classes[0], classes[1], classes[-1])
    for path in (LOGISTIC, "sklearn.ensemble.RandomForestClassifier", "sklearn.svm.SVC"):
        found = fit(frame, path, spec("classification", classes=classes)).predict(Rows(frame))
        assert list(found) == ["prediction", *columns]
        assert {type(value) for value in found["prediction"].tolist()} == {type(classes[0])}
        assert (found["prediction"] == frame["y"].to_numpy()).mean() > 0.75
        np.testing.assert_allclose(sum(found[name] for name in columns), 1.0)


def test_classes_that_a_key_never_saw_have_probability_zero() -> None:
    frame = labels(table(), "a", "c", "c")
    known = spec("classification", classes=("a", "b", "c", "d"))
    for path in (LOGISTIC, "sklearn.ensemble.HistGradientBoostingClassifier"):
        found = fit(frame, path, known).predict(Rows(frame))
        assert not found["probability_b"].any()
        assert not found["probability_d"].any()
        assert set(found["prediction"]) == {"a", "c"}


def test_a_key_with_one_class_gets_the_constant_model_and_the_reason() -> None:
    model = fit(table().assign(y="b"), LOGISTIC, spec("classification", classes=("a", "b")))
    assert isinstance(model, ConstantModel)
    found = model.predict(Rows(table(rows=3)))
    assert found["prediction"].tolist() == ["b", "b", "b"]
    assert found["probability_a"].tolist() == [0, 0, 0]
    assert found["probability_b"].tolist() == [1, 1, 1]
    assert model.describe()["notes"] == ["only one class"]


def test_missing_classes_do_not_count_and_nulls_do_not_change_the_type() -> None:
    frame = labels(table(), False, True, True)
    holes = frame.assign(y=frame["y"].astype(object).where(np.arange(len(frame)) % 5 > 0, None))
    known = spec("classification", classes=(False, True))
    found = fit(holes, LOGISTIC, known).predict(Rows(frame))
    assert found["prediction"].dtype == bool
    numbered = holes.assign(y=holes["y"].astype(float))
    again = fit(numbered, LOGISTIC, replace(known, classes=(0, 1))).predict(Rows(frame))
    assert again["prediction"].dtype.kind == "i"
    np.testing.assert_array_equal(found["prediction"], again["prediction"])


def test_a_target_without_any_class_is_unusable() -> None:
    frame = table().assign(y=pd.Series([None] * 120, dtype="str"))
    with pytest.raises(UnusableRowsError, match="the target 'y' has no value in 120 rows"):
        fit(frame, LOGISTIC, spec("classification", classes=("a", "b")))


def test_a_class_that_the_data_set_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match="has 'c', which is none of the data set's classes"):
        fit(labels(table(), "a", "b", "c"), LOGISTIC, spec("classification", classes=("a", "b")))


def test_a_classifier_without_probabilities_is_certain() -> None:
    frame = labels(table(), "a", "b", "b")
    known = spec("classification", classes=("a", "b", "c"))
    found = fit(frame, "sklearn.linear_model.RidgeClassifier", known).predict(Rows(frame))
    np.testing.assert_array_equal(found["probability_a"], found["prediction"] == "a")
    np.testing.assert_array_equal(found["probability_b"], found["prediction"] == "b")


def test_class_weights_are_those_of_the_jobs_own_classes() -> None:
    frame = labels(table(), "a", "b", "b")
    known = spec("classification", classes=("a", "b", "c"))
    weights = {"a": 50.0, "b": 1.0, "c": 9.0}
    plain = fit(frame, LOGISTIC, known).predict(Rows(frame))
    tilted = fit(frame, LOGISTIC, known, class_weight=weights).predict(Rows(frame))
    assert tilted["probability_a"].mean() > plain["probability_a"].mean() + 0.05
    reference = make_pipeline(onehot(StandardScaler()), LogisticRegression(class_weight=weights))
    reference.fit(frame[list(FEATURES)], frame["y"])
    expected = reference.predict_proba(frame[list(FEATURES)])[:, 0]
    np.testing.assert_allclose(tilted["probability_a"], expected, rtol=1e-7)


def test_a_tuned_threshold_decides_and_not_the_highest_probability() -> None:
    frame = labels(table(), "a", "b", "b")
    known = spec("classification", classes=("a", "b"))
    path = "sklearn.model_selection.FixedThresholdClassifier"
    found = fit(frame, path, known, estimator={LOGISTIC: {}}, threshold=0.001).predict(Rows(frame))
    assert (found["probability_b"] < 0.5).any()
    assert set(found["prediction"]) == {"b"}


@pytest.mark.parametrize(
    "path",
    ["sklearn.ensemble.RandomForestClassifier", "sklearn.ensemble.HistGradientBoostingClassifier", LOGISTIC],
)
def test_where_the_most_probable_class_is_taken_it_is_what_predict_gives(path: str) -> None:
    frame = labels(table(), "a", "b", "c")
    model = fit(frame, path, spec("classification", classes=("a", "b", "c")))
    assert isinstance(model, TabularModel)
    codes = model.estimator.predict(model.encoder.matrix(Rows(frame)))
    np.testing.assert_array_equal(
        predictions(model, frame), np.array(["a", "b", "c"], dtype=object)[codes.astype(int)]
    )


# What a model is


def test_ranking_predicts_the_target() -> None:
    frame = table()
    np.testing.assert_array_equal(
        predictions(fit(frame, RIDGE, spec("ranking")), frame), predictions(fit(frame, RIDGE), frame)
    )


@pytest.mark.parametrize("path", [FOREST, BOOSTING, "sklearn.linear_model.SGDRegressor"])
def test_the_same_seed_makes_the_same_bytes(path: str) -> None:
    first, second = pickle.dumps(fit(table(), path)), pickle.dumps(fit(table(), path))
    assert first == second


def test_the_keys_seed_reaches_every_estimator_inside() -> None:
    steps = [
        {"sklearn.decomposition.PCA": {"n_components": 2}},
        {"sklearn.ensemble.BaggingRegressor": {"estimator": "sklearn.tree.ExtraTreeRegressor"}},
    ]
    maker = family("sklearn.pipeline.Pipeline", steps=steps)
    models = [maker.fit(Rows(table()), spec(seed=seed)) for seed in (1, 1, 2)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        assert isinstance(model, TabularModel)
        assert model.estimator.steps[0][1].random_state == seed
        assert model.estimator.steps[1][1].random_state == seed
        assert model.estimator.steps[1][1].estimator.random_state == seed
    np.testing.assert_array_equal(predictions(models[0], table()), predictions(models[1], table()))
    assert not np.array_equal(predictions(models[0], table()), predictions(models[2], table()))


def test_a_seed_in_the_job_stays() -> None:
    model = fit(table(), FOREST, n_estimators=2, random_state=77)
    assert isinstance(model, TabularModel)
    assert model.estimator.random_state == 77


def test_a_fit_leaves_nothing_in_the_family() -> None:
    maker = family(RIDGE)
    first = maker.fit(Rows(table(seed=1)), spec())
    before = predictions(first, table())
    maker.fit(Rows(table(seed=2)), spec())
    np.testing.assert_array_equal(predictions(first, table()), before)


@pytest.mark.parametrize("path", [RIDGE, FOREST, BOOSTING])
def test_a_model_predicts_the_same_after_pickling(path: str) -> None:
    model = fit(table(), path)
    again = pickle.loads(pickle.dumps(model, 5))
    np.testing.assert_array_equal(predictions(again, table()), predictions(model, table()))


def test_a_linear_model_is_small() -> None:
    assert len(pickle.dumps(fit(table(), RIDGE), 5)) < 1500


def test_a_model_describes_itself_in_json() -> None:
    model = fit(table(), RIDGE)
    said = json.loads(json.dumps(model.describe()))
    assert said["family"] == RIDGE
    assert said["features"] == ["a", "b", "c", "kind=x", "kind=y", "kind=z"]
    assert set(said["coefficients"]) == set(said["features"])
    assert said["coefficients"]["a"] > 1
    frame = labels(table(), 1, 2, 3)
    classifier = fit(frame, LOGISTIC, spec("classification", classes=(1, 2, 3)))
    assert json.loads(json.dumps(classifier.describe()))["classes"] == ["1", "2", "3"]


def test_warnings_of_an_estimator_become_notes() -> None:
    model = fit(table(), "sklearn.neural_network.MLPRegressor", max_iter=2)
    notes = model.describe()["notes"]
    assert len(notes) == 1
    assert "Maximum iterations (2) reached" in notes[0]


def test_warnings_meant_for_developers_do_not() -> None:
    with fitting(np.ones((2, 2))) as notes:
        for category in (DeprecationWarning, FutureWarning, UserWarning, UserWarning):
            warnings.warn(f"a {category.__name__}", category, stacklevel=1)
    assert notes == ["a UserWarning"]


def test_a_tabular_model_takes_no_newer_history() -> None:
    with pytest.raises(CannotExtendError, match="train again"):
        fit(table(), RIDGE).extend(Rows(table()))


def test_an_estimator_that_predicts_nothing_finite_is_refused() -> None:
    model = fit(table(), RIDGE)
    assert isinstance(model, TabularModel)
    model.estimator.coef_ = np.full(6, np.nan)
    with pytest.raises(
        ModelError, match="Ridge must predict numbers; all 120 predictions are NaN or infinite"
    ):
        model.predict(Rows(table()))


def test_a_forest_of_scikit_learn_is_the_forest_of_the_family() -> None:
    frame = labels(table(), "a", "b", "c")
    model = fit(
        frame, "sklearn.ensemble.RandomForestClassifier", spec("classification", classes=("a", "b", "c"))
    )
    assert isinstance(model, TabularModel)
    codes = np.searchsorted(["a", "b", "c"], frame["y"].to_numpy(dtype="U1"))
    reference = RandomForestClassifier(random_state=11).fit(model.encoder.matrix(Rows(frame)), codes)
    np.testing.assert_array_equal(
        reference.predict_proba(model.encoder.matrix(Rows(frame)))[:, 1],
        model.predict(Rows(frame))["probability_b"],
    )
