"""The journal: what receipts of batches put into the registry, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from manymodels.artifacts.trust import sign
from manymodels.exceptions import ConflictError, RegistryError
from manymodels.records import BatchReceipt, SegmentInfo
from manymodels.registry.columns import digest_column, looked_up, storable, storable_column
from manymodels.registry.connected import Connected, micros_now
from manymodels.registry.database import Database
from manymodels.registry.schema import (
    batches,
    candidates,
    failures,
    keys,
    segments,
    signatures,
    versions,
)
from manymodels.registry.signatures import normalised
from manymodels.registry.staging import incoming_failures, incoming_versions

__all__ = ["Journal", "add_segments", "add_versions", "insert_failures", "signature_ids"]

_TRACEBACK_LENGTH = 20_000
_IN_ONE_QUERY = 1_000

_KNOWN = sa.select(batches.c.batch, batches.c.outcomes_path).where(
    batches.c.run == sa.bindparam("run"), batches.c.batch.in_(sa.bindparam("batches", expanding=True))
)
_ADD_SEGMENTS = sa.insert(segments).returning(segments.c.path, segments.c.id)


class Journal(Connected):
    """Receipts."""

    def journal(self, *receipts: BatchReceipt) -> list[BatchReceipt]:
        """Record that batches of a run are done: their segments, the versions in them, and their failures, in one commit.

        Nothing of it is seen before the run is published.

        Returns:
            Those that count. A batch that has a receipt already keeps it, and nothing is written of another one.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: The run does not run any more.
            RegistryError: A receipt does not fit the run, or the database could not be used; nothing is written then.
        """
        if not receipts:
            return []
        run_id = receipts[0].run_id
        if any(receipt.run_id != run_id for receipt in receipts):
            raise RegistryError("receipts of several runs cannot be journalled at once", run=run_id)
        first: dict[int, BatchReceipt] = {}
        for receipt in receipts:
            first.setdefault(receipt.batch, receipt)
        signed = {
            batch: [replace(file, signature=sign(file.sha256)) for file in receipt.segments]
            for batch, receipt in first.items()
        }
        tries = 0

        def work(connection: sa.Connection) -> list[BatchReceipt]:
            nonlocal tries
            tries += 1
            run = self._run(connection, run_id, lock=True)
            if run.state != "running":
                raise ConflictError(
                    f"batch {receipts[0].batch} of run {run_id} came after its end, the run is {run.state}",
                    run=run_id,
                )
            found = connection.execute(_KNOWN, {"run": run.id, "batches": list(first)})
            known = {line.batch: line.outcomes_path for line in found}
            new = [receipt for batch, receipt in first.items() if batch not in known]
            if new:
                now = micros_now()
                columns = zip(
                    *(
                        (run.id, r.batch, r.attempt, r.outcomes_path, now, r.seconds, storable(r.worker))
                        for r in new
                    ),
                    strict=True,
                )
                self._db.insert(connection, batches, list(columns))
                paths = add_segments(connection, run.id, {r.batch: signed[r.batch] for r in new})
                outcomes = pa.concat_tables([receipt.outcomes for receipt in new])
                state = outcomes.column("state")
                trained = outcomes.filter(pc.equal(state, "trained"))
                failed = outcomes.filter(pc.equal(state, "failed"))
                add_versions(self._db, connection, run.model_set, run.id, trained, paths)
                _add_failures(self._db, connection, run.model_set, run.id, failed)
            # Our own, from a commit whose answer was lost?
            ours = [
                receipt
                for batch, receipt in first.items()
                if tries > 1 and known.get(batch) == receipt.outcomes_path
            ]
            return [*new, *ours]

        return self._db.write(work)


def add_segments(
    connection: sa.Connection,
    run: int,
    files: Mapping[int, Sequence[SegmentInfo]],
    *,
    retired: int | None = None,
) -> dict[str, int]:
    """Add the segments of some of a run's batches, in use or ``retired``; path to id."""
    rows = [
        {
            "run": run,
            "batch": batch,
            "path": file.path,
            "sha256": bytes.fromhex(file.sha256),
            "rows": file.rows,
            "bytes": file.bytes,
            "codec": file.codec,
            "signature": file.signature,
            "retired": retired,
        }
        for batch, some in files.items()
        for file in some
    ]
    return {line.path: line.id for line in connection.execute(_ADD_SEGMENTS, rows)} if rows else {}


def add_versions(
    database: Database,
    connection: sa.Connection,
    model_set: int,
    run: int,
    trained: pa.Table,
    paths: dict[str, int],
) -> None:
    """Add the versions of a run's outcomes.

    Args:
        database: The database.
        connection: In a transaction.
        model_set: Id of the model set.
        run: Id of the run.
        trained: Outcomes of the state ``trained``.
        paths: Segment path to its id.

    Raises:
        RegistryError: An outcome's key or segment is not known.
    """
    if trained.num_rows == 0:
        return
    where = looked_up(trained.column("segment"), paths, pa.int32())
    if where.null_count:
        raise RegistryError("a trained key's outcome names a segment that its receipt does not have")
    names = _candidate_ids(database, connection, trained.column("candidate"))
    metric = trained.column("metric")
    metric = pc.if_else(
        pc.is_nan(metric), None, metric
    )  # SQLite has no NaN, and PostgreSQL's is above all numbers
    database.fill(
        connection,
        incoming_versions,
        [
            storable_column(trained.column("level")),
            digest_column(trained.column("key_id")),
            where,
            trained.column("segment_row"),
            looked_up(trained.column("candidate"), names, pa.int32()),
            metric,
            trained.column("content"),
            trained.column("cutoff"),
            trained.column("seconds"),
        ],
    )
    rest = [column for column in incoming_versions.c if column.name not in ("level", "key_id")]
    found = sa.select(sa.literal(run), keys.c.id, *rest).join_from(
        incoming_versions, keys, _same_key(incoming_versions, model_set)
    )
    add = sa.insert(versions).from_select(["run", "key", *(column.name for column in rest)], found)
    _insert_all(connection, add, trained.num_rows)


