"""Run by Alembic for every command; the caller hands in the connection, and its transaction."""

from __future__ import annotations

from alembic import context

from manymodels.registry.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
context.run_migrations()
