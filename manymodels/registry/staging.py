"""Temporary tables: what comes from Arrow waits here, for one statement to join it with what is there."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "caller_decisions",
    "incoming_failures",
    "incoming_keys",
    "incoming_moves",
    "incoming_versions",
    "moved_versions",
    "undoing",
    "wanted",
]


def _temporary(name: str, *columns: sa.Column[object]) -> sa.Table:
    # A connection goes back to the pool after its transaction: PostgreSQL empties the table then, and
    # `Database.fill` before it is used again.
    return sa.Table(name, sa.MetaData(), *columns, prefixes=["TEMPORARY"], postgresql_on_commit="DELETE ROWS")


incoming_keys = _temporary(
    "incoming_keys",
    sa.Column("level", sa.Text),
    sa.Column("key_id", sa.LargeBinary),
    sa.Column("canonical", sa.LargeBinary),
    sa.Column("display", sa.Text),
)

incoming_versions = _temporary(
    "incoming_versions",
    sa.Column("level", sa.Text),
    sa.Column("key_id", sa.LargeBinary),
    sa.Column("segment", sa.Integer),
    sa.Column("segment_row", sa.Integer),
    sa.Column("candidate", sa.Integer),
    sa.Column("metric", sa.Double),
    sa.Column("content", sa.LargeBinary),
    sa.Column("cutoff", sa.BigInteger),
    sa.Column("seconds", sa.Double),
)

incoming_failures = _temporary(
    "incoming_failures",
    sa.Column("level", sa.Text),
    sa.Column("key_id", sa.LargeBinary),
    sa.Column("signature", sa.Integer),
)

incoming_moves = _temporary(
    "incoming_moves",
    sa.Column("level", sa.Text),
    sa.Column("key_id", sa.LargeBinary),
    sa.Column("before", sa.Integer),
    sa.Column("after", sa.Integer),
    sa.Column("undoes", sa.Integer),
)

moved_versions = _temporary(
    "moved_versions",
    sa.Column("key", sa.Integer),
    sa.Column("run", sa.Integer),
    sa.Column("segment", sa.Integer),
    sa.Column("segment_row", sa.Integer),
)

caller_decisions = _temporary(
    "caller_decisions", sa.Column("key_id", sa.LargeBinary), sa.Column("promote", sa.Boolean)
)

# Keyed: SQLite would read it whole for every row that it is joined to.
wanted = _temporary("wanted", sa.Column("key_id", sa.LargeBinary, primary_key=True))

undoing = _temporary(
    "undoing", sa.Column("event", sa.Integer), sa.Column("key", sa.Integer), sa.Column("before", sa.Integer)
)
