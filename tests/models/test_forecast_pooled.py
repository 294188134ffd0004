from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from forecast_cases import frame, rows, spec, weekly

from manymodels.exceptions import ModelError
from manymodels.models.contract import FittedModel
from manymodels.models.forecast.pooled import NaiveForecast, PooledForecast
from manymodels.records import Rows


def _fleet(count: int = 12, length: int = 120) -> list[Rows]:
    return [rows(weekly(length, seed) * size) for seed, size in enumerate(np.geomspace(0.1, 1000, count))]


def _key(length: int, size: float = 7.0) -> tuple[Rows, Rows, np.ndarray[Any, Any]]:
    values = weekly(140, 99) * size
    whole = rows(values)
    return whole.part(126 - length, 126), whole.part(126, 140), values[126:]


@pytest.mark.parametrize("family", [PooledForecast(), NaiveForecast()])
def test_the_models_of_both_rungs_pickle_and_say_what_they_are(family: Any) -> None:
    model = family.fit_pooled(_fleet(), spec())
    assert isinstance(model, FittedModel)
    history, future, _ = _key(60)
    before = model.extend(history).predict(future)
    after = pickle.loads(pickle.dumps(model, 5)).extend(history).predict(future)
    for column, values in before.items():
        np.testing.assert_array_equal(values, after[column])
    assert model.describe()["family"] == ("pooled" if isinstance(family, PooledForecast) else "naive")


def test_the_fleet_forecasts_a_key_of_another_size_that_it_never_saw() -> None:
    model = PooledForecast().fit_pooled(_fleet(), spec())
    for size in (0.01, 7.0, 1e6):
        history, future, actual = _key(60, size)
        found = model.extend(history).predict(future)["prediction"]
        assert np.abs(found - actual).mean() < 5 * size


@pytest.mark.parametrize("length", [1, 3, 9, 15])
def test_a_key_with_a_short_history_is_forecast_with_bounds(length: int) -> None:
    model = PooledForecast().fit_pooled(_fleet(), spec())
    history, future, actual = _key(length)
    found = model.extend(history).predict(future)
    assert np.abs(found["prediction"] - actual).mean() < 9 * 7
    assert (found["prediction_lo_95"] < found["prediction_lo_80"]).all()
    assert (found["prediction_hi_80"] < found["prediction_hi_95"]).all()


def test_the_fleet_knows_the_week_better_than_a_short_history_does() -> None:
    model = PooledForecast().fit_pooled(_fleet(), spec(levels=()))
    history, future, actual = _key(9)
    naive = NaiveForecast().fit_pooled(_fleet(), spec(levels=())).extend(history.part(4, 9))
    pooled_error = np.abs(model.extend(history.part(4, 9)).predict(future)["prediction"] - actual).mean()
    assert pooled_error < np.abs(naive.predict(future)["prediction"] - actual).mean()


def test_without_a_history_the_pooled_forecast_is_refused() -> None:
    model = PooledForecast().fit_pooled(_fleet(), spec())
    with pytest.raises(ModelError, match="starts from a key's history, and this key has none"):
        model.predict(_key(60)[1])


def test_a_bound_history_can_be_extended_further() -> None:
    model = PooledForecast().fit_pooled(_fleet(), spec())
    whole = rows(weekly(140, 99))
    once = model.extend(whole.part(0, 126)).predict(whole.part(126, 140))
    twice = model.extend(whole.part(0, 110)).extend(whole.part(0, 126)).predict(whole.part(126, 140))
    # The scale stays that of the history that was bound first.
    np.testing.assert_allclose(once["prediction"], twice["prediction"], rtol=0.02)


def test_keys_below_zero_are_pooled_without_logarithms() -> None:
    fleet = [rows(weekly(120, seed) - 50) for seed in range(6)]
    model = PooledForecast().fit_pooled(fleet, spec())
    whole = rows(weekly(140, 99) - 50)
    found = model.extend(whole.part(0, 126)).predict(whole.part(126, 140))
    assert np.abs(found["prediction"] - whole.numbers("y")[126:]).mean() < 5
    with pytest.raises(ModelError, match="not negative"):
        PooledForecast().fit_pooled(_fleet(), spec()).extend(whole.part(0, 126))


