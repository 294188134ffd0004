"""A run with batched trainers and one without make the same models, outcomes and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import manymodels as mm
from manymodels.api import export_models
from manymodels.artifacts.export import load_exported

DAYS = 60


def _sales() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frames = []
    for store in range(30):
        days = DAYS if store % 4 else int(rng.integers(1, DAYS))
        at = np.arange(days)
        sales = 50 + store + 8 * np.sin(2 * np.pi * at / 7) + rng.normal(0, 2, days)
        dates = pd.date_range("2026-01-01", periods=days)
        frame = pd.DataFrame({"store": f"s{store}", "date": dates, "sales": sales})
        if store == 7:
            frame.loc[5, "sales"] = np.nan
        if store == 8:
            frame = frame.drop(index=[9, 10])
        if store == 9:
            frame["sales"] = 4.0
        frames.append(frame)
    return pd.concat(frames).sample(frac=1, random_state=1)


def _job(folder: Path, isolation: str, **changes: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {"partition_by": ["store"], "time": "date", "target": "sales", "min_rows": 12},
            "models": ["seasonal_naive", "mean", "drift"],
            "forecast": {"horizon": 7, "levels": [80]},
            "evaluation": {"backtest": {"windows": 2}},
            "training": {"isolation": isolation},
            "compute": {"target": "serial"},
            "store": str(folder / isolation),
            **changes,
        }
    )


def _outcomes(run: Any) -> pd.DataFrame:
    return run.outcomes().sort_values("store").reset_index(drop=True)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, mm.Job, Path]]:
    folder = tmp_path_factory.mktemp("batched")
    found = {}
    for isolation in ("auto", "process"):
        job = _job(folder, isolation)
        found[isolation] = (mm.train(job, data=_sales()), job, folder / isolation)
    return found


def _codecs(store: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path in (store / "runs").rglob("segments/*.parquet"):
        for codec in pq.read_table(path, columns=["codec"]).column(0).to_pylist():
            counts[codec] = counts.get(codec, 0) + 1
    return counts


def test_columns_are_written_where_all_is_regular_and_pickles_elsewhere(both: Any) -> None:
    auto, process = _codecs(both["auto"][2]), _codecs(both["process"][2])
    assert auto["columns"] > 15
    assert auto["pickle"] >= 3
    assert set(process) == {"pickle"}
    assert sum(auto.values()) == sum(process.values())


def test_outcomes_are_the_same(both: Any) -> None:
    auto, process = _outcomes(both["auto"][0]), _outcomes(both["process"][0])
    assert list(auto.columns) == list(process.columns)
    for column in ("store", "state", "reason", "candidate", "cutoff", "rows"):
        pd.testing.assert_series_equal(auto[column], process[column])
    pd.testing.assert_series_equal(auto["metric"], process["metric"], rtol=1e-9)


def test_scores_are_the_same(both: Any) -> None:
    auto, process = (mm.score(both[kind][1]) for kind in ("auto", "process"))
    pd.testing.assert_frame_equal(auto, process, rtol=1e-9)
    assert set(auto["status"]) == {"ok", "fallback"}


def test_scores_of_given_periods_are_the_same(both: Any) -> None:
    dates = pd.date_range("2026-03-05", periods=4)
    stores = ["s1", "s2", "s7", "s9", "unseen"]
    future = pd.MultiIndex.from_product([stores, dates], names=["store", "date"]).to_frame(index=False)
    auto, process = (mm.score(both[kind][1], future=future) for kind in ("auto", "process"))
    pd.testing.assert_frame_equal(auto, process, rtol=1e-9)


def test_scores_over_newer_history_are_the_same(both: Any) -> None:
    sales = _sales()
    newer = sales[sales["date"] >= "2026-02-20"].assign(
        date=lambda frame: frame["date"] + pd.Timedelta(days=10)
    )
    auto, process = (mm.score(both[kind][1], data=newer) for kind in ("auto", "process"))
    pd.testing.assert_frame_equal(auto, process, rtol=1e-9)


def test_one_model_is_loaded_as_an_ordinary_object(both: Any) -> None:
    auto, process = (mm.Registry(both[kind][2]).load("sales", store="s5") for kind in ("auto", "process"))
    assert type(auto) is type(process)
    assert auto.describe()["family"] == process.describe()["family"]


def test_an_exported_fleet_of_columns_loads_without_the_registry(both: Any, tmp_path: Path) -> None:
    registry = mm.Registry(both["auto"][2])
    export_models(registry, "sales", str(tmp_path / "fleet"))
    assert (
        load_exported(tmp_path / "fleet", store="s5").describe()
        == registry.load("sales", store="s5").describe()
    )


def test_what_goes_wrong_for_a_batch_at_once_costs_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both: Any
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("manymodels.training.panel.train_panel", broken)
    run = mm.train(_job(tmp_path, "auto"), data=_sales())
    assert _codecs(tmp_path / "auto").keys() == {"pickle"}
    pd.testing.assert_series_equal(_outcomes(run)["state"], _outcomes(both["process"][0])["state"])


def test_a_regression_that_holds_nothing_out_is_fitted_at_once_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"store": np.repeat(["a", "b", "c"], 20), "x": rng.normal(size=60), "y": rng.normal(size=60)}
    )
    found = {}
    for isolation in ("auto", "process"):
        job = _job(
            tmp_path,
            isolation,
            task="regression",
            data={"partition_by": ["store"], "target": "y"},
            models=[{"sklearn.linear_model.Ridge": {}}],
            evaluation={"holdout": 0},
            fallback=[],
        )
        found[isolation] = _outcomes(mm.train(job, data=frame))
    assert _codecs(tmp_path / "auto").keys() == {"columns"}
    columns = ["store", "state", "reason", "candidate", "metric"]
    pd.testing.assert_frame_equal(found["auto"][columns], found["process"][columns])
    assert found["auto"]["reason"].str.contains("holdout").all()
