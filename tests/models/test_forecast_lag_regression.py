from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forecast_cases import family, frame, rows, spec, weekly, without
from sklearn.linear_model import LinearRegression, Ridge

from manymodels.exceptions import JobError, ModelError
from manymodels.models.forecast.covariates import Encoder
from manymodels.models.forecast.lag_features import (
    Design,
    calendar_features,
    fill_back,
    lags_by,
    usual_calendar,
    usual_lags,
)
from manymodels.models.forecast.regressors import Linear, learner_of
from manymodels.records import Rows

LINEAR = "sklearn.linear_model.LinearRegression"


def _autoregression(length: int, seed: int = 0) -> np.ndarray[Any, Any]:
    noise = np.random.default_rng(seed).normal(0, 1, length)
    values = np.zeros(length)
    for at in range(2, length):
        values[at] = 0.5 * values[at - 1] + 0.3 * values[at - 2] + noise[at]
    return values + 20


def _lagged(values: Any, lags: list[int]) -> tuple[Any, Any]:
    first = max(lags)
    return np.column_stack([values[first - lag : len(values) - lag] for lag in lags]), values[first:]


def _recursive(model: Any, values: Any, lags: list[int], horizon: int) -> Any:
    whole = list(values)
    for _ in range(horizon):
        whole.append(float(model.predict([[whole[-lag] for lag in lags]])[0]))
    return np.array(whole[-horizon:])


def _forecast(values: Any, horizon: int = 14, given: Any = None, **params: Any) -> Any:
    whole = rows(np.concatenate([values, np.zeros(horizon)]))
    model = family("lag_regression", **params).fit(whole.part(0, len(values)), given or spec(levels=()))
    return model.predict(whole.part(len(values), len(whole)))["prediction"]


@pytest.mark.parametrize("lags", [[1], [1, 2, 7], [3, 5], [7, 14, 20]])
def test_forecasts_are_the_estimators_fed_back(lags: list[int]) -> None:
    values = _autoregression(120)
    found = _forecast(values, estimator=LINEAR, lags=lags, calendar=False)
    known = LinearRegression().fit(*_lagged(values, lags))
    np.testing.assert_allclose(found, _recursive(known, values, lags, 14), rtol=1e-8)


@pytest.mark.parametrize("lags", [[1, 2], [7, 14]])
def test_an_estimator_that_is_not_linear_is_fed_back_too(lags: list[int]) -> None:
    from sklearn.neighbors import KNeighborsRegressor

    values = _autoregression(120)
    found = _forecast(
        values,
        estimator="sklearn.neighbors.KNeighborsRegressor",
        lags=lags,
        calendar=False,
        params={"n_neighbors": 3},
    )
    known = KNeighborsRegressor(n_neighbors=3).fit(*_lagged(values, lags))
    np.testing.assert_allclose(found, _recursive(known, values, lags, 14), rtol=1e-8)


def test_rolling_means_end_one_period_back() -> None:
    values = _autoregression(100)
    found = _forecast(values, estimator=LINEAR, lags=[1], rolling=[3, 5], calendar=False, horizon=3)
    means = [pd.Series(values).rolling(window).mean().to_numpy()[4:-1] for window in (3, 5)]
    known = LinearRegression().fit(np.column_stack([values[4:-1], *means]), values[5:])
    whole = list(values)
    for _ in range(3):
        whole.append(float(known.predict([[whole[-1], np.mean(whole[-3:]), np.mean(whole[-5:])]])[0]))
    np.testing.assert_allclose(found, whole[-3:], rtol=1e-8)


def test_the_logarithm_makes_growth_linear() -> None:
    values = 10 * 1.05 ** np.arange(60)
    found = _forecast(values, estimator=LINEAR, lags=[1], calendar=False, transform="log")
    np.testing.assert_allclose(found, 10 * 1.05 ** np.arange(60, 74), rtol=1e-6)


