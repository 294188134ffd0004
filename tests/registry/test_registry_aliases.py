from __future__ import annotations

import pytest
from registry_fleet import Fleet

from manymodels.exceptions import NotFoundError, UsageError
from manymodels.registry import Promotion, Registry

NEVER = {"promotion": Promotion(alias="champion", rule="never")}


@pytest.fixture
def two_runs(fleet: Fleet) -> Fleet:
    """Champions of run 1; run 2 trained `a` and `c` and promoted nothing."""
    fleet.train({"a": 1.0, "b": 1.0}, rungs=["pooled"])
    fleet.train({"a": 0.5, "c": 0.5}, rungs=["pooled"], publish=NEVER)
    return fleet


def test_a_fleet_is_promoted_to_a_run_as_scoring_with_it_would_serve(
    registry: Registry, two_runs: Fleet
) -> None:
    as_of = two_runs.served(run_id="store-sales-000002")
    event = registry.promote("store-sales", run="store-sales-000002", by="ann", why="looks good")
    assert two_runs.served() == as_of == {"a": 2, "b": 1, "c": 2, "pooled": 2}
    assert (event.kind, event.alias, event.by, event.why, event.moved) == (
        "promote",
        "champion",
        "ann",
        "looks good",
        2,
    )
    assert registry.events()[0] == event


def test_a_fleet_is_served_as_of_an_old_run(registry: Registry, two_runs: Fleet) -> None:
    two_runs.train({"a": 0.1, "b": 0.1})
    assert two_runs.served(run_id="store-sales-000001") == {"a": 1, "b": 1, "pooled": 1}
    registry.promote("store-sales", run="store-sales-000001")
    assert two_runs.served() == {"a": 1, "b": 1, "c": 2, "pooled": 1}


def test_a_version_is_promoted_for_the_keys_that_have_it(registry: Registry, two_runs: Fleet) -> None:
    registry.promote("store-sales", version=2)
    assert two_runs.served() == {"a": 2, "b": 1, "c": 2, "pooled": 2}


def test_an_alias_is_promoted_to_another(registry: Registry, two_runs: Fleet) -> None:
    registry.promote("store-sales", alias="challenger", from_alias="latest")
    assert two_runs.served("challenger") == {"a": 2, "b": 1, "c": 2, "pooled": 2}
    assert two_runs.served() == {"a": 1, "b": 1, "pooled": 1}
    registry.promote("store-sales", from_alias="challenger")
    assert two_runs.served() == two_runs.served("challenger")


def test_some_keys_are_promoted_and_no_rung(registry: Registry, two_runs: Fleet) -> None:
    event = registry.promote("store-sales", version=2, key_ids=[two_runs.key_id("a")], filter="store = 'a'")
    assert two_runs.served() == {"a": 2, "b": 1, "pooled": 1}
    assert (event.moved, event.filter) == (1, "store = 'a'")


def test_promoting_what_is_live_moves_nothing(registry: Registry, two_runs: Fleet) -> None:
    event = registry.promote("store-sales", version=1)
    assert event.moved == 0
    assert two_runs.served() == {"a": 1, "b": 1, "pooled": 1}


def test_a_key_without_the_version_stops_the_promotion(registry: Registry, two_runs: Fleet) -> None:
    ids = [two_runs.key_id("a"), two_runs.key_id("b")]
    with pytest.raises(NotFoundError, match="1 of 2 keys"):
        registry.promote("store-sales", version=2, key_ids=ids)
    assert two_runs.served() == {"a": 1, "b": 1, "pooled": 1}
    assert len(registry.events()) == 2


@pytest.mark.parametrize(
    "target",
    [
        {"version": 3},
        {"run": "store-sales-000009"},
        {"from_alias": "challenger"},
        {"run": "wells-000001"},
    ],
)
def test_promoting_what_is_not_there_is_an_error(
    registry: Registry, two_runs: Fleet, target: dict[str, str]
) -> None:
    Fleet(registry, name="wells").train({"a": 1.0})
    with pytest.raises(NotFoundError):
        registry.promote("store-sales", **target)  # type: ignore[arg-type]


def test_a_run_that_is_not_published_is_not_promoted(registry: Registry, two_runs: Fleet) -> None:
    run = two_runs.start(["a"])
    registry.journal(two_runs.receipt(run, {"a": 0.1}))
    with pytest.raises(NotFoundError, match="published"):
        registry.promote("store-sales", run=run.id)
    with pytest.raises(NotFoundError, match="version 3"):
        registry.promote("store-sales", version=3)


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"version": 1, "run": "store-sales-000001"},
        {"alias": "latest", "version": 1},
        {"from_alias": "champion"},
    ],
)
def test_a_promotion_that_makes_no_sense_is_refused(
    registry: Registry, two_runs: Fleet, call: dict[str, str]
) -> None:
    with pytest.raises(UsageError) as caught:
        registry.promote("store-sales", **call)  # type: ignore[arg-type]
    assert type(caught.value) is UsageError


def test_a_rollback_restores_what_was_there(registry: Registry, two_runs: Fleet) -> None:
    before = two_runs.served()
    registry.promote("store-sales", run="store-sales-000002")
    event = registry.rollback("store-sales", why="worse in the field")
    assert two_runs.served() == before
    assert (event.kind, event.moved, event.why) == ("rollback", 2, "worse in the field")


def test_a_rollback_of_a_publication_leaves_other_keys_alone(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0, "b": 1.0})
    fleet.train({"a": 0.5, "b": 0.5})
    fleet.train({"a": 0.1, "b": 0.9})  # `b` is worse and stays
    registry.rollback("store-sales")
    assert fleet.served() == {"a": 2, "b": 2}


