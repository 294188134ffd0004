"""Garbage collection and trust: since when a segment is out of use, who drives a scoring, what is signed.

Revision ID: 0002
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from manymodels.registry.drivers import Driver

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; scorings that were recorded as running count as dead."""
    op.add_column("segments", sa.Column("retired", sa.BigInteger))
    _add("segments", "signature", sa.Text(), "")
    _add("runs", "archive", sa.Text(), "")
    _add("runs", "archive_signature", sa.Text(), "")
    _add("scores", "driver", sa.Text(), Driver.nobody().to_json())
    _add("scores", "heartbeat", sa.BigInteger(), "0")


def _add(table: str, name: str, kind: sa.types.TypeEngine[Any], value: str) -> None:
    """Add a column that no row may leave out; the rows that are there get the value."""
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=value))
    with op.batch_alter_table(table) as batch:
        batch.alter_column(name, server_default=None)
