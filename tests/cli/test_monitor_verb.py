"""`manymodels monitor`, and `train` and `plan` `--only listed`, on fleets that really trained and scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import manymodels as mm
from manymodels.cli.app import app
from manymodels.exceptions import DataError, NotFoundError, UsageError

DAYS = pd.date_range("2026-01-05", periods=126)
TRAINED, SCORED = 84, 28  # days; three scorings of two weeks each would follow


def call(*words: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == code, done.output
    payload: dict[str, Any] = json.loads(done.stdout)
    return payload


def sales() -> pd.DataFrame:
    """Six shops with a weekly pattern; after the training days shop 2 sells more, and shop 4 has other prices."""
    rng = np.random.default_rng(5)
    frames = []
    for shop in range(6):
        later = np.arange(len(DAYS)) >= TRAINED
        price = rng.normal(10, 1, len(DAYS)) + np.where(later & (shop == 4), 5, 0)
        level = 100 + 10 * shop + np.where(later & (shop == 2), 40, 0)
        frames.append(
            pd.DataFrame(
                {
                    "shop": shop,
                    "day": DAYS,
                    "price": price,
                    "sales": level + 5 * DAYS.day_of_week + rng.normal(0, 3, len(DAYS)),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained, and scored twice: the second scoring knows the first two weeks that followed."""
    folder = tmp_path_factory.mktemp("monitored")
    rows = sales()
    rows[rows["day"] < DAYS[TRAINED]].to_parquet(folder / "sales.parquet")
    (folder / "job.yaml").write_text(
        f"""
name: shops
task: forecast
data: {{path: {folder}/sales.parquet, partition_by: [shop], time: day, target: sales}}
models: [seasonal_naive]
forecast: {{horizon: 14, levels: [80]}}
evaluation: {{backtest: {{windows: 2}}}}
compute: serial
store: {folder}/store
"""
    )
    job = mm.Job.from_yaml(folder / "job.yaml")
    mm.train(job, progress=False)
    mm.score(job, output=str(folder / "first"), progress=False)
    history = rows[rows["day"] < DAYS[TRAINED + 14]]
    mm.score(job, history, output=str(folder / "second.csv"), progress=False)
    mm.score(job, output=str(folder / "gone.parquet"), progress=False)
    (folder / "gone.parquet").unlink()
    rows[(rows["day"] >= DAYS[TRAINED]) & (rows["day"] < DAYS[TRAINED + SCORED])].to_parquet(
        folder / "new.parquet"
    )
    return folder


def test_what_happened_is_compared_with_what_was_predicted(fleet: Path) -> None:
    found = call("monitor", f"{fleet}/job.yaml", "--actuals", f"{fleet}/new.parquet")
    assert found["scorings"] == ["shops-score-000001", "shops-score-000002"]
    assert found["without_output"] == ["shops-score-000003"]
    assert (found["keys"], found["rows"], found["actuals"], found["unmatched"]) == (6, 168, 168, 0)
    assert found["metric"] == "mase"
    assert found["median_metric"] == pytest.approx(found["median_evaluated"], rel=0.5)
    assert 0.6 < found["coverage"]["80"] < 0.95
    (listed,) = found["listed"]
    assert listed["key"] == "shop=2"
    assert "accuracy" in listed["causes"]
    assert found["retrain"] == 1
    assert found["causes"]["features"] == 1
    # Shop 4's prices drifted, which does not put a key on the list unless asked.
    keys = pd.read_parquet(Path(found["output"]) / "keys.parquet").set_index("key")
    assert keys.loc["shop=4", "causes"].tolist() == ["features"]
    assert keys.loc["shop=4", "feature"] == "price"
    assert not keys.loc["shop=4", "retrain"]
    assert [line["feature"] for line in found["features"]] == ["price"]
    assert found["features"][0]["keys"] == 1
    # One row per key and scoring, in the store.
    periods = pd.read_parquet(Path(found["output"]) / "periods.parquet")
    assert len(periods) == 12
    shop_2 = periods[periods["key"] == "shop=2"].sort_values("scoring")
    assert shop_2["metric"].iloc[0] > 3 > shop_2["metric"].iloc[1]  # the newer history knew
    text = CliRunner().invoke(app, ["monitor", f"{fleet}/job.yaml", "--actuals", f"{fleet}/new.parquet"])
    assert "1 of 6 keys to train again, for accuracy or coverage or residuals." in text.stdout
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert [name for name in found if f"`{name}`" not in page] == []
    assert [name for name in keys.columns if f"`{name}`" not in page and ":" not in name] == ["coverage_80"]


