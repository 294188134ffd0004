from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from batched_panels import compare, panel_of, series_panel
from forecast_cases import family, spec

from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of

CASES: dict[str, dict[str, Any]] = {
    "ridge": {},
    "crossed": {"crossed": ["promo"], "lags": [1, 7], "rolling": [7]},
    "closure": {"calendar": ["weekday", "closure", "trend"], "transform": "difference"},
    "dense": {"lags": "dense"},
    "log_seasonal": {"transform": "log_seasonal_difference", "lags": "neighbours", "calendar": False},
    "holidays": {"calendar": ["weekday", "holiday"], "holidays": "DE", "transform": "log_difference"},
    "squares": {"estimator": "sklearn.linear_model.LinearRegression", "lags": [1, 7]},
}
KNOWN = ("promo", "price", "event", "open", "day_off")


def _with_covariates(panel: Panel, seed: int) -> Panel:
    """Numbers with holes, constants, texts of which a key has one to three, truth values, and row weights."""
    rng = np.random.default_rng(seed)
    frames = []
    for place in range(len(panel)):
        frame = panel.key(place).frame()
        count = len(frame)
        frame["price"] = np.round(rng.normal(5, 1, count), 2) if place % 5 else 0.1
        frame.loc[rng.random(count) < 0.05, "price"] = np.nan
        events = np.array(["none", "fair", "match", None], dtype=object)[: 1 + place % 4]
        frame["event"] = events[rng.integers(0, len(events), count)]
        frame["open"] = rng.random(count) < 0.8
        frame["day_off"] = rng.integers(0, 3, count)
        frame["w"] = rng.uniform(0.5, 2, count)
        if "y" in frame:
            frame["y"] += 12 * frame["promo"] - 3 * frame["price"].fillna(5)
        frames.append(frame)
    return panel_of(frames)


def _future(panel: Panel, seed: int, horizon: int = 12) -> Panel:
    """The days after each key's last row, one of them left out, one with a text that no key has."""
    frames = []
    for place in range(len(panel)):
        days = pd.date_range(panel.key(place).frame()["day"].iloc[-1], periods=horizon + 1)[1:].delete(4)
        frames.append(pd.DataFrame({"day": days, "promo": (np.arange(horizon - 1) % 2).astype(float)}))
    future = _with_covariates(panel_of(frames), seed)
    whole = future.rows.frame()
    whole.loc[5::11, "event"] = "parade"
    return Panel(type(future.rows)(whole), future.starts, future.stops)


def _spec(**changes: Any) -> Any:
    return spec(features=KNOWN, known_future=KNOWN, categorical=("day_off",), **changes)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weight", [None, "w"])
def test_covariates_known_ahead_are_those_of_fits_one_by_one(case: str, weight: str | None) -> None:
    panel = _with_covariates(series_panel(1), 1)
    params = CASES[case]
    compared = compare(family("lag_regression", **params), panel, _future(panel, 2), _spec(weight=weight))
    regular = {place for place in compared.alone if place % 8 != 7}
    missed = regular - set(compared.fit.places.tolist())
    assert not missed if case != "squares" else len(missed) < len(regular) / 2


def test_a_model_with_covariates_is_continued_over_newer_rows() -> None:
    panel = _with_covariates(series_panel(3), 3)
    past = panel.part(0, np.maximum(panel.lengths - 5, 1))
    trained = compare(family("lag_regression"), past, _future(past, 4), _spec())
    future = _future(panel, 5)
    for number, place in enumerate(trained.fit.places.tolist()):
        longer = trained.fit.columns.model(number).extend(panel.key(place))
        expected = trained.alone[place].extend(panel.key(place)).predict(future.key(place))
        for column, values in longer.predict(future.key(place)).items():
            np.testing.assert_allclose(values, expected[column], rtol=1e-9)


def test_a_covariate_that_is_not_there_leaves_every_key_unserved() -> None:
    panel = _with_covariates(series_panel(1), 1)
    trainer = trainer_of(family("lag_regression"))
    assert trainer is not None
    fit = trainer.fit_batch(panel, np.arange(len(panel)), _spec())
    future = _future(panel, 2).take(fit.places)
    narrow = Panel(future.rows.only(["day", "promo"]), future.starts, future.stops)
    assert not fit.columns.predict(narrow).served.any()


@pytest.mark.parametrize(
    ("params", "changes"),
    [
        ({}, {"features": ("promo", "price"), "known_future": ("promo",)}),
        ({"crossed": ["absent"]}, {}),
        ({"calendar": ["weekday"]}, {"frequency": "step"}),
        ({"lags": (), "calendar": False}, {"features": (), "known_future": ()}),
        ({}, {"known_future": ("absent",), "features": ("absent",)}),
    ],
)
def test_what_cannot_be_done_for_all_is_left_to_fits_one_by_one(
    params: dict[str, Any], changes: dict[str, Any]
) -> None:
    panel = _with_covariates(series_panel(1), 1)
    if changes.get("frequency") == "step":
        whole = panel.rows.frame().assign(day=np.arange(len(panel.rows)))
        panel = Panel(type(panel.rows)(whole), panel.starts, panel.stops)
    trainer = trainer_of(family("lag_regression", **params))
    assert trainer is not None
    fit = trainer.fit_batch(panel, np.arange(len(panel)), spec(**changes))
    assert len(fit.places) == len(fit.columns) == 0


def test_other_estimators_have_no_batched_trainer() -> None:
    assert trainer_of(family("lag_regression", estimator="sklearn.linear_model.Lasso")) is None
    assert trainer_of(family("lag_regression", params={"solver": "lsqr"})) is None
