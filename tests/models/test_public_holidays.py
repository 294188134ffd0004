from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from manymodels.models.forecast.frequency import period_days, period_index
from manymodels.models.forecast.public_holidays import holiday_features


def _periods(times: pd.DatetimeIndex, frequency: str) -> np.ndarray:
    return period_index(times.to_numpy(), frequency)


def test_a_day_is_told_by_its_neighbours_too() -> None:
    days = pd.date_range("2024-12-23", periods=6)
    found = holiday_features("DE", _periods(days, "D"), "D")
    # Christmas in Germany is the 25th and the 26th.
    assert found[:, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert found[:, 1].tolist() == [0, 0, 0, 1, 1, 0]
    assert found[:, 2].tolist() == [0, 1, 1, 0, 0, 0]


def test_hours_have_the_holidays_of_their_day() -> None:
    hours = pd.date_range("2024-12-24 22:00", periods=4, freq="h")
    assert holiday_features("DE", _periods(hours, "h"), "h")[:, 0].tolist() == [0, 0, 1, 1]


def test_longer_periods_count_their_holidays() -> None:
    months = pd.date_range("2024-01-01", periods=12, freq="MS")
    found = holiday_features("DE", _periods(months, "MS"), "MS")[:, 0]
    assert found.tolist() == [
        1,
        0,
        1,
        1,
        3,
        0,
        0,
        0,
        0,
        1,
        0,
        2,
    ]  # Good Friday was in March, Easter Monday in April
    weeks = pd.DatetimeIndex(["2024-12-22", "2024-12-29", "2025-01-05"])
    assert holiday_features("DE", _periods(weeks, "W-SUN"), "W-SUN")[:, 0].tolist() == [0, 2, 1]


def test_a_part_of_a_country_has_holidays_of_its_own() -> None:
    day = _periods(pd.DatetimeIndex(["2024-11-01"]), "D")
    assert holiday_features("DE-BY", day, "D")[0, 0] == 1
    assert holiday_features("DE-BE", day, "D")[0, 0] == 0


@pytest.mark.parametrize(
    ("frequency", "time", "first", "last"),
    [
        ("D", "2024-02-29", "2024-02-29", "2024-02-29"),
        ("h", "2024-02-29 23:00", "2024-02-29", "2024-02-29"),
        ("2D", "2024-01-03", "2024-01-02", "2024-01-03"),
        ("W-SUN", "2024-02-28", "2024-02-26", "2024-03-03"),
        ("W-WED", "2024-02-28", "2024-02-22", "2024-02-28"),
        ("B", "2024-02-29", "2024-02-29", "2024-02-29"),
        ("MS", "2024-02-01", "2024-02-01", "2024-02-29"),
        ("ME", "2024-02-29", "2024-02-01", "2024-02-29"),
        ("QE-DEC", "2024-03-31", "2024-01-01", "2024-03-31"),
        ("YS-JAN", "2024-01-01", "2024-01-01", "2024-12-31"),
    ],
)
def test_the_days_of_a_period(frequency: str, time: str, first: str, last: str) -> None:
    number = period_index(np.array([time], dtype="datetime64[us]"), frequency)
    start, stop = period_days(number, frequency)
    found = [str(np.datetime64(int(day), "D")) for day in (start[0], stop[0] - 1)]
    assert found == [first, last]
