"""Nothing of what comes after a cutoff may reach a fit or a forecast, but what is declared to be known ahead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.evaluate import evaluate
from manymodels.evaluation.metrics import METRICS
from manymodels.evaluation.panel_splits import panel_splits
from manymodels.evaluation.panels import evaluate_panel
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.evaluation.splits import make_splits
from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.models.tabular.family import SklearnFamily
from manymodels.records import Rows

sys.path.append(str(Path(__file__).parents[1] / "models"))
from forecast_cases import CANDIDATES, candidate, family, frame, spec, weekly

DAYS = 140
CUTOFF = DAYS - 14
EVALUATION = EvaluationSpec()
BATCHED = [case for case in CANDIDATES if trainer_of(candidate(case)) is not None]


def series(**columns: Any) -> pd.DataFrame:
    return frame(
        weekly(DAYS),
        visitors=np.random.default_rng(1).normal(size=DAYS),
        promo=np.arange(DAYS) % 5,
        **columns,
    )


def changed_after_the_cutoff() -> pd.DataFrame:
    """The same up to the cutoff; after it, another target and other values of what is not known ahead."""
    later = series()
    after = later.index >= CUTOFF
    later.loc[after, "y"] = 1e6 - later.loc[after, "y"] ** 2
    later.loc[after, "visitors"] = -1e6
    return later


def forecasts(rows: pd.DataFrame, case: str, batched: bool) -> dict[str, Any]:
    # The batched trainer leaves lags of features to fits one by one.
    given = spec(features=("promo",) if batched else ("visitors", "promo"), known_future=("promo",))
    if batched:
        panel = Panel(Rows(rows), np.array([0]), np.array([len(rows)]))
        trainer = trainer_of(candidate(case))
        assert trainer is not None
        splits = panel_splits(panel, np.array([5]), given, EVALUATION)
        held = evaluate_panel(trainer, splits, np.array([5]), given, METRICS["mae"]).held[0]
    else:
        splits = make_splits(Rows(rows), given, EVALUATION)
        held = evaluate(candidate(case), splits, given, METRICS["mae"]).held[0]
    return {} if held is None else dict(held.predictions)


@pytest.mark.parametrize(
    ("case", "batched"), [(case, False) for case in CANDIDATES] + [(case, True) for case in BATCHED]
)
def test_what_happens_after_the_cutoff_changes_no_forecast(case: str, batched: bool) -> None:
    found, other = (forecasts(rows, case, batched) for rows in (series(), changed_after_the_cutoff()))
    assert len(found["prediction"]) == 14
    for name, values in found.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.parametrize("batched", [False, True])
def test_a_feature_that_equals_the_target_helps_only_where_it_is_declared_to_be_known(batched: bool) -> None:
    rows = frame(np.random.default_rng(2).normal(100, 10, DAYS))
    rows["told"] = rows["y"]

    def error(known_future: tuple[str, ...], features: tuple[str, ...] = ("told",)) -> float:
        given = spec(features=features, known_future=known_future)
        model = family("lag_regression", lags=[1, 2])
        if not batched:
            return (
                evaluate(model, make_splits(Rows(rows), given, EVALUATION), given, METRICS["mae"]).values[0]
                or 0.0
            )
        panel, seeds = Panel(Rows(rows), np.array([0]), np.array([DAYS])), np.array([5])
        trainer = trainer_of(model)
        assert trainer is not None
        splits = panel_splits(panel, seeds, given, EVALUATION)
        return float(evaluate_panel(trainer, splits, seeds, given, METRICS["mae"]).values[0, 0])

    honest = error((), features=())
    assert honest > 5
    if not batched:  # the batched trainer leaves lags of features to fits one by one
        assert error(()) > 0.8 * honest
    assert error(("told",)) < 0.1 * honest


def test_a_hold_out_by_time_is_fitted_on_nothing_later_than_its_rows() -> None:
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=100), "x": rng.normal(size=100)})
    rows["y"] = rows["x"] + rng.normal(size=100)
    later = rows.copy()
    later.loc[80:, "y"] = -1e6
    given = FitSpec("regression", target="y", time="day", features=("x",))
    ridge = SklearnFamily(CandidateSpec(name="r", family="sklearn.linear_model.Ridge"), "regression")
    found = []
    for each in (rows, later):
        (split,) = make_splits(Rows(each), given, EVALUATION)
        assert split.train.values("day").max() < split.held.values("day").min()
        assert "y" not in split.held.columns
        (held,) = evaluate(ridge, (split,), given, METRICS["rmse"]).held
        assert held is not None
        found.append(held.predictions["prediction"])
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("window", ["expanding", 40])
def test_a_model_that_goes_on_sees_each_cutoff_and_no_further(window: int | str) -> None:
    """With `refit: once` the newest window is forecast by the oldest one's model, continued."""
    evaluation = EvaluationSpec(backtest=BacktestSpec(windows=3, window=window, refit="once"))
    given = spec()
    for case in ("ets", "theta", "lag_regression", "seasonal_naive"):
        splits = make_splits(Rows(series()), given, evaluation)
        found = evaluate(
            candidate(case), splits, given, METRICS["mae"], cadence=evaluation.cadence("forecast")
        )
        oldest = candidate(case).fit(splits[2].train, given)
        for split, held in zip(splits, found.held, strict=True):
            assert held is not None
            assert split.history is not None
            expected = oldest.extend(split.history).predict(split.held)
            np.testing.assert_allclose(held.predictions["prediction"], expected["prediction"], rtol=1e-9)
        refitted = evaluate(candidate(case), splits, given, METRICS["mae"])
        assert found.values[2] == refitted.values[2]
        if case != "seasonal_naive":  # which has nothing to fit
            assert found.values[0] != refitted.values[0]
