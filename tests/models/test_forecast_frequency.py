from __future__ import annotations

import datetime as dt
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.exceptions import DataError, JobError
from manymodels.models.forecast.frequency import (
    cutoff_value,
    future_times,
    infer_frequency,
    normalise_frequency,
    period_index,
    period_times,
    season_length,
    time_values,
)

SPELLINGS = [
    ("D", "D", 7),
    ("1D", "D", 7),
    ("d", "D", 7),
    ("H", "h", 24),
    ("h", "h", 24),
    ("2H", "2h", 12),
    ("T", "min", 1440),
    ("min", "min", 1440),
    ("15T", "15min", 96),
    ("15min", "15min", 96),
    ("30min", "30min", 48),
    ("7min", "7min", 1),
    ("S", "s", 60),
    ("s", "s", 60),
    ("L", "ms", 60_000),
    ("W", "W-SUN", 52),
    ("W-MON", "W-MON", 52),
    ("2W", "2W-SUN", 26),
    ("M", "ME", 12),
    ("ME", "ME", 12),
    ("MS", "MS", 12),
    ("2MS", "2MS", 6),
    ("5MS", "5MS", 1),
    ("Q", "QE-DEC", 4),
    ("QE-NOV", "QE-NOV", 4),
    ("QS", "QS-JAN", 4),
    ("QS-FEB", "QS-FEB", 4),
    ("Y", "YE-DEC", 1),
    ("A", "YE-DEC", 1),
    ("AS", "YS-JAN", 1),
    ("YS-APR", "YS-APR", 1),
    ("B", "B", 5),
    ("step", "step", 1),
]
SPACED = [spelling for spelling in SPELLINGS if spelling[1] not in ("step", "ms")]


@pytest.mark.parametrize(("given", "today", "season"), SPELLINGS)
def test_old_and_new_spellings_have_one_name_and_a_season(given: str, today: str, season: int) -> None:
    assert normalise_frequency(given) == today
    assert normalise_frequency(today) == today
    assert season_length(today) == season


@pytest.mark.parametrize(
    "wrong", ["", "x", "fortnight", "0D", "-1D", "W-XYZ", "ME-JAN", "D-MON", "SME", "1.5h"]
)
def test_what_is_no_frequency_is_refused_with_the_known_ones(wrong: str) -> None:
    with pytest.raises(JobError, match=r"data\.frequency: expected a pandas offset alias"):
        normalise_frequency(wrong)


@pytest.mark.parametrize(("today", "season"), [(today, season) for _, today, season in SPACED])
def test_periods_are_numbered_one_by_one_and_back_to_pandas_times(today: str, season: int) -> None:
    times = pd.date_range("1969-11-30 00:00", periods=60, freq=today).to_numpy()
    numbers = period_index(times, today)
    assert numbers.dtype == np.int64
    np.testing.assert_array_equal(np.diff(numbers), 1)
    found = period_times(numbers, today)
    assert found.dtype == np.dtype("datetime64[us]")
    np.testing.assert_array_equal(period_index(found, today), numbers)
    # A multiple that does not divide a day or a year is counted from 1970, pandas counts it from the start.
    if today not in ("7min", "2MS", "5MS"):
        np.testing.assert_array_equal(found, times)


@pytest.mark.parametrize(("today", "season"), [(today, season) for _, today, season in SPACED])
def test_future_times_go_on_as_pandas_does(today: str, season: int) -> None:
    times = pd.date_range("2023-12-30", periods=40, freq=today).to_numpy()
    np.testing.assert_array_equal(future_times(cutoff_value(times[0]), today, 39), times[1:])


@pytest.mark.parametrize(("today", "season"), [(today, season) for _, today, season in SPACED])
def test_frequencies_are_inferred_from_several_keys_with_gaps(today: str, season: int) -> None:
    times = pd.date_range("2020-01-01", periods=60, freq=today).to_numpy()
    gappy = np.delete(times, [3, 4, 20, 41])
    assert infer_frequency([times[:2], gappy, times[5:6]]) == today


def test_a_moment_belongs_to_the_period_that_contains_it() -> None:
    times = np.array(["2024-02-29T23:59", "2024-03-01T00:00", "2024-03-31T12:00"], dtype="datetime64[m]")
    assert np.diff(period_index(times, "ME")).tolist() == [1, 0]
    assert np.diff(period_index(times, "QE-DEC")).tolist() == [0, 0]
    assert np.diff(period_index(times, "D")).tolist() == [1, 30]
    # 2024-03-02 is a Saturday: it counts as the Friday before.
    weekend = np.array(["2024-03-01", "2024-03-02", "2024-03-04"], dtype="datetime64[D]")
    assert np.diff(period_index(weekend, "B")).tolist() == [0, 1]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_unit_of_the_times_does_not_matter(unit: str) -> None:
    times = pd.date_range("2024-01-01", periods=5, freq="h").to_numpy().astype(f"datetime64[{unit}]")
    np.testing.assert_array_equal(period_index(times, "h") - period_index(times[:1], "h"), np.arange(5))


