"""Garbage collection: since when a segment is out of use, and who drives a scoring.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from manymodels.registry.drivers import Driver

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; scorings that were recorded as running count as dead."""
    op.add_column("segments", sa.Column("retired", sa.BigInteger))
    nobody = Driver.nobody().to_json()
    op.add_column("scores", sa.Column("driver", sa.Text, nullable=False, server_default=nobody))
    op.add_column("scores", sa.Column("heartbeat", sa.BigInteger, nullable=False, server_default="0"))
    with op.batch_alter_table("scores") as table:
        table.alter_column("driver", server_default=None)
        table.alter_column("heartbeat", server_default=None)
