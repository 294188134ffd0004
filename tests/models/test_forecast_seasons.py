from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from forecast_cases import family, spec

from manymodels.models.forecast.seasons import detect_season, season_of
from manymodels.records import Rows


def _series(season: int, length: int, *, seed: int = 0, strength: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at = np.arange(length)
    profile = rng.normal(0, strength, season)
    return 0.3 * at + profile[at % season] + rng.normal(0, 1, length)


@pytest.mark.parametrize(("season", "length"), [(7, 100), (12, 120), (24, 500), (5, 60)])
def test_positions_have_the_season_that_most_series_have(season: int, length: int) -> None:
    series = [_series(season, length, seed=seed) for seed in range(6)]
    assert detect_season(series, "step") == season


def test_noise_and_walks_have_no_season() -> None:
    rng = np.random.default_rng(3)
    noise = [rng.normal(0, 1, 200) for _ in range(12)]
    assert detect_season(noise, "D") == 1
    assert detect_season([each.cumsum() for each in noise], "D") == 1
    assert detect_season([np.full(100, 3.0), np.zeros(2)], "step") == 1


def test_a_frequency_suggests_which_seasons_there_may_be() -> None:
    five = [_series(5, 120, seed=seed) for seed in range(4)]
    assert detect_season(five, "step") == 5
    assert detect_season(five, "D") == 1
    assert detect_season([_series(7, 120, seed=seed) for seed in range(4)], "D") == 7
    assert detect_season([_series(168, 1000, seed=seed) for seed in range(4)], "h") == 168


def test_a_season_of_few_is_not_the_fleets() -> None:
    rng = np.random.default_rng(4)
    noise = [rng.normal(0, 1, 100) for _ in range(4)]
    assert detect_season([*noise, _series(7, 100)], "D") == 1
    assert detect_season([*noise[:2], _series(7, 100), _series(7, 100, seed=1)], "D") == 7


def test_a_week_is_seven_days_of_hours_and_else_the_season_itself() -> None:
    assert season_of(None, spec(season_length=24)) == 24
    assert season_of(5, spec(season_length=24)) == 5
    assert season_of("week", spec(season_length=24)) == 168
    assert season_of("week", spec(season_length=7)) == 7


def test_families_take_the_week_for_a_season() -> None:
    hours = pd.date_range("2024-01-01", periods=24 * 22, freq="h")
    values = np.where(hours.day_of_week < 5, 100.0, 20.0) + hours.hour
    rows = Rows(pd.DataFrame({"day": hours, "y": values}))
    future = Rows(pd.DataFrame({"day": pd.date_range(hours[-1], periods=25, freq="h")[1:]}))
    hourly = spec(frequency="h", season_length=24, horizon=24, levels=())
    for name, params in (
        ("seasonal_naive", {}),
        ("ets", {}),
        ("theta", {}),
        ("lag_regression", {"lags": [168]}),
    ):
        made = family(name, season_length="week", **params).fit(rows, hourly)
        found = made.predict(future)["prediction"]
        assert abs(found.mean() - (100 + 11.5)) < 10, (
            name
        )  # the day after is a Tuesday, and the last day was a Monday