def test_the_logarithm_survives_zeros_and_refuses_what_is_below() -> None:
    values = np.abs(_autoregression(60) - 20)
    values[7] = 0.0
    assert (_forecast(values, lags=[1], transform="log") > -1).all()
    with pytest.raises(ModelError, match="`transform: log` needs a target that is not negative, found -1"):
        _forecast(values - 1, lags=[1], transform="log")


@pytest.mark.parametrize("transform", ["log_difference", "log_seasonal_difference"])
def test_changes_of_logarithms_carry_growth_on(transform: str) -> None:
    growth = 50 * 1.02 ** np.arange(104)
    values = growth * (1 + 0.4 * np.sin(2 * np.pi * np.arange(104) / 7))
    found = _forecast(values[:90], lags=[1, 7], calendar=False, transform=transform)
    np.testing.assert_allclose(found, values[90:], rtol=0.15)


def test_a_holiday_has_an_effect_of_its_own() -> None:
    days = pd.date_range("2022-01-01", "2024-04-30")
    closed = days.isin(
        pd.to_datetime(
            [f"{year}-{day}" for year in (2022, 2023, 2024) for day in ("01-01", "05-01", "10-03")]
        )
    )
    values = np.where(closed, 10.0, 100.0)
    data = Rows(pd.DataFrame({"day": days, "y": values}))
    future = Rows(pd.DataFrame({"day": pd.date_range("2024-05-01", periods=3)}))

    def forecast(**params: Any) -> Any:
        made = family("lag_regression", lags=[7], estimator=LINEAR, **params)
        return made.fit(data, spec(levels=())).predict(future)["prediction"]

    with_holidays = forecast(calendar=["holiday"], holidays="DE")
    # The 1st of May is one of nine holidays, of which this series closes on three.
    assert with_holidays[0] < 75
    np.testing.assert_allclose(with_holidays[2], 100, atol=3)
    assert forecast(calendar=["weekday"])[0] > 95


def test_the_usual_calendar_has_holidays_from_a_year_on() -> None:
    assert "holiday" in usual_calendar("D", 7, 365, holidays=True)
    assert "holiday" not in usual_calendar("D", 7, 364, holidays=True)
    assert "holiday" not in usual_calendar("D", 7, 800)
    assert "holiday" in usual_calendar("MS", 12, 60, holidays=True)
    assert "holiday" not in usual_calendar("YE-DEC", 1, 60, holidays=True)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"holidays": "XX"},
            "`holidays` is the ISO code of a country, or of a part of one, like DE or DE-BY; found 'XX'",
        ),
        ({"holidays": "DE-QQ"}, "found 'DE-QQ'"),
        ({"calendar": ["holiday"]}, "calendar feature holiday needs `holidays`, a country like DE"),
    ],
)
def test_holidays_need_a_country_that_is_known(params: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        family("lag_regression", **params)
    assert message in str(caught.value)


@pytest.mark.parametrize(("transform", "slope"), [("difference", 2.0), ("seasonal_difference", 2.0)])
def test_differences_carry_a_trend_on(transform: str, slope: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 80)
    values = (
        slope * np.arange(80)
        + 5 * np.sin(2 * np.pi * np.arange(80) / 7) * (transform != "difference")
        + noise
    )
    wanted = slope * np.arange(80, 94) + 5 * np.sin(2 * np.pi * np.arange(80, 94) / 7) * (
        transform != "difference"
    )
    np.testing.assert_allclose(
        _forecast(values, lags=[1, 2], calendar=False, transform=transform), wanted, atol=0.3
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [1, 0.01, 100.0])
def test_ridge_solved_here_is_scikit_learns(alpha: float, weighted: bool) -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(3, 1, (80, 9)), generator.normal(5, 1, 80)
    weights = generator.random(80) if weighted else None
    found = learner_of("sklearn.linear_model.Ridge", {"alpha": alpha}, 0)(X, y, weights)
    known = Ridge(alpha=alpha).fit(X, y, sample_weight=weights)
    assert isinstance(found, Linear)
    np.testing.assert_allclose(found.weights, known.coef_, rtol=1e-9)
    assert found.intercept == pytest.approx(known.intercept_, rel=1e-9)


def test_a_linear_estimator_is_kept_as_its_coefficients_and_another_as_it_is() -> None:
    whole = rows(weekly(100))
    linear = [
        "linear_model.LinearRegression",
        "linear_model.Lasso",
        "linear_model.HuberRegressor",
        "svm.LinearSVR",
    ]
    for path in linear:
        model = family("lag_regression", estimator=f"sklearn.{path}").fit(whole, spec(levels=()))
        assert isinstance(model.regressor, Linear), path
    # It has coefficients, and predicts the exponential of what they give.
    other = family("lag_regression", estimator="sklearn.linear_model.PoissonRegressor").fit(
        whole, spec(levels=())
    )
    assert type(other.regressor).__name__ == "PoissonRegressor"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("linear_model.PoissonRegressor", {}),
        ("linear_model.GammaRegressor", {}),
        ("ensemble.HistGradientBoostingRegressor", {"loss": "poisson", "max_iter": 5}),
        ("tree.DecisionTreeRegressor", {"criterion": "poisson"}),
    ],
)
def test_an_estimator_of_positive_targets_gets_them(path: str, params: dict[str, Any]) -> None:
    values = weekly(114)
    found = _forecast(values[:100], estimator=f"sklearn.{path}", params=params)
    assert np.abs(found - values[100:]).mean() < 8


