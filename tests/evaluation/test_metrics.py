from __future__ import annotations

import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from evaluation_rows import forecast

from manymodels.evaluation.metrics import METRICS, HeldOut, default_metric, resolve_metric
from manymodels.exceptions import JobError
from manymodels.models.contract import FitSpec


def held(actual: Any, predicted: Any, task: str = "regression", **more: Any) -> HeldOut:
    spec = more.pop("spec", FitSpec(task))  # type: ignore[arg-type]
    return HeldOut(np.asarray(actual), {"prediction": np.asarray(predicted)}, spec, **more)


def measured(name: str, sample: HeldOut) -> float:
    value = METRICS[name].measure(sample)
    assert isinstance(value, float), value
    return value


def classified(actual: list[Any], probabilities: np.ndarray, classes: tuple[Any, ...]) -> HeldOut:
    columns = {f"probability_{name}": probabilities[:, place] for place, name in enumerate(classes)}
    columns["prediction"] = np.array([classes[place] for place in probabilities.argmax(axis=1)])
    return HeldOut(np.array(actual), columns, FitSpec("classification", classes=classes))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mae", sklearn.metrics.mean_absolute_error),
        ("rmse", sklearn.metrics.root_mean_squared_error),
        ("r2", sklearn.metrics.r2_score),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_numeric_metrics_equal_scikit_learns(name: str, reference: Any, seed: int) -> None:
    draw = np.random.default_rng(seed)
    actual, predicted = draw.normal(size=(2, 17))
    assert measured(name, held(actual, predicted)) == pytest.approx(reference(actual, predicted), rel=1e-12)


@pytest.mark.parametrize("predicted", [[3.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
def test_r2_of_a_constant_equals_scikit_learns(predicted: list[float]) -> None:
    actual = [3.0, 3.0, 3.0]
    assert measured("r2", held(actual, predicted)) == sklearn.metrics.r2_score(actual, predicted)


def test_r2_of_one_row_has_no_value() -> None:
    assert METRICS["r2"].measure(held([1.0], [1.0])) == "r2 needs two held-out rows"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [(0, 1), ("a", "b", "c"), (False, True)])
def test_classification_metrics_equal_scikit_learns(seed: int, classes: tuple[Any, ...]) -> None:
    draw = np.random.default_rng(seed)
    actual = [*classes, *(classes[n] for n in draw.integers(len(classes), size=20))]
    probabilities = draw.dirichlet(np.ones(len(classes)), size=len(actual))
    sample = classified(actual, probabilities, classes)
    predicted = sample.predicted
    expected = {
        "logloss": sklearn.metrics.log_loss(actual, probabilities, labels=list(classes)),
        "accuracy": sklearn.metrics.accuracy_score(actual, predicted),
        "roc_auc": sklearn.metrics.roc_auc_score(actual, probabilities[:, 1])
        if len(classes) == 2
        else sklearn.metrics.roc_auc_score(actual, probabilities, multi_class="ovr", average="macro"),
        "f1": sklearn.metrics.f1_score(actual, predicted, pos_label=classes[1])
        if len(classes) == 2
        else sklearn.metrics.f1_score(actual, predicted, average="macro"),
    }
    for name, value in expected.items():
        assert measured(name, sample) == pytest.approx(value, rel=1e-12), name


def test_logloss_of_an_impossible_class_is_large_and_finite() -> None:
    sample = classified(["b"], np.array([[1.0, 0.0]]), ("a", "b"))
    assert measured("logloss", sample) == pytest.approx(-math.log(np.finfo(float).eps))


def test_held_out_rows_of_one_class_have_no_roc_auc_and_no_f1_but_a_logloss() -> None:
    sample = classified([0, 0, 0], np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), (0, 1))
    assert METRICS["roc_auc"].measure(sample) == "roc_auc needs two classes among the held-out rows"
    assert METRICS["f1"].measure(sample) == "f1 needs the class 1 among the held-out rows"
    assert measured("logloss", sample) > 0


def test_roc_auc_of_tied_scores_equals_scikit_learns() -> None:
    scores = np.array([0.5, 0.5, 0.2, 0.5, 0.8, 0.2])
    actual = [0, 1, 0, 1, 0, 1]
    sample = classified(actual, np.column_stack([1 - scores, scores]), (0, 1))
    assert measured("roc_auc", sample) == pytest.approx(sklearn.metrics.roc_auc_score(actual, scores))
    scores[2] = np.nan
    sample = classified(actual, np.column_stack([1 - scores, scores]), (0, 1))
    assert METRICS["roc_auc"].measure(sample) == "roc_auc is nan"


def test_a_prediction_that_is_no_class_is_a_miss() -> None:
    sample = classified(["a", "b", "c"], np.eye(3), ("a", "b", "c"))
    odd = HeldOut(sample.actual, {"prediction": np.array(["a", "b", "?"])}, sample.spec)
    expected = sklearn.metrics.f1_score(odd.actual, odd.predicted, average="macro", zero_division=0.0)
    assert measured("f1", odd) == pytest.approx(expected)


def test_roc_auc_of_several_classes_is_the_mean_over_the_held_out_ones() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]])
    sample = classified(["a", "b", "b"], probabilities, ("a", "b", "c"))
    assert measured("roc_auc", sample) == 1.0


