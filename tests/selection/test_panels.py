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
from manymodels.records import Rows
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.panels import PanelChoice, fit_panel

sys.path.append(str(Path(__file__).parents[1] / "models"))
from batched_panels import series_panel
from forecast_cases import family, spec

FORECAST = [name for name, metric in METRICS.items() if "forecast" in metric.tasks]


def _alone(panel: Panel, families: list[Family], evaluation: EvaluationSpec, metric: Any) -> list[KeyFit]:
    named = [
        (CandidateSpec(name=f"{n} {each.name}", family=each.name), each) for n, each in enumerate(families)
    ]
    fits = []
    for place in range(len(panel)):
        steps = fit_key(panel.key(place), named, spec(seed=place), evaluation, metric)
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
