from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forecast_cases import family, frame, rows, spec, weekly
from statsmodels.tsa.statespace.sarimax import SARIMAX

from manymodels.exceptions import ModelError
from manymodels.models.forecast.state_space import StateSpace
from manymodels.records import Rows

ORDERS = [
    ((1, 0, 0), (0, 0, 0), "c"),
    ((1, 0, 1), (0, 0, 0), "ct"),
    ((0, 1, 1), (0, 0, 0), "t"),
    ((2, 1, 0), (0, 0, 0), "n"),
    ((1, 0, 0), (1, 0, 0), "c"),
    ((0, 1, 1), (0, 1, 1), "n"),
]


def _walk(length: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return weekly(length, seed) + np.random.default_rng(seed).normal(0, 1, length).cumsum()


def _statsmodels(values: Any, order: Any, seasonal: Any, exog: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        season = (*seasonal, 7) if any(seasonal) else (0, 0, 0, 0)
        return SARIMAX(values, exog=exog, order=order, seasonal_order=season).fit(disp=False, maxiter=200)


def _trend(trend: str, length: int) -> Any:
    columns = [np.ones(length)] if "c" in trend else []
    columns += [np.arange(length) / 100] if "t" in trend else []
    return np.column_stack(columns) if columns else None


@pytest.mark.parametrize(("order", "seasonal", "trend"), ORDERS)
def test_forecasts_and_intervals_are_statsmodels(order: Any, seasonal: Any, trend: str) -> None:
    values = _walk(134)
    whole = rows(values)
    params = {"order": list(order), "seasonal_order": list(seasonal), "trend": trend}
    found = family("sarimax", **params).fit(whole.part(0, 120), spec()).predict(whole.part(120, 134))
    exog = _trend(trend, 134)
    known = _statsmodels(values[:120], order, seasonal, None if exog is None else exog[:120])
    ahead = known.get_forecast(14, exog=None if exog is None else exog[120:])
    np.testing.assert_allclose(found["prediction"], ahead.predicted_mean, rtol=0.005)
    bounds = np.column_stack([found["prediction_lo_95"], found["prediction_hi_95"]])
    np.testing.assert_allclose(bounds, ahead.conf_int(alpha=0.05), rtol=0.03)


def test_known_future_features_are_regressors() -> None:
    generator = np.random.default_rng(1)
    promo = generator.integers(0, 2, 134)
    region = generator.choice(["a", "b", "c"], 134)
    values = 50 + 10 * promo + np.where(region == "b", 5.0, 0.0) + generator.normal(0, 1, 134)
    whole = Rows(frame(values, promo=promo, region=region))
    given = spec(features=("promo", "region"), known_future=("promo", "region"), categorical=("region",))
    model = family("sarimax", order=[1, 0, 0], seasonal_order=[0, 0, 0]).fit(whole.part(0, 120), given)
    found = model.predict(whole.part(120, 134))["prediction"]
    wanted = 50 + 10 * promo[120:] + np.where(region[120:] == "b", 5.0, 0.0)
    np.testing.assert_allclose(found, wanted, atol=1)


def test_a_missing_known_future_value_makes_its_row_null_and_no_other() -> None:
    promo = np.tile([0.0, 1.0, 0.0], 50)[:134]
    data = frame(50 + 10 * promo + np.random.default_rng(0).normal(0, 1, 134), promo=promo)
    given = spec(features=("promo",), known_future=("promo",))
    model = family("sarimax", order=[1, 0, 0], seasonal_order=[0, 0, 0]).fit(Rows(data.iloc[:120]), given)
    future = data.iloc[120:].reset_index(drop=True)
    whole = model.predict(Rows(future))
    future.loc[3, "promo"] = np.nan
    found = model.predict(Rows(future))
    assert all(np.flatnonzero(np.isnan(values)).tolist() == [3] for values in found.values())
    np.testing.assert_array_equal(np.delete(found["prediction"], 3), np.delete(whole["prediction"], 3))


def test_extending_is_filtering_with_the_fitted_parameters() -> None:
    values = _walk(174)
    values[[145, 151]] = np.nan
    whole = rows(values)
    params = {"order": [1, 0, 1], "seasonal_order": [0, 1, 1]}
    model = family("sarimax", **params).fit(whole.part(0, 140), spec())
    found = model.extend(whole.part(0, 160)).predict(whole.part(160, 174))
    known = _statsmodels(values[:140], (1, 0, 1), (0, 1, 1), None)
    applied = known.append(values[140:160]).get_forecast(14)
    np.testing.assert_allclose(found["prediction"], applied.predicted_mean, rtol=0.005)
    np.testing.assert_allclose(found["prediction_lo_95"], applied.conf_int(alpha=0.05)[:, 0], rtol=0.01)


def test_redundant_regressors_are_left_out() -> None:
    values = _walk(134)
    at = np.arange(134.0)
    data = Rows(frame(values, one=at, two=2 * at + 5, still=np.ones(134)))
    given = spec(features=("one", "two", "still"), known_future=("one", "two", "still"))
    model = family("sarimax", order=[1, 0, 0], seasonal_order=[0, 0, 0]).fit(data.part(0, 120), given)
    assert np.count_nonzero(model.coefficients) == 2  # one of the lines, and the constant
    assert np.isfinite(model.predict(data.part(120, 134))["prediction"]).all()


def test_orders_by_season_may_name_the_season() -> None:
    whole = rows(_walk(154))
    one = family("sarimax", order=[1, 0, 0], seasonal_order=[1, 0, 0, 5]).fit(whole.part(0, 140), spec())
    two = family("sarimax", order=[1, 0, 0], seasonal_order=[1, 0, 0], season_length=5)
    assert one.describe() == two.fit(whole.part(0, 140), spec()).describe()
    assert one.describe()["seasonal_order"] == [1, 0, 0, 5]


def test_a_history_too_short_for_the_orders_is_refused() -> None:
    with pytest.raises(ModelError, match="sarimax with season 7 needs at least 20 rows, found 15"):
        family("sarimax").fit(rows(weekly(15)), spec())


def test_the_optimisers_warnings_stay_inside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = family("sarimax", order=[2, 0, 2], seasonal_order=[0, 0, 0]).fit(
            rows(np.arange(40.0)), spec()
        )
    assert np.isfinite(model.predict(rows([0.0], start="2030-01-01"))["prediction"]).all()


def test_the_unit_of_the_target_does_not_matter() -> None:
    values = _walk(134)
    predictions = []
    for unit in (1.0, 1e6):
        whole = rows(values * unit)
        model = family("sarimax", order=[0, 1, 1], seasonal_order=[0, 0, 0]).fit(whole.part(0, 120), spec())
        predictions.append(model.predict(whole.part(120, 134))["prediction"] / unit)
    np.testing.assert_allclose(predictions[0], predictions[1], rtol=1e-6)


def test_the_noises_own_covariance_is_not_kept() -> None:
    noise = np.array([1.0, 0.5])
    space = StateSpace.of(
        np.array([[0.5, 1.0], [0.0, 0.0]]),
        np.array([1.0, 0.0]),
        noise,
        4.0,
        np.zeros(2),
        4 * np.outer(noise, noise),
    )
    assert space.covariance.size == 0
    later = space.advance(np.array([1.0, -1.0, 2.0]))
    assert later.covariance.size == 0
    assert space.advance(np.array([1.0, np.nan])).covariance.shape == (2, 2)


def test_eighty_percent_intervals_cover_about_eighty_percent() -> None:
    inside = []
    for seed in range(25):
        noise = np.random.default_rng(seed).normal(0, 1, 94)
        values = pd.Series(noise).ewm(alpha=0.4).mean().to_numpy() * 5 + 20
        whole = Rows(frame(values))
        model = family("sarimax", order=[1, 0, 0], seasonal_order=[0, 0, 0]).fit(whole.part(0, 80), spec())
        found = model.predict(whole.part(80, 94))
        inside.append((found["prediction_lo_80"] <= values[80:]) & (values[80:] <= found["prediction_hi_80"]))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.1)