def test_the_keys_seed_is_the_estimators() -> None:
    values = weekly(100)
    forest = "sklearn.ensemble.ExtraTreesRegressor"

    def predict(seed: int, **params: Any) -> Any:
        params = {"n_estimators": 5, **params}
        return _forecast(values, given=spec(levels=(), seed=seed), estimator=forest, params=params)

    np.testing.assert_array_equal(predict(1), predict(1))
    assert (predict(1) != predict(2)).any()
    np.testing.assert_array_equal(predict(1, random_state=3), predict(2, random_state=3))
    np.testing.assert_array_equal(predict(2**63), predict(2**63))


def test_weights_reach_the_estimator() -> None:
    generator = np.random.default_rng(0)
    values = np.where(np.arange(120) < 60, 10.0, 20.0) + generator.normal(0, 0.1, 120)
    whole = rows(np.concatenate([values, np.zeros(7)]), weight=np.where(np.arange(127) < 60, 1.0, 0.0))
    given = spec(levels=(), weight="weight")
    for estimator in ("sklearn.linear_model.Ridge", LINEAR):
        model = family("lag_regression", estimator=estimator, lags=[], calendar=["weekday"]).fit(
            whole.part(0, 120), given
        )
        np.testing.assert_allclose(model.predict(whole.part(120, 127))["prediction"], 10, atol=0.3)


def test_known_future_features_are_used_and_others_only_as_they_were_a_horizon_ago() -> None:
    generator = np.random.default_rng(2)
    promo, visitors = generator.integers(0, 2, 214), generator.normal(100, 10, 214)
    before = np.concatenate([np.full(14, 100.0), visitors[:-14]])
    values = 50 + 10 * promo + 0.5 * before + generator.normal(0, 0.1, 214)
    given = spec(levels=(), features=("promo", "visitors"), known_future=("promo",))
    data = frame(values, promo=promo, visitors=visitors)
    model = family("lag_regression", lags=[1], calendar=False).fit(Rows(data.iloc[:200]), given)
    future = data.iloc[200:].drop(columns="visitors").reset_index(drop=True)
    found = model.predict(Rows(future))["prediction"]
    np.testing.assert_allclose(found, values[200:], atol=1.5)
    extended = model.extend(Rows(data.iloc[:207])).predict(Rows(future.iloc[7:].reset_index(drop=True)))
    np.testing.assert_allclose(extended["prediction"], values[207:], atol=1.5)


