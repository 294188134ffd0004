"""The main job from the command line, as a user runs it: train, register, score, look; then again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.integration

DAYS = 90
STORES = (*range(1, 9), 20, 21)  # 20 is short, 21 has no sales


def store_sales() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    dates = pd.date_range("2026-01-01", periods=DAYS, freq="D")
    frames = []
    for store in STORES:
        week = 100 + 20 * np.sin(2 * np.pi * np.arange(DAYS) / 7) + store
        promo = rng.integers(0, 2, DAYS)
        frame = pd.DataFrame(
            {
                "store": store,
                "region": "N" if store % 2 else "S",
                "date": dates,
                "sales": week + 15 * promo + rng.normal(0, 2, DAYS),
                "promo": promo,
            }
        )
        if store == 20:
            frame = frame.tail(6)
        if store == 21:
            frame["sales"] = np.nan
        frames.append(frame)
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=1)


def future(stores: list[int]) -> pd.DataFrame:
    dates = pd.date_range("2026-04-01", periods=7, freq="D")
    grid = pd.MultiIndex.from_product([stores, dates], names=["store", "date"]).to_frame(index=False)
    return grid.assign(promo=np.arange(len(grid)) % 2)


JOB = """
name: sales
task: forecast
data:
  path: sales.parquet
  partition_by: [store]
  time: date
  target: sales
  known_future: [promo]
  ignore: [region]
  min_rows: 20
models:
  - seasonal_naive: {season_length: 7}
  - lag_regression: {estimator: sklearn.linear_model.Ridge, lags: [1, 7]}
