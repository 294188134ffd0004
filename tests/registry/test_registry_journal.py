from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
import sqlalchemy as sa
from registry_fleet import Fleet

from manymodels.exceptions import ConflictError, NotFoundError, RegistryError
from manymodels.registry import Registry
from manymodels.registry.schema import batches, failures, segments, signatures, versions


def counts(registry: Registry) -> dict[str, int]:
    tables = (batches, segments, versions, failures, signatures)

    def work(connection: sa.Connection) -> dict[str, int]:
        size = {table.name: sa.select(sa.func.count()).select_from(table) for table in tables}
        return {name: connection.execute(statement).scalar_one() for name, statement in size.items()}

    return registry._db.read(work)


def test_a_receipt_is_journalled_once_and_the_first_one_counts(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a", "b"])
    first, second = (fleet.receipt(run, {"a": 1.0, "b": 2.0}, attempt=attempt) for attempt in (1, 2))
    assert registry.journal(first)
    before = counts(registry)
    assert not registry.journal(second)
    assert not registry.journal(first)
    assert counts(registry) == before
    journalled = registry.journalled(run.id)
    assert journalled.to_pylist() == [{"batch": 0, "outcomes_path": first.outcomes_path, "attempt": 1}]
    fleet.publish(run)
    assert registry.served("store-sales").column("segment").to_pylist() == [first.segments[0].path] * 2


def test_receipts_that_come_together_share_a_commit(
    registry: Registry, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fleet.start(["a", "b", "c", "d"], batches=3)
    known = fleet.receipt(run, {"d": 1.0}, batch=2)
    registry.journal(known)
    first = fleet.receipt(run, {"a": 1.0}, batch=0, failed={"b": "no luck"})
    again, other = fleet.receipt(run, {"a": 2.0}, batch=0, attempt=2), fleet.receipt(run, {"c": 1.0}, batch=1)
    commits, write = [], registry._db.write
    monkeypatch.setattr(
        registry._db, "write", lambda work, **more: commits.append(work) or write(work, **more)
    )
    assert registry.journal(first, known, again, other) == [first, other]
    assert len(commits) == 1
    assert registry.journalled(run.id).column("batch").to_pylist() == [0, 1, 2]
    assert (counts(registry)["versions"], counts(registry)["failures"]) == (3, 1)
    fleet.publish(run)
    served = registry.served("store-sales")
    assert set(served.column("segment").to_pylist()) == {r.segments[0].path for r in (first, known, other)}


def test_of_receipts_that_come_together_none_is_kept_when_one_is_refused(
    registry: Registry, fleet: Fleet
) -> None:
    run = fleet.start(["a"], batches=2)
    stranger = fleet.receipt(run, {"stranger": 1.0}, batch=1)
    with pytest.raises(RegistryError, match="2 keys have outcomes and 1"):
        registry.journal(fleet.receipt(run, {"a": 1.0}), stranger)
    assert counts(registry) == dict.fromkeys(counts(registry), 0)


def test_receipts_of_two_runs_are_no_journal(registry: Registry, fleet: Fleet) -> None:
    one, other = fleet.start(["a"]), fleet.start(["a"])
    with pytest.raises(RegistryError, match="several runs"):
        registry.journal(fleet.receipt(one, {"a": 1.0}), fleet.receipt(other, {"a": 1.0}))


def test_a_resume_reads_the_batches_that_are_done(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a", "b", "c"], batches=3)
    assert registry.journalled(run.id).num_rows == 0
    registry.journal(fleet.receipt(run, {"c": 1.0}, batch=2))
    registry.journal(fleet.receipt(run, {"a": 1.0}, batch=0))
    assert registry.journalled(run.id).column("batch").to_pylist() == [0, 2]


def test_a_batch_in_which_all_keys_failed_has_a_receipt_too(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    assert registry.journal(fleet.receipt(run, {}, failed={"a": "no luck"}))
    assert registry.journalled(run.id).num_rows == 1
    assert counts(registry)["versions"] == 0


def test_keys_of_another_run_are_refused_and_nothing_is_written(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    with pytest.raises(RegistryError, match="2 keys have outcomes and 1"):
        registry.journal(fleet.receipt(run, {"a": 1.0, "stranger": 1.0}))
    assert counts(registry) == dict.fromkeys(counts(registry), 0)


def test_an_outcome_without_its_segment_is_refused(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    with pytest.raises(RegistryError, match="segment"):
        registry.journal(replace(fleet.receipt(run, {"a": 1.0}), segments=()))
    assert registry.journalled(run.id).num_rows == 0


@pytest.mark.parametrize("end", ["failed", "interrupted", "completed"])
def test_a_receipt_after_the_end_of_its_run_is_refused(registry: Registry, fleet: Fleet, end: str) -> None:
    run = fleet.start(["a", "b"], batches=2)
    registry.journal(fleet.receipt(run, {"a": 1.0}))
    if end == "completed":
        fleet.publish(run)
    else:
        registry.end_run(run.id, end, "over")  # type: ignore[arg-type]
    with pytest.raises(ConflictError, match=end):
        registry.journal(fleet.receipt(run, {"b": 1.0}, batch=1))


def test_a_receipt_of_an_unknown_run_is_refused(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a"])
    with pytest.raises(NotFoundError):
        registry.journal(replace(fleet.receipt(run, {"a": 1.0}), run_id="store-sales-000009"))


def test_failures_that_differ_in_numbers_share_a_signature(registry: Registry, fleet: Fleet) -> None:
    messages = {
        "a": "needs 14 rows, found 3 at 0x7f00",
        "b": "needs 14 rows, found 12 at 0x7f01",
        "c": "float64 overflow on 2024-01-05T10:00:00",
        "d": "float64 overflow on 2023-12-31",
        "e": "singular",
    }
    run = fleet.train({"x": 1.0}, failed=messages)
    found = registry.failures(run.id)
    assert [(line.message, line.count, line.keys) for line in found] == [
        ("needs # rows, found # at #", 2, ("store=a", "store=b")),
        ("float64 overflow on #", 2, ("store=c", "store=d")),
        ("singular", 1, ("store=e",)),
    ]
    assert found[0].traceback == "Traceback: needs 14 rows, found 3 at 0x7f00"
    assert found[0].key_ids == (fleet.key_id("a"), fleet.key_id("b"))
    assert (found[0].cause, found[0].error, found[0].frame) == ("exception", "ValueError", "model.py:fit")


def test_a_signature_is_kept_once_for_all_runs_and_counted_by_run(registry: Registry, fleet: Fleet) -> None:
    first = fleet.train({"x": 1.0}, failed={"a": "singular", "b": "singular"})
    second = fleet.train({"x": 1.0}, failed={"a": "singular"})
    assert counts(registry)["signatures"] == 1
    assert [registry.failures(run.id)[0].count for run in (first, second)] == [2, 1]


def test_messages_that_no_database_takes_are_kept_readable(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"x": 1.0}, failed={"a": "zero\0byte", "b": "'; DROP TABLE failures; --"})
    assert {line.message for line in registry.failures(run.id)} == {"zero␀byte", "'; DROP TABLE failures; --"}


def test_messages_that_differ_in_more_than_values_are_shown_as_what_they_have_in_common(
    registry: Registry, fleet: Fleet
) -> None:
    names = [
        f"key-{chr(97 + number // 26 // 26)}{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}"
        for number in range(2_500)
    ]
    run = fleet.train({"x": 1.0}, failed={name: f"well {name} is broken" for name in names})
    (line,) = registry.failures(run.id)
    assert (line.message, line.count) == ("well … is broken", 2_500)
    assert line.keys == tuple(f"store={name}" for name in names[:5])
    assert counts(registry)["signatures"] == 2_500


def test_a_few_different_messages_are_kept_apart(registry: Registry, fleet: Fleet) -> None:
    names = [f"key-{chr(97 + number)}" for number in range(10)]
    run = fleet.train({"x": 1.0}, failed={name: f"broken {name}" for name in names})
    found = {line.message: (line.count, line.keys) for line in registry.failures(run.id)}
    assert found == {f"broken {name}": (1, (f"store={name}",)) for name in names}


def test_metrics_that_are_no_number_are_kept_as_missing(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": float("nan"), "b": None, "c": float("inf")})
    assert registry.served("store-sales").column("metric").to_pylist() == [None, None, float("inf")]


def test_examples_of_a_signature_are_few(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"x": 1.0}, failed={f"key {number}": "singular" for number in range(40)})
    (line,) = registry.failures(run.id)
    assert line.count == 40
    assert len(line.keys) == len(line.key_ids) == 5


def test_the_journal_of_an_unknown_run_is_an_error(registry: Registry) -> None:
    with pytest.raises(NotFoundError):
        registry.journalled("store-sales-000001")
    with pytest.raises(NotFoundError):
        registry.failures("store-sales-000001")


def test_a_batch_of_several_segments_points_each_model_at_its_own(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a", "b"])
    one, two = fleet.receipt(run, {"a": 1.0}), fleet.receipt(run, {"b": 1.0})
    both = replace(
        one, segments=one.segments + two.segments, outcomes=pa.concat_tables([two.outcomes, one.outcomes])
    )
    registry.journal(both)
    fleet.publish(run)
    served = registry.served("store-sales")
    assert served.column("segment").to_pylist() == [one.segments[0].path, two.segments[0].path]
    assert served.column("sha256").to_pylist() == [one.segments[0].sha256, two.segments[0].sha256]
