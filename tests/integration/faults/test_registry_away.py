"""A registry that is busy or away in the middle of a run: waited for, then a typed error; never half a state."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import until
from wells import Wells

from manymodels.exceptions import RunError
from manymodels.progress import NoProgress
from manymodels.registry import Registry
from manymodels.training.engine import RunResult, resume, train
from manymodels.training.prepare import prepare

pytestmark = pytest.mark.integration

WELLS = 20
TOO_SHORT = 1.0  # seconds that a driver waits
HERE = "training.isolation=none"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return Wells(tmp_path_factory.mktemp("calm"), WELLS, "serial").trained_calmly()


class Disturbed:
    """A run of the job in whose middle something happens to the registry."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.wells = Wells(folder, WELLS, "serial")
        self.job = self.wells.job(HERE, *settings)

    def train(self, disturb: Callable[[], None], wait: float) -> RunResult:
        """Train; ``disturb`` runs while a well is being fitted, then the fit goes on."""
        hold = self.wells.ask(7, "wait")

        def strike() -> None:
            assert until(lambda: self.wells.started()[7] > 0, 60)
            disturb()
            hold.unlink()

        striker = threading.Thread(target=strike)
        with Registry.open(self.job.store, create=True, wait=wait) as registry:
            prepared = dataclasses.replace(prepare(self.job), registry=registry)
            striker.start()
            try:
                return train(prepared, NoProgress())
            finally:
                striker.join()

    def state(self) -> tuple[str, int]:
        """The run's state, and the models that can be seen."""
        with Registry.open(self.job.store) as registry:
            return registry.run("latest").state, registry.model_sets()[0].models

    def resume(self) -> RunResult:
        with Registry.open(self.job.store) as registry:
            return resume("wells-000001", registry, NoProgress())


# SQLite, whose lock another process holds


@pytest.fixture
def lock(tmp_path: Path) -> Callable[[], sqlite3.Connection]:
    def take() -> sqlite3.Connection:
        connection = sqlite3.connect(
            tmp_path / ".manymodels" / "registry.db", isolation_level=None, check_same_thread=False
        )
        connection.execute("BEGIN IMMEDIATE")
        return connection

    return take


def test_a_locked_sqlite_registry_is_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lock: Callable[[], sqlite3.Connection],
    undisturbed: dict[int, float],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Disturbed(tmp_path)
    timers: list[threading.Timer] = []

    def disturb() -> None:
        timers.append(threading.Timer(1.0, lock().close))
        timers[0].start()

    assert run.train(disturb, wait=60.0).counts["trained"] == WELLS
    timers[0].join()
    assert run.wells.models() == undisturbed


def test_a_sqlite_registry_that_stays_locked_ends_the_run_with_what_holds_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lock: Callable[[], sqlite3.Connection],
    undisturbed: dict[int, float],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Disturbed(tmp_path)
    held: list[sqlite3.Connection] = []
    with pytest.raises(
        RunError, match=r"registry\.db is busy: another process has held its lock.*runs resume wells-000001"
    ):
        run.train(lambda: held.append(lock()), wait=TOO_SHORT)
    for connection in held:
        connection.close()
    assert run.state() == ("running", 0)  # nobody could note its end; its driver is told from a living one
    assert run.resume().counts["trained"] == WELLS
    assert run.wells.models() == undisturbed


# PostgreSQL, which stops


def test_a_postgresql_that_stops_is_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres_server: Any,
    postgres_url: str,
    undisturbed: dict[int, float],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Disturbed(tmp_path, f"store={{path: .manymodels, registry: '{postgres_url}'}}")
    starters: list[threading.Timer] = []

    def disturb() -> None:
        postgres_server.stop()
        starters.append(threading.Timer(1.0, postgres_server.start))
        starters[0].start()

    try:
        assert run.train(disturb, wait=60.0).counts["trained"] == WELLS
    finally:
        starters[0].join()
    assert run.state() == ("completed", WELLS)


def test_a_postgresql_that_stays_away_ends_the_run_and_leaves_no_half_state(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres_server: Any,
    postgres_url: str,
    undisturbed: dict[int, float],
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Disturbed(tmp_path, f"store={{path: .manymodels, registry: '{postgres_url}'}}")
    try:
        with pytest.raises(
            RunError, match=r"could not be reached in \d+ s.*server is up.*runs resume wells-000001"
        ) as caught:
            run.train(postgres_server.stop, wait=TOO_SHORT)
    finally:
        postgres_server.start()
    assert postgres_server.password not in str(caught.value)
    state, models = run.state()
    assert (state, models) == ("running", 0)
    with Registry.open(run.job.store) as registry:
        receipts = registry.journalled("wells-000001").num_rows
        assert 0 <= receipts < registry.run("latest").batches
    assert run.resume().counts["trained"] == WELLS
    assert run.state() == ("completed", WELLS)