forecast: {horizon: 7, levels: [80]}
compute: {target: local, workers: 2}
"""


class Shell:
    """Runs verbs in a folder and reads their JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, code: int = 0) -> Any:
        done = self.raw(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def raw(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "manymodels", *words]
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=300
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("main_job")
    store_sales().to_parquet(folder / "sales.parquet", index=False)
    future([*STORES, 99]).to_parquet(folder / "future.parquet", index=False)
    (folder / "job.yaml").write_text(JOB)
    return Shell(folder)


@pytest.fixture(scope="module")
def first(shell: Shell) -> dict[str, Any]:
    plan = shell("plan", "job.yaml")
    assert plan["actions"] == {"train": {"new": 8}, "fallback": {"too few rows": 1, "target is missing": 1}}
    return dict(shell("train", "job.yaml"))


def test_every_key_ends_in_one_state(first: dict[str, Any]) -> None:
    assert first["state"] == "completed"
    assert first["keys"] == len(STORES)
    assert [first[s] for s in ("trained", "reused", "fallback", "skipped", "failed")] == [8, 0, 2, 0, 0]
    assert first["promoted"] == 8


def test_an_unchanged_rerun_trains_nothing_and_says_so(shell: Shell, first: dict[str, Any]) -> None:
    again = shell("train", "job.yaml")
    assert (again["trained"], again["reused"]) == (0, 8)
    assert again["dataset"] == first["dataset"]
    assert "Nothing to train" in shell.raw("plan", "job.yaml").stdout


def test_scores_account_for_every_key_and_row(shell: Shell, first: dict[str, Any]) -> None:
    result = shell("score", "job.yaml", "--future", "future.parquet", "-o", "scores", "--overwrite")
    assert result["keys"] == result["scored"] + result["fallback"] + result["failed"] == len(STORES) + 1
    assert result["scored"] == 8
    scores = pd.read_parquet(shell.folder / "scores")
    assert len(scores) == result["rows"] == 7 * (len(STORES) + 1)
    own = scores[scores["model_source"] == "key"]
    assert set(own["store"]) == set(range(1, 9))
    assert (own["model_version"] == 1).all()
    assert (own["prediction_lo_80"] <= own["prediction"]).all()
    assert (own["prediction"] <= own["prediction_hi_80"]).all()
    assert own["prediction"].between(70, 160).all()
    served = scores[scores["status"] == "fallback"]
    assert set(served["store"]) <= {20, 21, 99}
    assert served["prediction"].notna().all()
    assert served["reason"].notna().all()
    failed = scores[scores["status"] == "failed"]
    assert failed["prediction"].isna().all()


def test_an_existing_output_is_refused(shell: Shell, first: dict[str, Any]) -> None:
    shell("score", "job.yaml", "--future", "future.parquet", "-o", "kept", "--overwrite")
    refused = shell("score", "job.yaml", "--future", "future.parquet", "-o", "kept", code=2)
    assert "--overwrite" in refused["error"]["message"]


def test_known_future_columns_are_asked_for(shell: Shell, first: dict[str, Any]) -> None:
    refused = shell("score", "job.yaml", "-o", "none", code=2)
    assert "promo" in refused["error"]["message"]
    assert "--future" in refused["error"]["message"]


def test_only_the_changed_key_trains_again(shell: Shell, first: dict[str, Any]) -> None:
    changed = store_sales()
    row = changed.index[(changed["store"] == 3)][0]
    changed.loc[row, "sales"] += 1.0
    changed.to_parquet(shell.folder / "changed.parquet", index=False)
    plan = shell("plan", "job.yaml", "--set", "data.path=changed.parquet", "--each")
    assert plan["actions"]["train"] == {"rows changed": 1}
    assert [line["key"] for line in plan["plan"] if line["action"] == "train"] == ["store=3"]


def test_the_registry_answers_for_a_key(shell: Shell, first: dict[str, Any]) -> None:
    listed = shell("models", "list", "sales")
    assert len(listed["models"]) == 8
    history = shell("models", "history", "sales", "--key", "store=3")
    assert (
        history["versions"][0]["aliases"] == ["champion"] or "champion" in history["versions"][0]["aliases"]
    )
    shown = shell("models", "show", "sales", "--key", "store=3")
    assert shown["model"]["family"] in ("seasonal_naive", "lag_regression")


def test_runs_are_listed_shown_and_have_no_failures(shell: Shell, first: dict[str, Any]) -> None:
    assert first["run_id"] in [run["run_id"] for run in shell("runs", "list")["runs"]]
    shown = shell("runs", "show", first["run_id"])
    assert {line["candidate"] for line in shown["leaderboard"]} == {"seasonal_naive", "lag_regression"}
    assert shell("runs", "failures", first["run_id"]) == {
        "run_id": first["run_id"],
        "failed": 0,
        "signatures": [],
    }


def test_one_key_can_be_replayed(shell: Shell, first: dict[str, Any]) -> None:
    outcome = shell("replay", first["run_id"], "--key", "store=3")
    assert outcome["state"] == "trained"


def test_the_fleet_is_rolled_forward_and_back_in_one_step(shell: Shell, first: dict[str, Any]) -> None:
    second = shell("train", "job.yaml", "--only", "all", "--set", "promotion.rule=never")
    assert (second["trained"], second["promoted"]) == (8, 0)
    assert shell("models", "promote", "sales", "--run", second["run_id"])["moved"] == 8
    assert shell("models", "rollback", "sales")["moved"] == 8
    versions = {line["version"] for line in shell("models", "list", "sales")["models"]}
    assert versions == {1}


def test_the_fleet_is_exported_and_loads_without_the_registry(shell: Shell, first: dict[str, Any]) -> None:
    from manymodels.artifacts.export import load_exported

    shell("models", "export", "sales", "-o", "fleet")
    assert load_exported(shell.folder / "fleet", store=3).describe()["family"]


def test_the_store_verifies(shell: Shell, first: dict[str, Any]) -> None:
    report = shell("store", "verify")
    assert report["segments"] > 0
    assert report["damaged"] == []


def test_a_lost_registry_is_rebuilt_from_the_files(shell: Shell, first: dict[str, Any]) -> None:
    def models() -> list[dict[str, Any]]:
        # Segments keep six digits of the seconds, and not the order in which keys were registered.
        lines = shell("models", "list", "sales")["models"]
        return sorted(({**line, "seconds": None} for line in lines), key=lambda line: str(line["key_id"]))

    before = models()
    for file in (shell.folder / ".manymodels").glob("registry.db*"):
        file.unlink()
    assert shell("store", "rebuild")["damaged"] == []
    assert models() == before


def test_an_error_is_one_line_without_a_traceback(shell: Shell) -> None:
    done = shell.raw("train", "job.yaml", "--set", "data.target=salse")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "sales" in done.stderr  # the nearest name
    assert "Traceback" not in done.stderr


def test_a_plain_run_without_a_terminal_has_no_control_characters(
    shell: Shell, first: dict[str, Any]
) -> None:
    done = shell.raw("train", "job.yaml")
    assert "\x1b" not in done.stdout + done.stderr
    assert "8 reused" in done.stdout
