from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from report_fleet import HORIZON, Fleet
from typer.testing import CliRunner

from manymodels.cli.app import app
from manymodels.exceptions import UsageError
from manymodels.report.facts import read_run
from manymodels.report.tables import run_tables


def test_every_key_is_in_one_state_and_reused_keys_keep_what_their_models_were_worth(fleet: Fleet) -> None:
    facts = read_run(fleet.registry, fleet.registry.run(fleet.run(3).id))
    tables = run_tables(facts)
    states = tables["states"].set_index("state")["keys"]
    assert states.to_dict() == {"trained": 1, "reused": 22, "fallback": 1, "skipped": 0, "failed": 0}
    keys = tables["keys"].set_index("key_id")
    before = fleet.run(2).outcomes().set_index("key_id")
    reused = keys[keys["state"] == "reused"]
    assert set(reused["run"]) == {fleet.run(2).id}
    pd.testing.assert_series_equal(reused["skill"], before.loc[reused.index, "skill"])
    assert int(tables["summary"]["judged"].iloc[0]) == keys["skill"].notna().sum() == 23
    changed = tables["changes"].set_index("verdict")["keys"]
    assert changed["same"] == 22
    assert changed.sum() == 23


def test_skill_is_the_share_of_the_naive_error_that_a_model_takes_away(fleet: Fleet) -> None:
    outcomes = fleet.run(2).outcomes()
    judged = outcomes[outcomes["skill"].notna()]
    assert len(judged) == 23
    pd.testing.assert_series_equal(
        judged["skill"], 1 - judged["metric"] / judged["baseline"], check_names=False
    )
    naive = judged[judged["candidate"] == "seasonal_naive"]
    assert (naive["skill"].abs() < 1e-9).all()
    board = fleet.run(2).leaderboard().set_index("candidate")
    assert board.loc["seasonal_naive", "median_skill"] == pytest.approx(0, abs=1e-9)
    summary = fleet.report(fleet.run(2).id).summary
    assert summary["fleet_skill"] == pytest.approx(1 - judged["metric"].mean() / judged["baseline"].mean())


def test_coverage_counts_the_outcomes_inside_the_intervals_of_the_keys_models(fleet: Fleet) -> None:
    tables = fleet.report(fleet.run(2).id).tables
    kept = fleet.run(2).backtests()
    for level, covered, rows in tables["coverage"].itertuples(index=False):
        inside = kept["actual"].between(kept[f"prediction_lo_{level:g}"], kept[f"prediction_hi_{level:g}"])
        known = kept[f"prediction_lo_{level:g}"].notna()
        assert rows == known.sum()
        assert covered == pytest.approx(inside[known].mean())
    assert set(tables["coverage_by_step"]["step"]) == set(range(1, HORIZON + 1))


def test_best_and_worst_keys_come_with_what_happened_before_and_while_they_were_judged(fleet: Fleet) -> None:
    tables = fleet.report(fleet.run(2).id).tables
    best, worst = tables["best"]["skill"], tables["worst"]["skill"]
    assert best.is_monotonic_decreasing
    assert worst.is_monotonic_increasing
    assert worst.max() <= best.min()
    examples = tables["examples"]
    assert set(examples["key_id"]) == set(tables["best"]["key_id"]) | set(tables["worst"]["key_id"])
    for _, rows in examples.groupby("key_id"):
        held = rows["prediction"].notna()
        assert rows.loc[~held, "time"].max() < rows.loc[held, "time"].min()
        assert rows["actual"].notna().all()


def test_the_verb_writes_the_page_and_every_table_as_parquet_and_json(fleet: Fleet, tmp_path: Path) -> None:
    page, folder = tmp_path / "fleet.html", tmp_path / "tables"
    words = ["report", "latest", "-o", str(page), "--tables", str(folder), "--json"]
    done = CliRunner().invoke(app, [*words, "--store", fleet.registry.storage.root])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["id"] == said["run_id"] == fleet.run(4).id
    assert said["bytes"] == page.stat().st_size
    assert said["trained"] + said["failed"] + said["fallback"] == said["keys"] == 24
    names = {path.stem for path in folder.glob("*.parquet")}
    assert names == {path.stem for path in folder.glob("*.json")} == set(fleet.report(fleet.run(4).id).tables)
    failures = json.loads((folder / "failures.json").read_text())
    assert sum(entry["count"] for entry in failures) == said["failed"] > 0
    keys = pd.read_parquet(folder / "keys.parquet")
    assert len(keys) == len(json.loads((folder / "keys.json").read_text())) == 24


def test_an_unknown_name_is_refused(fleet: Fleet) -> None:
    done = CliRunner().invoke(app, ["report", "sales-999", "--store", fleet.registry.storage.root])
    assert done.exit_code == 2


def test_a_run_that_has_not_ended_has_no_report(fleet: Fleet) -> None:
    record = replace(fleet.registry.run(fleet.run(1).id), outcomes_path="", state="interrupted")
    with pytest.raises(UsageError, match="runs resume"):
        read_run(fleet.registry, record)
