"""Against the formulas of Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.5."""

from __future__ import annotations

import numpy as np
import pytest
from forecast_cases import family, frame, rows, spec, weekly, without
from scipy.stats import norm

from manymodels.records import Rows

Z = norm.ppf([0.9, 0.975])


def _widths(found: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack(
        [(found[f"prediction_hi_{level}"] - found[f"prediction_lo_{level}"]) / 2 for level in (80, 95)]
    )


def _predict(name: str, values: np.ndarray, **params: object) -> dict[str, np.ndarray]:
    whole = rows(np.concatenate([values, np.zeros(14)]))
    return (
        family(name, **params)
        .fit(whole.part(0, len(values)), spec())
        .predict(whole.part(len(values), len(whole)))
    )


def test_mean() -> None:
    values = weekly(50)
    found = _predict("mean", values)
    np.testing.assert_allclose(found["prediction"], values.mean())
    deviation = values.std(ddof=1) * np.sqrt(1 + 1 / 50)
    np.testing.assert_allclose(_widths(found), np.outer(Z, np.full(14, deviation)))


def test_naive() -> None:
    values = weekly(50)
    found = _predict("naive", values)
    np.testing.assert_array_equal(found["prediction"], values[-1])
    sigma = np.sqrt(np.mean(np.diff(values) ** 2))
    np.testing.assert_allclose(_widths(found), np.outer(Z, sigma * np.sqrt(np.arange(1, 15))))


def test_seasonal_naive() -> None:
    values = weekly(52)
    found = _predict("seasonal_naive", values)
    np.testing.assert_array_equal(found["prediction"], np.tile(values[-7:], 2))
    sigma = np.sqrt(np.mean((values[7:] - values[:-7]) ** 2))
    seasons = np.repeat([1, 2], 7)
    np.testing.assert_allclose(_widths(found), np.outer(Z, sigma * np.sqrt(seasons)))


def test_drift() -> None:
    values = weekly(50)
    found = _predict("drift", values)
    slope = (values[-1] - values[0]) / 49
    steps = np.arange(1, 15)
    np.testing.assert_allclose(found["prediction"], values[-1] + slope * steps)
    sigma = np.sqrt(np.sum((np.diff(values) - slope) ** 2) / 48)
    np.testing.assert_allclose(_widths(found), np.outer(Z, sigma * np.sqrt(steps * (1 + steps / 49))))


def test_the_season_is_the_jobs_or_the_candidates() -> None:
    values = np.arange(20.0)
    assert _predict("seasonal_naive", values)["prediction"][:7].tolist() == [13, 14, 15, 16, 17, 18, 19]
    assert _predict("seasonal_naive", values, season_length=3)["prediction"][:4].tolist() == [17, 18, 19, 17]


def test_seasonal_naive_takes_the_last_value_of_each_weekday_and_the_mean_of_others_where_there_was_none() -> (
    None
):
    data = frame(np.arange(28.0), start="2024-01-01")  # a Monday
    sundays = [6, 13, 20, 27]
    history = without(data, *sundays, 23)  # the last Wednesday is missing too
    found = family("seasonal_naive").fit(history, spec()).predict(rows(np.zeros(7), start="2024-01-28"))
    known = [21, 22, 16, 24, 25, 26]
    assert found["prediction"].tolist() == [np.mean(known), *known]


def test_drift_counts_the_periods_of_a_gap() -> None:
    history = without(frame(np.arange(10.0) * 2), 3, 4, 5)
    found = family("drift").fit(history, spec()).predict(rows(np.zeros(2), start="2024-01-11"))
    np.testing.assert_allclose(found["prediction"], [20, 22])


@pytest.mark.parametrize("name", ["mean", "naive", "drift"])
def test_eighty_percent_intervals_cover_about_eighty_percent(name: str) -> None:
    generator = np.random.default_rng(7)
    inside = []
    for _ in range(300):
        noise = generator.normal(0, 1, 74)
        values = 10 + noise if name == "mean" else np.cumsum(noise + 0.3 * (name == "drift"))
        whole = Rows(frame(values))
        found = family(name).fit(whole.part(0, 60), spec()).predict(whole.part(60, 74))
        inside.append((found["prediction_lo_80"] <= values[60:]) & (values[60:] <= found["prediction_hi_80"]))
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)
