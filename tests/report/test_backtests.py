from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_fleet import HORIZON, Fleet, forecast_job, sales
from typer.testing import CliRunner

import manymodels as mm
from manymodels.cli.app import app
from manymodels.exceptions import UsageError


def test_what_is_kept_gives_the_metric_again(fleet: Fleet) -> None:
    run, rows = fleet.run(2), sales()
    kept, outcomes = run.backtests(), run.outcomes().set_index("store")
    assert list(kept.columns[:10]) == [
        *("key_id", "store", "candidate", "window", "cutoff", "time", "step", "row", "actual", "prediction")
    ]
    found = {}
    for store, theirs in kept.groupby("store"):
        assert set(theirs["candidate"]) == {outcomes.loc[store, "candidate"]}
        series = rows[rows["store"] == store].set_index("day")["sales"].asfreq("D")
        own = rows[rows["store"] == store].reset_index(drop=True)
        values = []
        for _, window in theirs.groupby("window"):
            cutoff = window["cutoff"].iloc[0]
            past = series[:cutoff]
            scale = past.diff(7).abs().mean() if len(past) > 7 else past.diff().abs().mean()
            values.append((window["actual"] - window["prediction"]).abs().mean() / scale)
            assert (window["time"] == cutoff + pd.to_timedelta(window["step"], "D")).all()
            assert (own.loc[window["row"], "day"].to_numpy() == window["time"].to_numpy()).all()
            assert (own.loc[window["row"], "sales"].to_numpy() == window["actual"].to_numpy()).all()
        found[store] = np.mean(values)
    judged = outcomes[outcomes["metric"].notna()]
    assert set(found) == set(judged.index)
    for store, metric in judged["metric"].items():
        assert found[store] == pytest.approx(metric)


def test_keys_fitted_at_once_keep_what_keys_fitted_one_by_one_do(tmp_path: Path) -> None:
    rows = sales(8)
    (tmp_path / "own.py").write_text(
        "from manymodels.models.forecast.simple import Drift\n\n\n"
        "def fit(frame, spec):\n    raise ValueError('out of the race')\n"
    )
    alone = mm.train(forecast_job(tmp_path, ["mean", "own:fit"], name="alone"), rows, progress=False)
    at_once = mm.train(forecast_job(tmp_path, ["mean"], name="at-once"), rows, progress=False)
    order = ["key_id", "window", "row"]
    tables = [run.backtests().sort_values(order, ignore_index=True) for run in (alone, at_once)]
    assert len(tables[0]) > 8 * HORIZON
    pd.testing.assert_frame_equal(*tables, rtol=1e-9)
    outcomes = [run.outcomes()[["metric", "baseline", "skill"]] for run in (alone, at_once)]
    pd.testing.assert_frame_equal(*outcomes, rtol=1e-9)


@pytest.mark.parametrize(
    ("keep", "names"), [("all", {"mean", "naive"}), ("winner", {"mean"}), ("none", set())]
)
def test_the_job_says_whose_backtests_are_kept(tmp_path: Path, keep: str, names: set[str]) -> None:
    rows = pd.DataFrame(
        {
            "store": "a",
            "day": pd.date_range("2025-01-01", periods=40),
            "sales": np.tile([1.0, 9.0, 4.0, 6.0], 10),
        }
    )
    job = forecast_job(tmp_path, ["mean", "naive"], evaluation={"keep": keep})
    stray = tmp_path / "store" / "runs" / "sales-000001" / "backtests" / "000000-of-a-lost-attempt.parquet"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"")
    run = mm.train(job, rows, progress=False)
    kept = run.backtests()
    assert set(kept["candidate"]) == names if names else len(kept) == 0
    assert not stray.exists()
    assert len(list(stray.parent.glob("*.parquet"))) == bool(names)
    again = forecast_job(tmp_path, ["mean", "naive"], evaluation={"keep": "all"})
    assert mm.train(again, rows, progress=False).summary["reused"] == 1


def test_one_keys_backtests_are_found_by_its_values(fleet: Fleet) -> None:
    found = fleet.run(2).backtests([{"store": "store 09"}])
    assert set(found["store"]) == {"store 09"}
    assert len(found) == 2 * HORIZON


