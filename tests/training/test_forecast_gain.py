"""`promotion.min_gain` of forecasts: the champion's configuration stays unless another beats it by enough in this run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.training.replay import replay_key


def sales(days: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    steps = np.arange(days)
    # Store 1 has a season, which the mean misses by far; in store 2 the mean is better by a little.
    season = 10 * np.sin(2 * np.pi * steps / 7) + rng.normal(0, 1, 90)[:days]
    noise = rng.normal(0, 1, 90)[:days]
    frames = [pd.DataFrame({"store": 1, "step": steps, "sales": season})]
    frames.append(pd.DataFrame({"store": 2, "step": steps, "sales": noise}))
    return pd.concat(frames)


def job(folder: Path, models: list[Any], isolation: str, **promotion: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {"partition_by": ["store"], "time": "step", "target": "sales", "frequency": "step"},
            "models": models,
            "forecast": {"horizon": 7, "season_length": 7},
            "evaluation": {"backtest": {"windows": 4}},
            "training": {"isolation": isolation},
            "promotion": promotion,
            "fallback": [],
            "compute": {"target": "serial"},
            "store": str(folder / "store"),
        }
    )


def champions(folder: Path) -> dict[str, tuple[str, int]]:
    table = mm.Registry(folder / "store").models("sales").to_pylist()
    return {line["key"]: (line["candidate"], line["version"]) for line in table}


@pytest.mark.parametrize("isolation", ["auto", "process"])
def test_a_configuration_is_replaced_only_for_the_gain_asked_for(tmp_path: Path, isolation: str) -> None:
    first: list[Any] = [{"name": "old", "family": "mean"}]
    mm.train(job(tmp_path, first, isolation), data=sales(80), progress=False)
    assert champions(tmp_path) == {"store=1": ("old", 1), "store=2": ("old", 1)}
    # The champion's configuration has another name in the job now; what counts is what it is.
    both = ["seasonal_naive", {"name": "average", "family": "mean"}]
    mm.train(job(tmp_path, both, isolation, min_gain="99%"), data=sales(85), progress=False)
    assert champions(tmp_path) == {"store=1": ("average", 2), "store=2": ("average", 2)}
    mm.train(job(tmp_path, both, isolation, min_gain="10%"), data=sales(90), progress=False)
    assert champions(tmp_path) == {"store=1": ("seasonal_naive", 3), "store=2": ("average", 3)}
    # And back, were it asked for nothing: the champion is refitted to the newest rows either way.
    mm.train(
        job(tmp_path, [{"mean": {}}, "seasonal_naive"], isolation, min_gain="10%"),
        data=sales(88),
        progress=False,
    )
    assert champions(tmp_path) == {"store=1": ("seasonal_naive", 4), "store=2": ("mean", 4)}


def test_a_replay_knows_the_champion_of_then(tmp_path: Path) -> None:
    mm.train(job(tmp_path, ["mean"], "none"), data=sales(80), progress=False)
    run = mm.train(
        job(tmp_path, ["seasonal_naive", "mean"], "none", min_gain="99%"), data=sales(85), progress=False
    )
    mm.Registry(tmp_path / "store").promote("sales", run=run.id, alias="other")
    registry = mm.Registry(tmp_path / "store")
    assert replay_key(registry, registry.run(run.id), key="store=1", key_id=None).candidate == "mean"


def test_other_parameters_are_another_configuration(tmp_path: Path) -> None:
    """The job has the champions' configuration no more: it is judged on the windows of today's candidates."""
    first: list[Any] = [{"seasonal_naive": {"season_length": 3}}]
    mm.train(job(tmp_path, first, "none"), data=sales(80), progress=False)
    again: list[Any] = ["mean", {"seasonal_naive": {"season_length": 7}}]
    mm.train(job(tmp_path, again, "none", min_gain="99%"), data=sales(85), progress=False)
    assert champions(tmp_path) == {"store=1": ("seasonal_naive", 1), "store=2": ("seasonal_naive", 1)}
    mm.train(job(tmp_path, again, "none", min_gain="10%"), data=sales(90), progress=False)
    assert champions(tmp_path) == {"store=1": ("seasonal_naive", 3), "store=2": ("mean", 3)}
