from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.metrics import METRICS
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import Family, FitSpec
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec
from manymodels.models.tabular.family import SklearnFamily
from manymodels.records import Rows
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.panels import PanelChoice, fit_panel

sys.path.append(str(Path(__file__).parents[1] / "models"))
from batched_panels import panel_of, series_panel
from forecast_cases import family, spec

FORECAST = [name for name, metric in METRICS.items() if "forecast" in metric.tasks]


def _alone(
    panel: Panel,
    families: list[Family],
    evaluation: EvaluationSpec,
    metric: Any,
    given: FitSpec | None = None,
) -> list[KeyFit]:
    named = [
        (CandidateSpec(name=f"{n} {each.name}", family=each.name), each) for n, each in enumerate(families)
    ]
    fits = []
    for place in range(len(panel)):
        steps = fit_key(panel.key(place), named, (given or spec()).seeded(place), evaluation, metric)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                fits.append(stop.value)
                break
    return fits


def _at_once(panel: Panel, families: list[Family], evaluation: EvaluationSpec, metric: Any) -> PanelChoice:
    trainers = [trainer for each in families if (trainer := trainer_of(each)) is not None]
    assert len(trainers) == len(families)
    return fit_panel(panel, np.arange(len(panel)), trainers, spec(), evaluation, metric)


@pytest.mark.parametrize("metric", FORECAST)
@pytest.mark.parametrize("windows", [1, 3])
def test_a_panel_gets_the_winners_and_the_metrics_of_keys_one_by_one(metric: str, windows: int) -> None:
    panel = series_panel(windows, keys=32)
    families = [family("mean"), family("seasonal_naive"), family("drift")]
    evaluation = EvaluationSpec(backtest=BacktestSpec(windows=windows, step=5))
    alone = _alone(panel, families, evaluation, METRICS[metric])
    choice = _at_once(panel, families, evaluation, METRICS[metric])
    chosen = {int(place): won.candidate for won in choice.winners for place in won.places}
    assert len(chosen) >= 12
    assert len(choice.winners) >= 2
    for place, candidate in chosen.items():
        one = alone[place]
        assert (one.state, one.candidate[:1]) == ("trained", str(candidate)), f"key {place}"
        assert choice.metric[candidate, place] == pytest.approx(one.metric, rel=1e-9)
        by_name = {score.candidate[:1]: score.metric for score in one.scores}
        for other in range(3):
            assert choice.metric[other, place] == pytest.approx(by_name[str(other)], rel=1e-9)


def test_a_key_without_a_value_is_left_to_be_fitted_alone() -> None:
    panel = series_panel(5, keys=32)
    evaluation = EvaluationSpec()
    alone = _alone(panel, [family("mean")], evaluation, METRICS["mase"])
    choice = _at_once(panel, [family("mean")], evaluation, METRICS["mase"])
    fitted = set(np.concatenate([won.places for won in choice.winners]).tolist())
    without = {place for place, one in enumerate(alone) if one.metric is None}
    assert without
    assert not without & fitted


def test_where_nothing_is_held_out_the_first_candidate_is_taken_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60)})
    panel = Panel(Rows(frame), np.array([0, 20, 40]), np.array([20, 40, 60]))
    fitted = FitSpec("regression", target="y", features=("x",))
    candidates = [
        CandidateSpec(name=name, family=f"sklearn.linear_model.{name}")
        for name in ("Ridge", "LinearRegression")
    ]
    trainers = [
        trainer for each in candidates if (trainer := trainer_of(build(each, "regression"))) is not None
    ]
    choice = fit_panel(panel, np.arange(3), trainers, fitted, EvaluationSpec(holdout=0), METRICS["rmse"])
    assert [won.candidate for won in choice.winners] == [0]
    assert choice.winners[0].places.tolist() == [0, 1, 2]
    assert np.isnan(choice.metric).all()


def test_without_a_metric_the_first_candidate_is_taken() -> None:
    panel = series_panel(6, keys=8)
    choice = _at_once(panel, [family("naive"), family("mean")], EvaluationSpec(), None)
    assert [won.candidate for won in choice.winners] == [0]
    assert np.isnan(choice.metric).all()


@pytest.mark.parametrize("window", [20, "21d", "1mo"])
def test_a_sliding_window_is_the_same_for_a_panel(window: int | str) -> None:
    panel = series_panel(8, keys=24)
    families = [family("mean"), family("drift")]
    evaluation = EvaluationSpec(backtest=BacktestSpec(windows=3, step=5, window=window))
    alone = _alone(panel, families, evaluation, METRICS["mase"])
    choice = _at_once(panel, families, evaluation, METRICS["mase"])
    chosen = {int(place): won.candidate for won in choice.winners for place in won.places}
    assert len(chosen) >= 8
    expanding = _at_once(
        panel, families, EvaluationSpec(backtest=BacktestSpec(windows=3, step=5)), METRICS["mase"]
    )
    for place, candidate in chosen.items():
        assert choice.metric[candidate, place] == pytest.approx(alone[place].metric, rel=1e-9)
        assert choice.baseline[place] == pytest.approx(alone[place].baseline, rel=1e-9)
    places = list(chosen)
    assert not np.allclose(choice.metric[:, places], expanding.metric[:, places])


def test_windows_without_a_fit_are_left_to_fits_one_by_one() -> None:
    panel = series_panel(8, keys=8)
    for refit, left in (("once", True), (2, True), (1, False), ("every", False)):
        evaluation = EvaluationSpec(backtest=BacktestSpec(windows=2, refit=refit))
        choice = _at_once(panel, [family("mean")], evaluation, METRICS["mase"])
        assert (choice.winners == ()) == left
    one = EvaluationSpec(backtest=BacktestSpec(windows=1, refit="once"))
    assert _at_once(panel, [family("mean")], one, METRICS["mase"]).winners


@pytest.mark.parametrize(
    "evaluation",
    [EvaluationSpec(folds=3), EvaluationSpec(groups="visit"), EvaluationSpec(groups="visit", folds=4)],
)
@pytest.mark.parametrize("time", [None, "day"])
def test_folds_and_groups_are_the_same_for_a_panel(evaluation: EvaluationSpec, time: str | None) -> None:
    rng = np.random.default_rng(3)
    frames = []
    for key in range(6):
        count = int(rng.integers(3, 60))
        x = rng.normal(size=count)
        visit = np.sort(rng.integers(0, 9, count)) if key % 2 else rng.integers(0, 9, count)
        columns = {"x": x, "y": key * x + rng.normal(size=count), "visit": visit}
        frames.append(pd.DataFrame({"day": pd.date_range("2024-01-01", periods=count), **columns}))
    panel = panel_of(frames)
    given = FitSpec("regression", target="y", features=("x",), time=time)
    ridge = SklearnFamily(CandidateSpec(name="r", family="sklearn.linear_model.Ridge"), "regression")
    trainer = trainer_of(ridge)
    assert trainer is not None
    choice = fit_panel(panel, np.arange(6), [trainer], given, evaluation, METRICS["rmse"])
    (won,) = choice.winners
    assert len(won.places) >= 4
    alone = _alone(panel, [ridge], evaluation, METRICS["rmse"], given)
    for place in won.places.tolist():
        assert choice.metric[0, place] == pytest.approx(alone[place].metric, rel=1e-9)
        assert choice.baseline[place] == pytest.approx(alone[place].baseline, rel=1e-9)
