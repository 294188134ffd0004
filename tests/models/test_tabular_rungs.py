"""The ladder's models for tabular tasks and anomaly detection."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from manymodels.exceptions import JobError, UnusableRowsError
from manymodels.models.contract import FitSpec
from manymodels.models.rungs import naive_family, pooled_family
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.family import SklearnFamily
from manymodels.records import Rows

RIDGE = CandidateSpec(name="ridge", family="sklearn.linear_model.Ridge", params={"alpha": 2.0})


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"])
    frame["y"] = np.where(frame["a"] > 0, 5.0, 1.0) + rng.normal(0, 0.1, 300)
    frame["w"] = rng.integers(1, 4, 300).astype(float)
    return frame


def parts(frame: pd.DataFrame) -> list[Rows]:
    arrays: dict[Any, Any] = {}
    return [Rows(frame, start, start + 100, arrays=arrays) for start in (0, 100, 200)]


def spec(task: Task, **fields: Any) -> FitSpec:
    return FitSpec(**{"task": task, "target": "y", "features": ("a", "b"), "seed": 3, **fields})


def test_the_pooled_model_is_boosting_over_all_rows_unless_the_job_has_an_estimator() -> None:
    frame = table()
    for task in ("regression", "ranking"):
        model = pooled_family(task, []).fit_pooled(parts(frame), spec(task))
        candidate = CandidateSpec(name="x", family="sklearn.ensemble.HistGradientBoostingRegressor")
        whole = SklearnFamily(candidate, task).fit(Rows(frame), spec(task))
        found = model.predict(Rows(frame))["prediction"]
        np.testing.assert_array_equal(found, whole.predict(Rows(frame))["prediction"])
        assert np.abs(found - frame["y"]).mean() < 0.2


def test_the_pooled_model_is_the_jobs_first_candidate_where_it_is_an_estimator() -> None:
    model = pooled_family("regression", [RIDGE]).fit_pooled(parts(table()), spec("regression"))
    assert model.describe()["family"] == "sklearn.linear_model.Ridge"
    own = CandidateSpec(name="own", family="own_module:Class")
    boosted = pooled_family("regression", [own, RIDGE]).fit_pooled(parts(table()), spec("regression"))
    assert boosted.describe()["family"] == "sklearn.ensemble.HistGradientBoostingRegressor"


def levelled(sizes: list[int], levels: float, noise: float) -> tuple[pd.DataFrame, list[Rows], list[float]]:
    """Keys that lie above or below 3 + 2 a by normal levels, with normal noise around them."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(sum(sizes), 2)), columns=["a", "b"])
    truth = rng.normal(0, levels, len(sizes))
    frame["y"] = 3 + 2 * frame["a"] + np.repeat(truth, sizes) + rng.normal(0, noise, len(frame))
    frame["w"] = 1.0
    edges = np.cumsum([0, *sizes]).tolist()
    return frame, [Rows(frame, start, stop) for start, stop in pairwise(edges)], truth.tolist()


def test_a_key_with_rows_of_its_own_is_predicted_from_its_own_level() -> None:
    _, keys, truth = levelled([40] * 30, levels=2.0, noise=0.5)
    for task in ("regression", "ranking"):
        pool = pooled_family(task, [RIDGE]).fit_pooled(keys, spec(task))
        new = Rows(pd.DataFrame({"a": [0.0], "b": [0.0]}))
        stranger = float(pool.predict(new)["prediction"][0])
        assert abs(stranger - (3 + np.mean(truth))) < 0.2
        for key, level in zip(keys, truth, strict=True):
            known = pool.extend(key)
            assert abs(float(known.predict(new)["prediction"][0]) - (3 + level)) < 0.4
        assert float(pool.predict(new)["prediction"][0]) == stranger


def test_the_fewer_rows_a_key_has_the_less_its_level_counts() -> None:
    frame, keys, _ = levelled([25] * 200, levels=1.0, noise=2.0)
    pool = pooled_family("regression", [RIDGE]).fit_pooled(keys, spec("regression"))
    above = frame[:25].assign(y=lambda f: pool.predict(Rows(f))["prediction"] + 6.0)
    levels = [pool.extend(Rows(above[:count])).describe()["level"] for count in (1, 4, 25)]
    # The variance of rows is 4 times that of levels: a level counts half at 4 rows.
    np.testing.assert_allclose(levels, [6 * n / (n + 4) for n in (1, 4, 25)], rtol=0.1)
    pickled = pickle.loads(pickle.dumps(pool.extend(Rows(above))))
    assert pickled.describe()["level"] == levels[-1]


