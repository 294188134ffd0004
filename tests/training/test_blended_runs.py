"""Runs whose keys are blended with models of their levels: trained once, stored once, replayed, scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import manymodels as mm
from manymodels.exceptions import JobError
from manymodels.registry import Registry
from manymodels.training.replay import replay_key

DAYS = 70


def sales(seed: int = 3) -> pd.DataFrame:
    """Noisy weeks of eight stores in two regions, of very different sizes; some have a few weeks only."""
    draw = np.random.default_rng(seed)
    frames = []
    for store in range(8):
        count = 35 if store % 2 else DAYS
        days = pd.date_range("2024-01-01", periods=DAYS)[-count:]
        promo = (draw.random(count) < 0.3).astype(float)
        week = np.array([1.0, 1.1, 0.9, 1.0, 1.4, 1.8, 0.5])[days.day_of_week]
        values = np.exp(draw.normal(0, 0.35, count)) * 10.0 ** (store % 3 + 1) * week * (1 + promo / 2)
        frames.append(
            pd.DataFrame(
                {"store": store, "region": "NS"[store // 4], "day": days, "sales": values, "promo": promo}
            )
        )
    return pd.concat(frames, ignore_index=True)


def job(folder: Path, **more: Any) -> mm.Job:
    fields: dict[str, Any] = {
        "name": "sales",
        "task": "forecast",
        "data": {
            "partition_by": ["store"],
            "time": "day",
            "target": "sales",
            "features": ["promo"],
            "known_future": ["promo"],
            "frequency": "D",
        },
        "models": [{"lag_regression": {"transform": "log"}}],
        "forecast": {"horizon": 7},
        "hierarchy": {"levels": [["region"], []], "parent": {"global_boost": {"iterations": 20}}},
        "compute": "serial",
        "store": str(folder / "store"),
    }
    return mm.Job.from_dict({k: v for k, v in (fields | more).items() if v is not None})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[mm.Job, pd.DataFrame, pd.DataFrame, Any]:
    folder = tmp_path_factory.mktemp("blended")
    rows = sales()
    early, late = (
        rows[rows["day"] < rows["day"].max() - pd.Timedelta(days=6)],
        rows[rows["day"] >= rows["day"].max() - pd.Timedelta(days=6)],
    )
    found = job(folder)
    return found, early, late, mm.train(found, data=early)


def test_every_blend_is_reported_with_its_level_and_weight(trained: Any) -> None:
    outcomes = trained[3].outcomes()

    blended = outcomes[outcomes["parent"].notna()]
    assert len(blended) >= 4
    assert set(blended["parent"]) <= {"level:region", "pooled"}
    assert blended["own_weight"].between(0, 1, inclusive="neither").all()


def test_a_level_is_stored_once_and_a_key_holds_its_weight(trained: Any) -> None:
    registry = Registry(trained[0].store.path)
    served = registry.served("sales").to_pandas()
    sizes = {
        level: pq.read_table(Path(trained[0].store.path) / rows["segment"].iloc[0], columns=["artifact"])[
            "artifact"
        ]
        for level, rows in served.groupby("level")
    }

    assert sorted(served["level"]) == [""] * 8 + ["level:region"] * 2 + ["naive", "pooled"]
    assert (
        max(len(each.as_py()) for each in sizes[""]) < min(len(each.as_py()) for each in sizes["pooled"]) / 5
    )


def test_scores_are_the_weighted_mean_of_both_models(trained: Any) -> None:
    the_job, early, late, run = trained
    outcomes = run.outcomes()
    registry = Registry(the_job.store.path)

    scores = mm.score(the_job, future=late.drop(columns="sales"))

    assert set(scores["model_source"]) == {"key"}
    assert scores["reason"].isna().all()
    line = outcomes[outcomes["parent"] == "pooled"].iloc[0]
    store = int(line["store"])
    served = registry.served("sales").to_pandas()
    at = served[served["level"] == "pooled"].iloc[0]
    parent = registry._segments.load(at["segment"], at["sha256"], int(at["segment_row"]))
    own = registry.load("sales", store=store).own
    from manymodels.records import Rows

    ahead = Rows(late[late["store"] == store][["day", "promo"]].reset_index(drop=True))
    both = [
        model.predict(ahead)["prediction"]
        for model in (own, parent.extend(Rows(early[early["store"] == store].reset_index(drop=True))))
    ]
    expected = line["own_weight"] * both[0] + (1 - line["own_weight"]) * both[1]
    assert scores[scores["store"] == store]["prediction"].to_numpy() == pytest.approx(expected, rel=1e-9)


def test_a_replayed_key_is_blended_as_in_the_run(trained: Any) -> None:
    the_job, _, _, run = trained
    registry = Registry(the_job.store.path)
    line = run.outcomes().query("parent.notna()").iloc[0]

    again = replay_key(registry, registry.run(run.id), key=f"store={line['store']}", key_id=None)

    assert (again.parent, again.own_weight, again.metric) == (
        line["parent"],
        line["own_weight"],
        line["metric"],
    )


def shops(kind: str) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    frames = []
    for shop in range(6):
        x = draw.normal(0, 1, (30, 2))
        value = x @ [2.0, -1.0] + shop / 3 + draw.normal(0, 1, 30)
        y = value if kind == "regression" else np.where(value > 0, "yes", "no")
        frames.append(pd.DataFrame({"shop": shop, "a": x[:, 0], "b": x[:, 1], "y": y}))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_other_tasks_are_blended_too(tmp_path: Path, task: str) -> None:
    rows = shops(task)
    estimator = (
        "sklearn.linear_model.Ridge" if task == "regression" else "sklearn.linear_model.LogisticRegression"
    )
    the_job = mm.Job(
        name="shops",
        task=task,
        data={"partition_by": ["shop"], "target": "y"},
        models=[estimator],
        hierarchy={"levels": [[]], "parent": estimator},
        training={"isolation": "none"},
        compute="serial",
        store=str(tmp_path / "store"),
    )

    outcomes = mm.train(the_job, data=rows).outcomes()
    scores = mm.score(the_job, rows.drop(columns="y"))

    assert outcomes["parent"].notna().sum() >= 4
    assert (set(scores["model_source"]), set(scores["status"])) == ({"key"}, {"ok"})
    if task == "classification":
        shares = scores[["probability_no", "probability_yes"]]
        assert shares.sum(axis=1).to_numpy() == pytest.approx(1.0)
        assert (scores["prediction"] == np.where(shares["probability_yes"] > 0.5, "yes", "no")).mean() > 0.99


def test_a_parent_that_there_is_not_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    wrong = job(tmp_path, hierarchy={"parent": {"lightgbm": {}}})

    with pytest.raises(
        JobError, match=r"hierarchy.parent: a forecast takes global_boost or pooled; found 'lightgbm'"
    ):
        mm.train(wrong, data=sales())


def test_bounds_by_held_out_errors_go_around_the_blend(tmp_path: Path) -> None:
    rows = sales()
    edge = rows["day"].max() - pd.Timedelta(days=6)
    both = job(tmp_path, forecast={"horizon": 7, "levels": [80]}, evaluation={"backtest": {"windows": 2}})
    outcomes = mm.train(both, data=rows[rows["day"] < edge]).outcomes()

    scores = mm.score(both, future=rows[rows["day"] >= edge].drop(columns="sales"))

    assert outcomes["parent"].notna().all()
    assert (set(scores["model_source"]), scores["reason"].notna().sum()) == ({"key"}, 0)
    assert (scores["prediction_lo_80"] < scores["prediction"]).all()
    assert (scores["prediction"] < scores["prediction_hi_80"]).all()
