"""Two and more drivers at once on one store: nothing is lost, versions are unique, aliases are what their log says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from concurrent_drivers import DRIVERS, RUNS, Listening, job

import manymodels as mm
from manymodels.api import run_outcomes
from manymodels.registry import rebuild

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("concurrent_drivers.py")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str | None]:
    store = str(tmp_path_factory.mktemp("drivers") / "store")
    return store, request.getfixturevalue("module_postgres_url") if request.param == "postgres" else None


@pytest.fixture(scope="module")
def module_postgres_url(postgres_server: Any) -> str:
    import psycopg

    with psycopg.connect(
        postgres_server.url("postgres").replace("+psycopg", ""), autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE drivers")
    return str(postgres_server.url("drivers"))


@pytest.fixture(scope="module")
def done(place: tuple[str, str | None]) -> list[dict[str, Any]]:
    """What the drivers say that they did; that they all end is that there was no deadlock."""
    store, registry = place
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), store, registry or ""],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return list(json.loads(ended.stdout))


@pytest.fixture
def registry(place: tuple[str, str | None], done: Any) -> Iterator[mm.Registry]:
    with mm.Registry.open(job(*place).store) as opened:
        yield opened


def test_every_run_is_there_with_a_number_of_its_own(
    done: list[dict[str, Any]], registry: mm.Registry
) -> None:
    runs = registry.runs("wells", limit=None)
    assert sorted(run["run"] for run in done) == sorted(run.id for run in runs)
    assert sorted(run.number for run in runs) == list(range(1, DRIVERS * RUNS + 1))
    assert {run.state for run in runs} == {"completed"}
    for run in done:
        assert run["summary"]["keys"] == run["summary"]["trained"] == 12


def test_no_version_is_lost_and_the_newest_is_the_latest(
    done: list[dict[str, Any]], registry: mm.Registry
) -> None:
    trained: dict[str, set[int]] = {}
    for run in done:
        record = registry.run(run["run"])
        for key_id in run_outcomes(registry, record)["key_id"]:
            trained.setdefault(key_id, set()).add(record.number)
    for key_id, numbers in trained.items():
        history = registry.model_history("wells", key_id)
        assert {row.version for row in history.versions} == numbers
        assert len(history.versions) == len(numbers)
        (latest,) = [row.version for row in history.versions if "latest" in row.aliases]
        assert latest == max(numbers)


def test_the_aliases_are_what_their_log_says(registry: mm.Registry) -> None:
    champions = {line["key_id"]: line["version"] for line in registry.models("wells", limit=None).to_pylist()}
    assert champions
    keys = registry.models("wells", alias="latest", limit=None).column("key_id").to_pylist()
    for key_id in keys:
        pointed = None
        for move in reversed(registry.model_history("wells", key_id).moves):
            assert move.before == pointed, "a move was lost, or began from what nobody had written"
            pointed = move.after
        assert champions.get(key_id) == pointed
    events = registry.events("wells", limit=None)
    assert [event.number for event in events] == sorted((event.number for event in events), reverse=True)
    assert sum(event.kind == "publish" for event in events) == DRIVERS * RUNS


def test_every_champion_loads_and_predicts(registry: mm.Registry) -> None:
    from manymodels.records import Rows

    for line in registry.models("wells", limit=None).to_pylist():
        model = registry.load("wells", key_id=line["key_id"])
        assert len(model.predict(Rows(pd.DataFrame({"x": [0.0, 1.0]})))["prediction"]) == 2


def test_the_files_tell_the_same(registry: mm.Registry, tmp_path: Path) -> None:
    registry.write_events()
    again = f"sqlite:///{tmp_path}/again.db"
    report = rebuild(registry.storage, again)
    assert (report.runs, report.damaged) == (DRIVERS * RUNS, ())
    columns = ["key_id", "version", "metric"]
    with mm.Registry.open(job(registry.storage.root, again).store) as other:
        for alias in ("champion", "latest"):
            theirs, ours = (
                {
                    str(line)
                    for line in each.models("wells", alias=alias, limit=None).select(columns).to_pylist()
                }
                for each in (other, registry)
            )
            assert theirs == ours


def test_a_run_that_was_overtaken_says_so(done: list[dict[str, Any]], registry: mm.Registry) -> None:
    for run in done:
        told = [line for line in run["said"] if "were not considered for promotion" in line]
        overtaken = registry.overtaken(run["run"])
        assert len(told) == len(overtaken)
        for other, keys in overtaken.items():
            assert any(f"{keys} of this run's keys" in line and other in line for line in told)


MODEL = """
from pathlib import Path

import pandas as pd

import manymodels as mm


class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return frame["x"] * 0 + self.value


def fit(frame, spec):
    if not Path("overtaking").exists():
        Path("overtaking").touch()
        job = mm.Job.from_yaml("job.yaml")
        mm.train(job, keys=[{"well": 1}, {"well": 2}], progress=False)
    return Mean(frame["y"].mean())
"""


def test_the_loser_of_a_promotion_race_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "overtaken_model.py").write_text(MODEL)
    wells = [well for well in range(1, 6) for _ in range(12)]
    pd.DataFrame({"well": wells, "x": 1.0, "y": wells}).to_parquet("wells.parquet", index=False)
    slow = mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"path": "wells.parquet", "partition_by": ["well"], "target": "y"},
            "models": ["overtaken_model:fit"],
            "evaluation": {"holdout": 0},
            "training": {"isolation": "none"},
            "fallback": [],
            "compute": {"target": "serial"},
        }
    )
    Path("job.yaml").write_text(slow.to_yaml())
    heard = Listening()
    run = mm.train(slow, progress=heard)
    assert (run.id, run.summary["trained"], run.summary["promoted"]) == ("wells-000001", 5, 3)
    (told,) = [line for line in heard.said if "promotion" in line]
    assert told == (
        "2 of this run's keys were not considered for promotion: wells-000002 was published meanwhile, with newer models of "
        "them; `manymodels models promote wells --run wells-000001` promotes these instead"
    )
    versions = {
        line["key"]: line["version"] for line in mm.Registry(".manymodels").models("wells").to_pylist()
    }
    assert versions == {"well=1": 2, "well=2": 2, "well=3": 1, "well=4": 1, "well=5": 1}
