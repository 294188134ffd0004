"""Against statsmodels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forecast_cases import family, frame, rows, spec, weekly
from scipy.stats import norm
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from manymodels.exceptions import CannotExtendError, ModelError
from manymodels.models.forecast.smoothing import Form, State, Weights, advance, smooth
from manymodels.records import Rows

FORMS = [
    Form(),
    Form(trend="add"),
    Form(trend="add", damped=True),
    Form(seasonal="add", season=7),
    Form(trend="add", seasonal="add", season=7),
    Form(trend="add", damped=True, seasonal="add", season=7),
]
MULTIPLICATIVE = [
    Form(error="mul"),
    Form(error="mul", trend="add"),
    Form(error="add", trend="mul"),
    Form(error="add", seasonal="mul", season=7),
    Form(error="mul", trend="add", damped=True, seasonal="mul", season=7),
    Form(error="mul", trend="mul", damped=True, seasonal="add", season=7),
]


def _walk(length: int, seed: int) -> np.ndarray[Any, Any]:
    return weekly(length, seed) + np.random.default_rng(seed).normal(0, 1, length).cumsum()


def _fit(values: Any, form: Form) -> tuple[Weights, State]:
    weights, first, _ = smooth(values, np.array([0, len(values)]), form).one(0)
    return weights, first


def _statsmodels(values: Any, form: Form, weights: Weights, state: State) -> Any:
    """statsmodels' model at given weights and first state."""
    model = ETSModel(
        pd.Series(values),
        error=form.error,
        trend=form.trend,
        damped_trend=form.damped,
        seasonal=form.seasonal,
        seasonal_periods=form.season if form.seasonal else None,
        initialization_method="known",
        initial_level=state.level,
        initial_trend=state.slope if form.trend else None,
        initial_seasonal=state.season if form.seasonal else None,
    )
    given = {
        "smoothing_level": weights.level,
        "smoothing_trend": weights.trend,
        "smoothing_seasonal": weights.season,
        "damping_trend": weights.damping,
    }
    return model.smooth([given.get(name, 0.0) for name in model.param_names][: model.k_params])


@pytest.mark.parametrize("form", [*FORMS, *MULTIPLICATIVE], ids=str)
def test_the_recursion_is_statsmodels(form: Form) -> None:
    values = _walk(60, 3)
    weights = Weights(0.3, 0.1 * bool(form.trend), 0.2 * bool(form.seasonal), 0.9 if form.damped else 1.0)
    slope = {"add": 0.1, "mul": 1.01, None: 0.0}[form.trend]
    season = {"add": np.arange(7) - 3.0, "mul": 1 + (np.arange(7) - 3.0) / 20, None: np.zeros(1)}[
        form.seasonal
    ]
    first = State(48.0, slope, season)
    state, errors = advance(form, weights, first, values.tolist())
    known = _statsmodels(values, form, weights, first)
    np.testing.assert_allclose(errors, known.resid, rtol=1e-7, atol=1e-9)
    assert state.level == pytest.approx(float(known.level.iloc[-1]), rel=1e-9)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_additive_fits_are_at_least_as_good_as_statsmodels(form: Form) -> None:
    for seed in range(3):
        values = _walk(140, seed)
        weights, first = _fit(values, form)
        squares = float((advance(form, weights, first, values.tolist())[1] ** 2).sum())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = ExponentialSmoothing(
                values,
                trend=form.trend,
                damped_trend=form.damped,
                seasonal=form.seasonal,
                seasonal_periods=form.season if form.seasonal else None,
                initialization_method="estimated",
                bounds={"damping_trend": (0.8, 0.98)} if form.damped else None,
            ).fit()
        assert squares <= known.sse * (1 + 1e-6)


@pytest.mark.parametrize("form", MULTIPLICATIVE, ids=str)
def test_multiplicative_fits_are_at_least_as_likely_as_statsmodels(form: Form) -> None:
    for seed in (2, 3):
        values = _walk(140, seed)
        values /= values.mean()
        weights, first = _fit(values, form)
        errors = advance(form, weights, first, values.tolist())[1]
        likelihood = -70 * (np.log(2 * np.pi * (errors**2).mean()) + 1)
        if form.error == "mul":
            likelihood -= np.log(values / (1 + errors)).sum()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = ETSModel(
                values,
                error=form.error,
                trend=form.trend,
                damped_trend=form.damped,
                seasonal=form.seasonal,
                seasonal_periods=7 if form.seasonal else None,
                initialization_method="estimated",
            ).fit(disp=False, maxiter=1000)
        assert likelihood >= known.llf - 1e-6


