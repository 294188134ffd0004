from __future__ import annotations

import json
import os

import psutil
import pytest
import sqlalchemy as sa
from registry_fleet import Fleet

from manymodels.exceptions import ConflictError, NotFoundError, RegistryError, UsageError
from manymodels.partitioning.keys import decode
from manymodels.registry import Registry
from manymodels.registry.drivers import SILENCE, Driver
from manymodels.registry.schema import keys, runs


def set_run(registry: Registry, run_id: str, **values: object) -> None:
    statement = sa.update(runs).where(runs.c.run_id == run_id).values(values)
    registry._db.write(lambda connection: connection.execute(statement))


def count(registry: Registry, table: sa.Table) -> int:
    statement = sa.select(sa.func.count()).select_from(table)
    return registry._db.read(lambda connection: connection.execute(statement).scalar_one())


def test_runs_are_numbered_by_model_set(registry: Registry, fleet: Fleet) -> None:
    first, second = fleet.start(["a"]), fleet.start(["a"])
    other = Fleet(registry, name="wells").start(["a"])
    assert [run.id for run in (first, second, other)] == [
        "store-sales-000001",
        "store-sales-000002",
        "wells-000001",
    ]
    assert [run.number for run in (first, second, other)] == [1, 2, 1]


def test_a_run_says_what_it_was_started_with(registry: Registry, fleet: Fleet) -> None:
    started = fleet.start(
        ["a", "b"], batches=7, libraries={"statsmodels": "0.15.0"}, job_hash="j", code_hash="c"
    )
    run = registry.run(started.id)
    assert run == started
    assert (run.state, run.batches, run.task, run.job_hash, run.code_hash) == (
        "running",
        7,
        "regression",
        "j",
        "c",
    )
    assert run.libraries == {"statsmodels": "0.15.0"}
    assert json.loads(run.job) == fleet.job
    assert not run.published
    assert run.ended is None
    assert run.started.utcoffset() is not None


def test_a_key_is_registered_once_however_many_runs_have_it(registry: Registry, fleet: Fleet) -> None:
    fleet.start(["a", "b"], rungs=["pooled"])
    fleet.start(["b", "c"], rungs=["pooled"])
    assert count(registry, keys) == 4


def test_a_run_is_found_by_its_id_its_beginning_and_as_the_latest(registry: Registry, fleet: Fleet) -> None:
    first = fleet.start(["a"])
    second = Fleet(registry, name="wells").start(["a"])
    assert registry.run(first.id) == first
    assert registry.run("wel") == second
    assert registry.run("latest") == second


@pytest.mark.parametrize("text", ["store_sales", "STORE", "%", "store-sales-000003", ""])
def test_a_run_that_is_not_there_is_an_error(registry: Registry, fleet: Fleet, text: str) -> None:
    fleet.start(["a"])
    fleet.start(["a"])
    with pytest.raises(NotFoundError):
        registry.run(text)


def test_a_beginning_shared_by_several_runs_names_them(registry: Registry, fleet: Fleet) -> None:
    fleet.start(["a"])
    fleet.start(["a"])
    with pytest.raises(NotFoundError, match="store-sales-000001, store-sales-000002"):
        registry.run("store")


def test_the_latest_run_of_an_empty_registry_is_an_error(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="train"):
        registry.run("latest")


def test_runs_are_listed_newest_first_by_model_set_and_state(registry: Registry, fleet: Fleet) -> None:
    done = fleet.train({"a": 1.0})
    going = fleet.start(["a"])
    other = Fleet(registry, name="wells").start(["a"])
    assert [run.id for run in registry.runs()] == [other.id, going.id, done.id]
    assert [run.id for run in registry.runs("store-sales")] == [going.id, done.id]
    assert [run.id for run in registry.runs(state="completed")] == [done.id]
    assert [run.id for run in registry.runs(limit=1, offset=1)] == [going.id]


def test_an_unknown_model_set_names_the_nearest(registry: Registry, fleet: Fleet) -> None:
    fleet.start(["a"])
    with pytest.raises(NotFoundError, match="did you mean 'store-sales'"):
        registry.runs("store-sale")


def test_a_run_that_stopped_keeps_the_reason_and_can_be_resumed(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    registry.end_run(run.id, "interrupted", "stopped\0by the user")
    stopped = registry.run(run.id)
    assert (stopped.state, stopped.reason) == ("interrupted", "stopped␀by the user")
    assert stopped.ended is not None
    registry.mark_running(run.id)
    assert registry.run(run.id).state == "running"
    assert registry.run(run.id).ended is None


def test_ending_a_published_run_changes_nothing(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"a": 1.0})
    registry.end_run(run.id, "failed", "too late")
    assert registry.run(run.id) == run
    with pytest.raises(ConflictError, match="published"):
        registry.mark_running(run.id)


def test_a_run_asked_to_stop_says_so_until_it_is_resumed(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    assert not registry.touch(run.id)
    registry.request_cancel(run.id)
    assert registry.touch(run.id)
    registry.end_run(run.id, "interrupted", "cancelled")
    registry.mark_running(run.id)
    assert not registry.touch(run.id)


def test_a_run_that_does_not_run_cannot_be_cancelled(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"a": 1.0})
    with pytest.raises(ConflictError, match="completed"):
        registry.request_cancel(run.id)