def test_dates_and_zoned_timestamps_are_times_in_utc() -> None:
    dates = np.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)], dtype=object)
    assert np.diff(period_index(dates, "D")).tolist() == [1]
    zoned = pd.Series(pd.date_range("2024-01-01 00:30", periods=2, freq="h", tz="Europe/Berlin")).to_numpy()
    assert zoned.dtype == object
    wanted = np.array(["2023-12-31T23:30", "2024-01-01T00:30"], dtype="datetime64[us]").view(np.int64)
    np.testing.assert_array_equal(time_values(zoned), wanted)


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(DataError, match="expected times in the time column, found \\['soon'\\]"):
        time_values(np.array(["soon"], dtype=object))
    with pytest.raises(DataError, match="expected times or whole numbers in the time column, found float64"):
        time_values(np.array([1.5]))


@pytest.mark.parametrize(
    "time",
    [
        np.datetime64("2024-01-02T03:04:05", "s"),
        pd.Timestamp("2024-01-02T03:04:05"),
        dt.datetime(2024, 1, 2, 3, 4, 5),
        pd.Timestamp("2024-01-02T04:04:05", tz="Europe/Berlin"),
        1704164645000000,
    ],
)
def test_a_cutoff_is_microseconds_since_1970(time: Any) -> None:
    assert cutoff_value(time) == 1704164645000000


def test_positions_are_their_own_numbers() -> None:
    positions = np.array([4, 5, 7], dtype=np.int32)
    assert infer_frequency([positions]) == "step"
    np.testing.assert_array_equal(period_index(positions, "step"), positions)
    np.testing.assert_array_equal(future_times(7, "step", 3), [8, 9, 10])


@pytest.mark.parametrize(
    ("cutoff", "frequency", "wanted"),
    [
        ("2024-01-01", "W-SUN", ["2024-01-08", "2024-01-15"]),  # Mondays stay Mondays
        ("2024-01-01", "ME", ["2024-02-01", "2024-03-01"]),  # the first of the month stays the first
        ("2024-01-31", "MS", ["2024-02-29", "2024-03-31"]),  # the last stays the last
        ("2024-01-15", "MS", ["2024-02-15", "2024-03-15"]),
        ("2024-01-30", "MS", ["2024-02-29", "2024-03-30"]),
        ("2024-01-01T06:30", "D", ["2024-01-02T06:30", "2024-01-03T06:30"]),
        ("2024-01-05T08:00", "B", ["2024-01-08T08:00", "2024-01-09T08:00"]),
    ],
)
def test_future_times_keep_the_cutoffs_place_in_its_period(
    cutoff: str, frequency: str, wanted: list[str]
) -> None:
    found = future_times(cutoff_value(np.datetime64(cutoff)), frequency, 2)
    np.testing.assert_array_equal(found, np.array(wanted, dtype="datetime64[us]"))
    numbers = period_index(np.append(np.datetime64(cutoff, "us"), found), frequency)
    np.testing.assert_array_equal(np.diff(numbers), 1)


def test_a_shop_open_on_two_weekdays_is_daily() -> None:
    days = pd.date_range("2024-01-01", periods=90, freq="D")
    assert infer_frequency([days[days.day_of_week.isin([1, 3])].to_numpy()]) == "D"


def test_a_shop_closed_on_sundays_is_daily_and_an_office_has_business_days() -> None:
    days = pd.date_range("2024-01-01", periods=90, freq="D")
    assert infer_frequency([days[days.day_of_week != 6].to_numpy()]) == "D"
    assert infer_frequency([days[days.day_of_week < 5].to_numpy()]) == "B"


def test_months_by_their_fifteenth_are_months() -> None:
    times = pd.date_range("2024-01-01", periods=24, freq="MS").to_numpy() + np.timedelta64(14, "D")
    assert infer_frequency([times]) == "MS"


def test_repeated_times_do_not_hide_the_frequency() -> None:
    times = np.repeat(pd.date_range("2024-01-01", periods=10, freq="h").to_numpy(), 3)
    assert infer_frequency([times]) == "h"


def test_without_a_frequency_there_is_an_error_that_says_what_to_set() -> None:
    events = np.datetime64("2024-01-01", "us") + np.random.default_rng(0).integers(0, 10**12, 50)
    with pytest.raises(DataError, match=r"not evenly spaced .* set data.frequency"):
        infer_frequency([np.sort(events)])
    with pytest.raises(DataError, match=r"no key of the sample has two times; set data.frequency"):
        infer_frequency([events[:1], events[1:2]])
    with pytest.raises(DataError, match=r"set data.frequency"):
        infer_frequency([])


def test_no_pandas_spelling_is_used_that_some_supported_pandas_deprecates() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _, today, _ in SPACED:
            pd.tseries.frequencies.to_offset(today)
