"""Anomaly detection: what is found, where the threshold lies, and what odd columns do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest as SklearnForest
from sklearn.linear_model import HuberRegressor
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from manymodels.exceptions import CannotExtendError, DataError, JobError, UnusableRowsError
from manymodels.models.contract import Family, FitSpec, FittedModel
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec
from manymodels.records import Rows

FAMILIES = ["isolation_forest", "robust_zscore", "ewma", "sklearn.covariance.EllipticEnvelope"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def table(rows: int = 200, seed: int = 3, start: str = "2026-01-01") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(10, 2, size=(rows, 3)), columns=["a", "b", "c"])
    frame.insert(0, "at", pd.date_range(start, periods=rows, freq="h"))
    return frame


def family(name: str, **params: Any) -> Family:
    return build(CandidateSpec(name="x", family=name, params=params), "anomaly")


def spec(**fields: Any) -> FitSpec:
    return FitSpec(**{"task": "anomaly", "time": "at", "features": ("a", "b", "c"), "rate": 0.05, **fields})


def fit(frame: pd.DataFrame, name: str, known: FitSpec | None = None, **params: Any) -> FittedModel:
    return family(name, **params).fit(Rows(frame), known or spec())


def scores(model: FittedModel, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    return model.predict(Rows(frame))["score"]


# Every family


@pytest.mark.parametrize("name", FAMILIES)
def test_the_rate_is_the_share_of_training_rows_that_are_flagged(name: str) -> None:
    frame = table()
    found = fit(frame, name, spec(rate=0.05)).predict(Rows(frame))
    assert list(found) == ["score", "is_anomaly"]
    assert found["is_anomaly"].dtype == bool
    assert found["is_anomaly"].sum() == 10
    assert found["score"][found["is_anomaly"]].min() > found["score"][~found["is_anomaly"]].max()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_rate_of_zero_flags_no_training_row_but_still_what_is_worse(name: str) -> None:
    frame = table()
    model = fit(frame, name, spec(rate=0.0))
    assert not model.predict(Rows(frame))["is_anomaly"].any()
    if name != "isolation_forest":  # whose scores end where its training rows do
        worse = frame.assign(a=1e4)
        assert model.predict(Rows(worse))["is_anomaly"].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_far_from_all_others_has_the_highest_score(name: str) -> None:
    frame = table()
    new = table(seed=4, start="2026-03-01")
    new.loc[50, ["a", "c"]] = (60.0, -50.0)
    found = fit(frame, name).predict(Rows(new))
    assert np.argmax(found["score"]) == 50
    assert found["is_anomaly"][50]


@pytest.mark.parametrize("name", FAMILIES)
def test_columns_that_are_not_numeric_do_not_count(name: str) -> None:
    frame = table()
    more = frame.assign(kind="x", when=frame["at"], truth=np.arange(200), zone=1)
    known = spec(
        features=("a", "b", "c", "kind", "when", "truth", "zone"), label="truth", categorical=("zone",)
    )
    np.testing.assert_array_equal(scores(fit(more, name, known), frame), scores(fit(frame, name), frame))


@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_numeric_is_unusable(name: str) -> None:
    frame = table().assign(kind="x")
    with pytest.raises(UnusableRowsError, match="no numeric column to watch among kind"):
        fit(frame, name, spec(features=("kind",)))
    with pytest.raises(UnusableRowsError, match="no numeric column to watch among no features"):
        fit(frame, name, spec(features=()))
    with pytest.raises(UnusableRowsError, match=r"no (watched column|feature) has a value in 200 rows"):
        fit(frame.assign(a=np.nan), name, spec(features=("a",)))


@pytest.mark.parametrize("name", FAMILIES)
def test_holes_and_columns_without_a_value_are_survived(name: str) -> None:
    frame = table()
    frame.loc[::4, "a"] = np.nan
    frame.loc[5, "b"] = np.inf
    frame["c"] = np.nan
    found = fit(frame, name).predict(Rows(frame))
    assert np.isfinite(found["score"]).all()
    assert 5 <= found["is_anomaly"].sum() <= 10


@pytest.mark.parametrize("name", FAMILIES)
def test_a_missing_column_is_named_when_scoring(name: str) -> None:
    with pytest.raises(DataError, match="no column 'b'"):
        fit(table(), name).predict(Rows(table().drop(columns="b")))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_rows_and_seed_make_the_same_bytes(name: str) -> None:
    first, second = fit(table(), name), fit(table(), name)
    assert pickle.dumps(first) == pickle.dumps(second)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_scores_the_same_after_pickling(name: str) -> None:
    model = fit(table(), name)
    again = pickle.loads(pickle.dumps(model, 5))
    new = table(seed=9, start="2026-03-01")
    np.testing.assert_array_equal(scores(again, new), scores(model, new))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_describes_itself_in_json_and_cannot_be_extended(name: str) -> None:
    model = fit(table(), name)
    said = json.loads(json.dumps(model.describe()))
    assert said["family"] == name
    assert said["threshold"] > 0
    with pytest.raises(CannotExtendError):
        model.extend(Rows(table()))


def test_the_target_is_watched_when_it_is_named() -> None:
    frame = table()
    for name in ("isolation_forest", "ewma"):
        np.testing.assert_array_equal(
            scores(fit(frame, name, spec(features=("a", "b"), target="c")), frame),
            scores(fit(frame, name), frame),
        )


# Isolation forests and scikit-learn's detectors


def test_an_isolation_forests_scores_are_scikit_learns_negated() -> None:
    frame, new = table(), table(seed=4)
    columns = ["a", "b", "c"]
    model = fit(frame, "isolation_forest", spec(seed=7), n_estimators=20, max_samples=0.5)
    reference = SklearnForest(n_estimators=20, max_samples=0.5, random_state=7).fit(frame[columns].to_numpy())
    np.testing.assert_array_equal(scores(model, new), -reference.score_samples(new[columns].to_numpy()))


def test_a_detector_by_import_path_gets_scaled_columns_and_scores_new_rows() -> None:
    frame, new = table(), table(seed=4)
    columns = ["a", "b", "c"]
    scaler = StandardScaler().fit(frame[columns])
    reference = LocalOutlierFactor(n_neighbors=5, novelty=True).fit(scaler.transform(frame[columns]))
    model = fit(frame, "sklearn.neighbors.LocalOutlierFactor", n_neighbors=5)
    expected = -reference.score_samples(scaler.transform(new[columns]))
    np.testing.assert_allclose(scores(model, new), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("sklearn.linear_model.Ridge", {}, "Ridge is a regressor; the job's task is anomaly"),
        ("sklearn.svm.SVC", {}, "SVC is a classifier; the job's task is anomaly"),
        ("sklearn.neighbors.LocalOutlierFactor", {"novelty": 3}, "The 'novelty' parameter"),
        ("sklearn.preprocessing.StandardScaler", {}, "gives new rows no score"),
        ("isolation_forest", {"n_estimators": 0}, "The 'n_estimators' parameter"),
        ("isolation_forest", {"trees": 10}, "has no parameter 'trees'"),
        ("robust_zscore", {"window": 0}, "`window` must be at least 1; found 0"),
        ("robust_zscore", {"threshold": -1.0}, "`threshold` must be more than 0; found -1.0"),
        ("robust_zscore", {"expectation": "seasonal"}, "parameter expectation"),
        ("ewma", {"smoothing": 1.5}, "`smoothing` lies above 0 and up to 1; found 1.5"),
        ("ewma", {"limit": 0.0}, "`limit` must be more than 0; found 0.0"),
    ],
)
def test_what_cannot_detect_is_refused_while_the_job_is_read(
    name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError) as caught:
        family(name, **params)
    assert message in str(caught.value)


# Robust z-scores


def test_a_robust_zscore_is_iglewicz_and_hoaglins() -> None:
    frame = table(rows=51)
    model = fit(frame, "robust_zscore", spec(features=("a",)), threshold=3.5)
    values = frame["a"].to_numpy()
    center = np.median(values)
    expected = 0.6745 * np.abs(values - center) / np.median(np.abs(values - center))
    np.testing.assert_allclose(scores(model, frame), expected, rtol=1e-4)
    np.testing.assert_array_equal(model.predict(Rows(frame))["is_anomaly"], expected > 3.5)


def test_the_score_is_the_largest_of_the_columns_that_have_a_value() -> None:
    frame = table()
    model = fit(frame, "robust_zscore")
    new = frame[:4].copy()
    new.loc[1, "a"] = np.nan
    new.loc[2, ["a", "b"]] = np.nan
    new.loc[3, ["a", "b", "c"]] = np.nan
    alone = [scores(fit(frame, "robust_zscore", spec(features=(name,))), new) for name in "abc"]
    found = model.predict(Rows(new))
    np.testing.assert_allclose(found["score"], np.fmax.reduce(alone, axis=0))
    assert np.isnan(found["score"][3])
    assert not found["is_anomaly"][3]


def test_mostly_equal_values_are_measured_by_their_mean_deviation() -> None:
    values = np.array([5.0] * 8 + [6.0, 7.0])
    frame = pd.DataFrame({"a": values, "at": range(10)})
    model = fit(frame, "robust_zscore", spec(features=("a",)))
    np.testing.assert_allclose(scores(model, frame)[-2:], np.array([1, 2]) / (1.2533 * 0.3))


def test_another_value_in_a_constant_column_is_far_away_but_finite() -> None:
    frame = pd.DataFrame({"a": [5.0] * 10, "at": range(10)})
    for name in ("robust_zscore", "ewma"):
        model = fit(frame, name, spec(features=("a",)))
        assert not scores(model, frame).any()
        found = model.predict(Rows(frame.assign(a=5.1, at=range(10, 20))))
        assert (found["score"] > 1e4).all()
        assert np.isfinite(found["score"]).all()
        assert found["is_anomaly"].all()


def test_with_a_target_it_is_the_residual_of_a_regression_that_counts() -> None:
    rng = np.random.default_rng(0)
    frame = table().assign(y=lambda f: 3 * f["a"] + rng.normal(0, 0.1, len(f)))
    frame.loc[20, "y"] += 5
    frame.loc[30, ["a", "y"]] = (30.0, 90.0)  # unusual, but as expected of its `a`
    known = spec(features=("a",), target="y", rate=0.01)
    model = fit(frame, "robust_zscore", known)
    found = model.predict(Rows(frame))
    assert np.argmax(found["score"]) == 20
    assert found["is_anomaly"][20]
    assert not found["is_anomaly"][30]
    scaled = StandardScaler().fit_transform(frame[["a"]])
    fitted = HuberRegressor(max_iter=1000).fit(scaled, frame["y"])
    residuals = np.abs(frame["y"] - fitted.predict(scaled)).to_numpy()
    np.testing.assert_allclose(found["score"], residuals / (1.4826 * np.median(residuals)), rtol=1e-6)


def test_a_regression_can_be_declined() -> None:
    frame = table().assign(y=1.0)
    known = spec(features=("a", "b", "c"), target="y")
    np.testing.assert_array_equal(
        scores(fit(frame, "robust_zscore", known, expectation="median"), frame),
        scores(fit(frame, "robust_zscore"), frame),
    )


def test_a_rolling_median_follows_a_trend() -> None:
    frame = table().assign(a=lambda f: np.arange(len(f)) + f["b"] / 10)
    frame.loc[150, "a"] = 60.0  # usual for the whole, not for then
    model = fit(frame, "robust_zscore", spec(features=("a",)), expectation="rolling", window=7)
    assert np.nanargmax(scores(model, frame)) == 150
    values = frame["a"].to_numpy()
    expected = np.array([np.median(values[max(row - 7, 0) : row]) for row in range(1, 200)])
    residuals = np.abs(values[1:] - expected)
    found = scores(model, frame)
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], residuals / (1.4826 * np.median(residuals)), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "params"), [("robust_zscore", {"expectation": "rolling", "window": 9}), ("ewma", {})]
)
def test_new_rows_continue_the_history_and_old_ones_begin_it_again(name: str, params: dict[str, Any]) -> None:
    frame = table()
    head, tail = frame[:150].reset_index(drop=True), frame[150:].reset_index(drop=True)
    model = fit(head, name, **params)
    whole = scores(model, frame)
    np.testing.assert_allclose(scores(model, head), whole[:150], rtol=1e-9)
    np.testing.assert_allclose(scores(model, tail), whole[150:], rtol=1e-9)


# EWMA


def test_an_ewma_score_is_roberts_statistic() -> None:
    frame = table(rows=60)
    model = fit(frame, "ewma", spec(features=("a",)), smoothing=0.3, limit=2.9)
    values = frame["a"].to_numpy()
    sigma = np.abs(np.diff(values)).mean() / 1.128
    average, expected = values.mean(), []
    for count, value in enumerate(values, 1):
        average = 0.3 * value + 0.7 * average
        width = sigma * np.sqrt(0.3 / 1.7 * (1 - 0.7 ** (2 * count)))
        expected.append(abs(average - values.mean()) / width)
    np.testing.assert_allclose(scores(model, frame), expected, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(Rows(frame))["is_anomaly"], np.array(expected) > 2.9)


def test_ewma_finds_a_small_lasting_shift_that_no_single_value_shows() -> None:
    frame = table()
    shifted = table(seed=6, start="2026-03-01")
    shifted["a"] += 3  # one and a half standard deviations
    ewma = fit(frame, "ewma", spec(features=("a",), rate=0.01)).predict(Rows(shifted))["is_anomaly"]
    single = fit(frame, "robust_zscore", spec(features=("a",), rate=0.01)).predict(Rows(shifted))[
        "is_anomaly"
    ]
    assert ewma[20:].mean() > 0.9
    assert single[20:].mean() < 0.4


def test_ewma_leaves_missing_values_out_of_its_average() -> None:
    frame = table()
    holes = frame.copy()
    holes.loc[50:59, "a"] = np.nan
    kept = frame.drop(index=range(50, 60)).reset_index(drop=True)
    known = spec(features=("a",))
    found = scores(fit(holes, "ewma", known), holes)
    assert np.isnan(found[50:60]).all()
    np.testing.assert_allclose(found[~np.isnan(found)], scores(fit(kept, "ewma", known), kept), rtol=1e-9)


def test_without_a_time_column_new_rows_continue_the_history() -> None:
    frame = table()
    model = fit(frame[:150], "ewma", spec(time=None))
    tail = frame[150:].reset_index(drop=True)
    np.testing.assert_allclose(scores(model, tail), scores(fit(frame[:150], "ewma"), frame)[150:], rtol=1e-9)