def test_categories_are_encoded_and_unseen_ones_are_neutral() -> None:
    generator = np.random.default_rng(2)
    kind = generator.choice(["a", "b", "c"], 114)
    values = np.select([kind == "a", kind == "b"], [10.0, 20.0], 30.0) + generator.normal(0, 0.1, 114)
    data = frame(values, kind=kind)
    given = spec(levels=(), features=("kind",), known_future=("kind",), categorical=("kind",))
    model = family("lag_regression", lags=[], calendar=False, params={"alpha": 0.01}).fit(
        Rows(data.iloc[:100]), given
    )
    future = data.iloc[100:].reset_index(drop=True)
    np.testing.assert_allclose(model.predict(Rows(future))["prediction"], values[100:], atol=0.5)
    future["kind"] = "never seen"
    assert np.isfinite(model.predict(Rows(future))["prediction"]).all()


def test_a_missing_known_future_value_makes_its_row_null_and_no_other() -> None:
    data = frame(weekly(114), promo=np.tile([0.0, 1.0], 57), kind=["a", "b", None] * 38)
    given = spec(features=("promo", "kind"), known_future=("promo", "kind"), categorical=("kind",))
    model = family("lag_regression").fit(Rows(data.iloc[:100]), given)
    future = data.iloc[100:].reset_index(drop=True)
    future["kind"] = "a"
    future.loc[2, "promo"] = np.nan
    future.loc[5, "kind"] = None
    for values in model.predict(Rows(future)).values():
        assert np.flatnonzero(np.isnan(values)).tolist() == [2, 5]


def test_an_absent_known_future_column_is_refused_by_name() -> None:
    data = frame(weekly(114), promo=np.tile([0.0, 1.0], 57))
    given = spec(features=("promo",), known_future=("promo",))
    model = family("lag_regression").fit(Rows(data.iloc[:100]), given)
    with pytest.raises(ModelError, match="the rows have no column 'promo'"):
        model.predict(Rows(data.iloc[100:].drop(columns="promo").reset_index(drop=True)))


def test_an_effect_may_differ_by_weekday() -> None:
    generator = np.random.default_rng(0)
    promo = generator.integers(0, 2, 214)
    monday = np.arange(214) % 7 == 0
    values = 50 + np.where(promo == 1, np.where(monday, 30.0, 5.0), 0.0) + generator.normal(0, 0.1, 214)
    data = frame(values, promo=promo)
    given = spec(levels=(), features=("promo",), known_future=("promo",))
    errors = []
    for crossed in ([], ["promo"]):
        model = family("lag_regression", lags=[7], crossed=crossed).fit(Rows(data.iloc[:200]), given)
        found = model.predict(Rows(data.iloc[200:].reset_index(drop=True)))["prediction"]
        errors.append(np.abs(found - values[200:]).max())
    assert errors[1] < 2 < errors[0]
    with pytest.raises(ModelError, match="'price' is not a known-future feature; there are promo"):
        family("lag_regression", crossed=["price"]).fit(Rows(data), given)


def test_closed_sundays_are_neither_learned_nor_forecast_as_lags() -> None:
    values = weekly(140)
    data = frame(values, start="2024-01-01")
    open_days = data[data["day"].dt.day_of_week != 6].reset_index(drop=True)
    past, future = open_days[open_days["day"] < "2024-05-06"], open_days[open_days["day"] >= "2024-05-06"]
    history = Rows(past.reset_index(drop=True))
    model = family("lag_regression", lags=[1, 7], calendar=False).fit(history, spec(levels=()))
    assert np.flatnonzero(model.columns.usually_closed).size == 1
    asked = Rows(future.reset_index(drop=True))
    found = model.predict(asked)["prediction"]
    assert np.abs(found - asked.numbers("y")).mean() < 4
    # Monday's last known value is Saturday's, as it was in training; lags are sorted, nearest first.
    saturday, monday = history.numbers("y")[[-1, -6]]
    scale = model.scale
    table = (np.array([[saturday, monday]]) - scale.centre) / scale.factor
    assert found[0] == pytest.approx(float(model.regressor.predict(table)[0]) * scale.factor + scale.centre)