def test_only_the_listed_keys_train_and_only_once(fleet: Path) -> None:
    asked = "monitor.retrain_on=[accuracy, features]"
    call("monitor", f"{fleet}/job.yaml", "--actuals", f"{fleet}/new.parquet", "--set", asked)
    plan = call("plan", f"{fleet}/job.yaml", "--only", "listed", "--each")
    assert plan["actions"] == {"train": {"listed": 2}, "skip": {"out of scope": 4}}
    assert [line["key"] for line in plan["plan"] if line["action"] == "train"] == ["shop=2", "shop=4"]
    assert call("train", f"{fleet}/job.yaml", "--only", "listed")["trained"] == 2
    assert call("plan", f"{fleet}/job.yaml", "--only", "listed")["train"] == 0


def test_actuals_in_memory_are_judged_by_the_newest_prediction_of_each(fleet: Path) -> None:
    job = mm.Job.from_yaml(fleet / "job.yaml")
    rows = pd.read_parquet(fleet / "new.parquet")
    found = mm.monitor(job, rows[["shop", "day", "sales"]].assign(shop=rows["shop"].astype(float)))
    assert len(found.features) == 0
    assert found.keys["rows"].tolist() == [28] * 6
    assert found.keys["key:shop"].tolist() == found.keys["key"].str[5:].astype(int).tolist()
    assert set(found.keys["version"]) == {1}


def test_what_does_not_fit_is_refused(fleet: Path, tmp_path: Path) -> None:
    job = mm.Job.from_yaml(fleet / "job.yaml")
    rows = pd.read_parquet(fleet / "new.parquet")
    with pytest.raises(DataError, match="sales"):
        mm.monitor(job, rows[["shop", "day"]])
    with pytest.raises(DataError, match="none of 168 actuals has a prediction"):
        mm.monitor(job, rows.assign(day=rows["day"] + pd.Timedelta("400D")))
    with pytest.raises(DataError, match="168 rows of the actuals have the same day as another row"):
        mm.monitor(job, pd.concat([rows, rows]))
    refused = call(
        "monitor",
        f"{fleet}/job.yaml",
        "--actuals",
        f"{fleet}/new.parquet",
        "--set",
        "monitor.match=[hour]",
        code=2,
    )
    assert "hour" in refused["error"]["message"]
    never = mm.Job.from_yaml(fleet / "job.yaml", overrides=[f"store={tmp_path}/store"])
    mm.train(never, progress=False)
    with pytest.raises(NotFoundError, match="no scores of 'shops' to compare with; `manymodels score`"):
        mm.monitor(never, rows)
    with pytest.raises(NotFoundError, match="was never monitored"):
        mm.plan(never, only="listed")


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_of_other_tasks_are_matched_by_a_column_of_their_own(task: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    shop = np.repeat(np.arange(4), 60)
    x = rng.normal(size=len(shop))
    noise = rng.normal(scale=0.5, size=len(shop))
    y = np.where(shop == 3, -1, 1) * x + noise
    target = y if task == "regression" else np.where(y > 0, "up", "down")
    rows = pd.DataFrame({"shop": shop, "visit": np.arange(len(shop)), "x": x, "y": target})
    seen = rows.groupby("shop").head(40)
    new = rows.drop(seen.index)
    name = "Ridge" if task == "regression" else "LogisticRegression"
    job = mm.Job(
        name="visits",
        task=task,
        data={"partition_by": ["shop"], "target": "y", "features": ["x"]},
        models=[f"sklearn.linear_model.{name}"],
        evaluation={"folds": 4},
        training={"isolation": "none"},
        monitor={"match": ["visit"], "max_loss": 1.0},
        compute="serial",
        store=str(tmp_path / "store"),
    )
    mm.train(job, seen, progress=False)
    mm.score(job, new.drop(columns="y"), output=str(tmp_path / "out"), progress=False)
    turned = new.copy()
    if task == "regression":
        turned["y"] = np.where(turned["shop"] == 3, -3 * turned["y"], turned["y"])
    else:
        other = np.where(turned["y"] == "up", "down", "up")
        turned["y"] = np.where(turned["shop"] == 3, other, turned["y"])
    found = mm.monitor(job, turned[["shop", "visit", "y"]])
    listed = found.keys[found.keys["retrain"]]
    assert listed["key"].tolist() == ["shop=3"]
    assert "accuracy" in listed["causes"].iloc[0]
    # The outputs have the features that the actuals lack.
    assert found.features["feature"].tolist() == ["x"]
    unmatched = mm.Job(**{**job.model_dump(), "monitor": {}})
    with pytest.raises(UsageError, match=r"name columns in `monitor\.match`"):
        mm.monitor(unmatched, turned)
