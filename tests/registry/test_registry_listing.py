from __future__ import annotations

import numpy as np
import pytest
from registry_fleet import Fleet, StubModel

from manymodels.exceptions import DamagedError, NotFoundError, UsageError
from manymodels.registry import ModelSetRecord, Registry


@pytest.fixture
def numbered(registry: Registry) -> Fleet:
    """Stores 1 to 30, store 7 worst; version 1."""
    fleet = Fleet(registry)
    fleet.train({number: float(number == 7) for number in range(1, 31)}, rungs=["pooled"])
    return fleet


def test_models_are_listed_page_by_page_in_the_order_of_their_keys(
    registry: Registry, numbered: Fleet
) -> None:
    page = registry.models("store-sales", limit=3, offset=8)
    assert page.column("key").to_pylist() == ["store=9", "store=10", "store=11"]
    assert page.to_pylist()[0] == {
        "key_id": numbered.key_id(9),
        "level": "",
        "key": "store=9",
        "version": 1,
        "run_id": "store-sales-000001",
        "candidate": "ridge",
        "metric": 0.0,
        "cutoff": 1_700_000_000_000_000,
        "seconds": 0.25,
        "stale_since": None,
    }
    assert registry.models("store-sales", limit=None).num_rows == 30


def test_rungs_are_listed_on_request(registry: Registry, numbered: Fleet) -> None:
    assert registry.models("store-sales", level="pooled").column("key").to_pylist() == ["pooled"]
    assert registry.models("store-sales", level=None, limit=None).num_rows == 31


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("metric > 0.5", [7]),
        ("store BETWEEN 3 AND 5 AND candidate = 'ridge'", [3, 4, 5]),
        ("store = 99", []),
        ("key = 'store=12'", [12]),
    ],
)
def test_models_are_filtered_by_an_expression(
    registry: Registry, numbered: Fleet, where: str, expected: list[int]
) -> None:
    found = registry.models("store-sales", where=where)
    assert found.column("key_id").to_pylist() == [numbered.key_id(number) for number in expected]


def test_a_filtered_list_is_paged_after_the_filter(registry: Registry, numbered: Fleet) -> None:
    found = registry.models("store-sales", where="store > 10", limit=2, offset=1)
    assert found.column("key").to_pylist() == ["store=12", "store=13"]


@pytest.mark.parametrize(
    "where",
    ["metrik > 1", "metric >", "1=1; DROP TABLE runs", "EXISTS (SELECT * FROM read_text('/etc/hostname'))"],
)
def test_a_filter_that_is_no_expression_over_the_columns_is_refused(
    registry: Registry, numbered: Fleet, where: str
) -> None:
    with pytest.raises(UsageError, match="no filter over models"):
        registry.models("store-sales", where=where)


def test_champions_of_keys_that_failed_since_are_stale(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0, "b": 1.0, "c": 1.0})
    fleet.train({"a": 0.5}, failed={"b": "singular", "c": "singular", "d": "singular"})
    fleet.train({"b": 2.0})  # no better than its champion, which is not stale for all that

    def stale() -> dict[str, str | None]:
        table = registry.models("store-sales")
        return dict(
            zip(table.column("key").to_pylist(), table.column("stale_since").to_pylist(), strict=True)
        )

    assert stale() == {"store=a": None, "store=b": None, "store=c": "store-sales-000002"}
    found = registry.models("store-sales", where="stale_since IS NOT NULL")
    assert found.column("key").to_pylist() == ["store=c"]
    assert registry.model_history("store-sales", fleet.key_id("c")).stale_since == "store-sales-000002"
    served = registry.served("store-sales")
    assert served.column("stale_since").to_pylist() == [None, None, "store-sales-000002"]
    assert fleet.served() == {"a": 2, "b": 1, "c": 1}
    fleet.train({"c": 3.0})
    assert stale()["store=c"] is None


def test_an_alias_that_is_not_there_names_the_nearest(registry: Registry, numbered: Fleet) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'champion'"):
        registry.models("store-sales", alias="champions")
    with pytest.raises(NotFoundError, match="did you mean 'latest'"):
        registry.served("store-sales", "lates")


def test_model_sets_are_summed_up(registry: Registry, numbered: Fleet) -> None:
    wells = Fleet(registry, name="wells")
    wells.train({"a": 1.0, "b": 1.0}, publish={"state": "failed_gate"}, task="anomaly")
    wells.start(["a"])
    assert registry.model_sets() == [
        ModelSetRecord("store-sales", "regression", 1, 30, 30, "store-sales-000001"),
        ModelSetRecord("wells", "regression", 2, 2, 0, "wells-000001"),
    ]


def test_an_empty_registry_lists_nothing(registry: Registry) -> None:
    assert registry.model_sets() == []
    assert registry.runs() == []
    assert registry.events() == []
    assert registry.scores() == []


def test_two_runs_are_compared_key_by_key(registry: Registry, fleet: Fleet) -> None:
    first = fleet.train({"up": 2.0, "down": 1.0, "even": 1.0, "kept": 1.0, "blind": 1.0}, rungs=["pooled"])
    second = fleet.train({"up": 1.5, "down": 3.0, "even": 1.0, "blind": None, "added": 1.0})
    lines = registry.compare(first.id, second.id).to_pylist()
    assert {line["key"]: (line["verdict"], line["change"]) for line in lines} == {
        "store=up": ("better", -0.5),
        "store=down": ("worse", 2.0),
        "store=even": ("same", 0.0),
        "store=kept": ("same", 0.0),
        "store=blind": ("unknown", None),
        "store=added": ("new", None),
    }
    back = registry.compare(second.id, first.id, higher_is_better=True).to_pylist()
    assert {line["key"]: line["verdict"] for line in back} == {
        "store=up": "better",
        "store=down": "worse",
        "store=even": "same",
        "store=kept": "same",
        "store=blind": "unknown",
        "store=added": "gone",
    }
    up = next(line for line in lines if line["key"] == "store=up")
    assert (up["key_id"], up["version_a"], up["version_b"]) == (fleet.key_id("up"), 1, 2)
    assert (up["metric_a"], up["metric_b"]) == (2.0, 1.5)


