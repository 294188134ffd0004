"""One bad key never hurts another: models that raise, crash, exit, hang or eat memory fail their own key, with the cause."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from wells import Wells

import manymodels as mm

pytestmark = pytest.mark.integration

WELLS = 20
POISON = {
    3: ("raise", "exception", "ValueError"),
    5: ("os._exit", "crash", "exit code 7"),
    7: ("segfault", "crash", "SIGSEGV"),
    9: ("sys.exit", "crash", "SystemExit"),
    11: ("hang", "timeout", "timeout 5 s"),
    15: ("memory", "memory", "memory 768 MiB"),
}
SETTINGS = ("training.timeout=5s", "training.memory=768MiB", "fallback=[naive]")


@pytest.fixture(scope="module")
def wells(tmp_path_factory: pytest.TempPathFactory) -> Wells:
    made = Wells(tmp_path_factory.mktemp("poison"), WELLS, "{target: local, workers: 2}")
    for well, (what, _, _) in POISON.items():
        made.ask(well, what)
    return made


@pytest.fixture(scope="module")
def run(wells: Wells) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(wells.folder)
        return mm.train(wells.job(*SETTINGS), progress=False)


def test_poison_fails_alone_with_its_true_cause(run: Any) -> None:
    assert (run.summary["trained"], run.summary["failed"]) == (WELLS - len(POISON), len(POISON))
    outcomes = run.outcomes().set_index("well")
    failed = outcomes[outcomes["state"] == "failed"]
    found = {well: (line.cause, line.error) for well, line in failed[["cause", "error"]].iterrows()}
    assert found == {well: (cause, error) for well, (_, cause, error) in POISON.items()}


def test_nothing_that_a_model_does_ends_a_worker(run: Any, wells: Wells) -> None:
    with closing(sqlite3.connect(wells.folder / ".manymodels" / "registry.db")) as registry:
        batches, workers, attempts = registry.execute(
            "SELECT count(*), count(DISTINCT worker), max(attempt) FROM batches"
        ).fetchone()
    assert batches > 2
    assert workers <= 2  # one that died would have been replaced by another process
    assert attempts == 1


def test_only_poison_is_tried_again_and_no_key_more_often_than_it_may(run: Any, wells: Wells) -> None:
    started = wells.started()
    assert [started[well] for well in POISON] == [1] * len(POISON)  # retries: 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(wells.folder)
        actions = mm.plan(wells.job(*SETTINGS)).counts()
    assert actions == {
        "train": {"failed last time": len(POISON)},
        "reuse": {"unchanged": WELLS - len(POISON)},
    }


def test_the_ladder_serves_poison_and_says_why(
    run: Any, wells: Wells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wells.folder)
    job = wells.job(*SETTINGS, "compute=serial", "training.isolation=none")
    scores = mm.score(job, "wells.parquet", progress=False)
    served = scores[scores["model_source"] == "naive"]
    assert set(served["well"]) == set(POISON)
    assert served["reason"].str.contains("failed in training").all()
    assert set(scores["status"]) == {"ok", "fallback"}


def test_more_failures_than_allowed_promote_nothing_and_exit_with_3(tmp_path: Path) -> None:
    wells = Wells(tmp_path, WELLS, "serial")
    for well in range(4):
        wells.ask(well, "raise")
    settings = ("--set", "training.isolation=none", "--set", "training.max_failed=3")
    result = wells.verb("train", "job.yaml", *settings, code=3)
    assert (result["state"], result["failed"], result["promoted"]) == ("failed_gate", 4, 0)
    assert wells.models() == {}


def test_a_model_that_dies_once_is_tried_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wells = Wells(tmp_path, 6, "serial")
    wells.ask(2, "die once")
    run = mm.train(wells.job("training.retries=1"), progress=False)
    assert run.summary["trained"] == 6
    assert wells.started() == {**dict.fromkeys(range(6), 1), 2: 2}
    assert pd.notna(run.outcomes()["metric"]).sum() == 0  # no evaluation was asked for