def test_mase_is_the_error_over_the_seasonal_naive_error_before_the_cutoff() -> None:
    # Seasonal naive errors at season 2: |3-1|, |6-2|, |4-3| = 2, 4, 1.
    training = np.array([1.0, 2.0, 3.0, 6.0, 4.0])
    sample = held([10.0, 10.0], [9.0, 13.0], training=training, spec=forecast(season_length=2))
    assert measured("mase", sample) == pytest.approx(2.0 / (7 / 3))


def test_mase_leaves_unknown_periods_out() -> None:
    training = np.array([1.0, np.nan, 3.0, 6.0, 4.0])
    sample = held([10.0], [9.0], training=training, spec=forecast(season_length=2))
    assert measured("mase", sample) == pytest.approx(1.0 / 1.5)


def test_mase_takes_the_naive_error_where_no_two_values_are_a_season_apart() -> None:
    sample = held([10.0], [9.0], training=np.array([1.0, 5.0, 9.0]), spec=forecast(season_length=7))
    assert measured("mase", sample) == pytest.approx(1.0 / 4.0)


@pytest.mark.parametrize("name", ["mase", "rmsse"])
def test_scaled_metrics_have_no_value_where_nothing_changes_or_too_little_is_known(name: str) -> None:
    for training, reason in (
        ([5.0, 5.0, 5.0], "does not change"),
        ([5.0], "too few"),
        ([5.0, np.nan], "too few"),
    ):
        value = METRICS[name].measure(held([1.0], [2.0], training=np.array(training), spec=forecast()))
        assert isinstance(value, str)
        assert reason in value


def test_rmsse_is_scaled_from_the_first_demand() -> None:
    training = np.array([0.0, 0.0, 2.0, 4.0, 1.0])  # squared changes 4 and 9, not the rise from zero
    sample = held([3.0, 3.0], [1.0, 4.0], training=training, spec=forecast())
    assert measured("rmsse", sample) == pytest.approx(math.sqrt(2.5 / 6.5))


def test_smape_is_in_percent_and_a_zero_forecast_of_a_zero_is_right() -> None:
    sample = held([100.0, 0.0, 0.0], [50.0, 0.0, 3.0])
    assert measured("smape", sample) == pytest.approx((200 * 50 / 150 + 0 + 200) / 3)


def test_wape_is_the_sum_of_errors_over_the_sum_of_values() -> None:
    assert measured("wape", held([1.0, -3.0], [2.0, -1.0])) == pytest.approx(3 / 4)
    assert "zero" in str(METRICS["wape"].measure(held([0.0], [1.0])))


def test_pinball_is_the_mean_loss_of_all_bounds() -> None:
    draw = np.random.default_rng(0)
    actual, low80, high80, low95, high95 = draw.normal(size=(5, 9))
    predictions = {
        "prediction": actual,
        "prediction_lo_80": low80,
        "prediction_hi_80": high80,
        "prediction_lo_95": low95,
        "prediction_hi_95": high95,
    }
    sample = HeldOut(actual, predictions, forecast(levels=(80.0, 95.0)))
    bounds = ((low80, 0.1), (high80, 0.9), (low95, 0.025), (high95, 0.975))
    expected = [sklearn.metrics.mean_pinball_loss(actual, bound, alpha=alpha) for bound, alpha in bounds]
    assert measured("pinball", sample) == pytest.approx(np.mean(expected))
    assert "levels" in str(METRICS["pinball"].measure(HeldOut(actual, predictions, forecast())))


