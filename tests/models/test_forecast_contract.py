"""What holds for every forecast family."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forecast_cases import CANDIDATES, candidate, frame, rows, spec, weekly, without

from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.contract import FittedModel
from manymodels.records import Rows

COLUMNS = [
    "prediction",
    "prediction_lo_80",
    "prediction_hi_80",
    "prediction_lo_95",
    "prediction_hi_95",
]
FILTERING = [case for case in CANDIDATES if not case.startswith("lag_regression")]

every = pytest.mark.parametrize("case", CANDIDATES)


def _split(length: int = 140, horizon: int = 14) -> tuple[Rows, Rows]:
    whole = rows(weekly(length + horizon))
    return whole.part(0, length), whole.part(length, length + horizon)


def _values(predictions: Any) -> np.ndarray[Any, Any]:
    return np.stack([predictions[column] for column in predictions])


@every
def test_predicts_one_value_a_row_with_ordered_bounds_that_widen_with_the_level(case: str) -> None:
    past, future = _split()
    found = candidate(case).fit(past, spec()).predict(future)
    assert list(found) == COLUMNS
    assert all(values.shape == (14,) and values.dtype == np.float64 for values in found.values())
    order = ["prediction_lo_95", "prediction_lo_80", "prediction", "prediction_hi_80", "prediction_hi_95"]
    ordered = np.stack([found[column] for column in order])
    assert np.isfinite(ordered).all()
    assert (np.diff(ordered, axis=0) >= 0).all()
    assert (ordered[-1] > ordered[0]).all()


@every
def test_without_levels_there_is_only_the_forecast_and_it_is_the_same(case: str) -> None:
    past, future = _split()
    with_levels = candidate(case).fit(past, spec()).predict(future)
    without_levels = candidate(case).fit(past, spec(levels=())).predict(future)
    assert list(without_levels) == ["prediction"]
    np.testing.assert_array_equal(without_levels["prediction"], with_levels["prediction"])


@every
def test_a_fit_is_bit_for_bit_repeatable_and_survives_pickling(case: str) -> None:
    past, future = _split()
    first = candidate(case).fit(past, spec()).predict(future)
    again = pickle.loads(pickle.dumps(candidate(case).fit(past, spec()), 5)).predict(future)
    np.testing.assert_array_equal(_values(first), _values(again))


@every
def test_a_fitted_model_is_small_and_says_what_it_is(case: str) -> None:
    past, _ = _split(365)
    model = candidate(case).fit(past, spec())
    assert isinstance(model, FittedModel)
    assert len(pickle.dumps(model, 5)) < (8_000 if case == "lag_regression_tree" else 4_500)
    told = model.describe()
    assert told["family"] == CANDIDATES[case][0]
    assert json.loads(json.dumps(told)) == told


@every
def test_asked_periods_may_start_late_and_have_gaps(case: str) -> None:
    past, future = _split()
    model = candidate(case).fit(past, spec())
    asked = [3, 4, 9, 13]
    some = Rows(future.frame().iloc[asked].reset_index(drop=True))
    np.testing.assert_allclose(_values(model.predict(some)), _values(model.predict(future))[:, asked])


@every
def test_no_asked_period_is_no_forecast(case: str) -> None:
    past, future = _split()
    found = candidate(case).fit(past, spec()).predict(future.part(0, 0))
    assert [len(values) for values in found.values()] == [0] * 5


@every
def test_a_period_at_or_before_the_cutoff_is_refused_with_its_time(case: str) -> None:
    past, _ = _split()
    model = candidate(case).fit(past, spec())
    with pytest.raises(ModelError, match="starts after the last training row; 2024-05-19"):
        model.predict(past.part(139, 140))


@every
def test_a_negative_forecast_is_raised_to_zero_with_its_bounds_when_asked(case: str) -> None:
    values = np.maximum(weekly(154) - 52.0, 0.01 if "log" in case or "mul" in case else 0.0)
    whole = rows(values)
    model = candidate(case).fit(whole.part(0, 140), spec(non_negative=True))
    found = model.predict(whole.part(140, 154))
    assert (_values(found) >= 0).all()
    assert (found["prediction_lo_80"] <= found["prediction"]).all()


@every
def test_a_constant_series_is_forecast_as_it_is(case: str) -> None:
    whole = rows(np.full(74, 3.0))
    model = candidate(case).fit(whole.part(0, 60), spec())
    found = model.predict(whole.part(60, 74))
    wanted = 3.0 * 0.95 if case == "croston_sba" else 3.0
    np.testing.assert_allclose(found["prediction"], wanted, rtol=1e-6)
    np.testing.assert_allclose(found["prediction_hi_95"] - found["prediction"], 0, atol=0.2)


@every
def test_missing_periods_and_missing_targets_are_survived(case: str) -> None:
    data = frame(weekly(154))
    data.loc[[20, 21, 50, 77], "y"] = np.nan
    gappy = without(data.iloc[:140], 5, 33, 34, 90)
    found = candidate(case).fit(gappy, spec()).predict(Rows(data.iloc[140:].reset_index(drop=True)))
    assert np.isfinite(_values(found)).all()
    assert abs(found["prediction"] - data["y"].iloc[140:]).mean() < 10


@every
def test_extending_without_newer_rows_changes_nothing(case: str) -> None:
    past, future = _split()
    model = candidate(case).fit(past, spec())
    np.testing.assert_array_equal(_values(model.extend(past).predict(future)), _values(model.predict(future)))


@every
def test_extending_in_two_steps_is_extending_in_one(case: str) -> None:
    whole = rows(weekly(174))
    model = candidate(case).fit(whole.part(0, 140), spec())
    future = whole.part(160, 174)
    once = model.extend(whole.part(0, 160)).predict(future)
    twice = model.extend(whole.part(0, 150)).extend(whole.part(150, 160)).predict(future)
    np.testing.assert_allclose(_values(once), _values(twice), rtol=1e-9)


@every
def test_extending_moves_the_cutoff_and_follows_the_newer_level(case: str) -> None:
    values = weekly(174) + np.random.default_rng(1).normal(0, 2, 174).cumsum()
    values[140:] += 60
    whole = rows(values)
    model = candidate(case).fit(whole.part(0, 140), spec())
    later = model.extend(whole.part(0, 160))
    with pytest.raises(ModelError, match="starts after"):
        later.predict(whole.part(150, 155))
    future = whole.part(160, 174)
    assert later.predict(future)["prediction"].mean() > model.predict(future)["prediction"].mean() + 2


@every
def test_the_original_is_untouched_by_extending(case: str) -> None:
    whole = rows(weekly(160))
    model = candidate(case).fit(whole.part(0, 140), spec())
    before = _values(model.predict(whole.part(140, 154)))
    model.extend(whole)
    np.testing.assert_array_equal(_values(model.predict(whole.part(140, 154))), before)


@every
def test_an_infinite_or_absent_target_is_refused(case: str) -> None:
    values = weekly(60)
    values[30] = np.inf
    with pytest.raises(UnusableRowsError, match="infinite value in the target y"):
        candidate(case).fit(rows(values), spec())
    with pytest.raises(UnusableRowsError, match="no value in the target y"):
        candidate(case).fit(rows(np.full(60, np.nan)), spec())


@pytest.mark.parametrize(
    ("case", "least"),
    [("seasonal_naive", 7), ("drift", 2), ("ets", 15), ("ets_none", 3), ("theta", 4), ("holt_winters", 15)],
)
def test_a_history_that_is_too_short_is_refused_with_what_is_needed(case: str, least: int) -> None:
    family = candidate(case)
    values = weekly(least)
    with pytest.raises(ModelError, match=rf"needs at least {least} rows, found {least - 1}$"):
        family.fit(rows(values[: least - 1]), spec())
    found = family.fit(rows(values), spec()).predict(rows(values, start="2024-03-01"))
    assert np.isfinite(found["prediction"]).all()


@pytest.mark.parametrize("case", ["mean", "naive", "croston", "tsb"])
def test_one_row_is_enough_for_a_forecast_without_bounds(case: str) -> None:
    found = candidate(case).fit(rows([4.0]), spec()).predict(rows([0.0, 0.0], start="2024-02-01"))
    np.testing.assert_array_equal(found["prediction"], 4.0)
    assert np.isnan(found["prediction_lo_80"]).all()


@pytest.mark.parametrize("case", [case for case in CANDIDATES if not case.startswith("lag_regression")])
def test_positions_and_months_are_forecast_like_days(case: str) -> None:
    values = weekly(154)
    days = rows(values)
    wanted = candidate(case).fit(days.part(0, 140), spec()).predict(days.part(140, 154))
    steps = Rows(pd.DataFrame({"day": np.arange(1000, 1154), "y": values}))
    months = Rows(frame(values, frequency="MS"))
    for other, frequency in ((steps, "step"), (months, "MS")):
        given = replace(spec(), frequency=frequency)
        found = candidate(case).fit(other.part(0, 140), given).predict(other.part(140, 154))
        np.testing.assert_allclose(_values(found), _values(wanted), rtol=1e-9)


@pytest.mark.parametrize("case", ["mean", "naive", "seasonal_naive", "drift"])
def test_extending_a_simple_rule_equals_fitting_the_whole_history(case: str) -> None:
    data = frame(weekly(174))
    data.loc[[60, 148], "y"] = np.nan
    whole = without(data, 70, 151)
    cut = int((whole.values("day") < np.datetime64("2024-05-20")).sum())
    part, end = whole.part(0, cut), whole.part(len(whole) - 14, len(whole))
    history = whole.part(0, len(whole) - 14)
    extended = candidate(case).fit(part, spec()).extend(history).predict(end)
    refitted = candidate(case).fit(history, spec()).predict(end)
    np.testing.assert_allclose(_values(extended), _values(refitted), rtol=1e-9)
