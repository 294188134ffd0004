"""The estimators have scikit-learn's manners, and make the engine's models."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import manymodels as mm
from manymodels.estimators import EXPECTED_FAILED_CHECKS
from manymodels.exceptions import DataError, JobError, RunError
from manymodels.records import Rows

ROOT = Path(__file__).resolve().parents[2]


def rows(keys: int = 6, each: int = 30) -> tuple[pd.DataFrame, pd.Series]:
    """Rows in no order, whose slope in ``a`` is the key's."""
    rng = np.random.default_rng(0)
    shop = np.repeat(np.arange(keys), each)
    X = pd.DataFrame(
        {
            "shop": [f"s{number}" for number in shop],
            "a": rng.normal(size=len(shop)),
            "b": rng.normal(size=len(shop)),
            "region": np.where(shop % 2, "odd", "even"),
        }
    )
    y = pd.Series(shop * X["a"] + X["b"] + rng.normal(scale=0.1, size=len(shop)))
    order = rng.permutation(len(shop))
    return X.iloc[order], y.iloc[order]


def series(keys: int = 3, days: int = 60) -> tuple[pd.DataFrame, pd.Series]:
    """Weekly patterns, each on its key's level, sorted by day."""
    times = np.repeat(pd.date_range("2026-01-05", periods=days), keys)
    shop = np.tile(np.arange(keys), days)
    X = pd.DataFrame({"shop": shop, "day": times})
    return X, pd.Series(10.0 * (shop + 1) + X["day"].dt.day_of_week)


# The models are what they should be


def test_an_estimator_is_fitted_to_each_key_as_a_loop_would() -> None:
    X, y = rows()
    model = mm.PartitionedRegressor(Ridge(alpha=0.5), partition_by="shop").fit(X[["shop", "a", "b"]], y)
    found = model.predict(X[["shop", "a", "b"]])
    for key, places in X.groupby("shop").indices.items():
        features = X.iloc[places][["a", "b"]].to_numpy()
        alone = Ridge(alpha=0.5).fit(features, y.iloc[places])
        np.testing.assert_allclose(found[places], alone.predict(features), rtol=1e-12)
        np.testing.assert_allclose(model.estimators_[key].coef_, alone.coef_, rtol=1e-12)


def test_the_models_are_those_of_a_run_with_a_store(tmp_path: Path) -> None:
    X, y = rows()
    candidates = ["sklearn.linear_model.Ridge", {"sklearn.tree.DecisionTreeRegressor": {"max_depth": 3}}]
    model = mm.PartitionedRegressor(candidates, partition_by="shop", random_state=7).fit(X, y)
    job = mm.Job(
        name="same",
        task="regression",
        data={"partition_by": ["shop"], "target": "y", "features": ["a", "b", "region"]},
        models=candidates,
        training={"seed": 7, "isolation": "none"},
        compute="serial",
        store=str(tmp_path),
    )
    run = mm.train(job, X.assign(y=y), progress=False)
    outcomes = run.outcomes().set_index("shop")
    for key in X["shop"].unique():
        kept = mm.Registry(str(tmp_path)).load("same", shop=key)
        part = Rows(X[X["shop"] == key].reset_index(drop=True))
        np.testing.assert_array_equal(
            model.models_[key].predict(part)["prediction"], kept.predict(part)["prediction"]
        )
    mine = model.outcomes_.set_index("shop")
    pd.testing.assert_series_equal(mine["metric"], outcomes["metric"])
    assert mine["candidate"].tolist() == outcomes["candidate"].tolist()


def test_each_key_gets_the_best_of_several_candidates() -> None:
    X, y = rows()
    bent = np.where(X["shop"] == "s0", np.sign(X["a"]) * 5, y)
    tree = {"sklearn.tree.DecisionTreeRegressor": {"max_depth": 1}}
    model = mm.PartitionedRegressor([Ridge(), tree], partition_by="shop").fit(X[["shop", "a", "b"]], bent)
    won = model.outcomes_.set_index("shop")["candidate"]
    assert won["s0"] == "sklearn.tree.DecisionTreeRegressor"
    assert won["s5"].endswith("Ridge")
    assert model.outcomes_["metric"].notna().all()