def test_the_days_around_a_closure_can_be_told() -> None:
    generator = np.random.default_rng(0)
    closed = np.sort(generator.choice(np.arange(10, 190), 20, replace=False))
    closed = closed[np.diff(closed, prepend=0) > 2]
    values = 50 + generator.normal(0, 0.1, 214)
    values[closed - 1] += 20
    values[204] += 20
    data = frame(values)
    past = Rows(data.iloc[:200].drop(index=closed).reset_index(drop=True))
    future = data.iloc[200:].drop(index=205).reset_index(drop=True)
    model = family("lag_regression", lags=[], calendar=["closure"], params={"alpha": 0.1}).fit(
        past, spec(levels=())
    )
    found = model.predict(Rows(future))["prediction"]
    np.testing.assert_allclose(found, future["y"], atol=1)


@pytest.mark.parametrize("estimator", ["sklearn.linear_model.Ridge", "sklearn.tree.DecisionTreeRegressor"])
def test_extending_is_what_a_longer_history_would_be_forecast_from(estimator: str) -> None:
    whole = rows(weekly(174))
    model = family("lag_regression", estimator=estimator, lags=[1, 7], calendar=False).fit(
        whole.part(0, 140), spec()
    )
    later = model.extend(whole.part(0, 160))
    assert later.regressor is model.regressor
    future = whole.part(160, 161)
    values = whole.numbers("y")
    scaled = (values[[159, 153]] - model.scale.centre) / model.scale.factor
    wanted = float(model.regressor.predict(scaled[None])[0]) * model.scale.factor + model.scale.centre
    assert later.predict(future)["prediction"][0] == pytest.approx(wanted)


def test_eighty_percent_intervals_cover_about_eighty_percent_even_of_an_overfitted_model() -> None:
    for estimator, params in (
        ("sklearn.linear_model.Ridge", {}),
        ("sklearn.tree.DecisionTreeRegressor", {"max_depth": 8}),
    ):
        inside = []
        for seed in range(20):
            values = _autoregression(214, seed)
            whole = Rows(frame(values))
            model = family("lag_regression", estimator=estimator, params=params, lags=[1, 2], calendar=False)
            found = model.fit(whole.part(0, 200), spec()).predict(whole.part(200, 214))
            inside.append(
                (found["prediction_lo_80"] <= values[200:]) & (values[200:] <= found["prediction_hi_80"])
            )
        assert np.mean(inside) == pytest.approx(0.8, abs=0.12), estimator


def test_intervals_widen_with_the_step_and_never_narrow() -> None:
    whole = rows(_autoregression(214).cumsum())
    found = (
        family("lag_regression", lags=[1], calendar=False)
        .fit(whole.part(0, 200), spec())
        .predict(whole.part(200, 214))
    )
    widths = found["prediction_hi_80"] - found["prediction_lo_80"]
    assert (np.diff(widths) >= -1e-9).all()
    assert widths[-1] > 1.5 * widths[0]


def test_a_history_too_short_to_hold_a_part_out_has_the_deviation_of_its_values() -> None:
    values = weekly(13)
    whole = rows(np.concatenate([values, np.zeros(14)]))
    found = (
        family("lag_regression", lags=[1], calendar=False)
        .fit(whole.part(0, 13), spec())
        .predict(whole.part(13, 27))
    )
    widths = found["prediction_hi_80"] - found["prediction_lo_80"]
    np.testing.assert_allclose(widths, 2 * 1.2815515655446004 * values.std(), rtol=1e-6)


def test_a_history_too_short_for_its_lags_is_refused() -> None:
    with pytest.raises(ModelError, match="lag_regression with season 7 needs at least 24 rows, found 20"):
        family("lag_regression", lags=[14]).fit(rows(weekly(20)), spec())
    gappy = weekly(40)
    gappy[5:38] = np.nan
    with pytest.raises(ModelError, match="needs at least 10 rows after its longest lag"):
        family("lag_regression", lags=[1]).fit(rows(gappy), spec())


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing to learn from"):
        family("lag_regression", lags=[], calendar=False).fit(rows(weekly(40)), spec())


