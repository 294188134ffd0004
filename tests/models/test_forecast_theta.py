from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forecast_cases import family, frame, rows, spec, weekly
from statsmodels.tsa.forecasting.theta import ThetaModel
from statsmodels.tsa.seasonal import seasonal_decompose

from manymodels.models.forecast.theta_kernel import season_of
from manymodels.records import Rows


def _season(values: Any, season: int, factors: bool) -> Any:
    places = np.empty(season)
    season_of(values, factors, places)
    return places


def _trended(length: int, seed: int = 0) -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(seed).normal(0, 1, length)
    return 100 + 0.3 * np.arange(length) + noise.cumsum() + noise


def test_forecasts_follow_the_formula() -> None:
    values = _trended(80)
    whole = rows(np.concatenate([values, np.zeros(14)]))
    model = family("theta", season_length=1).fit(whole.part(0, 80), spec())
    steps = np.arange(1, 15)
    slope = np.polyfit(np.arange(80), values, 1)[0]
    lag = (1 - (1 - model.alpha) ** 80) / model.alpha
    wanted = model.level + slope / 2 * (steps - 1 + lag)
    np.testing.assert_allclose(model.predict(whole.part(80, 94))["prediction"], wanted, rtol=1e-9)


@pytest.mark.parametrize("seasonal", [False, True])
def test_forecasts_are_close_to_statsmodels(seasonal: bool) -> None:
    # statsmodels starts from the first value instead of estimating the first level.
    values = _trended(126) + (20 * np.sin(2 * np.pi * np.arange(126) / 7) if seasonal else 0)
    whole = rows(np.concatenate([values, np.zeros(14)]))
    found = family("theta").fit(whole.part(0, 126), spec()).predict(whole.part(126, 140))["prediction"]
    known = ThetaModel(values, period=7, deseasonalize=seasonal).fit().forecast(14)
    np.testing.assert_allclose(found, known, rtol=0.01)


@pytest.mark.parametrize("season", [7, 12])
@pytest.mark.parametrize("factors", [False, True])
def test_the_season_is_the_classical_decompositions(season: int, factors: bool) -> None:
    values = 50 + 8 * np.sin(2 * np.pi * np.arange(10 * season) / season) + _trended(10 * season) / 10
    known = seasonal_decompose(values, model="mul" if factors else "add", period=season).seasonal[:season]
    np.testing.assert_allclose(_season(values, season, factors), known, rtol=1e-9)


def test_without_a_significant_season_nothing_is_taken_off() -> None:
    values = np.random.default_rng(3).normal(100, 1, 90)
    assert (_season(values, 7, True) == 1).all()
    assert (_season(values, 7, False) == 0).all()
    assert (_season(weekly(13), 7, True) == 1).all()  # below two seasons


def test_a_target_that_is_not_positive_has_a_season_that_adds() -> None:
    whole = rows(weekly(154) - 50)
    model = family("theta").fit(whole.part(0, 140), spec())
    assert model.describe()["seasonal"] == "add"
    found = model.predict(whole.part(140, 154))["prediction"]
    assert np.abs(found - whole.numbers("y")[140:]).mean() < 4


def test_extending_keeps_the_season_in_step() -> None:
    at = np.arange(160)
    whole = rows(50 + 10 * np.sin(2 * np.pi * at / 7) + np.random.default_rng(0).normal(0, 0.1, 160))
    model = family("theta").fit(whole.part(0, 140), spec())
    found = model.extend(whole.part(0, 150)).predict(whole.part(150, 160))["prediction"]
    np.testing.assert_allclose(found, whole.numbers("y")[150:], atol=1)


def test_eighty_percent_intervals_cover_about_eighty_percent() -> None:
    inside = []
    for seed in range(60):
        values = _trended(104, seed)
        whole = Rows(frame(values))
        found = family("theta", season_length=1).fit(whole.part(0, 90), spec()).predict(whole.part(90, 104))
        inside.append((found["prediction_lo_80"] <= values[90:]) & (values[90:] <= found["prediction_hi_80"]))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.12)
