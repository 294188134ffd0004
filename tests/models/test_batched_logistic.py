from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batched_panels import compare, panel_of
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.models.tabular.family import SklearnFamily
from manymodels.models.tabular.logistic import Logistic, minimise

PATH = "sklearn.linear_model.LogisticRegression"
FEATURES = ("a", "b", "kind", "flag")
TWO = ("no", "yes")
FOUR = (1, 2, 5, 9)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def _frame(rng: np.random.Generator, rows: int, classes: tuple[Any, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(rng.normal(size=(rows, 2)) * [1, 50] + [0, 1e4], columns=["a", "b"])
    frame["kind"] = rng.choice(["x", "y", "z"], rows)
    frame["flag"] = rng.random(rows) < 0.3
    lean = frame["a"] + (frame["kind"] == "x") + rng.normal(0, 0.8, rows)
    place = np.clip(np.digitize(lean, np.linspace(-0.5, 1.5, len(classes) - 1)), 0, len(classes) - 1)
    frame["y"] = np.array(classes, dtype=object)[place]
    if not isinstance(classes[0], str):
        frame["y"] = frame["y"].astype(np.int64)
    frame["w"] = rng.integers(1, 5, rows).astype(float)
    return frame


def _panel(seed: int, classes: tuple[Any, ...], keys: int = 24) -> Panel:
    """Keys of 1 to 90 rows; some with one class, with missing values, with a part of the classes, or perfectly told apart."""
    rng = np.random.default_rng(seed)
    frames = []
    for key in range(keys):
        rows = int(rng.integers(1, 90)) if key % 4 else 70
        frame = _frame(rng, rows, classes)
        if key % 8 == 1:
            frame["y"] = classes[1]
        if key % 8 == 2:
            frame.loc[rng.random(rows) < 0.3, ["a", "kind"]] = [np.nan, None]
        if key % 8 == 3:
            frame["y"] = np.where(frame["a"] > 0, classes[-1], classes[0])
        if key % 8 == 5:
            frame = frame[frame["y"].isin(classes[:-1] if len(classes) > 2 else classes)].reset_index(
                drop=True
            )
            frame = frame if len(frame) else _frame(rng, 5, classes)
        frames.append(frame)
    return panel_of(frames)


def _new_rows(panel: Panel, seed: int, classes: tuple[Any, ...]) -> Panel:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(len(panel)):
        frame = _frame(rng, 6, classes)
        frame.loc[0, "kind"], frame.loc[1, "kind"] = "unseen", None
        frame.loc[2, "a"] = np.nan
        frames.append(frame.drop(columns=["y", "w"]))
    return panel_of(frames)


def _spec(classes: tuple[Any, ...], **changes: Any) -> FitSpec:
    return FitSpec(
        **{"task": "classification", "target": "y", "features": FEATURES, "classes": classes, **changes}
    )


def _family(**params: Any) -> SklearnFamily:
    return SklearnFamily(CandidateSpec(name="x", family=PATH, params=params), "classification")


def _several(panel: Panel, classes: tuple[Any, ...], **changes: Any) -> set[int]:
    """The keys that have more than one class."""
    return {n for n in range(len(panel)) if panel.key(n).frame()["y"].nunique() > 1}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("params", [{}, {"C": 0.05}, {"C": 20.0, "fit_intercept": False}])
@pytest.mark.parametrize("weight", [None, "w"])
def test_batched_logistic_regression_gives_the_models_of_fits_one_by_one(
    seed: int, classes: tuple[Any, ...], params: dict[str, Any], weight: str | None
) -> None:
    panel = _panel(seed, classes)
    new = _new_rows(panel, seed, classes)
    compared = compare(_family(**params), panel, new, _spec(classes, weight=weight))
    assert set(compared.fit.places.tolist()) == _several(panel, classes)


def test_a_key_has_the_classes_that_it_has_seen() -> None:
    panel = _panel(4, FOUR)
    compared = compare(_family(), panel, _new_rows(panel, 4, FOUR), _spec(FOUR))
    seen = set()
    for number, place in enumerate(compared.fit.places.tolist()):
        one, alone = compared.fit.columns.model(number), compared.alone[place]
        assert (one.seen, one.classes) == (alone.seen, alone.classes)
        assert one.estimator.coef_.shape == alone.estimator.coef_.shape
        np.testing.assert_allclose(one.estimator.coef_, alone.estimator.coef_, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(one.estimator.intercept_, alone.estimator.intercept_, rtol=1e-7, atol=1e-9)
        assert one.estimator.get_params() == alone.estimator.get_params()
        matrix = one.encoder.matrix(panel.key(place))
        assert (one.estimator.predict(matrix) == alone.estimator.predict(matrix)).all()
        seen.add(len(one.seen))
    assert seen == {2, 3, 4}


@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_the_minimum_is_that_of_scikit_learn_when_it_goes_on_for_long(classes: tuple[Any, ...]) -> None:
    frame = _frame(np.random.default_rng(7), 300, classes)
    model: Any = _family(C=2.0).fit(panel_of([frame]).key(0), _spec(classes))
    matrix = model.encoder.matrix(panel_of([frame]).key(0))
    patient = LogisticRegression(C=2.0, solver="newton-cholesky", tol=1e-12).fit(matrix, frame["y"])
    np.testing.assert_allclose(model.estimator.coef_, patient.coef_, rtol=1e-7, atol=1e-9)
    hasty = LogisticRegression(C=2.0).fit(matrix, frame["y"])
    np.testing.assert_allclose(model.estimator.coef_, hasty.coef_, atol=1e-2)


def test_the_slope_is_nought_at_the_minimum() -> None:
    rng = np.random.default_rng(3)
    rows, target = rng.normal(size=(5, 60, 4)), rng.integers(0, 3, (5, 60))
    weights = rng.integers(0, 3, (5, 60)).astype(float)
    found, good = minimise(Logistic(1.5, intercept=True), rows, target, weights, 3)
    assert good.all()
    scores = rows @ found[:, :, :4].transpose(0, 2, 1) + found[:, None, :, 4]
    chances = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    off = weights[:, :, None] * (chances - (target[:, :, None] == np.arange(3)))
    slope = (rows.transpose(0, 2, 1) @ off).transpose(0, 2, 1) + found[:, :, :4] / 1.5
    assert np.abs(slope).max() < 1e-9
    assert np.abs(off.sum(axis=1)).max() < 1e-9
    assert np.abs(found[:, :, 4].sum(axis=1)).max() < 1e-9


def test_a_key_that_cannot_be_solved_well_is_left_alone() -> None:
    rng = np.random.default_rng(5)
    frames = [_frame(rng, 50, TWO) for _ in range(4)]
    frames[2]["b"] = frames[2]["a"]  # told apart by the penalty alone, which is next to nothing
    panel = panel_of(frames)
    fit = trainer_of(_family(C=1e12)).fit_batch(panel, np.arange(4), _spec(TWO, features=("a", "b")))  # type: ignore[union-attr]
    assert fit.places.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    "params",
    [
        {"tol": 1e-3},
        {"max_iter": 5},
        {"class_weight": "balanced"},
        {"solver": "saga"},
        {"solver": "liblinear"},
        {"l1_ratio": 0.5, "solver": "saga"},
        {"C": float("inf")},
    ],
)
def test_what_asks_for_another_method_is_fitted_as_scikit_learn_does(params: dict[str, Any]) -> None:
    family = _family(**params)
    assert trainer_of(family) is None
    assert (family.logistic, family.revision) == (None, 1)


def test_a_tolerance_of_the_users_own_is_kept() -> None:
    frame = _frame(np.random.default_rng(2), 80, TWO)
    model: Any = _family(tol=0.5, random_state=0).fit(panel_of([frame]).key(0), _spec(TWO))
    matrix = model.encoder.matrix(panel_of([frame]).key(0))
    plain = LogisticRegression(tol=0.5).fit(matrix, frame["y"])
    np.testing.assert_array_equal(model.estimator.coef_, plain.coef_)


def test_an_estimator_object_is_fitted_as_its_owner_set_it_up() -> None:
    import pickle

    candidate = CandidateSpec(name="x", family=PATH, params={})
    family = SklearnFamily.of_estimator(candidate, "classification", pickle.dumps(LogisticRegression()))
    assert family.logistic is None
    assert trainer_of(family) is None


def test_classes_that_json_does_not_keep_are_fitted_one_by_one() -> None:
    days = (pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02"))
    frame = _frame(np.random.default_rng(1), 30, TWO)
    frame["y"] = frame["y"].map(dict(zip(TWO, days, strict=True)))
    trainer = trainer_of(_family())
    assert trainer is not None
    assert len(trainer.fit_batch(panel_of([frame]), np.arange(1), _spec(days)).places) == 0
