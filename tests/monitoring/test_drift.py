from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from manymodels.monitoring.drift import ks_distance, ks_limit, mean_shift, stability_index


def test_the_distance_of_two_samples_is_scipys() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=80), rng.integers(-2, 3, size=50).astype(float)
    assert ks_distance(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic)
    assert ks_distance(one, np.empty(0)) == 0.0


def test_samples_of_one_distribution_seldom_exceed_the_limit() -> None:
    rng = np.random.default_rng(1)
    limit = ks_limit(200, 100, 0.05)
    found = [ks_distance(rng.normal(size=200), rng.normal(size=100)) > limit for _ in range(400)]
    assert 0.01 < np.mean(found) < 0.08
    # The asymptotic distribution itself.
    assert stats.kstwobign.sf(limit * np.sqrt(200 * 100 / 300)) == pytest.approx(0.05, abs=0.001)


def test_the_stability_index_is_the_sum_over_bins() -> None:
    before, after = np.array(["a", "a", "b"], dtype=object), np.array(["a", "b", "b", "c"], dtype=object)
    shares = np.array([2.5, 1.5, 0.5]) / 4.5, np.array([1.5, 2.5, 1.5]) / 5.5
    expected = ((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum()
    assert stability_index(before, after) == pytest.approx(expected)
    assert stability_index(before, before) == pytest.approx(0)
    assert stability_index(before, before[:0]) is None


def test_the_stability_index_sees_a_shift_and_missing_values_but_not_noise() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(size=5000)
    assert stability_index(before, rng.normal(size=5000)) < 0.02
    assert stability_index(before, rng.normal(loc=0.7, size=5000)) > 0.25
    holes = before.copy()
    holes[::2] = np.nan
    assert stability_index(before, holes) > 0.25
    constant = np.zeros(100)
    assert stability_index(constant, constant) == pytest.approx(0)
    assert stability_index(constant, constant + 1) > 0.25


def test_a_shift_of_the_mean_is_found_where_it_began() -> None:
    rng = np.random.default_rng(3)
    steady = rng.normal(size=200)
    quiet = mean_shift(steady)
    assert quiet is not None
    assert abs(quiet.height) < 8
    shifted = steady.copy()
    shifted[120:] -= 1.5
    found = mean_shift(shifted)
    assert found is not None
    assert found.height < -8
    assert 110 <= found.start <= 125
    up = mean_shift(-shifted)
    assert up is not None
    assert up.height == pytest.approx(-found.height)


def test_the_sum_of_a_lasting_bias_grows_by_what_it_exceeds_the_slack() -> None:
    found = mean_shift(np.full(11, 3.0))
    assert found is not None
    assert (found.height, found.start) == (11 * 0.5, 0)


def test_waves_around_zero_are_no_shift() -> None:
    found = mean_shift(np.sin(np.arange(200) / 4))
    assert found is not None
    assert abs(found.height) < 8


@pytest.mark.parametrize("residuals", [[], [0.0, 0.0, 0.0]])
def test_nothing_to_judge_by_is_no_shift(residuals: list[float]) -> None:
    assert mean_shift(np.array(residuals)) is None