def _add_failures(
    database: Database, connection: sa.Connection, model_set: int, run: int, failed: pa.Table
) -> None:
    """Add the failures of a run's outcomes.

    Args:
        database: The database.
        connection: In a transaction.
        model_set: Id of the model set.
        run: Id of the run.
        failed: Outcomes of the state ``failed``.

    Raises:
        RegistryError: An outcome's key is not known.
    """
    if failed.num_rows == 0:
        return
    columns = [
        storable_column(failed.column("cause")).to_pylist(),
        storable_column(failed.column("error")).to_pylist(),
        [storable(normalised(message)) for message in failed.column("message").to_pylist()],
        storable_column(failed.column("frame")).to_pylist(),
        storable_column(failed.column("traceback")).to_pylist(),
    ]
    insert_failures(
        database,
        connection,
        model_set,
        run,
        storable_column(failed.column("level")),
        digest_column(failed.column("key_id")),
        signature_ids(database, connection, columns),
    )


def insert_failures(
    database: Database,
    connection: sa.Connection,
    model_set: int,
    run: int,
    levels: Sequence[str] | pa.ChunkedArray,
    key_ids: Sequence[bytes] | pa.ChunkedArray,
    marks: Sequence[int],
) -> None:
    """Add failures by their keys' levels and ids, and the ids of their signatures.

    Raises:
        RegistryError: A key is not known.
    """
    database.fill(connection, incoming_failures, [levels, key_ids, marks])
    found = sa.select(sa.literal(run), keys.c.id, incoming_failures.c.signature).join_from(
        incoming_failures, keys, _same_key(incoming_failures, model_set)
    )
    add = sa.insert(failures).from_select(["run", "key", "signature"], found)
    _insert_all(connection, add, len(key_ids))


def _candidate_ids(database: Database, connection: sa.Connection, names: pa.ChunkedArray) -> dict[str, int]:
    """Candidate to id, for all names of a column; those that are new are added."""
    wanted = pc.unique(names).to_pylist()
    found = sa.select(candidates.c.name, candidates.c.id).where(candidates.c.name.in_(wanted))
    known = {row.name: row.id for row in connection.execute(found)}
    missing = [name for name in wanted if name not in known]
    if missing:
        add = (
            database.upsert(candidates).values([{"name": name} for name in missing]).on_conflict_do_nothing()
        )
        connection.execute(add)
        known = {row.name: row.id for row in connection.execute(found)}
    return known


def signature_ids(
    database: Database, connection: sa.Connection, columns: Sequence[Sequence[str]]
) -> list[int]:
    """The signature of every failure; those that are new are added, with the first one's traceback.

    Args:
        database: The database.
        connection: In a transaction.
        columns: Cause, error, normalised message, frame and traceback.
    """
    marks: list[bytes] = []
    first: dict[bytes, dict[str, Any]] = {}
    for cause, error, message, frame, traceback in zip(*columns, strict=True):
        mark = blake2b("\0".join((cause, error, message, frame)).encode(), digest_size=16).digest()
        marks.append(mark)
        if mark not in first:
            first[mark] = {
                "digest": mark,
                "cause": cause,
                "error": error,
                "message": message,
                "frame": frame,
                "traceback": traceback[-_TRACEBACK_LENGTH:],
            }
    known: dict[bytes, int] = {}
    for start in range(0, len(first), _IN_ONE_QUERY):
        part = list(first)[start : start + _IN_ONE_QUERY]
        found = sa.select(signatures.c.digest, signatures.c.id).where(signatures.c.digest.in_(part))
        known.update((bytes(row.digest), row.id) for row in connection.execute(found))
        missing = [first[mark] for mark in part if mark not in known]
        if missing:
            connection.execute(database.upsert(signatures).on_conflict_do_nothing(), missing)
            known.update((bytes(row.digest), row.id) for row in connection.execute(found))
    return [known[mark] for mark in marks]


def _same_key(incoming: sa.Table, model_set: int) -> sa.ColumnElement[bool]:
    return sa.and_(
        keys.c.model_set == model_set, keys.c.level == incoming.c.level, keys.c.key_id == incoming.c.key_id
    )


def _insert_all(connection: sa.Connection, add: sa.Insert, expected: int) -> None:
    """Insert as many rows as expected: one per key, every key known."""
    found = connection.execute(add, execution_options={"preserve_rowcount": True}).rowcount
    if found != expected:
        raise RegistryError(
            f"{expected:,} keys have outcomes and {found:,} of them were registered when the run started; "
            "the receipt belongs to another run"
        )
