"""What is asked of one key reads that key: SQLite's own account of how it finds the rows of the big tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from registry_fleet import Fleet, Place

from manymodels.registry import Registry
from manymodels.registry.schema import versions

BIG = ("keys", "versions", "aliases", "alias_moves", "failures")


@pytest.fixture
def place(tmp_path: Any) -> Place:
    """SQLite alone: PostgreSQL rightly reads small tables whole."""
    return Place(str(tmp_path / "store"), None)


def scans(registry: Registry, work: Callable[[], Any]) -> list[str]:
    """The big tables, by their own name or an alias, that a piece of work reads whole."""
    found: list[str] = []

    def explain(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        if many or not statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            return
        lines = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        for *_, line in lines:
            words = line.split()
            named = {name for name in BIG if f"{name} AS {words[1]}" in statement} | {words[1]}
            # A search by the model set alone reads all of its keys.
            whole = words[0] == "SCAN" or line.endswith(("(model_set=?)", "(model_set=? AND level=?)"))
            if whole and named & set(BIG):
                found.append(f"{line}: {statement}")

    engine = registry._db._engine
    sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        work()
    finally:
        sa.event.remove(engine, "before_cursor_execute", explain)
    return found


def test_one_key_is_found_without_reading_the_fleet(registry: Registry, fleet: Fleet) -> None:
    fleet.real = True
    for metric in (3.0, 2.0, 1.0):
        fleet.train({"a": metric, "b": metric, "c": None}, failed={"d": "no"})
    key_id = fleet.key_id("a")
    asked: list[Callable[[], Any]] = [
        lambda: registry.load(fleet.name, store="a"),
        lambda: registry.load(fleet.name, store="a", version=2),
        lambda: registry.model_history(fleet.name, key_id),
        lambda: registry.promote(fleet.name, version=1, key_ids=[key_id]),
        lambda: registry.promote(fleet.name, run=f"{fleet.name}-000002", key_ids=[key_id]),
        lambda: registry.promote(fleet.name, alias="test", from_alias="champion", key_ids=[key_id]),
        lambda: registry.rollback(fleet.name, key_ids=[key_id]),
    ]
    for work in asked:
        assert scans(registry, work) == []


def test_a_whole_table_is_noticed(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    of_a_key = sa.select(versions.c.run).where(versions.c.key == 1)  # which is kept by run first
    assert scans(registry, lambda: registry._db.read(lambda connection: connection.execute(of_a_key).all()))
