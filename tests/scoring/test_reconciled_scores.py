"""Scores of a job with a hierarchy: keys and the sums above them add up, to the last cent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import manymodels as mm
from manymodels.exceptions import UsageError
from manymodels.training.layout import lay_out
from manymodels.training.prepare import prepare

REGIONS = {1: "N", 2: "N", 3: "S", 4: "S", 5: "S"}
DAYS = pd.date_range("2024-01-01", periods=63)
AHEAD = pd.date_range("2024-03-04", periods=7)


def sales() -> pd.DataFrame:
    draw = np.random.default_rng(11)
    frames = []
    for store, region in REGIONS.items():
        week = np.array([1.0, 1.1, 0.9, 1.0, 1.4, 1.8, 0.5])[DAYS.day_of_week]
        values = np.round(20 * store * week * np.exp(draw.normal(0, 0.2, len(DAYS))), 2)
        promo = (draw.random(len(DAYS)) < 0.3).astype(float)
        frames.append(
            pd.DataFrame({"store": store, "region": region, "day": DAYS, "sales": values, "promo": promo})
        )
    return pd.concat(frames, ignore_index=True)


def job(folder: Path, reconcile: str | None, **more: Any) -> mm.Job:
    hierarchy = {"levels": [["region"], []], "blend": False, "reconcile": reconcile}
    fields: dict[str, Any] = {
        "name": "sales",
        "task": "forecast",
        "data": {
            "partition_by": ["store"],
            "time": "day",
            "target": "sales",
            "features": [],
            "frequency": "D",
        },
        "models": ["holt_winters", "seasonal_naive"],
        "forecast": {"horizon": 7, "levels": [80], "non_negative": True},
        "hierarchy": hierarchy if reconcile else None,
        "compute": "serial",
        "store": str(folder / "store"),
    }
    return mm.Job.from_dict({name: value for name, value in (fields | more).items() if value is not None})


def scored(the_job: mm.Job, folder: Path, **inputs: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    mm.score(the_job, output=str(folder / "out"), **inputs)
    return pd.read_parquet(folder / "out"), pd.read_parquet(folder / "out" / "_levels.parquet")


def cents(values: Any) -> Any:
    return np.rint(np.asarray(values) * 100).astype(int)


def assert_coherent(keys: pd.DataFrame, levels: pd.DataFrame) -> None:
    keys = keys.assign(region=keys["store"].map(REGIONS), units=cents(keys["prediction"].fillna(0)))
    assert keys["prediction"].dropna().round(2).equals(keys["prediction"].dropna())
    of_regions = levels[levels["level"] == "region"].set_index(["region", "day"])["prediction"]
    whole = levels[levels["level"] == "all"].set_index("day")["prediction"]
    assert (
        cents(of_regions) == keys.groupby(["region", "day"])["units"].sum().reindex(of_regions.index)
    ).all()
    assert (cents(whole) == keys.groupby("day")["units"].sum().reindex(whole.index)).all()


def test_the_plan_counts_the_models_of_sums(tmp_path: Path) -> None:
    data = tmp_path / "sales.parquet"
    sales().to_parquet(data, index=False)
    work = []
    for method in (None, "mint"):
        content = job(tmp_path, method).model_dump(mode="json", exclude_defaults=True)
        content["data"]["path"] = str(data)
        layout = lay_out(prepare(mm.Job.from_dict(content)))
        assert len(layout.sums) == (2 if method else 0)
        work.append((layout.estimate.work, layout.rung_guess))
    (alone, rungs), (with_sums, rungs_and_sums) = work
    # Two regions and the whole, of as many rows as each of the five stores.
    assert rungs_and_sums > rungs
    assert with_sums - alone == pytest.approx(rungs_and_sums - rungs)


@pytest.mark.parametrize("method", ["bottom_up", "top_down", "mint"])
def test_forecasts_add_up_to_the_last_cent_and_the_keys_columns_stay(tmp_path: Path, method: str) -> None:
    plain = job(tmp_path / "plain", None)
    mm.train(plain, data=sales())
    before = mm.score(plain)
    the_job = job(tmp_path, method)
    run = mm.train(the_job, data=sales())

    keys, levels = scored(the_job, tmp_path)

    assert run.summary["trained"] == 5
    assert list(keys.columns) == list(before.columns)
    assert len(keys) == 35
    assert levels.groupby("level").size().to_dict() == {"all": 7, "region": 14}
    assert set(levels["status"]) == {"ok"}
    assert_coherent(keys, levels)
    whole = levels[levels["level"] == "all"]
    if method == "bottom_up":
        assert np.abs(keys["prediction"] - before["prediction"]).max() < 0.01
    if method == "top_down":
        assert np.abs(whole["prediction"] - whole["base_prediction"]).max() <= 0.005001
    if method == "mint":
        moved = np.abs(keys["prediction"] - before["prediction"])
        assert 0.01 < moved.max() < 0.2 * before["prediction"].max()
    assert (
        (keys["prediction"] >= keys["prediction_lo_80"]) & (keys["prediction"] <= keys["prediction_hi_80"])
    ).all()


def test_known_features_enter_the_sums_as_means_and_a_file_has_its_levels_beside_it(tmp_path: Path) -> None:
    data = {
        "partition_by": ["store"],
        "time": "day",
        "target": "sales",
        "frequency": "D",
        "features": ["promo"],
    }
    the_job = job(
        tmp_path,
        "mint",
        data={**data, "known_future": ["promo"]},
        models=[{"lag_regression": {"lags": [7], "calendar": False}}],
    )
    mm.train(the_job, data=sales())
    future = pd.DataFrame(
        [{"store": store, "day": day, "promo": float(store % 2)} for store in REGIONS for day in AHEAD]
    )

    mm.score(the_job, future=future, output=str(tmp_path / "scores.csv"))

    keys, levels = (pd.read_csv(tmp_path / name) for name in ("scores.csv", "scores.levels.csv"))
    assert_coherent(keys, levels)
    assert set(levels["status"]) == {"ok"}


def test_a_sum_whose_keys_are_not_all_forecast_is_only_summed(tmp_path: Path) -> None:
    rows = sales()
    the_job = job(tmp_path, "mint")
    mm.train(the_job, data=rows)
    future = pd.DataFrame([{"store": store, "day": day} for store in (1, 2, 3) for day in AHEAD])

    keys, levels = scored(the_job, tmp_path, future=future)

    assert_coherent(keys, levels)
    found = (
        levels.fillna({"region": "-"})
        .drop_duplicates(["level", "region"])
        .set_index(["level", "region"])["status"]
    )
    assert found.to_dict() == {("region", "N"): "ok", ("region", "S"): "summed", ("all", "-"): "summed"}
    assert "2 of its keys have no forecast" in set(levels["reason"].dropna())


def test_newer_history_extends_the_sums_too(tmp_path: Path) -> None:
    rows = sales()
    the_job = job(tmp_path, "top_down", models=["holt_winters"])
    early = rows["day"] < DAYS[-7]
    mm.train(the_job, data=rows[early])

    keys, levels = scored(the_job, tmp_path, data=rows[~early])

    assert keys["day"].min() == AHEAD[0]
    assert set(levels["status"]) == {"ok"}
    assert_coherent(keys, levels)


def test_sums_are_versions_of_their_own_that_count_as_no_key(tmp_path: Path) -> None:
    the_job = job(tmp_path, "bottom_up")
    first = mm.train(the_job, data=sales())
    again = mm.train(the_job, data=sales())

    served = mm.Registry(the_job.store.path).served("sales").to_pandas()
    assert sorted(served["level"])[-3:] == ["sum", "sum:region", "sum:region"]
    assert first.summary["keys"] == 5
    assert (again.summary["reused"], again.summary["trained"]) == (5, 0)
    assert set(served["run_id"]) == {first.id}
    assert_coherent(*scored(the_job, tmp_path))


def test_sums_that_no_run_has_fitted_are_asked_for(tmp_path: Path) -> None:
    mm.train(job(tmp_path, None), data=sales())

    with pytest.raises(UsageError, match="needs models of the sums above the keys"):
        mm.score(job(tmp_path, "mint"))
    mm.train(job(tmp_path, "mint"), data=sales())
    assert_coherent(*scored(job(tmp_path, "mint"), tmp_path))


def test_a_stopped_scoring_is_reconciled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were reconciled already are no base forecasts: they are scored again."""
    from manymodels.scoring.sinks import Sink

    the_job = job(tmp_path, "mint")
    mm.train(the_job, data=sales())
    expected, _ = scored(the_job, tmp_path / "whole")

    def stop(self: Sink, *parts: Any, **details: Any) -> None:
        raise OSError("no more disk")

    with monkeypatch.context() as patch:
        patch.setattr(Sink, "publish", stop)
        with pytest.raises(mm.ManyModelsError, match="no more disk"):
            scored(the_job, tmp_path)
    found, _ = scored(the_job, tmp_path)

    pd.testing.assert_frame_equal(found, expected)
    assert len(pq.ParquetDataset(tmp_path / "out").files) == len(
        pq.ParquetDataset(tmp_path / "whole" / "out").files
    )