def test_a_named_rule_gives_lags_by_season_and_length() -> None:
    assert lags_by("neighbours", 7, 365) == (1, 2, 3, 6, 7, 8, 13, 14, 15)
    assert lags_by("neighbours", 24, 960) == (1, 2, 3, 23, 24, 25, 47, 48, 49, 167, 168, 169)
    assert lags_by("neighbours", 24, 300) == (1, 2, 3, 23, 24, 25, 47, 48, 49)
    assert lags_by("neighbours", 1, 60) == (1, 2, 3)
    assert lags_by("dense", 7, 365) == (1, 2, 3, 4, 5, 6, 7, 8, 14)
    assert lags_by("dense", 4, 6) == (1, 2)
    with pytest.raises(JobError, match="parameter lags"):
        family("lag_regression", lags="nearby")


def test_the_usual_lags_follow_the_season_and_the_length() -> None:
    assert usual_lags(7, 365) == (1, 2, 7, 8, 14, 15)
    assert usual_lags(24, 960) == (1, 2, 24, 25, 48, 49, 168, 169)
    assert usual_lags(1, 100) == (1, 2, 3)
    assert usual_lags(12, 40) == (1, 2, 12, 13)
    assert usual_lags(7, 4) == (1,)


@pytest.mark.parametrize(
    ("frequency", "season", "length", "wanted"),
    [
        ("D", 7, 10, ()),
        ("D", 7, 100, ("weekday",)),
        ("D", 7, 800, ("weekday", "month")),
        ("B", 5, 100, ("weekday",)),
        ("h", 24, 47, ()),
        ("h", 24, 200, ("hour",)),
        ("h", 24, 960, ("hour", "weekday")),
        ("15min", 96, 9600, ("hour", "weekday")),
        ("W-SUN", 52, 100, ()),
        ("W-SUN", 52, 150, ("yearly",)),
        ("MS", 12, 36, ("month",)),
        ("QE-DEC", 4, 20, ("quarter",)),
        ("YE-DEC", 1, 20, ()),
        ("step", 24, 100, ("season",)),
        ("step", 1, 100, ()),
    ],
)
def test_the_usual_calendar_is_what_the_history_covers_twice(
    frequency: str, season: int, length: int, wanted: tuple[str, ...]
) -> None:
    assert usual_calendar(frequency, season, length) == wanted