def test_columns_by_position_in_an_array_are_columns_by_name_in_a_frame() -> None:
    X, y = rows()
    X = X.assign(shop=X["shop"].str[1:].astype(float))[["a", "shop", "b"]]
    named = mm.PartitionedRegressor(Ridge(), partition_by="shop").fit(X, y)
    placed = mm.PartitionedRegressor(Ridge(), partition_by=1).fit(X.to_numpy(), y)
    last = mm.PartitionedRegressor(Ridge(), partition_by=-2).fit(X, y)
    np.testing.assert_allclose(named.predict(X), placed.predict(X.to_numpy()), rtol=1e-9)
    np.testing.assert_array_equal(named.predict(X), last.predict(X))
    assert named.feature_names_in_.tolist() == ["a", "shop", "b"]
    assert placed.n_features_in_ == 3
    assert list(placed.estimators_) == [0, 1, 2, 3, 4, 5]


def test_several_key_columns_make_tuples() -> None:
    X, y = rows()
    model = mm.PartitionedRegressor(Ridge(), partition_by=["region", "shop"]).fit(X, y)
    assert sorted(model.models_)[0] == ("even", "s0")


def test_a_row_of_weight_zero_is_no_row() -> None:
    X, y = rows()
    weights = (np.arange(len(X)) % 3 > 0).astype(float)
    candidate = "sklearn.linear_model.Ridge"
    weighted = mm.PartitionedRegressor(candidate, partition_by="shop").fit(X, y, sample_weight=weights)
    fewer = mm.PartitionedRegressor(candidate, partition_by="shop").fit(X[weights > 0], y[weights > 0])
    np.testing.assert_allclose(weighted.predict(X), fewer.predict(X))


# The ladder


def test_an_unseen_key_goes_down_the_ladder() -> None:
    X, y = rows()
    new = X.head(4).assign(shop="new")
    model = mm.PartitionedRegressor(partition_by="shop").fit(X, y)
    assert model.predict_frame(new)["model_source"].tolist() == ["pooled"] * 4
    assert model.predict_frame(X.head(2))["model_source"].tolist() == ["key", "key"]
    naive = mm.PartitionedRegressor(partition_by="shop", fallback=["naive"]).fit(X, y)
    np.testing.assert_allclose(naive.predict(new), y.mean())


def test_a_level_serves_its_own_keys_and_the_next_rung_the_others() -> None:
    X, y = rows()
    y = y + np.where(X["region"] == "odd", 100, 0)
    model = mm.PartitionedRegressor(
        Ridge(), partition_by="shop", fallback=[{"level": "region"}, "naive"], categorical=["region"]
    ).fit(X, y)
    new = X.head(40).assign(shop="new-" + X["region"])
    served = model.predict_frame(new)
    assert set(served["model_source"]) == {"level:region"}
    assert (served["prediction"][new["region"] == "odd"] > 80).all()
    strange = new.assign(region="elsewhere", shop="another")
    assert set(model.predict_frame(strange)["model_source"]) == {"naive"}


def test_without_a_ladder_an_unseen_key_is_an_error_that_names_it() -> None:
    X, y = rows()
    model = mm.PartitionedRegressor(partition_by="shop", fallback=[]).fit(X, y)
    with pytest.raises(ValueError, match=r"no model serves 4 of 6 rows.*shop=new: no model of this key"):
        model.predict(pd.concat([X.head(2), X.head(4).assign(shop="new")]))


class Picky(RegressorMixin, BaseEstimator):
    """Refuses keys whose mean is high, or ends the process."""

    def __init__(self, limit: float = 2.0, kill: bool = False) -> None:
        self.limit = limit
        self.kill = kill

    def fit(self, X: Any, y: Any) -> Picky:
        if y.mean() > self.limit:
            if self.kill:
                os._exit(3)
            raise ArithmeticError("a high mean")
        self.mean_ = y.mean()
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.mean_)


def test_failed_keys_stop_the_fit_beyond_the_limit_and_are_served_by_the_ladder_within_it() -> None:
    X, y = rows()
    y = pd.Series(np.where(X["shop"] == "s3", 5.0, 0.0))
    with pytest.raises(RunError, match=r"1 of 6 keys failed.*shop=s3: ArithmeticError: a high mean"):
        mm.PartitionedRegressor(Picky(), partition_by="shop").fit(X, y)
    model = mm.PartitionedRegressor(Picky(), partition_by="shop", training={"max_failed": 1}).fit(X, y)
    failed = model.outcomes_.set_index("shop").loc["s3"]
    assert (failed["state"], failed["reason"]) == ("failed", "ArithmeticError: a high mean")
    assert set(model.predict_frame(X[X["shop"] == "s3"])["model_source"]) == {"pooled"}
    assert "s3" not in model.models_


def test_a_rung_without_a_model_is_a_warning() -> None:
    X, y = rows()
    y = pd.Series(np.where(X["shop"] == "s3", 1e3, 0.0))
    with pytest.warns(UserWarning, match="the fallback pooled has no model: a high mean"):
        mm.PartitionedRegressor(Picky(), partition_by="shop", training={"max_failed": 1}).fit(X, y)


