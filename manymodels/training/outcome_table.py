"""Outcomes as an Arrow table: the form in which they travel, and lie beside the segments."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from manymodels.records import OUTCOME_COLUMNS, KeyOutcome

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["outcome_schema", "outcome_table", "panel_table", "parquet_bytes", "read_parquet"]


def outcome_table(
    keys: pa.Table,
    outcomes: Iterable[KeyOutcome],
    places: Mapping[str, tuple[str, int]],
    *,
    level: str,
    ladder: bool,
) -> pa.Table:
    """Outcomes as a table with ``OUTCOME_COLUMNS``.

    Args:
        keys: The batch's rows of the manifest.
        outcomes: One per key, or the rung's.
        places: key_id to the segment and row that hold its model.
        level: Empty for keys.
        ladder: Whether a rung serves keys that could not be tried: without one they are ``skipped``, not ``fallback``.
    """
    import pyarrow as pa

    contents = dict(zip(keys.column("key_id").to_pylist(), keys.column("content").to_pylist(), strict=True))
    lines = []
    for outcome in outcomes:
        segment, row = places.get(outcome.key_id, (None, None))
        failure = outcome.failure
        lines.append(
            {
                "key_id": outcome.key_id,
                "level": level,
                "state": "skipped" if outcome.state == "fallback" and not ladder else outcome.state,
                "reason": outcome.reason,
                "candidate": outcome.candidate,
                "params": outcome.params,
                "metric": outcome.metric,
                "baseline": outcome.baseline,
                "skill": outcome.skill,
                "champion_metric": outcome.champion_metric,
                "scores": [vars(score) for score in outcome.scores],
                "rows": outcome.rows,
                "cutoff": outcome.cutoff,
                "content": contents.get(outcome.key_id),
                "segment": segment,
                "segment_row": row,
                "fit_seconds": outcome.fit_seconds,
                "seconds": outcome.seconds,
                "cause": failure and failure.cause,
                "error": failure and failure.error,
                "message": failure and failure.message,
                "frame": failure and failure.frame,
                "traceback": failure and failure.traceback,
                "seed": outcome.seed,
                "traits": outcome.traits or None,
                "parent": outcome.parent or None,
                "own_weight": outcome.own_weight,
            }
        )
    return pa.Table.from_pylist(lines, schema=outcome_schema())


def panel_table(keys: pa.Table, facts: pa.Table, segment: str, *, level: str = "") -> pa.Table:
    """Outcomes of keys that were fitted all at once, as a table with ``OUTCOME_COLUMNS``.

    Args:
        keys: Their rows of the manifest.
        facts: See ``PanelModels.facts``; row n of the segment has the model of row n.
        segment: Path of the segment with their models.
        level: Empty for keys.
    """
    import pyarrow as pa

    count = facts.num_rows
    known = {
        "key_id": keys.column("key_id"),
        "level": pa.repeat(level, count),
        "state": pa.repeat("trained", count),
        "content": keys.column("content"),
        "segment": pa.repeat(segment, count),
        "segment_row": pa.array(range(count), pa.int32()),
    }
    columns = []
    for field in outcome_schema():
        found = known.get(field.name)
        if found is None and field.name in facts.column_names:
            found = facts.column(field.name)
        columns.append(pa.nulls(count, field.type) if found is None else found.cast(field.type))
    return pa.table(columns, schema=outcome_schema())


def outcome_schema() -> pa.Schema:
    """The Arrow schema of an outcomes table."""
    import pyarrow as pa

    plain = {
        "string": pa.string(),
        "float64": pa.float64(),
        "int64": pa.int64(),
        "int32": pa.int32(),
        "fixed_size_binary[16]": pa.binary(16),
        "list<float64>": pa.list_(pa.float64()),
    }
    score = pa.struct(
        [
            ("candidate", pa.string()),
            ("metric", pa.float64()),
            ("seconds", pa.float64()),
            ("error", pa.string()),
        ]
    )
    return pa.schema([(name, plain.get(kind) or pa.list_(score)) for name, kind in OUTCOME_COLUMNS.items()])


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_parquet(content: bytes, columns: list[str] | None = None) -> pa.Table:
    """The table in a Parquet file's bytes, or some of its columns."""
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content), columns=columns)
