from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.models.contract import FitSpec
from manymodels.records import Rows
from manymodels.selection.traits import TRAITS, traits_of

STEPS = np.arange(120)
NOISE = np.random.default_rng(0).normal(size=120)


def series(values: Any, season: int = 7) -> dict[str, float]:
    frame = pd.DataFrame({"t": np.arange(len(values)), "y": np.asarray(values, dtype=float)})
    spec = FitSpec("forecast", target="y", time="t", frequency="step", season_length=season, horizon=7)
    return dict(zip(TRAITS, traits_of(Rows(frame), spec), strict=True))


def table(task: Any, target: Any, **features: Any) -> dict[str, float]:
    frame = pd.DataFrame({"y": target, **features})
    spec = FitSpec(task, target="y", features=tuple(features), classes=tuple(sorted(set(target))))
    return dict(zip(TRAITS, traits_of(Rows(frame), spec), strict=True))


def test_each_trait_of_a_series_answers_to_what_it_is_named_for() -> None:
    noise = series(10 + NOISE)
    assert series(10 + 5 * np.sin(2 * np.pi * STEPS / 7) + NOISE)["season"] > 0.8 > 0.2 > noise["season"]
    assert series(10 + STEPS + NOISE)["trend"] > 0.9 > 0.1 > noise["trend"]
    assert series(np.where(STEPS % 4 == 0, 3.0, 0.0))["intermittency"] == pytest.approx(0.75)
    assert series(100 + NOISE)["noise"] < noise["noise"] < series(1 + 9 * NOISE)["noise"]
    assert series(50 + NOISE.cumsum())["signal"] > 0.6 > 0.2 > noise["signal"]
    assert series(np.ones(1000))["length"] == 3


def test_a_season_that_is_chance_is_none() -> None:
    assert series(NOISE[:50], season=24)["season"] < 0.35


def test_traits_of_a_table() -> None:
    known = table("regression", 3 * NOISE, x=NOISE)
    unknown = table("regression", 3 * NOISE, x=NOISE[::-1])
    assert known["signal"] > 0.99
    assert unknown["signal"] < 0.2
    classes = table("classification", ["a"] * 90 + ["b"] * 30, x=NOISE)
    assert classes["intermittency"] == 0.75


@pytest.mark.parametrize(
    "values", [[np.nan] * 20, [np.inf] * 20, [0.0] * 20, [1.0], [1e300, -1e300] * 10, [5.0, np.nan] * 10]
)
def test_traits_are_finite_whatever_the_rows(values: list[float]) -> None:
    assert np.isfinite(list(series(values).values())).all()
    assert np.isfinite(list(table("regression", values, x=values).values())).all()


def test_traits_of_rows_without_a_target() -> None:
    spec = FitSpec("anomaly", features=("x",))
    assert traits_of(Rows(pd.DataFrame({"x": NOISE})), spec) == (np.log10(120), 0, 0, 0, 0, 0)