def test_a_heartbeat_is_recorded(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    set_run(registry, run.id, heartbeat=1)
    registry.touch(run.id)
    assert registry.run(run.id).heartbeat >= run.heartbeat


def test_a_run_of_a_live_process_cannot_be_taken_over(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    living = Driver(Driver.here().host, os.getppid(), psutil.Process(os.getppid()).create_time())
    set_run(registry, run.id, driver=living.to_json())
    with pytest.raises(ConflictError, match=f"process {os.getppid()}"):
        registry.mark_running(run.id)


def test_a_run_of_a_dead_process_is_taken_over_at_once(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    here = Driver.here()
    # The process id is in use again, by a younger process.
    set_run(registry, run.id, driver=Driver(here.host, 1, 1.0).to_json())
    registry.mark_running(run.id)
    assert Driver.from_json(_driver(registry, run.id)) == here


def test_a_run_of_another_host_is_taken_over_when_it_is_silent(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    set_run(registry, run.id, driver=Driver("elsewhere", 17, 1.0).to_json())
    with pytest.raises(ConflictError, match="elsewhere"):
        registry.mark_running(run.id)
    before = int(run.heartbeat.timestamp() * 1e6) - int(SILENCE * 1e6) - 1
    set_run(registry, run.id, heartbeat=before)
    registry.mark_running(run.id)
    assert Driver.from_json(_driver(registry, run.id)) == Driver.here()


def _driver(registry: Registry, run_id: str) -> str:
    statement = sa.select(runs.c.driver).where(runs.c.run_id == run_id)
    return registry._db.read(lambda connection: connection.execute(statement).scalar_one())


def test_a_job_that_is_no_json_object_is_refused(fleet: Fleet) -> None:
    with pytest.raises(RegistryError, match="JSON"):
        fleet.start(["a"], job="[]")


def test_a_key_id_that_is_none_is_refused(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    with pytest.raises(UsageError, match="32 hex digits"):
        registry.promote("store-sales", alias="live", version=1, key_ids=["'; DROP TABLE runs; --"])


def test_the_mean_size_of_a_model_is_that_of_the_newest_published_run(
    registry: Registry, fleet: Fleet
) -> None:
    assert registry.bytes_per_model("store-sales") is None
    fleet.train({"a": 1.0, "b": 1.0})
    fleet.start(["a"])
    assert registry.bytes_per_model("store-sales") == 100.0


def test_scorings_are_recorded_from_start_to_end(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"a": 1.0})
    first = registry.start_score(model_set="store-sales", input="f1", output="out/1", alias="champion")
    second = registry.start_score(model_set="store-sales", input="f2", output="out/2", run_id=run.id)
    assert (first.id, second.id) == ("store-sales-score-000001", "store-sales-score-000002")
    assert (first.state, second.run_id, first.alias) == ("running", run.id, "champion")
    ended = registry.end_score(
        first.id, state="completed", counts={"keys": 1}, seconds=1.5, startup_seconds=0.5
    )
    assert (ended.state, ended.counts, ended.seconds) == ("completed", {"keys": 1}, 1.5)
    assert [score.id for score in registry.scores("store-sales")] == [second.id, first.id]
    with pytest.raises(NotFoundError):
        registry.end_score("x", state="failed", counts={}, seconds=0.0, startup_seconds=0.0)
    with pytest.raises(UsageError, match="by an alias or by a run"):
        registry.start_score(model_set="store-sales", input="f", output="o")


def test_a_registry_says_what_it_holds(registry: Registry, fleet: Fleet) -> None:
    assert "empty" in repr(registry)
    fleet.train({"a": 1.0, "b": 2.0}, rungs=["pooled"])
    assert repr(registry) == f"<Registry {registry.storage.root}: store-sales (2 models, 1 runs)>"


def test_keys_come_back_exactly(registry: Registry, fleet: Fleet) -> None:
    texts = ["'; DROP TABLE runs; --", "a\0b", "", " ", "x" * 10_000, "\u00e9", "e\u0301", "A", "a", "1"]
    strange = [*texts, None, b"\xff", 1, 1.0, True]
    run = fleet.start(strange)
    for batch, value in enumerate(strange):  # not one mapping: in Python 1, 1.0 and True are equal
        registry.journal(fleet.receipt(run, {value: 1.0}, batch=batch))
    fleet.publish(run)
    served = registry.served("store-sales")
    decoded = [decode(form)[0] for form in served.column("canonical").to_pylist()]
    assert [(type(value), value) for value in decoded] == [(type(value), value) for value in strange]
    assert served.column("key_id").to_pylist() == [fleet.key_id(value) for value in strange]
    assert registry.run("latest").state == "completed"


def test_only_what_may_be_lost_with_the_machine_is_committed_without_waiting(
    registry: Registry, fleet: Fleet
) -> None:
    asked = "SHOW synchronous_commit" if not registry._db.is_sqlite else "PRAGMA synchronous"

    def level(connection: sa.Connection) -> str:
        return str(connection.exec_driver_sql(asked).scalar())

    found = [registry._db.write(level, lasting=lasting) for lasting in (True, False, True)]
    assert found == (["2", "1", "2"] if registry._db.is_sqlite else ["on", "off", "on"])