def test_no_model_at_all_is_an_error() -> None:
    X, y = rows(each=5)
    with pytest.raises(RunError, match="none of 6 keys has a model: too few rows"):
        mm.PartitionedRegressor(partition_by="shop", fallback=[]).fit(X, y)


# scikit-learn's manners


def test_clone_pickle_and_parameters() -> None:
    X, y = rows()
    model = mm.PartitionedRegressor(Ridge(alpha=3), partition_by="shop", fallback=("naive",))
    assert model.get_params()["models__alpha"] == 3
    again = clone(model).set_params(models__alpha=4, min_rows=5)
    assert (model.models.alpha, again.models.alpha, again.min_rows) == (3, 4, 5)
    model.fit(X[["shop", "a", "b"]], y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X[["shop", "a", "b"]]), model.predict(X[["shop", "a", "b"]]))
    assert copy.score(X[["shop", "a", "b"]], y) > 0.99


def test_it_works_in_cross_validation_pipelines_and_searches() -> None:
    X, y = rows()
    model = mm.PartitionedRegressor(Ridge(), partition_by="shop")
    assert cross_val_score(model, X[["shop", "a", "b"]], y, cv=3).min() > 0.99
    twice = FunctionTransformer(lambda frame: frame.assign(a=2 * frame["a"]))
    assert make_pipeline(twice, model).fit(X[["shop", "a", "b"]], y).score(X[["shop", "a", "b"]], y) > 0.99
    search = GridSearchCV(model, {"models__alpha": [1e-3, 1e3]}, cv=2).fit(X[["shop", "a", "b"]], y)
    assert search.best_params_ == {"models__alpha": 1e-3}


def test_classes_are_those_of_all_keys_and_a_key_with_one_class_predicts_it() -> None:
    X, _ = rows()
    label = np.where(X["shop"] == "s0", "only", np.where(X["a"] > 0, "up", "down"))
    model = mm.PartitionedClassifier(LogisticRegression(), partition_by="shop").fit(
        X[["shop", "a", "b"]], label
    )
    assert model.classes_.tolist() == ["down", "only", "up"]
    assert model.score(X[["shop", "a", "b"]], label) > 0.95
    sure = model.predict_proba(X[X["shop"] == "s0"][["shop", "a", "b"]])
    np.testing.assert_array_equal(sure, np.tile([0.0, 1.0, 0.0], (len(sure), 1)))
    others = model.predict_proba(X[X["shop"] == "s1"][["shop", "a", "b"]])
    np.testing.assert_allclose(others.sum(axis=1), 1)
    assert not others[:, 1].any()
    assert model.estimators_["s1"].classes_.tolist() == ["down", "up"]


def test_class_weights_of_an_estimator_are_by_class() -> None:
    X, _ = rows()
    label = np.where(X["a"] + X["b"] > 1, "rare", "usual")
    features = X[["shop", "a", "b"]]
    heavy = LogisticRegression(class_weight={"rare": 50.0, "usual": 1.0})
    model = mm.PartitionedClassifier(heavy, partition_by="shop").fit(features, label)
    key = X["shop"] == "s1"
    alone = clone(heavy).fit(features[key][["a", "b"]].to_numpy(), label[key])
    np.testing.assert_allclose(
        model.predict_proba(features[key]),
        alone.predict_proba(features[key][["a", "b"]].to_numpy()),
        rtol=1e-6,
    )


def test_what_does_not_fit_is_refused_with_its_name() -> None:
    X, y = rows()
    with pytest.raises(ValueError, match="`partition_by` is missing"):
        mm.PartitionedRegressor().fit(X, y)
    with pytest.raises(ValueError, match=r"`partition_by`: X has no column 'store'; it has shop, a"):
        mm.PartitionedRegressor(partition_by="store").fit(X, y)
    with pytest.raises(JobError, match="LogisticRegression is a classifier"):
        mm.PartitionedRegressor(LogisticRegression(), partition_by="shop").fit(X, y)
    with pytest.raises(JobError, match="min_rows"):
        mm.PartitionedRegressor(partition_by="shop", min_rows=0).fit(X, y)
    with pytest.raises(DataError, match="a null"):
        mm.PartitionedRegressor(partition_by="shop").fit(X.assign(shop=[None, *X["shop"][1:]]), y)
    fitted = mm.PartitionedRegressor(partition_by="shop").fit(X, y)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(X.rename(columns={"a": "z"}))


