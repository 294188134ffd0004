"""Where the bounds of a key's forecast come from."""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.metrics import METRICS
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.models.batched.trainers import columns_of, trainer_of
from manymodels.models.contract import FitSpec
from manymodels.models.intervals import IntervalForecast
from manymodels.models.spec import CandidateSpec
from manymodels.records import Rows
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.panels import fit_panel
from manymodels.selection.spec import EnsembleSpec, SelectionSpec

sys.path.append(str(Path(__file__).parents[1] / "models"))
from batched_panels import series_panel
from forecast_cases import family, spec

DAYS = pd.date_range("2024-01-01", periods=90)
HORIZON = 14


def series(days: int = 76) -> Rows:
    at = np.arange(90)
    y = 50 + 9 * np.sin(2 * np.pi * at / 7) + np.random.default_rng(0).normal(0, 3, 90)
    return Rows(pd.DataFrame({"day": DAYS[:days], "y": y[:days]}))


FUTURE = Rows(pd.DataFrame({"day": DAYS[76:]}))


class Plain:
    """A forecast without bounds of its own."""

    name, revision, isolated, library = "plain", 1, False, ""

    def fit(self, rows: Rows, spec: FitSpec) -> Plain:
        return self

    def predict(self, rows: Rows) -> dict[str, Any]:
        level = np.full(len(rows), 50.0)
        return {"prediction": level, "prediction_lo_80": level * np.nan, "prediction_hi_80": level * np.nan}

    def describe(self) -> dict[str, Any]:
        return {"family": "plain"}


def fitted(
    families: Any = None, windows: int = 2, rows: Rows | None = None, selection: Any = None, **more: Any
) -> KeyFit:
    wanted = spec(horizon=HORIZON, **more)
    evaluation = EvaluationSpec(backtest=BacktestSpec(windows=windows))
    candidates = [
        (CandidateSpec(name=f"{n}", family=each.name), each)
        for n, each in enumerate(families or [family("mean")])
    ]
    steps = fit_key(
        rows or series(), candidates, wanted, evaluation, METRICS["mae"], selection or SelectionSpec()
    )
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize(
    ("intervals", "windows", "by_errors"),
    [
        ("auto", 1, False),
        ("auto", 2, True),
        ("conformal", 1, True),
        ("conformal", 3, True),
        ("model", 3, False),
    ],
)
def test_bounds_come_from_the_model_or_from_its_errors(intervals: str, windows: int, by_errors: bool) -> None:
    found = fitted(windows=windows, intervals=intervals)
    assert isinstance(found.model, IntervalForecast) == by_errors
    own = family("mean").fit(series(), spec(horizon=HORIZON)).predict(FUTURE)
    told = found.model.predict(FUTURE)
    assert list(told) == list(own)
    np.testing.assert_array_equal(told["prediction"], own["prediction"])
    assert np.allclose(told["prediction_hi_80"], own["prediction_hi_80"]) != by_errors


def test_a_model_without_bounds_gets_them_from_its_errors_and_levels_are_nested() -> None:
    found = fitted([Plain()], windows=1)
    told = found.model.predict(FUTURE)
    assert (told["prediction_hi_80"] > 50).all()
    assert (told["prediction_hi_95"] >= told["prediction_hi_80"]).all()
    assert (told["prediction_lo_95"] <= told["prediction_lo_80"]).all()
    np.testing.assert_allclose(told["prediction_hi_95"] - 50, 50 - told["prediction_lo_95"])
    said = found.model.describe()
    assert said["family"] == "plain"
    assert set(said["intervals"]["half_width"]) == {"80", "95"}
    json.dumps(dict(said))
    assert fitted([Plain()], windows=1, intervals="model").model is not None
    assert not isinstance(fitted([Plain()], windows=1, intervals="model").model, IntervalForecast)


def test_bounds_keep_to_zero_where_forecasts_do() -> None:
    low = Rows(series().frame().assign(y=lambda frame: np.maximum(frame["y"] - 50, 0)))
    told = fitted(rows=low, non_negative=True).model.predict(FUTURE)
    assert told["prediction_lo_95"].min() == 0
    assert fitted(rows=low).model.predict(FUTURE)["prediction_lo_95"].min() < 0