def test_zeros_and_dead_keys_are_pooled_with_the_others() -> None:
    fleet = [*_fleet(4), rows(np.zeros(60)), rows(np.full(60, np.nan)), rows([1.0])]
    model = PooledForecast().fit_pooled(fleet, spec())
    dead = model.extend(rows(np.zeros(30))).predict(rows(np.zeros(14), start="2024-02-01"))
    assert np.abs(dead["prediction"]).max() < 0.5


def test_covariates_are_the_fleets() -> None:
    generator = np.random.default_rng(0)
    fleet = []
    for seed in range(6):
        promo = generator.integers(0, 2, 140)
        fleet.append(Rows(frame(weekly(140, seed) * (1 + 0.5 * promo), promo=promo)))
    given = spec(levels=(), features=("promo",), known_future=("promo",))
    model = PooledForecast().fit_pooled([key.part(0, 126) for key in fleet], given)
    future = fleet[0].part(126, 140)
    found = model.extend(fleet[0].part(100, 126)).predict(future)["prediction"]
    assert np.corrcoef(found, future.numbers("promo"))[0, 1] > 0.8


def test_the_fit_is_repeatable_and_a_large_fleet_is_drawn_by_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from manymodels.models.forecast import pooled

    history, future, _ = _key(60)

    def predict(seed: int) -> Any:
        model = PooledForecast().fit_pooled(_fleet(), spec(seed=seed))
        return model.extend(history).predict(future)["prediction"]

    np.testing.assert_array_equal(predict(1), predict(2))
    monkeypatch.setattr(pooled, "_MOST_ROWS", 400)
    np.testing.assert_array_equal(predict(1), predict(1))
    assert (predict(1) != predict(2)).any()


@pytest.mark.parametrize("family", [PooledForecast(), NaiveForecast()])
def test_a_fleet_without_a_value_is_refused(family: Any) -> None:
    with pytest.raises(ModelError, match="none of 2 keys has a value in the target y"):
        family.fit_pooled([rows([np.nan, np.nan]), rows([np.nan])], spec())


def test_pooled_intervals_cover_about_eighty_percent() -> None:
    generator = np.random.default_rng(0)
    fleet = [rows(50 + generator.normal(0, 5, 120)) for _ in range(12)]
    model = PooledForecast().fit_pooled(fleet, spec())
    inside = []
    for _ in range(30):
        values = 50 + generator.normal(0, 5, 74)
        whole = rows(values)
        found = model.extend(whole.part(0, 60)).predict(whole.part(60, 74))
        inside.append((found["prediction_lo_80"] <= values[60:]) & (values[60:] <= found["prediction_hi_80"]))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.08)


def test_a_key_never_seen_is_forecast_as_the_fleets_mean_weekday() -> None:
    week = np.array([10.0, 20, 30, 40, 50, 60, 70])
    fleet = [rows(np.tile(week, 4) + shift) for shift in (-5, 5)]
    model = NaiveForecast().fit_pooled(fleet, spec())
    found = model.predict(rows(np.zeros(7), start="2024-03-06"))  # a Wednesday; the fleet starts on a Monday
    np.testing.assert_allclose(found["prediction"], np.roll(week, -2))
    assert (found["prediction_lo_80"] < found["prediction"]).all()
    assert list(found)[1:] == ["prediction_lo_80", "prediction_hi_80", "prediction_lo_95", "prediction_hi_95"]


def test_a_key_with_a_history_is_forecast_by_its_own_last_season_or_value() -> None:
    model = NaiveForecast().fit_pooled(_fleet(), spec())
    future = rows(np.zeros(7), start="2024-02-01")
    values = np.arange(31.0)
    assert model.extend(rows(values)).predict(future)["prediction"].tolist() == values[-7:].tolist()
    short = model.extend(rows(values[-5:], start="2024-01-27"))
    assert short.predict(future)["prediction"].tolist() == [30.0] * 7


def test_naive_rungs_keep_to_the_jobs_limits() -> None:
    fleet = [rows(np.full(20, shift)) for shift in (0.0, 10.0)]
    found = (
        NaiveForecast().fit_pooled(fleet, spec(non_negative=True)).predict(rows([0.0], start="2024-03-01"))
    )
    assert found["prediction"].tolist() == [5.0]
    assert found["prediction_lo_95"].tolist() == [0.0]
