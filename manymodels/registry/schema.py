"""The registry's tables.

The big tables (``keys``, ``versions``, ``aliases``, ``alias_moves``, ``failures``) hold small integers and no
foreign keys: PostgreSQL checks a foreign key row by row, which costs more than inserting the row. Every row of them
is written by ``INSERT … SELECT`` from the table it refers to. Times are microseconds since 1970 UTC. User keys are
bytes.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "REVISION",
    "alias_events",
    "alias_moves",
    "alias_names",
    "aliases",
    "batches",
    "candidates",
    "failures",
    "keys",
    "metadata",
    "model_sets",
    "runs",
    "scores",
    "segments",
    "signatures",
    "store",
    "versions",
]

REVISION = "0002"
"""The newest migration: what the database's ``alembic_version`` must say."""

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

store = sa.Table(
    "store",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("store_id", sa.Text, nullable=False),
)

model_sets = sa.Table(
    "model_sets",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False, unique=True),
    sa.Column("model_set", sa.ForeignKey("model_sets.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column(
        "token", sa.Text, nullable=False, unique=True
    ),  # who wrote it: a commit whose answer was lost is found again
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("published", sa.Boolean, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("job_hash", sa.Text, nullable=False),
    sa.Column("code_hash", sa.Text, nullable=False),
    sa.Column(
        "archive", sa.Text, nullable=False
    ),  # SHA-256 of the archive of the user's modules; empty without one
    sa.Column("archive_signature", sa.Text, nullable=False),
    sa.Column("evaluation", sa.Text, nullable=False),  # metrics of runs that differ here do not compare
    sa.Column("libraries", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("batches", sa.Integer, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("heartbeat", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
    sa.Column("seconds", sa.Double),
    sa.Column("startup_seconds", sa.Double),
    sa.Column("outcomes_path", sa.Text, nullable=False),
    sa.Column("promoted", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("driver", sa.Text, nullable=False),
    sa.UniqueConstraint("model_set", "number"),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("run", sa.ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    sa.Column("batch", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("outcomes_path", sa.Text, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_set", sa.Integer, nullable=False),
    sa.Column("level", sa.Text, nullable=False),
    sa.Column("key_id", sa.LargeBinary, nullable=False),
    sa.Column("canonical", sa.LargeBinary, nullable=False),
    sa.Column("display", sa.Text, nullable=False),
    sa.UniqueConstraint("model_set", "level", "key_id"),
)

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("run", sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("path", sa.Text, nullable=False, unique=True),
    sa.Column("sha256", sa.LargeBinary, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("codec", sa.Text, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),  # of the SHA-256, hex; empty when it is not signed
    sa.Column(
        "retired", sa.BigInteger
    ),  # since when nothing is served from it any more: its file may be gone
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
)

versions = sa.Table(
    "versions",
    metadata,
    # By run first: a run's versions are appended in one place, and one is found as fast as by key first.
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("segment", sa.Integer, nullable=False),
    sa.Column("segment_row", sa.Integer, nullable=False),
    sa.Column("candidate", sa.Integer, nullable=False),
    sa.Column("metric", sa.Double),
    sa.Column("content", sa.LargeBinary),
    sa.Column("cutoff", sa.BigInteger),
    sa.Column("seconds", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

alias_names = sa.Table(
    "alias_names",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model_set", sa.ForeignKey("model_sets.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.UniqueConstraint("model_set", "name"),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("alias", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run", sa.Integer),  # the version's; null when the alias points nowhere
    sa.Column("decided", sa.Integer),  # run of the newest version that promotion has decided on
    sqlite_with_rowid=False,
)

alias_events = sa.Table(
    "alias_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("token", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("model_set", sa.ForeignKey("model_sets.id"), nullable=False, index=True),
    sa.Column("alias", sa.ForeignKey("alias_names.id")),
    sa.Column("run", sa.ForeignKey("runs.id")),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("filter", sa.Text, nullable=False),
    sa.Column("moved", sa.Integer, nullable=False),
    sa.Column("written", sa.Boolean, nullable=False, index=True),  # whether its file is in the store
)

alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("event", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("before", sa.Integer),
    sa.Column("after", sa.Integer),
    sa.Column("undone", sa.Integer),  # the rollback event that undid this move
    sa.Column("undoes", sa.Integer),  # in a rollback: the oldest event that it undid for this key
    sqlite_with_rowid=False,
)

signatures = sa.Table(
    "signatures",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("frame", sa.Text, nullable=False),
    sa.Column("traceback", sa.Text, nullable=False),
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("signature", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

scores = sa.Table(
    "scores",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("score_id", sa.Text, nullable=False, unique=True),
    sa.Column("model_set", sa.ForeignKey("model_sets.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("token", sa.Text, nullable=False, unique=True),
    sa.Column("alias", sa.Text),
    sa.Column("run", sa.ForeignKey("runs.id")),
    sa.Column("input", sa.Text, nullable=False),
    sa.Column("output", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
    sa.Column("seconds", sa.Double),
    sa.Column("startup_seconds", sa.Double),
    sa.Column("driver", sa.Text, nullable=False),
    sa.Column("heartbeat", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("model_set", "number"),
)
