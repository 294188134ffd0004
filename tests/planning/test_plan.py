"""What trains, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from manymodels.planning.plan import REASONS, Plan, Scope, make_plan

JOB, CODE = "job-1", "code-1"


def manifest(**changes: dict[str, Any]) -> pa.Table:
    keys = ["a", "b", "c", "d"]
    base = {"rows": 100, "content": b"0" * 16, "null_targets": 0, "infinite_targets": 0}
    lines = [{"key_id": key, **base, **changes.get(key, {})} for key in keys]
    schema = pa.schema(
        [("key_id", pa.string()), ("rows", pa.int64()), ("content", pa.binary(16)), ("null_targets", pa.int64()),
         ("infinite_targets", pa.int64())]
    )  # fmt: skip
    return pa.Table.from_pylist(lines, schema=schema)


def history(*lines: dict[str, Any]) -> pa.Table:
    base = {
        "version": 1, "content": b"0" * 16, "job_hash": JOB, "code_hash": CODE, "failed_last": False, "seconds": 0.5,
    }  # fmt: skip
    schema = pa.schema(
        [("key_id", pa.string()), ("version", pa.int64()), ("content", pa.binary(16)), ("job_hash", pa.string()),
         ("code_hash", pa.string()), ("failed_last", pa.bool_()), ("seconds", pa.float64()), ("rows", pa.int64())]
    )  # fmt: skip
    return pa.Table.from_pylist([{**base, **line} for line in lines], schema=schema)


def planned(keys: pa.Table, past: pa.Table, scope: Scope | None = None, **options: Any) -> Plan:
    settings: dict[str, Any] = {"job_hash": JOB, "code_hash": CODE, "min_rows": 10, "ladder": True, **options}
    return make_plan(
        keys, past, scope=scope or Scope(), seconds=np.ones(keys.num_rows), bytes_per_model=500.0, **settings
    )


def reasons(plan: Plan) -> dict[str, tuple[str, str]]:
    table = plan.table
    return {
        key: (str(action), str(reason))
        for key, action, reason in zip(table["key_id"], table["action"], table["reason"], strict=True)
    }


def test_an_unknown_key_is_new() -> None:
    assert set(reasons(planned(manifest(), history())).values()) == {("train", "new")}


def test_each_cause_is_told_apart() -> None:
    past = history(
        {"key_id": "a", "content": b"1" * 16}, {"key_id": "b", "job_hash": "job-0"}, {"key_id": "c", "code_hash": "code-0"},
        {"key_id": "d", "failed_last": True},
    )  # fmt: skip
    assert reasons(planned(manifest(), past)) == {
        "a": ("train", "rows changed"),
        "b": ("train", "job changed"),
        "c": ("train", "code or library changed"),
        "d": ("train", "failed last time"),
    }


def test_an_unchanged_fleet_trains_nothing() -> None:
    plan = planned(manifest(), history(*({"key_id": key} for key in "abcd")))
    assert len(plan.training) == 0
    assert plan.counts() == {"reuse": {"unchanged": 4}}
    assert plan.seconds == 0


def test_a_key_that_failed_without_ever_having_a_version_trains_again() -> None:
    plan = planned(
        manifest(), history({"key_id": "a", "version": None, "content": None, "failed_last": True})
    )
    assert reasons(plan)["a"] == ("train", "failed last time")


@pytest.mark.parametrize(("ladder", "action"), [(True, "fallback"), (False, "skip")])
def test_keys_that_cannot_train_are_told_why_by_rule(ladder: bool, action: str) -> None:
    keys = manifest(a={"rows": 9}, b={"null_targets": 100}, c={"infinite_targets": 1})
    found = reasons(planned(keys, history(), ladder=ladder))
    assert found == {
        "a": (action, "too few rows"),
        "b": (action, "target is missing"),
        "c": (action, "target is infinite"),
        "d": ("train", "new"),
    }


def test_keys_that_the_registry_has_never_heard_of_are_to_be_registered() -> None:
    never = {"key_id": "c", "version": None, "content": None, "failed_last": True}
    plan = planned(manifest(), history({"key_id": "a"}, never))
    assert plan.unknown.tolist() == [1, 3]


def test_a_key_that_has_versions_but_no_rows_has_vanished() -> None:
    plan = planned(
        manifest(), history({"key_id": "gone"}, {"key_id": "never", "version": None, "failed_last": True})
    )
    assert plan.vanished == ("gone",)
    assert plan.counts()["vanished"] == {"vanished": 1}


def test_only_all_trains_unchanged_keys() -> None:
    past = history(*({"key_id": key} for key in "abcd"))
    assert set(reasons(planned(manifest(), past, Scope(only="all"))).values()) == {("train", "asked for")}


def test_only_failed_leaves_new_and_changed_keys_alone() -> None:
    past = history(
        {"key_id": "a"}, {"key_id": "b", "failed_last": True}, {"key_id": "c", "job_hash": "job-0"}
    )
    assert reasons(planned(manifest(), past, Scope(only="failed"))) == {
        "a": ("reuse", "unchanged"),
        "b": ("train", "failed last time"),
        "c": ("skip", "out of scope"),
        "d": ("skip", "out of scope"),
    }


def test_keys_that_were_not_named_are_out_of_scope() -> None:
    found = reasons(planned(manifest(), history(), Scope(key_ids=frozenset("b"))))
    assert found["b"] == ("train", "new")
    assert found["a"] == ("skip", "out of scope")


def test_a_limit_takes_the_same_sample_every_time() -> None:
    plans = [planned(manifest(), history(), Scope(limit=2, seed=3)) for _ in range(2)]
    assert len(plans[0].training) == 2
    assert plans[0].training.tolist() == plans[1].training.tolist()


def test_every_reason_is_explained() -> None:
    past = history({"key_id": "a"}, {"key_id": "gone"})
    keys = manifest(b={"rows": 1})
    counts = planned(keys, past).counts()
    assert {reason for group in counts.values() for reason in group} <= set(REASONS)
