"""`selection.ensemble` through a run and a scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.exceptions import JobError

DAYS = pd.date_range("2024-01-01", periods=64)


def sales(days: int, noise: float = 6) -> pd.DataFrame:
    """A level, and a season: what the mean misses the last season overdoes, and the other way round."""
    rng = np.random.default_rng(0)
    values = 50 + 8 * np.sin(2 * np.pi * np.arange(64) / 7) + rng.normal(0, noise, (2, 64))
    return pd.concat(
        pd.DataFrame({"store": store, "day": DAYS[:days], "sales": values[store][:days]}) for store in (0, 1)
    )


def job(folder: Path, **more: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {"partition_by": ["store"], "time": "day", "target": "sales"},
            "models": ["seasonal_naive", "mean"],
            "forecast": {"horizon": 7, "levels": [80]},
            "evaluation": {"backtest": {"windows": 3}},
            "compute": "serial",
            "fallback": [],
            "store": str(folder / "store"),
            **more,
        }
    )


def test_an_ensemble_is_trained_shown_loaded_and_continued(tmp_path: Path) -> None:
    plain = mm.train(job(tmp_path / "plain"), data=sales(57), progress=False)
    wanted = job(tmp_path, selection={"ensemble": {"top": 2}})
    run = mm.train(wanted, data=sales(57), progress=False)
    outcomes, alone = run.outcomes(), plain.outcomes()
    assert outcomes["candidate"].tolist() == ["ensemble", "ensemble"]
    assert (outcomes["metric"] < alone["metric"]).all()
    assert "ensemble" in run.leaderboard()["candidate"].tolist()
    assert run.backtests()["candidate"].unique().tolist() == ["ensemble"]
    model = mm.Registry(tmp_path / "store").load("sales", store=0)
    assert [member["candidate"] for member in model.describe()["members"]] == ["mean", "seasonal_naive"]
    now = mm.score(wanted, progress=False)
    later = mm.score(wanted, data=sales(64), progress=False)
    assert (now["status"] == "ok").all()
    assert later["day"].min() == DAYS[-1] + pd.Timedelta(days=1)
    assert (later["model_source"] == "key").all()
    inside = (later["prediction_lo_80"] < later["prediction"]) & (
        later["prediction"] < later["prediction_hi_80"]
    )
    assert inside.all()
    # Nothing changed, so nothing trains; without the ensemble it is another job.
    assert mm.train(wanted, data=sales(57), progress=False).summary["reused"] == 2
    assert mm.train(job(tmp_path), data=sales(57), progress=False).summary["trained"] == 2


def test_a_champion_that_is_an_ensemble_stays_unless_it_is_beaten_by_enough(tmp_path: Path) -> None:
    def champions(days: int, noise: float, gain: str) -> list[str]:
        wanted = job(tmp_path, selection={"ensemble": {}}, promotion={"min_gain": gain})
        mm.train(wanted, data=sales(days, noise), progress=False)
        return [line["candidate"] for line in mm.Registry(tmp_path / "store").models("sales").to_pylist()]

    assert champions(57, 6, "0%") == ["ensemble", "ensemble"]
    # With little noise the season alone is better, by less than asked for.
    assert champions(57, 1, "60%") == ["ensemble", "ensemble"]
    assert champions(64, 1, "1%") == ["seasonal_naive", "seasonal_naive"]


@pytest.mark.parametrize("combine", ["weighted", "median"])
@pytest.mark.parametrize("task", ["regression", "classification", "ranking"])
def test_every_task_but_anomalies_has_ensembles(tmp_path: Path, task: str, combine: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 3))
    y = x @ [1.0, 2.0, 0.0] + np.sin(3 * x[:, 1]) + rng.normal(size=120)
    kind = "Classifier" if task == "classification" else "Regressor"
    models = [
        f"sklearn.neighbors.KNeighbors{kind}",
        {f"sklearn.ensemble.RandomForest{kind}": {"n_estimators": 9}},
    ]
    models.append(
        "sklearn.naive_bayes.GaussianNB" if task == "classification" else "sklearn.linear_model.Ridge"
    )
    frame = pd.DataFrame({"key": 1, "a": x[:, 0], "b": x[:, 1], "c": x[:, 2]})
    frame["y"] = np.where(y > 0, "up", "down") if task == "classification" else y
    wanted = job(
        tmp_path,
        task=task,
        data={"partition_by": ["key"], "target": "y", "features": ["a", "b", "c"]},
        models=models,
        forecast={},
        evaluation={"folds": 4},
        training={"isolation": "none"},
        selection={"ensemble": {"combine": combine}},
    )
    run = mm.train(wanted, data=frame, progress=False)
    assert "ensemble" in run.leaderboard()["candidate"].tolist()
    scored = mm.score(wanted, data=frame.drop(columns="y"), progress=False)
    assert (scored["status"] == "ok").all()
    if task == "classification":
        assert scored[["probability_down", "probability_up"]].sum(axis=1).to_numpy() == pytest.approx(1.0)


def test_what_cannot_be_an_ensemble_is_said(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="not for anomaly detection"):
        job(
            tmp_path,
            task="anomaly",
            data={"partition_by": ["store"]},
            models=["ewma"],
            selection={"ensemble": {}},
        )
    named = [{"name": "ensemble", "family": "mean"}, "naive"]
    with pytest.raises(JobError, match="give the candidate another name"):
        job(tmp_path, models=named, selection={"ensemble": {}})
    with pytest.raises(JobError, match=r"selection\.ensemble\.top"):
        job(tmp_path, selection={"ensemble": {"top": 1}})
