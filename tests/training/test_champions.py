"""Champion and challenger: a new version must beat the champion's configuration on the same windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm

DAYS = pd.date_range("2024-01-01", periods=100)


def sales(days: int) -> pd.DataFrame:
    """Store 1 has a week; store 2 is noise around a level that it left lately."""
    rng = np.random.default_rng(0)
    at = np.arange(100)
    weekly = 100 + 20 * np.sin(2 * np.pi * at / 7) + rng.normal(0, 1, 100)
    level = np.where(at < 70, 10, 50) + rng.normal(0, 1, 100)
    frames = [pd.DataFrame({"store": store, "day": DAYS, "y": y}) for store, y in ((1, weekly), (2, level))]
    return pd.concat([frame[:days] for frame in frames])


def forecast(folder: Path, models: list[Any], **sections: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {"partition_by": ["store"], "time": "day", "target": "y"},
            "models": models,
            "forecast": {"horizon": 7},
            "compute": "serial",
            "store": str(folder / "store"),
            **sections,
        }
    )


def regression(folder: Path, models: list[Any], **sections: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "regression",
            "data": {"partition_by": ["store"], "time": "day", "target": "y", "features": ["x"]},
            "models": models,
            "compute": "serial",
            "store": str(folder / "store"),
            **sections,
        }
    )


def champions(folder: Path) -> dict[str, tuple[str, int]]:
    table = mm.Registry(folder / "store").models("sales").to_pylist()
    return {line["key"]: (line["candidate"], line["version"]) for line in table}


@pytest.mark.parametrize("isolation", ["auto", "process"])
def test_a_worse_configuration_replaces_no_champion_though_the_job_has_no_other(
    tmp_path: Path, isolation: str
) -> None:
    training = {"isolation": isolation}
    mm.train(forecast(tmp_path, ["seasonal_naive"], training=training), sales(80), progress=False)
    run = mm.train(forecast(tmp_path, ["drift"], training=training), sales(100), progress=False)
    assert champions(tmp_path)["store=1"] == ("seasonal_naive", 1)
    found = run.outcomes().set_index("store")
    assert found.loc[1, "champion_metric"] < found.loc[1, "metric"]
    # The same windows, and what the seasonal naive has there.
    alone = mm.train(forecast(tmp_path / "alone", ["seasonal_naive"]), sales(100), progress=False)
    expected = alone.outcomes().set_index("store")["metric"]
    np.testing.assert_allclose(found["champion_metric"], expected, rtol=1e-9)


def test_both_sides_of_the_decision_are_in_the_log(tmp_path: Path) -> None:
    mm.train(forecast(tmp_path, ["seasonal_naive"]), sales(80), progress=False)
    run = mm.train(forecast(tmp_path, ["drift"]), sales(100), progress=False)
    found = run.outcomes().set_index("store").loc[1]
    registry = mm.Registry(tmp_path / "store")
    history = registry.model_history("sales", found["key_id"])
    newest = history.decisions[0]
    assert (newest.challenger, newest.champion, newest.promoted) == (2, 1, False)
    assert (newest.challenger_metric, newest.champion_metric) == (found["metric"], found["champion_metric"])


def test_a_champion_that_stays_goes_on_over_the_newer_rows(tmp_path: Path) -> None:
    mm.train(forecast(tmp_path, ["seasonal_naive"]), sales(80), progress=False)
    mm.train(forecast(tmp_path, ["drift"]), sales(100), progress=False)
    job = forecast(tmp_path, ["drift"])
    scores = mm.score(job, progress=False)
    mine = scores[scores["store"] == 1]
    assert mine["day"].min() == DAYS[99] + DAYS.freq
    assert mine["prediction"].tolist() == sales(100)[lambda rows: rows["store"] == 1]["y"].tolist()[-7:]
    assert set(mine["model_version"]) == {1}
    # So does one that was put back by hand.
    mm.train(forecast(tmp_path, ["seasonal_naive"]), sales(90), progress=False)
    registry = mm.Registry(tmp_path / "store")
    registry.promote("sales", run="sales-000001", alias="champion")
    again = mm.score(forecast(tmp_path, ["seasonal_naive"]), progress=False)
    assert again.groupby("store")["day"].min().to_dict() == {1: DAYS[90], 2: DAYS[90]}


def test_the_champions_own_configuration_on_newer_rows_is_promoted_whatever_the_older_window_was(
    tmp_path: Path,
) -> None:
    """The window of a month ago was an easy one: its value is no measure for today's."""
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"store": 1, "day": DAYS, "x": rng.normal(size=100)})
    rows["y"] = rows["x"] + rng.normal(size=100) * np.where(np.arange(100) < 80, 0.1, 3)
    ridge = "sklearn.linear_model.Ridge"
    mm.train(regression(tmp_path, [ridge]), rows[:80], progress=False)
    first = mm.train(regression(tmp_path, [ridge]), rows, progress=False)
    assert first.summary["promoted"] == 1
    worse: list[Any] = [{ridge: {"alpha": 1e6}}]
    second = mm.train(regression(tmp_path, worse), rows, progress=False)
    assert (second.summary["trained"], second.summary["promoted"]) == (1, 0)
    third = mm.train(
        regression(tmp_path, worse, promotion={"rule": "always"}), rows, only="all", progress=False
    )
    assert third.summary["promoted"] == 1
    back = mm.train(regression(tmp_path, [ridge]), rows, progress=False)
    assert back.summary["promoted"] == 1


def test_a_champion_whose_code_is_gone_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n\n\nclass Model:\n    def predict(self, frame):\n        return np.zeros(len(frame))\n\n\n"
        "def fit(frame, spec):\n    return Model()\n"
    )
    own = mm.Job.from_dict(forecast(tmp_path, ["own:fit"]).model_dump(mode="json"), folder=tmp_path)
    mm.train(own, sales(80), progress=False)
    run = mm.train(forecast(tmp_path, ["drift"]), sales(100), progress=False)
    assert run.outcomes()["champion_metric"].isna().all()
    assert champions(tmp_path)["store=1"] == ("drift", 2)
