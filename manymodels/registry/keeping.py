"""Which versions stay: those that an alias points at or goes back to, and those that retention keeps."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from manymodels.registry.schema import alias_events, alias_moves, aliases, runs, segments, versions
from manymodels.registry.settings import Retention

__all__ = ["kept_rows", "kept_versions", "usage"]


def kept_versions(retention: Retention, now: int) -> sa.CompoundSelect[Any]:
    """Key and run of every version that stays.

    Args:
        retention: The store's.
        now: Microseconds since 1970 UTC.
    """
    pointed_at = sa.select(aliases.c.key, aliases.c.run).where(aliases.c.run.is_not(None))
    newest = sa.func.row_number().over(
        partition_by=(alias_events.c.alias, alias_moves.c.key), order_by=alias_moves.c.event.desc()
    )
    standing = (
        sa.select(alias_moves.c.key, alias_moves.c.before.label("run"), newest.label("place"))
        .join(alias_events, alias_events.c.id == alias_moves.c.event)
        .where(alias_events.c.kind != "rollback", alias_moves.c.undone.is_(None))
        .subquery()
    )
    goes_back_to = sa.select(standing.c.key, standing.c.run).where(
        standing.c.place == 1, standing.c.run.is_not(None)
    )
    parts: list[sa.Select[Any]] = [pointed_at, goes_back_to]
    of_runs = sa.select(versions.c.key, versions.c.run).join(runs, runs.c.id == versions.c.run)
    parts.append(of_runs.where(~runs.c.published))
    if retention.versions == "all":
        parts.append(of_runs.where(runs.c.published))
    else:
        place = sa.func.row_number().over(partition_by=versions.c.key, order_by=versions.c.run.desc())
        ranked = (
            sa.select(versions.c.key, versions.c.run, place.label("place"))
            .join(runs, runs.c.id == versions.c.run)
            .where(runs.c.published)
            .subquery()
        )
        parts.append(sa.select(ranked.c.key, ranked.c.run).where(ranked.c.place <= retention.versions))
    if retention.age is not None:
        parts.append(of_runs.where(runs.c.ended > now - int(retention.age * 1e6)))
    return sa.union(*parts)


def kept_rows(retention: Retention, now: int) -> sa.Select[Any]:
    """Segment, row, key and run of every version that stays and is still to be had."""
    kept = kept_versions(retention, now).subquery()
    return (
        sa.select(versions.c.segment, versions.c.segment_row, versions.c.key, versions.c.run)
        .join(kept, sa.and_(kept.c.key == versions.c.key, kept.c.run == versions.c.run))
        .join(segments, segments.c.id == versions.c.segment)
        .where(segments.c.retired.is_(None))
    )


def usage(connection: sa.Connection, retention: Retention, now: int) -> dict[int, int]:
    """Segment to how many of its models stay, for those of which some do."""
    rows = kept_rows(retention, now).subquery()
    statement = sa.select(rows.c.segment, sa.func.count()).group_by(rows.c.segment)
    return {line[0]: line[1] for line in connection.execute(statement)}
