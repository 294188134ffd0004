from __future__ import annotations

import numpy as np
import pytest

from manymodels.models.forecast.seasons import detect_season


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