def test_metrics_of_two_evaluations_are_not_compared(registry: Registry, fleet: Fleet) -> None:
    first = fleet.train({"a": 2.0, "b": 2.0})
    changed = Fleet(registry, job={**fleet.job, "evaluation": {"metric": "mae"}})
    second = changed.train({"a": 1.0})
    lines = registry.compare(first.id, second.id).to_pylist()
    assert {line["key"]: (line["verdict"], line["change"]) for line in lines} == {
        "store=a": ("unknown", None),
        "store=b": ("same", 0.0),
    }


def test_runs_of_two_model_sets_are_not_compared(registry: Registry, fleet: Fleet) -> None:
    first, second = fleet.train({"a": 1.0}), Fleet(registry, name="wells").train({"a": 1.0})
    with pytest.raises(NotFoundError, match="wells"):
        registry.compare(first.id, second.id)


def test_an_alias_and_a_run_are_not_both_followed(registry: Registry, numbered: Fleet) -> None:
    with pytest.raises(UsageError, match="not both"):
        registry.served("store-sales", "champion", run_id="store-sales-000001")


def test_a_model_is_loaded_by_its_key(registry: Registry) -> None:
    fleet = Fleet(registry, real=True)
    fleet.train({17: 2.0, 18: 2.0})
    fleet.train({17: 1.0})
    model = registry.load("store-sales", store=17)
    assert isinstance(model, StubModel)
    assert (model.value, model.version) == (17, 2)
    assert registry.load("store-sales", store=np.int32(18)).value == 18  # type: ignore[attr-defined]
    assert registry.load("store-sales", version=1, store=17).version == 1  # type: ignore[attr-defined]
    assert registry.load("store-sales", key_id=fleet.key_id(18)).value == 18  # type: ignore[attr-defined]
    registry.rollback("store-sales")
    assert registry.load("store-sales", store=17).version == 1  # type: ignore[attr-defined]
    assert registry.load("store-sales", alias="latest", store=17).version == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", [{"store": "17"}, {"store": 17.0}, {"store": 99}, {"key_id": "0" * 32}])
def test_a_key_that_is_not_there_says_what_its_columns_hold(
    registry: Registry, key: dict[str, object]
) -> None:
    Fleet(registry, real=True).train({17: 2.0})
    with pytest.raises(NotFoundError, match=r"store \(int\)") as caught:
        registry.load("store-sales", **key)  # type: ignore[arg-type]
    assert caught.value.key


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"shop": 17},
        {"store": 17, "region": "N"},
        {"key_id": "0" * 32, "store": 17},
        {"key_id": "17"},
        {"key_id": "z" * 32},
    ],
)
def test_a_key_that_is_not_given_by_its_columns_is_refused(
    registry: Registry, fleet: Fleet, key: dict[str, object]
) -> None:
    fleet.train({17: 2.0})
    with pytest.raises(UsageError) as caught:
        registry.load("store-sales", **key)  # type: ignore[arg-type]
    assert type(caught.value) is UsageError


def test_a_damaged_segment_is_refused_and_the_others_are_served(registry: Registry) -> None:
    fleet = Fleet(registry, real=True)
    run = fleet.start(["a", "b"], batches=2)
    for batch, name in enumerate("ab"):
        registry.journal(fleet.receipt(run, {name: 1.0}, batch=batch))
    fleet.publish(run)
    served = {line["display"]: line for line in registry.served("store-sales").to_pylist()}
    path = served["store=a"]["segment"]
    content = bytearray(registry.storage.read(path))
    content[len(content) // 2] ^= 1
    registry.storage.write(path, bytes(content))
    with pytest.raises(DamagedError, match=path):
        registry.load("store-sales", store="a")
    assert registry.load("store-sales", store="b").value == "b"  # type: ignore[attr-defined]
    report = registry.verify()
    assert report.segments == 2
    (damaged,) = report.damaged
    assert (damaged.path, damaged.models, damaged.keys, damaged.key_ids) == (
        path,
        1,
        ("store=a",),
        (fleet.key_id("a"),),
    )


def test_verify_tells_missing_segments_from_good_ones(registry: Registry) -> None:
    fleet = Fleet(registry, real=True)
    fleet.train({"a": 1.0, "b": 1.0}, rungs=["pooled"])
    report = registry.verify()
    assert report.damaged == ()
    assert report.segments == 2
    assert report.bytes == sum(
        registry.storage.size(path) for path in registry.storage.listing("runs") if "/segments/" in path
    )
    registry.storage.delete(registry.served("store-sales").column("segment")[0].as_py())
    (damaged,) = registry.verify().damaged
    assert "missing" in damaged.problem
    assert damaged.keys == ("store=a", "store=b")


def test_the_kinds_of_key_columns_are_known(registry: Registry, fleet: Fleet) -> None:
    fleet.train({None: 1.0, 17: 1.0})
    assert registry.key_columns("store-sales") == ("store",)
    assert registry.key_kinds("store-sales") == {"store": "int"}


def test_what_a_scoring_needs_of_a_fleet_is_less_than_people_read(
    registry: Registry, numbered: Fleet
) -> None:
    whole, brief = registry.served("store-sales"), registry.served("store-sales", brief=True)
    left_out = {"canonical", "display", "metric"}
    assert brief.equals(whole.select([name for name in whole.column_names if name not in left_out]))