def test_rollbacks_go_back_one_change_after_the_other(registry: Registry, fleet: Fleet) -> None:
    for metric in (3.0, 2.0, 1.0):
        fleet.train({"a": metric})
    assert fleet.served() == {"a": 3}
    for expected in ({"a": 2}, {"a": 1}, {}):
        registry.rollback("store-sales")
        assert fleet.served() == expected
    with pytest.raises(NotFoundError, match="nothing to roll back"):
        registry.rollback("store-sales")


def test_several_steps_are_one_change(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 3.0, "b": 3.0})
    fleet.train({"a": 2.0})
    fleet.train({"b": 2.0, "a": 1.0})
    event = registry.rollback("store-sales", steps=2)
    assert fleet.served() == {"a": 1, "b": 1}
    assert event.moved == 2
    registry.rollback("store-sales")
    assert fleet.served() == {}


def test_a_key_is_rolled_back_by_its_own_last_moves(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 3.0, "b": 3.0})
    fleet.train({"a": 2.0, "b": 2.0})
    fleet.train({"b": 1.0})
    registry.rollback("store-sales", key_ids=[fleet.key_id("a")])
    assert fleet.served() == {"a": 1, "b": 3}
    registry.rollback("store-sales", key_ids=[fleet.key_id("b")], steps=2)
    assert fleet.served() == {"a": 1, "b": 1}
    with pytest.raises(NotFoundError, match="1 of 1 keys"):
        registry.rollback("store-sales", key_ids=[fleet.key_id("stranger")])


def test_a_fleet_is_rolled_back_after_one_of_its_keys_was(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 2.0, "b": 2.0})
    fleet.train({"a": 1.0, "b": 1.0})
    registry.rollback("store-sales", key_ids=[fleet.key_id("a")])
    event = registry.rollback("store-sales")
    assert fleet.served() == {"a": 1, "b": 1}
    assert event.moved == 1


def test_a_rollback_is_undone_by_promoting_again(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 2.0})
    fleet.train({"a": 1.0})
    registry.rollback("store-sales")
    registry.promote("store-sales", version=2)
    assert fleet.served() == {"a": 2}
    registry.rollback("store-sales")
    assert fleet.served() == {"a": 1}


def test_a_rollback_of_an_unknown_alias_or_no_steps_is_refused(registry: Registry, two_runs: Fleet) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'champion'"):
        registry.rollback("store-sales", alias="champoin")
    with pytest.raises(UsageError, match="at least 1"):
        registry.rollback("store-sales", steps=0)


def test_the_past_of_a_key_shows_its_versions_and_moves(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 2.0})
    fleet.train({"a": 1.0})
    registry.promote("store-sales", alias="challenger", version=1, by="ann", why="to compare")
    undone = registry.rollback("store-sales")
    past = registry.model_history("store-sales", fleet.key_id("a"))
    assert (past.key, past.level) == ("store=a", "")
    assert [(row.version, row.metric, row.aliases) for row in past.versions] == [
        (2, 1.0, ("latest",)),
        (1, 2.0, ("challenger", "champion")),
    ]
    assert past.versions[0].run_id == "store-sales-000002"
    assert past.versions[0].content == (b"c" * 16).hex()
    assert [(move.kind, move.alias, move.before, move.after, move.undone) for move in past.moves] == [
        ("rollback", "champion", 2, 1, None),
        ("promote", "challenger", None, 1, None),
        ("publish", "champion", 1, 2, undone.number),
        ("publish", "champion", None, 1, None),
    ]
    assert (past.moves[1].by, past.moves[1].why) == ("ann", "to compare")


def test_the_past_of_a_rung_is_asked_for_by_its_level(registry: Registry, two_runs: Fleet) -> None:
    past = registry.model_history("store-sales", two_runs.key_id((), "pooled"), level="pooled")
    assert [row.version for row in past.versions] == [2, 1]
    with pytest.raises(NotFoundError):
        registry.model_history("store-sales", two_runs.key_id("stranger"))


def test_a_filter_promotes_the_keys_that_have_the_version(registry: Registry, two_runs: Fleet) -> None:
    both = [two_runs.key_id("a"), two_runs.key_id("b")]
    with pytest.raises(NotFoundError, match="1 of 2 keys have no such model"):
        registry.promote("store-sales", version=2, key_ids=both)
    event = registry.promote("store-sales", version=2, key_ids=both, every=False, filter="store < 'c'")
    assert (event.moved, two_runs.served()) == (1, {"a": 2, "b": 1, "pooled": 1})
    with pytest.raises(NotFoundError, match="1 of 1 keys have no such model"):
        registry.promote("store-sales", version=2, key_ids=both[1:], every=False)


def test_every_decision_between_challenger_and_champion_is_told(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    fleet.train({"a": 1.0})  # a tie keeps the champion
    fleet.train({"a": 0.5}, publish=NEVER)
    fleet.train({"b": 1.0})  # decides on a's third version, which nobody had looked at
    registry.rollback("store-sales", key_ids=[fleet.key_id("a")])
    fleet.train({"a": 0.9})
    registry.promote("store-sales", version=3, key_ids=[fleet.key_id("a")])
    fleet.train({"a": None})  # no metric: the newest wins
    told = [
        (d.event, d.challenger, d.champion, d.challenger_metric, d.champion_metric, d.promoted)
        for d in registry.model_history("store-sales", fleet.key_id("a")).decisions
    ]
    assert told == [
        (8, 6, 3, None, 0.5, True),
        (6, 5, 1, 0.9, 1.0, True),
        (4, 3, 1, 0.5, 1.0, True),
        (2, 2, 1, 1.0, 1.0, False),
        (1, 1, None, 1.0, None, True),
    ]
