from __future__ import annotations

import pyarrow as pa
import pytest
from registry_fleet import Fleet

from manymodels.exceptions import ConflictError, NotFoundError, RegistryError
from manymodels.registry import Promotion, Registry

BETTER = Promotion(alias="champion", rule="better")
ALWAYS = Promotion(alias="champion", rule="always")
NEVER = Promotion(alias="champion", rule="never")


def promoting(promotion: Promotion | None, **more: object) -> dict[str, object]:
    return {"promotion": promotion, **more}


def test_nothing_of_a_run_is_seen_before_it_is_published(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a", "b"], batches=2)
    registry.journal(fleet.receipt(run, {"a": 1.0}))
    registry.journal(fleet.receipt(run, {"b": 1.0}, batch=1))
    assert fleet.served() == {}
    assert registry.history("store-sales").num_rows == 0
    assert registry.models("store-sales", alias="latest").num_rows == 0
    assert registry.model_history("store-sales", fleet.key_id("a")).versions == ()
    assert registry.model_sets()[0].models == 0
    with pytest.raises(NotFoundError, match="resume"):
        registry.served("store-sales", run_id=run.id)
    assert fleet.publish(run) == 2
    assert fleet.served() == {"a": 1, "b": 1}


def test_a_published_run_says_how_it_ended(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a", "b"])
    registry.journal(fleet.receipt(run, {"a": 1.0, "b": 1.0}))
    promoted = registry.publish_run(
        run.id,
        state="completed",
        counts={"trained": 2, "failed": 0},
        seconds=12.5,
        startup_seconds=3.5,
        outcomes_path="runs/x/outcomes.parquet",
        promotion=BETTER,
    )
    done = registry.run(run.id)
    assert promoted == done.promoted == 2
    assert (done.state, done.counts) == ("completed", {"trained": 2, "failed": 0})
    assert (done.seconds, done.startup_seconds) == (12.5, 3.5)
    assert done.outcomes_path == "runs/x/outcomes.parquet"
    assert done.published
    assert done.ended is not None


def test_publishing_twice_changes_nothing(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"a": 1.0, "b": 1.0})
    assert fleet.publish(run) == 2
    assert fleet.publish(run, state="failed_gate") == 2
    assert registry.run(run.id) == run
    assert len(registry.events()) == 1


@pytest.mark.parametrize("state", ["failed", "interrupted"])
def test_a_run_that_stopped_is_not_published(registry: Registry, fleet: Fleet, state: str) -> None:
    run = fleet.start(["a"])
    registry.journal(fleet.receipt(run, {"a": 1.0}))
    registry.end_run(run.id, state, "over")  # type: ignore[arg-type]
    with pytest.raises(ConflictError, match="resume"):
        fleet.publish(run)
    with pytest.raises(RegistryError, match=state):
        fleet.publish(run, state=state)
    assert fleet.served("latest") == {}


def test_a_model_becomes_champion_when_there_is_none(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    fleet.train({"a": 2.0, "b": 9.0})
    assert fleet.served() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("champion", "newest", "wins"),
    [
        (1.0, 0.9, True),
        (1.0, 1.0, False),
        (1.0, 1.1, False),
        (None, None, True),
        (1.0, None, True),
        (None, 5.0, True),
        (float("inf"), 5.0, True),
        (-1.0, -2.0, True),
        (-2.0, -1.0, False),
    ],
)
def test_better_is_lower(fleet: Fleet, champion: float | None, newest: float | None, wins: bool) -> None:
    fleet.train({"a": champion})
    run = fleet.train({"a": newest})
    assert fleet.served() == {"a": 2 if wins else 1}
    assert run.promoted == int(wins)


@pytest.mark.parametrize(
    ("champion", "newest", "wins"), [(0.8, 0.9, True), (0.8, 0.8, False), (0.8, 0.7, False)]
)
def test_better_is_higher_when_the_metric_says_so(
    fleet: Fleet, champion: float, newest: float, wins: bool
) -> None:
    higher = Promotion(alias="champion", rule="better", higher_is_better=True)
    fleet.train({"a": champion})
    fleet.train({"a": newest}, publish=promoting(higher))
    assert fleet.served() == {"a": 2 if wins else 1}


@pytest.mark.parametrize(
    ("champion", "newest", "wins"),
    [(10.0, 8.9, True), (10.0, 9.0, True), (10.0, 9.1, False), (-10.0, -10.9, False), (0.0, -0.1, True)],
)
def test_a_gain_is_relative_to_the_champion(fleet: Fleet, champion: float, newest: float, wins: bool) -> None:
    gain = Promotion(alias="champion", rule="better", min_gain=0.1)
    fleet.train({"a": champion})
    fleet.train({"a": newest}, publish=promoting(gain))
    assert fleet.served() == {"a": 2 if wins else 1}


def test_metrics_of_different_evaluations_do_not_compare(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 0.1})
    changed = Fleet(registry, job={**fleet.job, "evaluation": {"metric": "r2"}})
    changed.train({"a": 0.9})
    assert fleet.served() == {"a": 2}


