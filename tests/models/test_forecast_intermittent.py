from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from forecast_cases import family, frame, rows, spec, without

from manymodels.exceptions import ModelError
from manymodels.records import Rows


def _forecast(name: str, values: Any, **params: Any) -> float:
    found = family(name, **params).fit(rows(values), spec()).predict(rows([0.0] * 3, start="2030-01-01"))
    assert (found["prediction"] == found["prediction"][0]).all()
    return float(found["prediction"][0])


def _sporadic(length: int, seed: int) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    return np.where(generator.random(length) < 0.25, generator.poisson(4, length) + 1.0, 0.0)


def test_croston_smooths_sizes_and_intervals_apart() -> None:
    # Demands of 4, 8 and 2 after 2, 3 and 1 periods.
    values = [0, 4, 0, 0, 8, 2, 0]
    size = 4 + 0.5 * (8 - 4)
    size += 0.5 * (2 - size)
    interval = 2 + 0.5 * (3 - 2)
    interval += 0.5 * (1 - interval)
    assert _forecast("croston", values, alpha=0.5) == pytest.approx(size / interval)
    assert _forecast("croston", values, alpha=0.5, variant="sba") == pytest.approx(0.75 * size / interval)


def test_tsb_smooths_sizes_and_the_chance_of_demand() -> None:
    values = [0, 4, 0, 8]
    chance, size = 0.5, 4.0
    for value in values:
        chance += 0.2 * ((value > 0) - chance)
        if value:
            size += 0.5 * (value - size)
    assert _forecast("tsb", values, alpha=0.5, beta=0.2) == pytest.approx(chance * size)


def test_tsb_sinks_when_demand_ends_and_croston_does_not() -> None:
    ended = np.concatenate([np.tile([0, 0, 6.0], 20), np.zeros(60)])
    assert _forecast("tsb", ended) < 0.02
    assert _forecast("croston", ended) == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["croston", "tsb"])
def test_no_demand_at_all_is_forecast_as_none(name: str) -> None:
    found = family(name).fit(rows(np.zeros(30)), spec()).predict(rows([0.0], start="2030-01-01"))
    assert [values[0] for values in found.values()] == [0] * 5


@pytest.mark.parametrize("name", ["croston", "tsb"])
def test_negative_demand_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="intermittent demand cannot be negative, found -2"):
        family(name).fit(rows([1, 0, -2, 0, 1]), spec())


@pytest.mark.parametrize("name", ["croston", "tsb"])
def test_missing_periods_are_no_time(name: str) -> None:
    values = _sporadic(60, 1)
    gaps = [7, 8, 30]
    future = rows([0.0], start="2030-01-01")
    gappy = family(name).fit(without(frame(values), *gaps), spec()).predict(future)
    short = family(name).fit(rows(np.delete(values, gaps)), spec()).predict(future)
    assert {column: values[0] for column, values in gappy.items()} == {
        column: values[0] for column, values in short.items()
    }


@pytest.mark.parametrize(("name", "params"), [("croston", {}), ("croston", {"variant": "sba"}), ("tsb", {})])
def test_extending_goes_on_with_the_smoothing(name: str, params: dict[str, Any]) -> None:
    values = _sporadic(120, 2)
    values[80:84] = 0
    whole = rows(values)
    future = rows([0.0], start="2030-01-01")
    extended = family(name, **params).fit(whole.part(0, 82), spec()).extend(whole)
    refitted = family(name, **params).fit(whole, spec())
    if name == "tsb":  # which starts from the average chance of the rows it was fitted to
        assert extended.size == pytest.approx(refitted.size)
        assert extended.chance == pytest.approx(refitted.chance, abs=0.01)
    else:
        np.testing.assert_allclose(
            extended.predict(future)["prediction"], refitted.predict(future)["prediction"]
        )
        assert extended.waited == refitted.waited


@pytest.mark.parametrize("name", ["croston", "tsb"])
def test_bounds_cover_what_they_say(name: str) -> None:
    inside = []
    for seed in range(30):
        values = _sporadic(400, seed)
        whole = Rows(frame(values))
        given = spec(levels=(50.0, 90.0), non_negative=True)
        found = family(name).fit(whole.part(0, 370), given).predict(whole.part(370, 400))
        inside.append(
            (found["prediction_lo_90"] <= values[370:]) & (values[370:] <= found["prediction_hi_90"])
        )
    # Zeros lie on the lower bound, so that intervals of whole numbers cover at least what they say.
    assert 0.88 <= np.mean(inside) <= 0.99


def test_bounds_are_quantiles_of_chance_and_size() -> None:
    # Demands of 2 and 6 in turn, every fourth period.
    values = np.tile([0, 0, 0, 2.0, 0, 0, 0, 6.0], 200)
    given = spec(levels=(40.0, 60.0, 98.0))
    found = family("croston").fit(rows(values), given).predict(rows([0.0], start="2030-01-01"))
    # Up to 75 % there is none; 80 % is a small demand, 99 % is a large one.
    assert found["prediction_hi_40"][0] == found["prediction"][0]
    assert found["prediction_hi_60"][0] == pytest.approx(2.0, rel=0.2)
    assert found["prediction_hi_98"][0] == pytest.approx(6.0, rel=0.2)
    assert [found[f"prediction_lo_{level}"][0] for level in (40, 60, 98)] == [0, 0, 0]
