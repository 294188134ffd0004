"""Fleets in SQL and Arrow: which version of every key is meant, and what is known of those versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from manymodels.registry.columns import hex_ids, repeated
from manymodels.registry.database import Database
from manymodels.registry.schema import aliases, candidates, failures, keys, runs, versions

__all__ = ["as_of", "failed_since", "pointed_at", "read_fleet", "run_facts", "stale_since"]

_FEW = 500  # keys that are asked for one by one: those of a page
_COLUMNS: dict[str, tuple[sa.ColumnElement[Any], pa.DataType]] = {
    "key": (keys.c.id, pa.int64()),
    "key_id": (keys.c.key_id, pa.binary()),
    "level": (keys.c.level, pa.string()),
    "canonical": (keys.c.canonical, pa.binary()),
    "display": (keys.c.display, pa.string()),
    "run": (versions.c.run, pa.int64()),
    "segment": (versions.c.segment, pa.int64()),
    "segment_row": (versions.c.segment_row, pa.int32()),
    "candidate": (versions.c.candidate, pa.int64()),
    "metric": (versions.c.metric, pa.float64()),
    "content": (versions.c.content, pa.binary(16)),
    "cutoff": (versions.c.cutoff, pa.int64()),
    "seconds": (versions.c.seconds, pa.float64()),
}


def pointed_at(alias: int) -> sa.Select[Any]:
    """Key and run of the versions that an alias points at."""
    return sa.select(aliases.c.key, aliases.c.run).where(aliases.c.alias == alias, aliases.c.run.is_not(None))


def as_of(run: sa.Row[*tuple[Any, ...]]) -> sa.Select[Any]:
    """Key and run of every key's newest version when a run was published, that run's own included."""
    visible = sa.select(runs.c.id).where(
        runs.c.model_set == run.model_set, runs.c.published, runs.c.id <= run.id
    )
    return (
        sa.select(versions.c.key, sa.func.max(versions.c.run).label("run"))
        .where(versions.c.run.in_(visible))
        .group_by(versions.c.key)
    )


def failed_since(model_set: int, latest: int, keys: Sequence[int] | None = None) -> sa.Select[Any]:
    """Key and run of every key's last failure, in a run that is over, where no newer version came after it.

    Args:
        model_set: Id of the model set.
        latest: Id of its alias ``latest``.
        keys: Only these; all when None.
    """
    found = (
        sa.select(failures.c.key, sa.func.max(failures.c.run).label("run"))
        .join(runs, runs.c.id == failures.c.run)
        .where(runs.c.model_set == model_set, runs.c.state != "running")
        .group_by(failures.c.key)
    )
    last = (found if keys is None else found.where(failures.c.key.in_(keys))).subquery()
    newest = aliases.alias("newest")
    same = sa.and_(newest.c.alias == latest, newest.c.key == last.c.key)
    return (
        sa.select(last.c.key, last.c.run)
        .select_from(last.outerjoin(newest, same))
        .where(sa.or_(newest.c.run.is_(None), newest.c.run < last.c.run))
    )


def stale_since(
    connection: sa.Connection, model_set: int, latest: int, keys: pa.ChunkedArray
) -> pa.ChunkedArray:
    """The id of the run in which each key failed last, where no newer version came after it; else null.

    Args:
        connection: In a transaction.
        model_set: Id of the model set.
        latest: Id of its alias ``latest``.
        keys: The registry's own ids of the keys.
    """
    names = run_facts(connection, model_set, "run_id")["run_id"]
    few = keys.to_pylist() if len(keys) <= _FEW else None
    statement = failed_since(model_set, latest, few)
    found = {line.key: names[line.run] for line in connection.execute(statement)}
    return repeated(keys, found)


def read_fleet(
    database: Database,
    connection: sa.Connection,
    chosen: sa.Select[Any],
    names: Sequence[str],
    *,
    level: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> pa.Table:
    """Versions and their keys, in the order in which the keys were registered, rungs last.

    Args:
        database: The database.
        connection: In a transaction.
        chosen: Key and run of the versions.
        names: Columns to read.
        level: Only this rung; empty for keys; all when None.
        limit: At most so many.
        offset: After so many.

    Returns:
        The columns asked for; ``run`` as the registry's own id, ``candidate`` dictionary-encoded.
    """
    fleet = chosen.subquery()
    statement = (
        sa.select(*(_COLUMNS[name][0] for name in names))
        .select_from(
            fleet.join(keys, keys.c.id == fleet.c.key).join(
                versions, sa.and_(versions.c.run == fleet.c.run, versions.c.key == fleet.c.key)
            )
        )
        .order_by(keys.c.level, keys.c.id)
        .limit(limit)
        .offset(offset)
    )
    if level is not None:
        statement = statement.where(keys.c.level == level)
    table = database.fetch(connection, statement, pa.schema([(name, _COLUMNS[name][1]) for name in names]))
    if "key_id" in names:
        place = table.schema.get_field_index("key_id")
        table = table.set_column(place, "key_id", hex_ids(table.column("key_id")))
    if "candidate" in names:
        known = {line.id: line.name for line in connection.execute(sa.select(candidates))}
        place = table.schema.get_field_index("candidate")
        table = table.set_column(place, "candidate", repeated(table.column("candidate"), known))
    return table


def run_facts(connection: sa.Connection, model_set: int, *names: str) -> dict[str, dict[int, Any]]:
    """Some columns of every run of a model set, by the run's own id."""
    statement = sa.select(runs.c.id, *(runs.c[name] for name in names)).where(runs.c.model_set == model_set)
    lines = connection.execute(statement).all()
    return {name: {line.id: getattr(line, name) for line in lines} for name in names}