def test_they_are_a_table_to_query(fleet: Fleet) -> None:
    run = fleet.run(2)
    whole = run.backtests()
    found = run.backtests(
        sql="SELECT store, step, avg(abs(actual - prediction)) AS mae FROM backtests GROUP BY ALL ORDER BY ALL"
    )
    whole["mae"] = (whole["actual"] - whole["prediction"]).abs()
    expected = whole.groupby(["store", "step"])["mae"].mean().reset_index()
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    one = run.backtests([{"store": "store 09"}], sql="SELECT count(*) AS rows FROM backtests")
    assert one["rows"].tolist() == [2 * HORIZON]


@pytest.mark.parametrize(
    "sql",
    ["SELECT nothing FROM backtests", "SELEC", "SELECT * FROM '/etc/passwd'", "CREATE TABLE x (a INT)", ""],
)
def test_what_is_no_query_over_them_is_refused(fleet: Fleet, sql: str) -> None:
    with pytest.raises(UsageError, match="`backtests`"):
        fleet.run(2).backtests(sql=sql)


def test_the_verb_shows_queries_and_writes_them(fleet: Fleet, tmp_path: Path) -> None:
    run, store = fleet.run(2), str(fleet.folder / "store")

    def call(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["runs", "backtests", run.id, "--store", store, *words])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if "--json" in words else done.stdout

    shown = call("--key", "store=store 09", "--limit", "3", "--json")
    assert (shown["rows"], len(shown["backtests"])) == (2 * HORIZON, 3)
    assert shown["backtests"][0]["store"] == "store 09"
    assert "more rows" in call("--limit", "3")
    asked = call("--sql", "SELECT max(step) AS furthest FROM backtests", "--json")
    assert asked["backtests"] == [{"furthest": HORIZON}]
    call("--output", str(tmp_path / "all.parquet"), "--json")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "all.parquet"), run.backtests())
    call("--output", str(tmp_path / "all.xlsx"), code=2)
    call("--output", str(tmp_path / "none" / "all.csv"), code=2)


@pytest.mark.parametrize("time", ["day", None])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_held_out_of_a_table_are_kept_with_their_places(
    tmp_path: Path, task: str, time: str | None
) -> None:
    rng = np.random.default_rng(4)
    rows = pd.DataFrame(
        {
            "well": np.repeat([1, 2, 3], 30),
            "day": np.tile(np.arange(30), 3),
            "x": np.arange(90.0),
            "y": np.arange(90.0) * 2 if task == "regression" else rng.choice(["dry", "wet"], 90),
        }
    )
    estimator = {
        "regression": "sklearn.linear_model.Ridge",
        "classification": "sklearn.tree.DecisionTreeClassifier",
    }
    data = {"partition_by": ["well"], "time": time, "target": "y", "features": ["x"]}
    job = mm.Job.from_dict(
        {
            "name": "wells", "task": task, "data": data, "models": [estimator[task]], "store": str(tmp_path / "store"),
            "evaluation": {"folds": 3}, "compute": {"target": "serial"}, "training": {"isolation": "none"},
        }
    )  # fmt: skip
    run = mm.train(job, rows, progress=False)
    kept = run.backtests()
    assert set(kept["window"]) == {0, 1, 2}
    assert kept["step"].isna().all()
    if time is None:
        assert kept["time"].isna().all()
        assert len(kept) == 90
        by_place = rows.sort_values(["well", "x"])  # the rows' own order is not kept: compare what is
        assert sorted(kept["actual"]) == sorted(by_place["y"])
        assert not kept.duplicated(["well", "row"]).any()
    else:
        assert (kept["cutoff"] < kept["time"]).all()
        joined = kept.merge(rows, left_on=["well", "time"], right_on=["well", "day"])
        assert len(joined) == len(kept)
        assert (joined["actual"] == joined["y"]).all()
        assert (kept["row"] == kept["time"]).all()
    if task == "classification":
        assert kept["prediction"].isin(["dry", "wet"]).all()
        assert kept[["probability_dry", "probability_wet"]].sum(axis=1).to_numpy() == pytest.approx(1.0)
