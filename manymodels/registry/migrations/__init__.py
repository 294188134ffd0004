"""The registry's schema, from version to version.

Only databases of this version's schema are opened: that takes one row, and no Alembic.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

__all__ = ["revision_of", "upgrade"]


def revision_of(connection: sa.Connection) -> str | None:
    """The database's version; None when it holds no registry yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(
        sa.select(sa.column("version_num", sa.Text)).select_from(sa.table("alembic_version"))
    ).first()
    return None if row is None else str(row[0])


def upgrade(connection: sa.Connection) -> None:
    """Bring the database to the newest schema, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