def test_always_promotes_the_newest(fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    fleet.train({"a": 2.0}, publish=promoting(ALWAYS))
    assert fleet.served() == {"a": 2}


@pytest.mark.parametrize("promotion", [NEVER, None])
def test_never_promotes_nothing_and_decides_nothing(fleet: Fleet, promotion: Promotion | None) -> None:
    fleet.train({"a": 1.0, "b": 1.0}, rungs=["pooled"], publish=promoting(promotion))
    assert fleet.served() == {}
    assert fleet.served("latest") == {"a": 1, "b": 1, "pooled": 1}
    run = fleet.train({"a": 2.0})
    assert fleet.served() == {"a": 2, "b": 1, "pooled": 1}
    assert run.promoted == 2


def test_a_run_over_its_gate_promotes_nothing_and_the_next_one_decides(fleet: Fleet) -> None:
    fleet.train({"a": 2.0, "b": 2.0})
    gated = fleet.train({"a": 1.0, "b": 3.0}, publish={"state": "failed_gate", "reason": "2 of 4 failed"})
    assert gated.reason == "2 of 4 failed"
    assert gated.state == "failed_gate"
    assert gated.promoted == 0
    assert fleet.served() == {"a": 1, "b": 1}
    assert fleet.served("latest") == {"a": 2, "b": 2}
    next_run = fleet.train({"c": 1.0})  # `a` and `b` are reused
    assert fleet.served() == {"a": 2, "b": 1, "c": 3}
    assert next_run.promoted == 2


def test_a_version_is_decided_on_once(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    fleet.train({"a": 2.0})
    fleet.train({"b": 1.0}, publish=promoting(ALWAYS))
    assert fleet.served() == {"a": 1, "b": 3}
    registry.promote("store-sales", version=2)
    registry.rollback("store-sales")
    fleet.train({"b": 1.0}, publish=promoting(ALWAYS))
    assert fleet.served() == {"a": 1, "b": 4}


def test_rungs_do_not_compete(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0}, rungs=["pooled", "naive"])
    run = fleet.train({"a": 2.0}, rungs=["pooled"])
    assert fleet.served() == {"a": 1, "naive": 1, "pooled": 2}
    assert run.promoted == 0
    levels = registry.served("store-sales").column("level").to_pylist()
    assert levels == ["", "naive", "pooled"]


def test_the_caller_may_decide_instead_of_the_rule(fleet: Fleet) -> None:
    fleet.train({"a": 1.0, "b": 1.0, "c": 1.0})
    ids = [fleet.key_id("a"), fleet.key_id("b"), fleet.key_id("new")]
    decided = pa.table({"key_id": ids, "promote": [True, False, False]})
    fleet.train({"a": 2.0, "b": 0.5, "c": 0.5, "new": 1.0}, rungs=["pooled"], publish={"decisions": decided})
    assert fleet.served() == {"a": 2, "b": 1, "c": 2, "pooled": 2}


def test_any_alias_may_be_the_one_that_moves(fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    fleet.train({"a": 2.0}, publish=promoting(Promotion(alias="challenger", rule="better")))
    assert fleet.served("champion") == {"a": 1}
    assert fleet.served("challenger") == {"a": 2}


def test_runs_published_out_of_order_leave_the_newest_as_the_latest(registry: Registry, fleet: Fleet) -> None:
    older, newer = fleet.start(["a", "b"]), fleet.start(["a"])
    registry.journal(fleet.receipt(older, {"a": 1.0, "b": 1.0}))
    registry.journal(fleet.receipt(newer, {"a": 2.0}))
    fleet.publish(newer)
    fleet.publish(older)
    assert fleet.served("latest") == {"a": 2, "b": 1}
    assert fleet.served() == {"a": 2, "b": 1}
    assert registry.history("store-sales").column("version").to_pylist() == [2, 1]


def test_a_run_that_a_newer_one_overtook_is_told(registry: Registry, fleet: Fleet) -> None:
    slow, fast = fleet.start(["a", "b", "c"]), fleet.start(["a", "b", "d"])
    registry.journal(fleet.receipt(slow, {"a": 1.0, "b": 1.0, "c": 1.0}))
    registry.journal(fleet.receipt(fast, {"a": 2.0, "b": 2.0, "d": 2.0}))
    assert fleet.publish(fast) == 3
    assert fleet.publish(slow) == 1
    assert registry.overtaken(slow.id) == {fast.id: 2}
    assert registry.overtaken(fast.id) == {}
    later = fleet.train({"a": 0.1, "c": 0.1})
    assert registry.overtaken(slow.id) == {fast.id: 2}  # what came after it did not overtake it
    assert registry.overtaken(later.id) == {}


def test_model_sets_do_not_touch_each_other(registry: Registry, fleet: Fleet) -> None:
    wells = Fleet(registry, name="wells")
    fleet.train({"a": 1.0})
    wells.train({"a": 5.0})
    wells.train({"a": 4.0})
    assert fleet.served() == {"a": 1}
    assert wells.served() == {"a": 2}


def test_the_history_says_what_made_every_keys_newest_version(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0, "b": 2.0}, rungs=["pooled"], job_hash="j1", code_hash="c1")
    fleet.train({"a": None}, job_hash="j2", code_hash="c2")
    lines = registry.history("store-sales").to_pylist()
    assert [(line["key_id"], line["level"]) for line in lines] == [
        (fleet.key_id("a"), ""),
        (fleet.key_id("b"), ""),
        (fleet.key_id((), "pooled"), "pooled"),
    ]
    assert [(line["version"], line["job_hash"], line["code_hash"], line["metric"]) for line in lines] == [
        (2, "j2", "c2", None),
        (1, "j1", "c1", 2.0),
        (1, "j1", "c1", None),
    ]
    assert lines[0] | {"key_id": ""} == {
        "key_id": "",
        "level": "",
        "version": 2,
        "content": b"c" * 16,
        "job_hash": "j2",
        "code_hash": "c2",
        "candidate": "ridge",
        "metric": None,
        "seconds": 0.25,
        "cutoff": 1_700_000_000_000_000,
        "failed_last": False,
    }
    assert lines[2]["content"] is None


def test_the_history_of_a_new_model_set_is_empty(registry: Registry) -> None:
    table = registry.history("store-sales")
    assert table.num_rows == 0
    assert "failed_last" in table.column_names


def test_the_history_tells_keys_that_failed_last_time(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"good": 1.0, "was good": 1.0}, failed={"never good": "x", "good now": "x"})
    fleet.train({"good": 1.0, "good now": 1.0}, failed={"was good": "x"})
    going = fleet.start(["good"])
    registry.journal(fleet.receipt(going, {}, failed={"good": "x"}))

    def failed() -> dict[str, tuple[int | None, bool]]:
        names = {fleet.key_id(name): name for name in ("good", "was good", "never good", "good now")}
        return {
            names[line["key_id"]]: (line["version"], line["failed_last"])
            for line in registry.history("store-sales").to_pylist()
        }

    before = {
        "good": (2, False),
        "was good": (1, True),
        "never good": (None, True),
        "good now": (2, False),
    }
    assert failed() == before
    registry.end_run(going.id, "interrupted", "stopped")
    assert failed() == before | {"good": (2, True)}


def test_every_publication_is_an_event(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"a": 1.0}, publish={"by": "ann", "why": "nightly"})
    gated = fleet.train({"a": 0.5}, publish={"state": "failed_gate"})
    second, first = registry.events("store-sales")
    assert (first.kind, first.alias, first.run_id, first.by, first.why, first.moved) == (
        "publish",
        "champion",
        run.id,
        "ann",
        "nightly",
        1,
    )
    assert (second.alias, second.run_id, second.moved) == (None, gated.id, 0)
