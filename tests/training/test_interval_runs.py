"""Intervals by held-out errors, through a run and a scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.exceptions import JobError


def wells(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for well in range(12):
        x = rng.normal(size=(rows, 2))
        y = well + x @ [2.0, -1.0] + rng.normal(0, 1 + well % 3, rows)
        frames.append(pd.DataFrame({"well": well, "a": x[:, 0], "b": x[:, 1], "y": y}))
    return pd.concat(frames)


def job(folder: Path, isolation: str = "auto", **changes: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"partition_by": ["well"], "target": "y", "features": ["a", "b"], "min_rows": 10},
            "models": [{"sklearn.linear_model.Ridge": {}}, "sklearn.linear_model.LinearRegression"],
            "regression": {"levels": [80, 95]},
            "training": {"isolation": isolation},
            "compute": "serial",
            "store": str(folder / "store"),
            **changes,
        }
    )


@pytest.mark.parametrize("evaluation", [{}, {"folds": 4}])
def test_regressions_have_intervals_that_cover_the_same_way_batched_and_one_by_one(
    tmp_path: Path, evaluation: dict[str, Any]
) -> None:
    few = pd.DataFrame({"well": 99, "a": [0.0, 1.0], "b": [1.0, 0.0], "y": [5.0, 6.0]})
    train, new = pd.concat([wells(120, 0), few]), pd.concat([wells(200, 1), few])
    scored = {}
    for isolation in ("auto", "none") if evaluation else ("auto", "process"):
        wanted = job(tmp_path / isolation, isolation, evaluation=evaluation)
        run = mm.train(wanted, data=train, progress=False)
        scored[isolation] = mm.score(wanted, data=new, progress=False)
    batched, single = scored.values()
    bounds = [name for name in batched.columns if name.startswith("prediction")]
    assert len(bounds) == 5
    for name in bounds:
        np.testing.assert_allclose(batched[name], single[name], rtol=1e-9)
    own = batched[batched["model_source"] == "key"]
    for level in (80, 95):
        inside = own["y"].between(own[f"prediction_lo_{level}"], own[f"prediction_hi_{level}"])
        assert inside.mean() == pytest.approx(level / 100, abs=0.05)
    # Who is served by the ladder has a prediction without a promise.
    rest = batched[batched["model_source"] != "key"]
    assert len(rest) == 2
    assert rest["prediction"].notna().all()
    assert rest["prediction_lo_80"].isna().all()
    model = mm.Registry(tmp_path / "auto" / "store").load("wells", well=3)
    assert set(model.describe()["intervals"]["half_width"]) == {"80", "95"}
    tests = run.backtests()
    assert tests["prediction_hi_95"].notna().all() == bool(evaluation)


def test_what_has_no_intervals_is_said(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="needs held-out rows"):
        job(tmp_path, models=["sklearn.linear_model.Ridge"], evaluation={"holdout": 0})
    with pytest.raises(JobError, match=r"use `forecast\.levels`"):
        job(
            tmp_path,
            task="forecast",
            data={"partition_by": ["well"], "time": "t", "target": "y"},
            models=["naive"],
        )
    with pytest.raises(JobError, match="between 0 and 100"):
        job(tmp_path, regression={"levels": [100]})


def test_where_bounds_come_from_is_a_cause_to_train(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=60)
    frame = pd.DataFrame({"well": 1, "day": days, "y": np.random.default_rng(0).normal(50, 5, 60)})

    def wanted(**forecast: Any) -> mm.Job:
        return job(
            tmp_path,
            task="forecast",
            data={"partition_by": ["well"], "time": "day", "target": "y"},
            models=["mean", "seasonal_naive"],
            regression={},
            forecast={"horizon": 7, "levels": [80], **forecast},
            evaluation={"backtest": {"windows": 2}},
        )

    assert mm.train(wanted(), data=frame, progress=False).summary["trained"] == 1
    assert mm.train(wanted(intervals="model"), data=frame, progress=False).summary["trained"] == 1
    own = mm.score(wanted(intervals="model"), progress=False)
    assert mm.train(wanted(intervals="conformal"), data=frame, progress=False).summary["trained"] == 1
    told = mm.score(wanted(intervals="conformal"), progress=False)
    assert (told["prediction"] == own["prediction"]).all()
    assert (told["prediction_hi_80"] != own["prediction_hi_80"]).all()
    # Without levels there is nothing to it.
    assert mm.train(wanted(levels=[]), data=frame, progress=False).summary["trained"] == 1
    assert mm.train(wanted(levels=[], intervals="model"), data=frame, progress=False).summary["reused"] == 1
