from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forecast_cases import frame, rows, spec, without

from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec
from manymodels.models.forecast.series import Basis, Series, fill
from manymodels.records import Rows

NAN = np.nan


def _read(some: Rows, **changes: Any) -> Series:
    return Series.read(some, Basis.of(spec(**changes)))


def test_regular_rows_are_taken_as_they_are_without_a_copy() -> None:
    some = rows([1, 2, 3, 4])
    series = _read(some)
    assert np.shares_memory(series.target, some.numbers("y"))
    assert series.target.tolist() == [1, 2, 3, 4]
    assert series.row_of.tolist() == [0, 1, 2, 3]
    assert (len(series), series.observed, series.end - series.start) == (4, 4, 3)


def test_leading_and_trailing_periods_without_a_target_are_left_out() -> None:
    series = _read(rows([NAN, 1, NAN, 3, NAN, NAN]))
    np.testing.assert_array_equal(series.target, [1, NAN, 3])
    assert series.row_of.tolist() == [1, 2, 3]
    assert series.observed == 2
    assert series.start == _read(rows([1, 2])).start + 1


@pytest.mark.parametrize(
    ("gaps", "wanted"),
    [
        ("leave", [1, NAN, NAN, 4, NAN, 6]),
        ("zero", [1, 0, 0, 4, NAN, 6]),
        ("ffill", [1, 1, 1, 4, NAN, 6]),
        ("interpolate", [1, 2, 3, 4, NAN, 6]),
    ],
)
def test_a_period_without_a_row_is_what_the_job_says_and_a_null_target_stays_unknown(
    gaps: str, wanted: list[float]
) -> None:
    series = _read(without(frame([1, 2, 3, 4, NAN, 6]), 1, 2), gaps=gaps)
    np.testing.assert_array_equal(series.target, wanted)
    assert series.row_of.tolist() == [0, -1, -1, 1, 2, 3]


@pytest.mark.parametrize(
    ("rule", "wanted"), [("last", [1, NAN, 5]), ("sum", [1, 2, 9]), ("mean", [1, 2, 4.5])]
)
def test_rows_of_one_period_are_combined_and_their_features_are_the_last(
    rule: str, wanted: list[float]
) -> None:
    days = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-02", "2024-01-03", "2024-01-03"])
    data = pd.DataFrame({"day": days, "y": [1.0, 2.0, NAN, 4.0, 5.0], "x": [10, 20, 21, 30, 31]})
    series = _read(Rows(data), on_duplicate_time=rule)
    np.testing.assert_array_equal(series.target, wanted)
    assert series.column("x").tolist() == [10, 21, 31]


def test_rows_of_one_period_are_refused_when_nothing_says_how_to_combine_them() -> None:
    days = pd.to_datetime(["2024-01-01 08:00", "2024-01-02 08:00", "2024-01-02 17:00"])
    with pytest.raises(ModelError, match=r"several rows in the period 2024-01-02.*data.on_duplicate_time"):
        _read(Rows(pd.DataFrame({"day": days, "y": [1.0, 2.0, 3.0]})))


def test_a_total_of_nothing_is_unknown() -> None:
    days = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-02", "2024-01-03"])
    data = pd.DataFrame({"day": days, "y": [1.0, NAN, NAN, 3.0]})
    np.testing.assert_array_equal(_read(Rows(data), on_duplicate_time="sum").target, [1, NAN, 3])


def test_rows_out_of_order_are_put_in_order() -> None:
    data = frame([1, 2, 3, 4]).iloc[[2, 0, 3, 1]].reset_index(drop=True)
    series = _read(Rows(data))
    assert series.target.tolist() == [1, 2, 3, 4]
    assert series.row_of.tolist() == [1, 3, 0, 2]


def test_a_part_of_a_batch_counts_its_own_rows() -> None:
    some = rows([9, 9, 9, 1, 2, 3]).part(3, 6)
    series = _read(some)
    assert series.row_of.tolist() == [0, 1, 2]
    assert series.column("y").tolist() == [1, 2, 3]


def test_an_integer_target_and_a_nullable_one_are_numbers() -> None:
    data = frame([1, 2, 3])
    assert _read(Rows(data.astype({"y": "int32"}))).target.tolist() == [1, 2, 3]
    nullable = data.assign(y=pd.array([1, None, 3], dtype="Int64"))
    np.testing.assert_array_equal(_read(Rows(nullable)).target, [1, NAN, 3])


def test_a_row_without_a_time_is_refused() -> None:
    data = frame([1, 2, 3])
    data.loc[1, "day"] = pd.NaT
    with pytest.raises(UnusableRowsError, match="a row without a time in day"):
        _read(Rows(data))


def test_a_grid_far_finer_than_the_rows_is_refused_instead_of_filling_memory() -> None:
    data = pd.DataFrame({"day": np.arange(100) * 10**9, "y": np.arange(100.0)})
    with pytest.raises(ModelError, match="100 rows in 99,000,000,001 periods of frequency step"):
        _read(Rows(data), frequency="step")


def test_what_comes_after_a_period_starts_right_after_it() -> None:
    series = _read(rows([1, 2, 3, 4, 5]))
    later = series.after(series.start + 2)
    assert later is not None
    assert (later.start, later.target.tolist()) == (series.start + 3, [4, 5])
    assert later.row_of.tolist() == [3, 4]
    assert series.after(series.end) is None
    ahead = series.after(series.start - 3)
    assert ahead is not None
    np.testing.assert_array_equal(ahead.target, [NAN, NAN, 1, 2, 3, 4, 5])
    assert ahead.row_of.tolist() == [-1, -1, 0, 1, 2, 3, 4]


def test_missing_values_are_filled_between_their_neighbours() -> None:
    np.testing.assert_allclose(fill(np.array([1, NAN, 3, NAN, NAN, 6]), 1), [1, 2, 3, 4, 5, 6])
    whole = np.array([1.0, 2.0])
    assert fill(whole, 1) is whole


def test_missing_values_follow_the_season_where_it_was_seen_twice() -> None:
    week = np.array([0, 10, 20, 30, 40, 50, 60.0])
    values = np.tile(week, 4)
    values[[8, 9, 17]] = NAN
    np.testing.assert_allclose(fill(values, 7), np.tile(week, 4))


def test_a_weekday_that_was_never_seen_is_interpolated() -> None:
    values = np.tile([1.0, 2, 3, 4, 5, 6, NAN], 4)[:-1]
    filled = fill(values, 7)
    assert np.isfinite(filled).all()
    assert filled[6] == pytest.approx(3.5)


def test_a_spec_without_a_time_is_no_forecast() -> None:
    with pytest.raises(ModelError, match="needs a target, a time column and a frequency"):
        Basis.of(FitSpec(task="forecast", target="y"))
    assert Basis.of(replace(spec(), seed=9)).seed == 9
