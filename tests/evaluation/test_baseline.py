from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_rows import daily, forecast, regression, surrounded
from sklearn.metrics import log_loss

from manymodels.evaluation.baseline import baseline_values, panel_baselines
from manymodels.evaluation.metrics import METRICS, HeldOut, Metric, skill_scores
from manymodels.evaluation.panel_splits import panel_splits
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.evaluation.splits import make_splits
from manymodels.models.batched.contract import Panel
from manymodels.models.contract import FitSpec
from manymodels.models.forecast.simple import Naive, SeasonalNaive

sys.path.append(str(Path(__file__).parents[1] / "models"))
from batched_panels import panel_of, series_panel

FORECAST = [metric for metric in METRICS.values() if "forecast" in metric.tasks]
TWO = EvaluationSpec(backtest=BacktestSpec(windows=2))


@pytest.mark.parametrize("metric", FORECAST, ids=lambda metric: metric.name)
@pytest.mark.parametrize(("season", "family"), [(1, Naive()), (3, SeasonalNaive()), (60, Naive())])
@pytest.mark.parametrize("holes", [(), (30, 31, 57)], ids=["whole", "with gaps"])
def test_a_forecast_is_held_against_the_naive_model_of_its_season(
    metric: Metric, season: int, family: Naive | SeasonalNaive, holes: tuple[int, ...]
) -> None:
    y = np.random.default_rng(3).normal(2, 5, 60)
    y[list(holes)] = np.nan
    spec = forecast(horizon=4, season_length=season, levels=(80.0,), non_negative=True)
    rows = daily(y)
    splits = make_splits(rows, spec, TWO)
    assert len(splits) == 2
    expected = []
    for split in splits:
        predictions = {
            name: values[split.judged]
            for name, values in family.fit(split.train, spec).predict(split.held).items()
        }
        expected.append(metric.measure(HeldOut(split.actual, predictions, spec, split.training)))
    assert baseline_values(splits, spec, metric) == pytest.approx(expected, rel=1e-12)


def test_a_regression_is_held_against_the_mean_of_what_was_known() -> None:
    rows = daily([1.0, 3.0, 5.0, 7.0, 10.0])
    splits = make_splits(rows, regression("day"), EvaluationSpec(holdout=0.2))
    assert baseline_values(splits, regression("day"), METRICS["mae"]) == (6.0,)


def test_a_classification_is_held_against_the_shares_of_its_classes() -> None:
    frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=10), "kind": list("aabababbab")})
    spec = FitSpec("classification", target="kind", time="day", classes=("a", "b"))
    rows = surrounded(frame)
    splits = make_splits(rows, spec, EvaluationSpec(holdout=0.2))
    expected = log_loss(["a", "b"], [[0.5, 0.5], [0.5, 0.5]], labels=["a", "b"])
    assert baseline_values(splits, spec, METRICS["logloss"]) == pytest.approx((expected,))


def test_a_metric_without_a_value_leaves_no_baseline() -> None:
    spec = forecast(horizon=2)
    splits = make_splits(daily(np.ones(12)), spec, EvaluationSpec())
    assert baseline_values(splits, spec, METRICS["mase"]) == (None,)

    def broken(held: HeldOut) -> float:
        raise ValueError("mine")

    assert baseline_values(splits, spec, Metric("m:f", broken, False, ("forecast",), "")) == (None,)


@pytest.mark.parametrize("metric", FORECAST, ids=lambda metric: metric.name)
@pytest.mark.parametrize("season", [1, 7, 40])
def test_panels_have_the_baselines_of_keys_one_by_one(metric: Metric, season: int) -> None:
    panel = series_panel(5, keys=24)
    spec = FitSpec(
        "forecast", target="y", time="day", frequency="D", horizon=6, season_length=season, levels=(80.0,)
    )
    _same_baselines(panel, spec, EvaluationSpec(backtest=BacktestSpec(windows=2, step=3)), metric)


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("metric", ["rmse", "logloss", "accuracy"])
def test_panels_of_rows_have_the_baselines_of_keys_one_by_one(metric: str, weight: str | None) -> None:
    rng = np.random.default_rng(8)
    frames = [
        pd.DataFrame(
            {
                "day": pd.date_range("2024-01-01", periods=length),
                "y": rng.integers(0, 3, length).astype(float),
                "kind": rng.choice(["a", "b", "c"], length),
                "w": rng.uniform(0.5, 2, length),
            }
        )
        for length in rng.integers(8, 30, 12)
    ]
    classes = metric != "rmse"
    spec = FitSpec(
        "classification" if classes else "regression",
        target="kind" if classes else "y",
        time="day",
        weight=weight,
        classes=("a", "b", "c") if classes else (),
    )
    _same_baselines(panel_of(frames), spec, EvaluationSpec(holdout=0.3), METRICS[metric])


def _same_baselines(panel: Panel, spec: FitSpec, evaluation: EvaluationSpec, metric: Metric) -> None:
    seeds = np.arange(len(panel))
    splits = panel_splits(panel, seeds, spec, evaluation)
    found = panel_baselines(splits, seeds, spec, metric)
    compared = 0
    for number, split in enumerate(splits):
        for place in split.places.tolist():
            one = [
                each
                for each in make_splits(panel.key(place), spec.seeded(place), evaluation)
                if each.number == number
            ]
            (expected,) = baseline_values(one, spec.seeded(place), metric)
            assert found[number, place] == pytest.approx(
                np.nan if expected is None else expected, nan_ok=True
            )
            compared += expected is not None
    assert compared >= 8


def test_skill_is_one_for_a_perfect_model_zero_for_the_baseline_and_negative_below_it() -> None:
    mae, accuracy = METRICS["mae"], METRICS["accuracy"]
    assert [mae.skill(value, 4.0) for value in (0.0, 1.0, 4.0, 8.0)] == [1.0, 0.75, 0.0, -1.0]
    assert [accuracy.skill(value, 0.6) for value in (1.0, 0.6, 0.2)] == pytest.approx([1.0, 0.0, -1.0])
    values, baselines = np.array([1.0, np.nan, 1.0, 0.0]), np.array([4.0, 4.0, np.nan, 0.0])
    assert skill_scores(values, baselines, 0.0) == pytest.approx([0.75, np.nan, np.nan, np.nan], nan_ok=True)


def test_there_is_no_skill_where_nobody_knows_a_perfect_value_or_the_baseline_has_it() -> None:
    own = Metric("mine:profit", lambda held: 3.0, True, ("regression",), "")
    assert own.skill(3.0, 2.0) is None
    assert np.isnan(skill_scores(np.array([3.0]), np.array([2.0]), own.perfect)).all()
    assert METRICS["mae"].skill(1.0, 0.0) is None
    assert METRICS["mae"].skill(None, 1.0) is None
