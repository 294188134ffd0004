from __future__ import annotations

import numpy as np
import pytest

from manymodels.evaluation.metrics import resolve_metric
from manymodels.models.contract import FitSpec
from manymodels.monitoring.judge import KeyRows, judge_features, judge_key
from manymodels.monitoring.spec import MonitorSpec

SPEC = FitSpec(task="regression", target="y", levels=(80.0,))
RNG = np.random.default_rng(0)


def key(errors: np.ndarray, width: float = 2.0) -> KeyRows:
    zeros = np.zeros(len(errors))
    columns = {
        "prediction": zeros,
        "prediction_lo_80": zeros - width,
        "prediction_hi_80": zeros + width,
    }
    return KeyRows(errors, columns, np.repeat(np.arange(1, 5), len(errors) // 4), np.empty(0))


def judged(errors: np.ndarray, evaluated: float | None = 1.0, width: float = 2.0, **monitor: object):
    metric = resolve_metric("rmse", "regression")
    return judge_key(key(errors, width), evaluated, metric, SPEC, MonitorSpec(**monitor))


def test_a_model_that_does_as_well_as_in_its_evaluation_is_left_alone() -> None:
    found = judged(RNG.normal(size=80))
    assert found.causes == ()
    assert found.rows == 80
    assert found.coverage[80.0] > 0.9
    assert abs(found.bias) < 0.5


def test_each_cause_is_found_by_itself() -> None:
    noise = RNG.normal(size=80)
    assert judged(3 * noise, width=6).causes == ("accuracy",)
    assert judged(noise, width=0.5).causes == ("coverage",)
    shifted = noise + np.where(np.arange(80) >= 48, 2.5, 0.0)
    found = judged(shifted, width=5, max_loss=3.0)
    assert (found.causes, found.shifted) == (("residuals",), 3)


def test_what_is_not_asked_for_is_no_cause() -> None:
    off = {"max_loss": None, "coverage_gap": None, "cusum": None}
    assert judged(5 + RNG.normal(size=80), width=0.1, **off).causes == ()
    assert judged(5 + RNG.normal(size=8), min_rows=10).causes == ()
    assert "accuracy" not in judged(5 + RNG.normal(size=80), evaluated=None).causes


def test_a_metric_of_which_more_is_better_is_lost_downwards() -> None:
    actual = RNG.normal(size=40)
    rows = KeyRows(actual, {"prediction": np.zeros(40)}, np.ones(40, dtype=np.int64), np.empty(0))
    spec = FitSpec(task="regression", target="y")
    r2 = resolve_metric("r2", "regression")
    assert judge_key(rows, 0.9, r2, spec, MonitorSpec()).causes == ("accuracy",)
    assert judge_key(rows, -0.1, r2, spec, MonitorSpec()).causes == ()


def test_a_classifier_that_is_less_often_right_than_it_is_sure_has_shifted() -> None:
    spec = FitSpec(task="classification", target="y", classes=("n", "y"))
    sure = RNG.uniform(0.8, 0.95, 80)
    right = np.where(np.arange(80) < 40, RNG.uniform(size=80) < sure, False)
    columns = {"prediction": np.full(80, "y", object), "probability_y": sure, "probability_n": 1 - sure}
    rows = KeyRows(np.where(right, "y", "n").astype(object), columns, np.repeat([1, 2], 40), np.empty(0))
    metric = resolve_metric("accuracy", "classification")
    found = judge_key(rows, None, metric, spec, MonitorSpec())
    assert (found.causes, found.shifted, found.bias) == (("residuals",), 2, None)


def test_a_feature_drifts_when_its_distance_is_large_and_sure() -> None:
    before = {"a": RNG.normal(size=200), "b": RNG.normal(size=200)}
    after = {"a": RNG.normal(size=60), "b": RNG.normal(loc=2, size=60)}
    farthest, distance, drifted = judge_features(before, after, MonitorSpec())
    assert (farthest, drifted) == ("b", ("b",))
    assert distance > 0.5
    few = {name: values[:10] for name, values in after.items()}
    assert judge_features(before, few, MonitorSpec(ks=0.99))[2] == ()
    assert judge_features(before, {"a": after["a"], "b": np.full(60, np.nan)}, MonitorSpec())[2] == ()
    assert judge_features(before, after, MonitorSpec(ks=None))[2] == ()


@pytest.mark.parametrize("field", ["max_loss", "cusum", "ks", "psi"])
def test_a_threshold_below_zero_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        MonitorSpec(**{field: -1.0})