@pytest.mark.parametrize("form", [*FORMS, *MULTIPLICATIVE], ids=str)
def test_the_compiled_recursion_is_the_one_that_goes_on(form: Form) -> None:
    values = _walk(59, 4)
    found = smooth(values, np.array([0, 59]), form)
    weights, first, last = found.one(0)
    state, errors = advance(form, weights, first, values.tolist())
    np.testing.assert_allclose(found.errors, errors, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(last.season, state.season, rtol=1e-9, atol=1e-9)
    assert (last.level, last.slope) == pytest.approx((state.level, state.slope), rel=1e-9, abs=1e-9)
    if form.trend != "mul":
        assert first.season.mean() == pytest.approx(1.0 if form.seasonal == "mul" else 0.0, abs=1e-12)


def test_a_multiplicative_fit_survives_a_first_guess_that_is_no_forecast() -> None:
    values = np.array([90.0, 1, 90, 2, 1, 80, 1, 95, 1, 2, 1, 3, 1, 2, 1, 1])
    for form in (Form("mul", "add", False, "add", 2), Form("mul", "mul", True, "mul", 2), Form("mul", "add")):
        assert np.isfinite(smooth(values, np.array([0, 16]), form).errors).all()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_first_state_is_the_least_squares_one(form: Form) -> None:
    values = _walk(60, 1)
    weights, first = _fit(values, form)

    def squares(level: float, slope: float) -> float:
        moved = State(first.level + level, first.slope + slope * bool(form.trend), first.season)
        return float((advance(form, weights, moved, values.tolist())[1] ** 2).sum())

    best = squares(0, 0)
    for level, slope in ((0.5, 0), (-0.5, 0), (0, 0.05), (0, -0.05)):
        assert squares(level, slope) >= best * (1 - 1e-9)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_additive_forecasts_and_intervals_are_statsmodels(form: Form) -> None:
    whole = rows(_walk(154, 2))
    params = {"trend": form.trend, "damped": form.damped, "seasonal": form.seasonal}
    model = family("ets", **params).fit(whole.part(0, 140), spec())
    found = model.predict(whole.part(140, 154))
    weights, first = _fit(whole.numbers("y")[:140], form)
    known = _statsmodels(whole.numbers("y")[:140], form, weights, first).get_prediction(start=140, end=153)
    np.testing.assert_allclose(found["prediction"], known.predicted_mean, rtol=1e-9)
    # statsmodels divides by the number of rows, not by the degrees of freedom.
    half = norm.ppf(0.975) * np.sqrt(known.forecast_variance) * np.sqrt(140 / (140 - form.size))
    np.testing.assert_allclose(found["prediction_hi_95"] - found["prediction"], half, rtol=1e-6)


def test_simulated_intervals_agree_with_the_formula_where_errors_hardly_multiply() -> None:
    # Relative errors of one percent around a flat level: multiplying them and adding them is nearly the same.
    values = 1000 + np.random.default_rng(4).normal(0, 10, 254)
    whole = rows(values)
    past, future = whole.part(0, 240), whole.part(240, 254)
    added = family("ets", seasonal=None).fit(past, spec()).predict(future)
    multiplied = family("ets", seasonal=None, error="mul").fit(past, spec()).predict(future)
    for column in ("prediction_lo_80", "prediction_hi_80", "prediction_lo_95", "prediction_hi_95"):
        wanted = added[column] - added["prediction"]
        np.testing.assert_allclose(multiplied[column] - multiplied["prediction"], wanted, rtol=0.2)


def test_simulated_intervals_come_from_the_keys_seed() -> None:
    whole = rows(weekly(154))
    family_ = family("ets", error="mul", seasonal="mul")
    one, two = (
        family_.fit(whole.part(0, 140), spec(seed=seed)).predict(whole.part(140, 154)) for seed in (1, 2)
    )
    np.testing.assert_array_equal(one["prediction"], two["prediction"])
    assert (one["prediction_lo_80"] != two["prediction_lo_80"]).any()


@pytest.mark.parametrize("form", [*FORMS, MULTIPLICATIVE[4]], ids=str)
def test_extending_filters_on_with_the_weights_of_the_fit(form: Form) -> None:
    whole = rows(_walk(174, 5))
    params = {"error": form.error, "trend": form.trend, "damped": form.damped, "seasonal": form.seasonal}
    model = family("ets", **params).fit(whole.part(0, 140), spec())
    later = model.extend(whole.part(0, 160))
    before = State(model.level, model.slope, model.season)
    state, _ = advance(model.form, model.weights, before, whole.numbers("y")[140:160].tolist())
    assert (later.level, later.slope, later.weights) == (state.level, state.slope, model.weights)
    np.testing.assert_array_equal(later.season, state.season)


def test_a_missing_value_teaches_nothing() -> None:
    form, weights = Form(trend="add", seasonal="add", season=3), Weights(0.5, 0.1, 0.2)
    state, errors = advance(form, weights, State(10.0, 1.0, np.array([1.0, 2.0, -3.0])), [np.nan, np.nan])
    assert (state.level, state.slope, state.season.tolist()) == (12.0, 1.0, [-3.0, 1.0, 2.0])
    assert np.isnan(errors).all()


def test_holt_winters_is_additive_ets_with_a_trend() -> None:
    whole = rows(_walk(154, 6))
    past, future = whole.part(0, 140), whole.part(140, 154)
    one = family("holt_winters").fit(past, spec())
    two = family("ets", trend="add").fit(past, spec())
    np.testing.assert_array_equal(one.predict(future)["prediction"], two.predict(future)["prediction"])
    assert one.describe()["family"] == "holt_winters"


def test_a_multiplicative_form_of_a_target_that_is_not_positive_is_refused() -> None:
    values = weekly(60)
    values[10] = 0.0
    with pytest.raises(ModelError, match="a multiplicative form needs a positive target, found 0"):
        family("ets", seasonal="mul").fit(rows(values), spec())


def test_a_multiplicative_form_cannot_go_on_over_zeros() -> None:
    whole = rows(np.append(weekly(100), 0.0))
    model = family("ets", seasonal="mul").fit(whole.part(0, 100), spec())
    with pytest.raises(CannotExtendError, match="not positive"):
        model.extend(whole)


def test_a_season_of_one_period_is_none() -> None:
    whole = rows(np.random.default_rng(0).normal(10, 1, 54))
    past, future = whole.part(0, 40), whole.part(40, 54)
    found = family("ets").fit(past, spec(season_length=1))
    assert found.describe()["seasonal"] is None
    plain = family("ets", seasonal=None).fit(past, spec())
    np.testing.assert_array_equal(found.predict(future)["prediction"], plain.predict(future)["prediction"])


def test_a_season_longer_than_its_first_values_are_estimated_for_still_fits() -> None:
    at = np.arange(400)
    values = 100 + 20 * np.sin(2 * np.pi * at / 80) + np.random.default_rng(0).normal(0, 1, 400)
    whole = rows(values)
    found = family("ets", season_length=80).fit(whole.part(0, 386), spec()).predict(whole.part(386, 400))
    assert np.abs(found["prediction"] - values[386:]).mean() < 2


def test_the_unit_of_the_target_does_not_matter() -> None:
    values = _walk(154, 8)
    for name, params in (("ets", {"trend": "add"}), ("ets", {"error": "mul", "seasonal": "mul"})):
        predictions = []
        for unit in (1.0, 1e-6, 1e6):
            whole = rows(values * unit)
            model = family(name, **params).fit(whole.part(0, 140), spec())
            predictions.append(model.predict(whole.part(140, 154))["prediction"] / unit)
        np.testing.assert_allclose(predictions[1:], [predictions[0]] * 2, rtol=1e-4)


@pytest.mark.parametrize("params", [{}, {"trend": "add"}, {"error": "mul", "seasonal": "mul"}])
def test_eighty_percent_intervals_cover_about_eighty_percent(params: dict[str, Any]) -> None:
    inside = []
    for seed in range(40):
        values = _walk(134, seed) + 20
        whole = Rows(frame(values))
        found = family("ets", **params).fit(whole.part(0, 120), spec()).predict(whole.part(120, 134))
        inside.append(
            (found["prediction_lo_80"] <= values[120:]) & (values[120:] <= found["prediction_hi_80"])
        )
    assert np.mean(inside) == pytest.approx(0.8, abs=0.1)