def test_coverage_is_the_distance_from_what_the_intervals_promise() -> None:
    actual = np.arange(10.0)
    predictions = {
        "prediction": actual,
        "prediction_lo_80": actual - 1,
        "prediction_hi_80": np.where(actual < 7, actual, actual - 0.5),  # 7 of 10 inside
        "prediction_lo_95": actual,
        "prediction_hi_95": actual,  # all inside, on the edge
    }
    sample = HeldOut(actual, predictions, forecast(levels=(80.0, 95.0)))
    assert measured("coverage", sample) == pytest.approx((0.1 + 0.05) / 2)
    assert "levels" in str(METRICS["coverage"].measure(HeldOut(actual, predictions, forecast())))
    predictions["prediction_lo_80"] = np.full(10, np.nan)
    assert "no number" in str(METRICS["coverage"].measure(sample))


def test_a_bound_that_is_no_number_leaves_pinball_without_a_value() -> None:
    nan = np.array([np.nan])
    predictions = {"prediction": np.ones(1), "prediction_lo_80": nan, "prediction_hi_80": nan}
    value = METRICS["pinball"].measure(HeldOut(np.ones(1), predictions, forecast(levels=(80.0,))))
    assert value == "pinball is nan"


def test_average_precision_judges_scores_against_the_label() -> None:
    scores = np.array([0.1, 0.9, 0.4, 0.7])
    sample = HeldOut(np.array([0, 1, 1, 0]), {"score": scores}, FitSpec("anomaly"))
    assert measured("average_precision", sample) == pytest.approx((1 + 2 / 3) / 2)
    nothing = HeldOut(np.zeros(4, int), {"score": scores}, FitSpec("anomaly"))
    assert "anomaly" in str(METRICS["average_precision"].measure(nothing))


def test_ndcg_equals_scikit_learns_and_says_when_it_has_no_value() -> None:
    actual, predicted = np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.9, 0.5])
    expected = sklearn.metrics.ndcg_score([actual], [predicted])
    assert measured("ndcg", held(actual, predicted)) == pytest.approx(expected)
    assert "two" in str(METRICS["ndcg"].measure(held([1.0], [1.0])))
    assert "zero or more" in str(METRICS["ndcg"].measure(held([1.0, -1.0], [1.0, 2.0])))
    assert "above zero" in str(METRICS["ndcg"].measure(held([0.0, 0.0], [1.0, 2.0])))


def test_every_task_has_a_default_that_is_its_own_and_every_metric_a_source() -> None:
    for task in ("forecast", "regression", "classification", "anomaly", "ranking"):
        assert resolve_metric(default_metric(task), task).name == default_metric(task)
    assert all(metric.source for metric in METRICS.values())


def test_higher_is_better_turns_badness_round() -> None:
    assert METRICS["r2"].badness(0.9) < METRICS["r2"].badness(0.1)
    assert METRICS["mae"].badness(0.1) < METRICS["mae"].badness(0.9)


def test_an_unknown_metric_names_the_nearest_and_those_of_the_task() -> None:
    with pytest.raises(
        JobError, match=r"no metric 'mape' \(did you mean 'smape'\?\); for task forecast .*rmsse"
    ):
        resolve_metric("mape", "forecast")


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(JobError, match=r"mase is for forecast, the job's task is regression; .* rmse"):
        resolve_metric("mase", "regression")


@pytest.fixture
def own_module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("own_metrics")

    def bias(actual: np.ndarray, predicted: np.ndarray) -> float | None:
        return None if len(actual) < 2 else np.float64((predicted - actual).mean())

    def gain(actual: np.ndarray, predicted: np.ndarray) -> float:
        return float("inf")

    gain.higher_is_better = True  # type: ignore[attr-defined]
    module.bias, module.gain, module.constant = bias, gain, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_metrics", module)
    return module


@pytest.mark.usefixtures("own_module")
def test_ones_own_function_is_a_metric() -> None:
    bias = resolve_metric("own_metrics:bias", "forecast")
    assert not bias.higher_is_better
    assert bias.measure(held([1.0, 2.0], [2.0, 4.0])) == 1.5
    assert bias.measure(held([1.0], [2.0])) == "own_metrics:bias returned None"
    gain = resolve_metric("own_metrics:gain", "forecast")
    assert gain.higher_is_better
    assert gain.measure(held([1.0], [2.0])) == "own_metrics:gain is inf"


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_metrics:missing", "could not import 'own_metrics:missing': AttributeError"),
        ("no_such_module_at_all:f", "could not import 'no_such_module_at_all:f': ModuleNotFoundError"),
        ("own_metrics:constant", "expected a function of .actual, predicted., found int"),
    ],
)
def test_a_function_that_is_not_there_is_an_error_of_the_job(name: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        resolve_metric(name, "forecast")