def test_steps_are_counted_from_the_newest_row_when_the_model_goes_on() -> None:
    found = fitted([family("naive")], windows=3)
    model = pickle.loads(pickle.dumps(found.model))
    assert isinstance(model, IntervalForecast)
    assert model.widths.growth[0] > 0
    before = model.predict(FUTURE)
    later = model.extend(series(83)).predict(FUTURE.part(7, 14))

    def width(told: Any) -> Any:
        return told["prediction_hi_80"] - told["prediction_lo_80"]

    np.testing.assert_allclose(width(later), width(before)[:7])


def test_kept_backtests_have_the_bounds_of_the_other_windows() -> None:
    test = fitted(windows=2).backtests[0]
    assert test.window == 0
    half = test.predictions["prediction_hi_80"] - test.predictions["prediction"]
    assert (half > 0).all()
    # What happened in the window itself does not matter to its bounds.
    frame = series().frame()
    frame.loc[62:, "y"] += 1000.0
    moved = fitted(rows=Rows(frame)).backtests[0]
    np.testing.assert_allclose(
        moved.predictions["prediction_hi_80"] - moved.predictions["prediction"], half, rtol=1e-6
    )
    one = fitted(windows=1, intervals="conformal").backtests[0]
    assert np.isnan(one.predictions["prediction_lo_80"]).all()


def test_a_key_too_short_to_be_judged_has_the_bounds_of_its_model() -> None:
    short = series(20)
    found = fitted(rows=short)
    assert found.metric is None
    assert not isinstance(found.model, IntervalForecast)
    assert np.isfinite(
        found.model.predict(Rows(pd.DataFrame({"day": DAYS[20:30]})))["prediction_lo_80"]
    ).all()


def test_an_ensemble_has_intervals_by_its_own_errors() -> None:
    found = fitted(
        [family("mean"), family("seasonal_naive")],
        windows=3,
        selection=SelectionSpec(ensemble=EnsembleSpec()),
    )
    assert isinstance(found.model, IntervalForecast)
    told = found.model.predict(FUTURE)
    assert (told["prediction_lo_80"] < told["prediction"]).all()


@pytest.mark.parametrize("keep", ["winner", "all"])
@pytest.mark.parametrize(("windows", "intervals"), [(1, "auto"), (3, "auto"), (1, "conformal")])
def test_many_keys_at_once_have_the_bounds_of_keys_one_by_one(
    windows: int, intervals: str, keep: Any
) -> None:
    panel = series_panel(windows, keys=24)
    families = [family("mean"), family("seasonal_naive")]
    trainers = [trainer for each in families if (trainer := trainer_of(each)) is not None]
    wanted = spec(horizon=7, intervals=intervals)
    evaluation = EvaluationSpec(backtest=BacktestSpec(windows=windows, step=5), keep=keep)
    choice = fit_panel(panel, np.arange(24), trainers, wanted, evaluation, METRICS["mae"])
    compared = 0
    for won in choice.winners:
        columns = columns_of(
            won.columns.schema,
            won.columns.table,
            json.loads(json.dumps(dict(won.columns.shared))),
            won.columns.seeds,
        )
        at_once = columns.predict(_future(panel, won.places))
        for number, place in enumerate(won.places.tolist()):
            candidates = [
                (CandidateSpec(name=str(n), family=each.name), each) for n, each in enumerate(families)
            ]
            alone = _alone(
                fit_key(panel.key(place), candidates, replace(wanted, seed=place), evaluation, METRICS["mae"])
            )
            future = _future(panel, np.array([place])).key(0)
            expected, one = alone.model.predict(future), columns.model(number).predict(future)
            for name, values in expected.items():
                np.testing.assert_allclose(one[name], values, rtol=1e-9, atol=1e-9)
                np.testing.assert_allclose(
                    at_once.values[name][number * 7 : number * 7 + 7], values, rtol=1e-9, atol=1e-9
                )
            for test in alone.backtests:
                held = choice.evaluations[int(test.candidate)].held[test.window]
                assert held is not None
                mine = held.one(int(np.flatnonzero(held.places == place)[0]))
                for name, values in test.predictions.items():
                    np.testing.assert_allclose(mine.predictions[name], values, rtol=1e-9, atol=1e-9)
            compared += 1
    assert compared >= 10


def _alone(steps: Any) -> KeyFit:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def _future(panel: Any, places: Any) -> Any:
    """Seven days after each key's last."""
    from batched_panels import panel_of

    frames = []
    for place in places.tolist():
        last = panel.key(place).values("day")[-1]
        frames.append(pd.DataFrame({"day": pd.date_range(last, periods=8)[1:]}))
    return panel_of(frames)
