from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from batched_panels import Compared, compare, panel_of, series_panel
from forecast_cases import family, spec

from manymodels.models.batched.contract import Panel

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("mean", {}),
    "naive": ("naive", {}),
    "seasonal_naive": ("seasonal_naive", {}),
    "seasonal_naive_3": ("seasonal_naive", {"season_length": 3}),
    "drift": ("drift", {}),
    "ets": ("ets", {}),
    "ets_none": ("ets", {"seasonal": None}),
    "ets_damped": ("ets", {"trend": "add", "damped": True, "seasonal": None}),
    "ets_mul": ("ets", {"error": "mul", "trend": "mul", "damped": True, "seasonal": "mul"}),
    "holt_winters": ("holt_winters", {}),
    "holt_winters_mul": ("holt_winters", {"seasonal": "mul"}),
    "theta": ("theta", {}),
    "croston": ("croston", {}),
    "croston_sba": ("croston", {"variant": "sba", "alpha": 0.3}),
    "tsb": ("tsb", {"beta": 0.2}),
    "lag_regression": ("lag_regression", {}),
    "lag_regression_log": (
        "lag_regression",
        {"transform": "log", "rolling": [3, 7], "params": {"alpha": 3.0}},
    ),
    "lag_regression_difference": ("lag_regression", {"transform": "seasonal_difference", "lags": [1, 2, 8]}),
    "lag_regression_calendar": (
        "lag_regression",
        {"lags": [2], "calendar": ["season", "trend", "closure", "month"]},
    ),
    "lag_regression_squares": ("lag_regression", {"estimator": "sklearn.linear_model.LinearRegression"}),
}
POSITIVE = ("ets_mul", "holt_winters_mul", "croston", "croston_sba", "tsb", "lag_regression_log")
"""Cases that need a positive target."""


def _future(panel: Panel, horizon: int = 9) -> Panel:
    """The days after each key's last row, the third of them left out."""
    frames = []
    for place in range(len(panel)):
        last = panel.key(place).frame()["day"].iloc[-1]
        days = pd.date_range(last, periods=horizon + 1)[1:].delete(2)
        frames.append(pd.DataFrame({"day": days, "promo": (np.arange(horizon - 1) % 2).astype(float)}))
    return panel_of(frames)


def _compared(case: str, seed: int, **changes: Any) -> Compared:
    name, params = CASES[case]
    panel = series_panel(seed, positive=not changes.pop("signed", False))
    return compare(family(name, **params), panel, _future(panel), spec(**changes))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_batched_fit_gives_the_models_of_fits_one_by_one(case: str, seed: int) -> None:
    compared = _compared(case, seed)
    regular = {place for place in compared.alone if place % 8 != 7}
    assert regular <= set(compared.fit.places.tolist())


@pytest.mark.parametrize("case", CASES)
def test_bounds_and_limits_are_those_of_the_family(case: str) -> None:
    compared = _compared(case, 4, levels=(50.0,), non_negative=True, signed=case not in POSITIVE)
    assert len(compared.fit.places) > 8


@pytest.mark.parametrize("case", CASES)
def test_a_batched_model_is_continued_over_newer_rows(case: str) -> None:
    name, params = CASES[case]
    panel = series_panel(6)
    past = panel.part(0, np.maximum(panel.lengths - 5, 1))
    trained = compare(family(name, **params), past, _future(past), spec())
    for number, place in enumerate(trained.fit.places.tolist()):
        longer = trained.fit.columns.model(number).extend(panel.key(place))
        expected = trained.alone[place].extend(panel.key(place))
        rows = _future(panel).key(place)
        for column, values in expected.predict(rows).items():
            np.testing.assert_allclose(longer.predict(rows)[column], values, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_no_key_at_all_is_no_model(case: str) -> None:
    name, params = CASES[case]
    panel = series_panel(7).take(np.empty(0, dtype=np.int64))
    assert len(compare(family(name, **params), panel, panel, spec()).fit.places) == 0