def test_calendar_features_are_those_of_pandas() -> None:
    times = pd.date_range("2023-12-25 22:00", periods=900, freq="h")
    names = ("hour", "weekday", "monthpart", "month", "quarter", "yearly", "trend", "season", "closure")
    periods = times.to_numpy().astype("datetime64[h]").astype(np.int64)
    closed = np.zeros(900, dtype=bool)
    closed[10] = True
    matrix = calendar_features(Design((), (), names, 5, "h", int(periods[0]), 900), periods, closed)
    blocks = np.split(matrix, np.cumsum([24, 7, 6, 12, 4, 6, 1, 5]), axis=1)
    places = [block.argmax(axis=1) for block in blocks[:5]]
    assert all((block.sum(axis=1) == 1).all() for block in [*blocks[:5], blocks[7]])
    np.testing.assert_array_equal(places[0], times.hour)
    np.testing.assert_array_equal(places[1], times.day_of_week)
    np.testing.assert_array_equal(places[2], np.minimum((times.day - 1) // 5, 5))
    np.testing.assert_array_equal(places[3], times.month - 1)
    np.testing.assert_array_equal(places[4], times.quarter - 1)
    year = (times.day_of_year.to_numpy() - 1 + times.hour.to_numpy() / 24) / 365.25
    np.testing.assert_allclose(blocks[5][:, 0], np.sin(2 * np.pi * year), atol=1e-9)
    np.testing.assert_allclose(blocks[5][:, 5], np.cos(6 * np.pi * year), atol=1e-9)
    np.testing.assert_allclose(blocks[6][:, 0], np.arange(900) / 900)
    assert np.flatnonzero(blocks[8][:, 0]).tolist() == [11]
    assert np.flatnonzero(blocks[8][:, 1]).tolist() == [9]


def test_positions_have_no_calendar() -> None:
    data = Rows(pd.DataFrame({"day": np.arange(60), "y": weekly(60)}))
    with pytest.raises(ModelError, match="calendar feature weekday needs times"):
        family("lag_regression", calendar=["weekday"]).fit(data, replace(spec(), frequency="step"))


def test_unknown_periods_are_filled_from_the_past_only() -> None:
    values = np.array([[1.0, 2, 3, 0, 5, 6, 0, 0, 9, 0]])
    known = values != 0
    fill_back(values, known, 3, 1, 10)
    # 3: a season before; 6: two seasons before would be 0, so the last; 7: a season before; 9: the season before is unknown.
    assert values[0].tolist() == [1, 2, 3, 1, 5, 6, 1, 5, 9, 9]


def test_filling_a_part_continues_what_was_filled_before() -> None:
    generator = np.random.default_rng(0)
    known = generator.random((3, 40)) < 0.7
    known[:, 0] = True
    values = np.where(known, generator.normal(size=(3, 40)), 0.0)
    whole = values.copy()
    fill_back(whole, known, 7, 1, 40)
    for cut in (1, 13, 39):
        parts = values.copy()
        fill_back(parts, known, 7, 1, cut)
        fill_back(parts, known, 7, cut, 40)
        np.testing.assert_array_equal(parts, whole)


def test_an_encoder_standardises_numbers_and_splits_categories() -> None:
    data = frame(
        np.zeros(4), x=[1.0, 2, 3, np.nan], flag=[True, False, True, True], kind=["b", "a", "b", None]
    )
    encoder = Encoder.learn(("x", "flag", "kind"), (), [Rows(data)])
    matrix, lacking = encoder.encode(Rows(data))
    assert encoder.width == matrix.shape[1] == 4
    np.testing.assert_allclose(matrix[:3, 0], (np.array([1, 2, 3]) - 2) / np.sqrt(2 / 3))
    assert matrix[:, 2:].tolist() == [[1, 0], [0, 1], [1, 0], [0, 0]]  # the most frequent first
    assert lacking.tolist() == [False, False, False, True]
    assert matrix[3, 0] == 0


def test_an_encoder_takes_times_constants_and_whole_numbers_as_categories() -> None:
    data = frame(
        np.zeros(4),
        when=pd.date_range("2024-01-01", periods=4),
        still=[5] * 4,
        code=[3, 3, 9, 3],
        only=["a"] * 4,
    )
    encoder = Encoder.learn(("when", "still", "code", "only"), ("code",), [Rows(data)])
    matrix, lacking = encoder.encode(Rows(data))
    assert matrix.shape == (4, 4)
    assert (np.diff(matrix[:, 0]) > 0).all()
    assert (matrix[:, 1] == 0).all()
    assert matrix[:, 2:].tolist() == [[1, 0], [1, 0], [0, 1], [1, 0]]
    assert not lacking.any()


def test_rare_categories_share_the_neutral_code() -> None:
    data = frame(np.zeros(500), kind=[f"k{at % 100}" for at in range(500)])
    assert Encoder.learn(("kind",), (), [Rows(data)]).width == 30


def test_periods_without_a_row_are_lags_but_no_lesson() -> None:
    data = frame(_autoregression(120))
    model = family("lag_regression", lags=[1], calendar=False)
    gappy = model.fit(without(data, 60, 61, 62), spec(levels=()))
    whole = model.fit(Rows(data), spec(levels=()))
    assert gappy.regressor.weights == pytest.approx(whole.regressor.weights, abs=0.1)


def test_a_known_future_feature_that_is_always_the_same_says_nothing_even_with_holes() -> None:
    values, price = weekly(154), np.full(154, 0.1)  # whose mean is not 0.1 to the last bit
    price[::9] = np.nan
    whole = rows(values, price=price)
    given = spec(features=("price",), known_future=("price",))
    found = family("lag_regression").fit(whole.part(0, 140), given).predict(whole.part(140, 154))
    plain = family("lag_regression").fit(whole.part(0, 140), spec()).predict(whole.part(140, 154))
    there = ~np.isnan(price[140:])
    np.testing.assert_allclose(found["prediction"][there], plain["prediction"][there], rtol=1e-12)
