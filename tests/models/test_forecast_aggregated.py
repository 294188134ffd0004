from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from forecast_cases import family, spec

from manymodels.exceptions import JobError, ModelError
from manymodels.records import Rows


def _rows(values: np.ndarray, first: str = "2024-01-01") -> Rows:
    return Rows(pd.DataFrame({"day": pd.date_range(first, periods=len(values)), "y": values.astype(float)}))


def _future(values: np.ndarray, horizon: int = 14) -> Rows:
    return Rows(
        pd.DataFrame({"day": pd.date_range("2024-01-01", periods=len(values) + horizon)[len(values) :]})
    )


def test_a_season_is_shared_out_as_it_was() -> None:
    week = np.array([1, 2, 3, 4, 5, 6, 7])
    values = np.concatenate([[99, 98], *(week * level for level in (10, 11, 12, 13))])
    model = family("aggregated", periods=7, model="drift").fit(_rows(values), spec(levels=()))
    found = model.predict(_future(values))["prediction"]
    np.testing.assert_allclose(found, np.concatenate([week * 14, week * 15]))
    assert model.describe()["periods"] == 7
    assert model.describe()["model"]["family"] == "drift"


def test_intermittent_demand_is_added_up_over_the_distance_of_demands() -> None:
    values = np.tile([0, 0, 6, 0], 12)
    model = family("aggregated", model="mean").fit(_rows(values), spec(levels=(80.0,)))
    assert model.describe()["periods"] == 4
    predicted = model.predict(_future(values))
    np.testing.assert_allclose(predicted["prediction"], 1.5)
    # A period's value is 0 three times of four and 6 once, around 1.5.
    assert model.describe()["sigma"] == pytest.approx(np.sqrt((3 * 1.5**2 + 4.5**2) / 4))
    assert (predicted["prediction_hi_80"] > 4).all()


def test_newer_periods_wait_until_their_block_is_complete() -> None:
    values = np.repeat([10, 20, 30], 7)
    model = family("aggregated", periods=7, model="naive").fit(_rows(values), spec(levels=()))
    for more, expected in ((3, 30.0), (7, 40.0), (9, 40.0)):
        longer = np.concatenate([values, np.full(more, 40)])
        found = model.extend(_rows(longer)).predict(_future(longer))["prediction"]
        np.testing.assert_allclose(found, expected)


def test_missing_values_are_filled() -> None:
    values = np.repeat([10.0, 20.0, 30.0], 7)
    gappy = _rows(np.where(np.arange(21) % 5 == 3, np.nan, values))
    found = family("aggregated", periods=7, model="naive").fit(gappy, spec(levels=()))
    assert 25 < found.predict(_future(values))["prediction"].mean() < 31


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": "thetta"}, "`model`: models: no family 'thetta'"),
        ({"model": "mine:Model"}, "mine:Model is your own code"),
        ({"params": {"seasonality": 3}}, "has no parameter 'seasonality'"),
        ({"periods": 1}, "parameter periods"),
    ],
)
def test_what_cannot_forecast_sums_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(JobError) as caught:
        family("aggregated", **params)
    assert message in str(caught.value)


def test_without_a_season_or_gaps_between_demands_the_periods_must_be_given() -> None:
    with pytest.raises(ModelError, match="give the number of `periods`"):
        family("aggregated").fit(_rows(np.arange(1, 40)), spec(season_length=1))
