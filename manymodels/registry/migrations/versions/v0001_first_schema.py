"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "alias_moves",
        sa.Column("event", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("before", sa.Integer),
        sa.Column("after", sa.Integer),
        sa.Column("undone", sa.Integer),
        sa.Column("undoes", sa.Integer),
        sa.PrimaryKeyConstraint("event", "key", name="pk_alias_moves"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "aliases",
        sa.Column("alias", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("run", sa.Integer),
        sa.Column("decided", sa.Integer),
        sa.PrimaryKeyConstraint("alias", "key", name="pk_aliases"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "candidates",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_candidates"),
        sa.UniqueConstraint("name", name="uq_candidates_name"),
    )
    op.create_table(
        "failures",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("signature", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name="pk_failures"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_set", sa.Integer, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("key_id", sa.LargeBinary, nullable=False),
        sa.Column("canonical", sa.LargeBinary, nullable=False),
        sa.Column("display", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("model_set", "level", "key_id", name="uq_keys_model_set_level_key_id"),
    )
    op.create_table(
        "model_sets",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_sets"),
        sa.UniqueConstraint("name", name="uq_model_sets_name"),
    )
    op.create_table(
        "signatures",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("frame", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signatures"),
        sa.UniqueConstraint("digest", name="uq_signatures_digest"),
    )
    op.create_table(
        "store",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("store_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store"),
    )
    op.create_table(
        "versions",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("key", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("segment_row", sa.Integer, nullable=False),
        sa.Column("candidate", sa.Integer, nullable=False),
        sa.Column("metric", sa.Double),
        sa.Column("content", sa.LargeBinary),
        sa.Column("cutoff", sa.BigInteger),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("run", "key", name="pk_versions"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "alias_names",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_set", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["model_set"], ["model_sets.id"], name="fk_alias_names_model_set"),
        sa.PrimaryKeyConstraint("id", name="pk_alias_names"),
        sa.UniqueConstraint("model_set", "name", name="uq_alias_names_model_set_name"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("model_set", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("published", sa.Boolean, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("job_hash", sa.Text, nullable=False),
        sa.Column("code_hash", sa.Text, nullable=False),
        sa.Column("evaluation", sa.Text, nullable=False),
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
        sa.ForeignKeyConstraint(["model_set"], ["model_sets.id"], name="fk_runs_model_set"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("model_set", "number", name="uq_runs_model_set_number"),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
        sa.UniqueConstraint("token", name="uq_runs_token"),
    )
    op.create_table(
        "alias_events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("model_set", sa.Integer, nullable=False),
        sa.Column("alias", sa.Integer),
        sa.Column("run", sa.Integer),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("filter", sa.Text, nullable=False),
        sa.Column("moved", sa.Integer, nullable=False),
        sa.Column("written", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["alias"], ["alias_names.id"], name="fk_alias_events_alias"),
        sa.ForeignKeyConstraint(["model_set"], ["model_sets.id"], name="fk_alias_events_model_set"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_alias_events_run"),
        sa.PrimaryKeyConstraint("id", name="pk_alias_events"),
        sa.UniqueConstraint("token", name="uq_alias_events_token"),
    )
    op.create_index("ix_alias_events_model_set", "alias_events", ["model_set"])
    op.create_index("ix_alias_events_written", "alias_events", ["written"])
    op.create_table(
        "batches",
        sa.Column("run", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("batch", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("outcomes_path", sa.Text, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_batches_run"),
        sa.PrimaryKeyConstraint("run", "batch", name="pk_batches"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "scores",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("score_id", sa.Text, nullable=False),
        sa.Column("model_set", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("alias", sa.Text),
        sa.Column("run", sa.Integer),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("seconds", sa.Double),
        sa.Column("startup_seconds", sa.Double),
        sa.ForeignKeyConstraint(["model_set"], ["model_sets.id"], name="fk_scores_model_set"),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_scores_run"),
        sa.PrimaryKeyConstraint("id", name="pk_scores"),
        sa.UniqueConstraint("model_set", "number", name="uq_scores_model_set_number"),
        sa.UniqueConstraint("score_id", name="uq_scores_score_id"),
        sa.UniqueConstraint("token", name="uq_scores_token"),
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("codec", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_segments_run"),
        sa.PrimaryKeyConstraint("id", name="pk_segments"),
        sa.UniqueConstraint("path", name="uq_segments_path"),
    )
    op.create_index("ix_segments_run", "segments", ["run"])
