"""`models: auto` on a small fleet of unlike series: what is tried, both ways of fitting, and a season from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm

PERIODS = 90


def _fleet() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    at = np.arange(PERIODS)
    series = {
        f"seasonal {n}": 40 + 8 * np.sin(2 * np.pi * at / 6) + rng.normal(0, 1, PERIODS) for n in range(5)
    }
    series["sparse"] = np.where(rng.random(PERIODS) < 0.4, rng.poisson(4, PERIODS), 0).astype(float)
    series["dead"] = np.where(at < 60, 5.0 + at % 3, 0.0)
    series["short"] = 9 + rng.normal(0, 1, 20)
    frames = [
        pd.DataFrame({"item": name, "position": np.arange(len(values)), "value": values})
        for name, values in series.items()
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    found = {}
    for isolation in ("auto", "process"):
        folder: Path = tmp_path_factory.mktemp(isolation)
        job = mm.Job.from_dict(
            {
                "name": "fleet",
                "task": "forecast",
                "data": {"partition_by": ["item"], "time": "position", "target": "value", "min_rows": 5},
                "models": {"auto": {"block": ["ets"]}},
                "forecast": {"horizon": 6, "season_length": "auto"},
                "evaluation": {"backtest": {"windows": 2}},
                "selection": {"ensemble": None},
                "training": {"isolation": isolation},
                "compute": "serial",
                "store": str(folder),
            }
        )
        run = mm.train(job, data=_fleet())
        found[isolation] = run.outcomes().set_index("item").sort_index()
        if isolation == "auto":
            found["scores"] = mm.score(job)
    return found


def _tried(outcome: Any) -> set[str]:
    return {line["candidate"] for line in outcome["scores"]}


def test_what_is_tried_depends_on_the_series(outcomes: dict[str, pd.DataFrame]) -> None:
    found = outcomes["auto"]
    assert (found["state"] == "trained").all()
    assert _tried(found.loc["dead"]) == {"naive"}
    assert _tried(found.loc["sparse"]) == {"tsb", "croston", "mean", "seasonal_naive"}
    assert {"lags", "dense_lags_log", "season_change"} <= _tried(found.loc["seasonal 1"])
    assert not any("lags" in name for name in _tried(found.loc["short"]))


def test_the_season_is_found_in_the_data(outcomes: dict[str, pd.DataFrame]) -> None:
    scores = outcomes["scores"]
    forecast = scores.loc[scores["item"] == "seasonal 1", "prediction"].to_numpy()
    np.testing.assert_allclose(
        forecast, 40 + 8 * np.sin(2 * np.pi * np.arange(PERIODS, PERIODS + 6) / 6), atol=2
    )


def test_keys_one_by_one_get_the_same_models(outcomes: dict[str, pd.DataFrame]) -> None:
    batched, single = outcomes["auto"], outcomes["process"]
    assert batched["candidate"].tolist() == single["candidate"].tolist()
    np.testing.assert_allclose(batched["metric"], single["metric"], rtol=1e-9)
