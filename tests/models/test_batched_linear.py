from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batched_panels import compare, panel_of
from threadpoolctl import threadpool_limits

from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.models.tabular.columns import numbers
from manymodels.models.tabular.family import SklearnFamily

RIDGE = "sklearn.linear_model.Ridge"
LEAST_SQUARES = "sklearn.linear_model.LinearRegression"
FEATURES = ("a", "b", "c", "kind", "day", "flag")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def _frame(rng: np.random.Generator, rows: int, key: int) -> pd.DataFrame:
    frame = pd.DataFrame(rng.normal(size=(rows, 3)) * [1, 50, 1e-3] + [0, 1e4, 3], columns=["a", "b", "c"])
    frame["kind"] = rng.choice(["x", "y", "z"] if key % 3 else ["x", "w"], rows)
    frame["day"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, rows), unit="D")
    frame["flag"] = rng.random(rows) < 0.3
    frame["y"] = 2 * frame["a"] + frame["b"] / 40 + (frame["kind"] == "x") * 3 + rng.normal(0, 0.3, rows)
    frame["w"] = rng.integers(1, 5, rows).astype(float)
    return frame


def _panel(seed: int, keys: int = 24) -> Panel:
    """Keys of 1 to 80 rows: some with missing values, without a feature, with constants, without a target here and there."""
    rng = np.random.default_rng(seed)
    frames = []
    for key in range(keys):
        rows = int(rng.integers(1, 80)) if key % 4 else 60
        frame = _frame(rng, rows, key)
        if key % 8 == 1:
            frame.loc[rng.random(rows) < 0.4, ["a", "kind"]] = [np.nan, None]
        if key % 8 == 2:
            frame["c"] = np.nan
        if key % 8 == 3:
            frame["b"] = 7.0
            frame["kind"] = "x"
        if key % 8 == 5:
            frame["y"] = 1.5
        if key % 8 == 7:
            frame.loc[0, "y"] = np.nan
        frames.append(frame)
    return panel_of(frames)


def _new_rows(panel: Panel, seed: int) -> Panel:
    """Rows to predict: with values that training never saw, and missing ones."""
    rng = np.random.default_rng(seed)
    frames = []
    for key in range(len(panel)):
        frame = _frame(rng, 7, key)
        frame.loc[0, "kind"], frame.loc[1, "kind"] = "unseen", None
        frame.loc[2, ["a", "c"]] = np.nan
        frames.append(frame.drop(columns=["y", "w"]))
    return panel_of(frames)


def _spec(**changes: Any) -> FitSpec:
    return FitSpec(**{"task": "regression", "target": "y", "features": FEATURES, **changes})


def _family(path: str, task: Any = "regression", **params: Any) -> SklearnFamily:
    return SklearnFamily(CandidateSpec(name="x", family=path, params=params), task)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("params", [{}, {"alpha": 100.0}, {"alpha": 0.01, "fit_intercept": False}])
@pytest.mark.parametrize("weight", [None, "w"])
def test_batched_ridge_gives_the_models_of_fits_one_by_one(
    seed: int, params: dict[str, Any], weight: str | None
) -> None:
    panel = _panel(seed)
    compared = compare(_family(RIDGE, **params), panel, _new_rows(panel, seed), _spec(weight=weight))
    complete = {place for place in compared.alone if place % 8 != 7}
    assert complete == set(compared.fit.places.tolist())


@pytest.mark.parametrize("features", [("a", "b", "c"), ("kind",), ("a", "flag", "day")])
def test_any_kind_of_feature_alone_will_do(features: tuple[str, ...]) -> None:
    panel = _panel(4)
    compared = compare(_family(RIDGE), panel, _new_rows(panel, 4), _spec(features=features))
    assert len(compared.fit.places) >= 18


def test_fits_leave_the_rows_as_they_were() -> None:
    rng = np.random.default_rng(5)
    panel = panel_of(
        [_frame(rng, 40, key)[["a", "y"]] for key in range(6)]
    )  # one column, of keys that adjoin
    compared = compare(_family(RIDGE), panel, panel, _spec(features=("a",)))
    assert len(compared.fit.places) == 6
    assert (numbers(panel.rows, ("a",))[:, 0] == panel.rows.frame()["a"]).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_batched_least_squares_leaves_collinear_keys_alone(seed: int) -> None:
    panel = _panel(seed)
    spec = _spec(features=("a", "b", "c", "flag"))
    compared = compare(_family(LEAST_SQUARES), panel, _new_rows(panel, seed), spec)
    assert len(compared.fit.places) >= 12
    with_categories = compare(_family(LEAST_SQUARES), panel, _new_rows(panel, seed), _spec())
    many = {place for place in with_categories.fit.places.tolist() if place % 8 not in (1, 3)}
    assert not many, "indicators of all categories add up to the intercept"


def test_coefficients_are_those_of_scikit_learn() -> None:
    panel = _panel(9)
    compared = compare(_family(RIDGE), panel, _new_rows(panel, 9), _spec())
    for number, place in enumerate(compared.fit.places.tolist()):
        one, alone = compared.fit.columns.model(number), compared.alone[place]
        assert one.describe()["features"] == alone.describe()["features"]
        found = one.estimator.coef_
        np.testing.assert_allclose(found, alone.estimator.coef_, rtol=1e-7, atol=1e-9)
        assert one.estimator.get_params() == alone.estimator.get_params()
        matrix = one.encoder.matrix(panel.key(place))
        np.testing.assert_allclose(one.estimator.predict(matrix), alone.estimator.predict(matrix), rtol=1e-9)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (RIDGE, {"positive": True}),
        (RIDGE, {"alpha": 0.0}),
        (RIDGE, {"solver": "sag"}),
        (LEAST_SQUARES, {"positive": True}),
        ("sklearn.linear_model.Lasso", {}),
        ("sklearn.ensemble.RandomForestRegressor", {}),
    ],
)
def test_other_methods_have_no_batched_trainer(path: str, params: dict[str, Any]) -> None:
    assert trainer_of(_family(path, **params)) is None


def test_a_subclass_is_fitted_one_by_one() -> None:
    class Mine(SklearnFamily):
        pass

    assert trainer_of(_family(RIDGE)) is not None
    assert trainer_of(Mine(CandidateSpec(name="x", family=RIDGE, params={}), "regression")) is None