def test_rows_without_a_usable_target_say_nothing_of_a_level() -> None:
    frame, keys, _ = levelled([25] * 20, levels=1.0, noise=1.0)
    pool = pooled_family("regression", [RIDGE]).fit_pooled(keys, spec("regression", weight="w"))
    whole = pool.extend(Rows(frame[:10])).describe()["level"]
    spoilt = frame[:13].assign(y=[*frame["y"][:10], np.nan, np.inf, 1e9], w=[1.0] * 12 + [0.0])
    assert pool.extend(Rows(spoilt)).describe()["level"] == pytest.approx(whole)
    assert pool.extend(Rows(spoilt[10:].reset_index(drop=True))).describe()["level"] == 0.0


def test_one_key_or_one_row_a_key_tells_no_level() -> None:
    frame, keys, _ = levelled([3] * 40, levels=1.0, noise=1.0)
    for few in (keys[:1], [Rows(frame, n, n + 1) for n in range(40)]):
        pool = pooled_family("regression", [RIDGE]).fit_pooled(few, spec("regression"))
        assert pool.extend(keys[0]).describe()["level"] == 0.0


def test_the_pooled_classifier_knows_every_class() -> None:
    frame = table().assign(y=lambda f: np.where(f["a"] > 0, "up", "down"))
    model = pooled_family("classification", []).fit_pooled(
        parts(frame), spec("classification", classes=("down", "flat", "up"))
    )
    found = model.predict(Rows(frame))
    assert (found["prediction"] == frame["y"]).mean() > 0.95
    assert not found["probability_flat"].any()


def test_the_pooled_detector_is_an_isolation_forest_unless_the_job_has_a_detector() -> None:
    known = spec("anomaly", target=None, rate=0.1)
    candidates = [CandidateSpec(name="ewma", family="ewma")]
    model = pooled_family("anomaly", candidates).fit_pooled(parts(table()), known)
    assert model.describe()["family"] == "isolation_forest"
    assert model.predict(Rows(table()))["is_anomaly"].sum() == 30
    svm = CandidateSpec(name="svm", family="sklearn.svm.OneClassSVM")
    model = pooled_family("anomaly", [svm]).fit_pooled(parts(table()), known)
    assert model.describe()["family"] == "sklearn.svm.OneClassSVM"


def test_a_candidate_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(JobError, match="did you mean 'Ridge'"):
        pooled_family("regression", [CandidateSpec(name="x", family="sklearn.linear_model.Rigde")])


def test_rows_of_several_frames_are_pooled_like_those_of_one() -> None:
    frame = table()
    apart = [Rows(frame[start : start + 100].reset_index(drop=True)) for start in (0, 100, 200)]
    first = pooled_family("regression", [RIDGE]).fit_pooled(apart, spec("regression"))
    second = pooled_family("regression", [RIDGE]).fit_pooled(parts(frame), spec("regression"))
    np.testing.assert_array_equal(
        first.predict(Rows(frame))["prediction"], second.predict(Rows(frame))["prediction"]
    )


def test_the_naive_model_is_the_weighted_mean() -> None:
    frame = table()
    plain = naive_family("regression").fit_pooled(parts(frame), spec("regression"))
    weighted = naive_family("ranking").fit_pooled(parts(frame), spec("ranking", weight="w"))
    new = Rows(pd.DataFrame({"anything": [1, 2]}))
    np.testing.assert_allclose(plain.predict(new)["prediction"], [frame["y"].mean()] * 2)
    mean = np.average(frame["y"], weights=frame["w"])
    np.testing.assert_allclose(weighted.predict(new)["prediction"], [mean] * 2)
    assert plain.describe()["notes"] == ["mean of the target"]


def test_the_naive_classifier_gives_the_shares_of_the_classes() -> None:
    frame = table().assign(y=["b"] * 180 + ["a"] * 90 + [None] * 30)
    model = naive_family("classification").fit_pooled(
        parts(frame), spec("classification", classes=("a", "b", "c"))
    )
    found = pickle.loads(pickle.dumps(model)).predict(Rows(table()[:2]))
    assert found["prediction"].tolist() == ["b", "b"]
    np.testing.assert_allclose([found[f"probability_{c}"][0] for c in "abc"], [1 / 3, 2 / 3, 0])
    assert model.describe()["probabilities"] == {"a": 1 / 3, "b": 2 / 3, "c": 0.0}


def test_the_naive_detector_measures_from_the_median() -> None:
    model = naive_family("anomaly").fit_pooled(parts(table()), spec("anomaly"))
    assert model.describe()["expectation"] == "median"
    assert model.predict(Rows(table().assign(a=50.0)))["is_anomaly"].all()


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_without_a_target_have_no_naive_model(task: Task) -> None:
    with pytest.raises(UnusableRowsError, match="the target 'y' has no value in 300 rows"):
        naive_family(task).fit_pooled(parts(table().assign(y=np.nan)), spec(task, classes=(1, 2)))