CHECKED = {
    "PartitionedRegressor": mm.PartitionedRegressor(partition_by=0),
    "PartitionedClassifier": mm.PartitionedClassifier(partition_by=0),
    "PartitionedForecaster": mm.PartitionedForecaster(partition_by=0, time=1),
}


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks_pass_but_for_those_listed(name: str) -> None:
    expected = EXPECTED_FAILED_CHECKS[name]
    found = check_estimator(CHECKED[name], expected_failed_checks=expected, on_fail=None, on_skip=None)
    by_status: dict[str, set[str]] = {}
    for check in found:
        by_status.setdefault(check["status"], set()).add(check["check_name"])
    assert not by_status.get("failed")
    assert by_status["xfail"] == set(expected)
    assert by_status["passed"] & set(expected) == set()
    assert len(by_status["passed"]) > 20


# Forecasts


def test_a_forecast_goes_on_from_each_keys_history() -> None:
    X, y = series()
    model = mm.PartitionedForecaster("seasonal_naive", partition_by="shop", time="day", levels=(80,)).fit(
        X, y
    )
    ahead = pd.DataFrame({"shop": [2, 0], "day": pd.to_datetime(["2026-03-09", "2026-03-10"])})
    np.testing.assert_allclose(model.predict(ahead), [30.0, 11.0])
    frame = model.predict_frame(ahead)
    assert list(frame.columns) == ["prediction", "prediction_lo_80", "prediction_hi_80", "model_source"]
    with pytest.raises(ValueError, match="a forecast starts after the last training row"):
        model.predict(X.tail(1))


def test_keys_without_a_forecast_of_their_own_are_served_from_their_history() -> None:
    X, y = series()
    short = X["shop"] == 2
    kept = ~short | (X["day"] >= "2026-02-25")
    model = mm.PartitionedForecaster(partition_by="shop", time="day", fallback=["naive"]).fit(
        X[kept], y[kept]
    )
    ahead = pd.DataFrame({"shop": [0, 2, 9], "day": pd.to_datetime(["2026-03-09"] * 3)})
    frame = model.predict_frame(ahead)
    assert frame["model_source"].tolist() == ["key", "naive", "naive"]
    assert frame["prediction"][1] == pytest.approx(30)  # a week ago
    pooled = mm.PartitionedForecaster(partition_by="shop", time="day", fallback=["pooled"]).fit(
        X[kept], y[kept]
    )
    assert pooled.predict_frame(ahead.head(2))["model_source"].tolist() == ["key", "pooled"]


def test_a_forecaster_takes_positions_in_an_array_and_cross_validates_by_time() -> None:
    X, y = series()
    array = np.column_stack([X["shop"], np.repeat(np.arange(60.0), 3)])
    model = mm.PartitionedForecaster("seasonal_naive", partition_by=0, time=1, season_length=7)
    scores = cross_val_score(model, array, y, cv=TimeSeriesSplit(3))
    assert scores.min() == pytest.approx(1.0)


# Elsewhere than in this process


def test_a_key_that_ends_its_process_costs_nobody_else_when_compute_is_given() -> None:
    X, y = rows(keys=4)
    y = pd.Series(np.where(X["shop"] == "s3", 5.0, 0.0))
    settings = {"max_failed": 1, "retries": 0}
    model = mm.PartitionedRegressor(
        Picky(kill=True), partition_by="shop", compute="serial", training=settings, fallback=["naive"]
    )
    outcomes = model.fit(X, y).outcomes_.set_index("shop")
    assert outcomes["state"].to_dict() == {"s0": "trained", "s1": "trained", "s2": "trained", "s3": "failed"}


@pytest.mark.integration
def test_local_workers_make_the_same_models() -> None:
    X, y = rows(keys=12)
    here = mm.PartitionedRegressor(Ridge(), partition_by="shop", categorical=["region"]).fit(X, y)
    there = mm.PartitionedRegressor(
        Ridge(), partition_by="shop", categorical=["region"], compute={"target": "local", "workers": 2}
    ).fit(X, y)
    np.testing.assert_array_equal(here.predict(X), there.predict(X))


# The page


def test_the_page_lists_every_check_that_cannot_pass_and_its_example_runs() -> None:
    page = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
    for expected in EXPECTED_FAILED_CHECKS.values():
        for check, reason in expected.items():
            assert f"`{check}`" in page
            assert reason in page
    blocks = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        for block in blocks:
            exec(block, names)  # noqa: S102 - our own page
    finally:
        os.chdir(before)
    assert names["model"].score(names["X"], names["y"]) > 0.5
    assert len(names["scores"]) == 3
