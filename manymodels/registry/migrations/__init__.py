"""The registry's schema, from version to version.

Only databases of this version's schema are opened: that takes one row, and no Alembic. A new database gets the newest schema at
once, which takes a tenth of the time of all versions one after the other.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from manymodels.registry import schema

__all__ = ["create", "revision_of", "upgrade"]

_VERSION = sa.Table(  # as Alembic makes it
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def revision_of(connection: sa.Connection) -> str | None:
    """The database's version; None when it holds no registry yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(sa.select(_VERSION.c.version_num)).first()
    return None if row is None else str(row[0])


def create(connection: sa.Connection) -> None:
    """Make the newest schema in a database without one, within the connection's transaction."""
    schema.metadata.create_all(connection)
    _VERSION.create(connection, checkfirst=True)
    connection.execute(sa.insert(_VERSION).values(version_num=schema.REVISION))


def upgrade(connection: sa.Connection) -> None:
    """Bring the database to the newest schema, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
