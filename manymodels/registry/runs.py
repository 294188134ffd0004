"""Runs: from start to end, and the journal that a resume reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from hashlib import blake2b

import pyarrow as pa
import sqlalchemy as sa

from manymodels.artifacts.trust import sign
from manymodels.exceptions import ConflictError, NotFoundError, RegistryError
from manymodels.registry.columns import digest_column, storable, storable_column
from manymodels.registry.connected import CHAMPION, Connected, micros_now, run_record, run_select
from manymodels.registry.database import Database
from manymodels.registry.drivers import Driver
from manymodels.registry.records import LATEST, RunRecord, RunState
from manymodels.registry.schema import alias_names, batches, keys, model_sets, runs, segments
from manymodels.registry.staging import incoming_keys

__all__ = ["RunLog", "add_keys", "make_aliases"]

_JOURNAL = pa.schema([("batch", pa.int32()), ("outcomes_path", pa.string()), ("attempt", pa.int32())])


class RunLog(Connected):
    """Starting, finding, resuming and ending runs."""

    def start_run(
        self,
        *,
        model_set: str,
        task: str,
        job: str,
        job_hash: str,
        code_hash: str,
        libraries: Mapping[str, str],
        dataset: str,
        keys: pa.Table,
        batches: int,
        archive: str = "",
        write: Callable[[str], None] = lambda run_id: None,
    ) -> RunRecord:
        """Register a run; its number is the next one of the model set.

        Args:
            model_set: Name of the model set; made when it is new.
            task: The job's task.
            job: The job, JSON, without secrets.
            job_hash: Fingerprint of the job.
            code_hash: Fingerprint of code and libraries.
            libraries: Library to version.
            dataset: Fingerprint of the partition store.
            keys: Keys of the data set, and rungs, that the model set may not have yet: ``key_id``, ``canonical``, ``display``,
                ``level``.
            batches: Batches that the run needs.
            archive: SHA-256 of the archive of the user's modules; empty without one.
            write: Called with the run's id before anybody can see the run: writes what a resume needs.

        Raises:
            RegistryError: The database could not be used.
        """
        token = uuid.uuid4().hex
        incoming = [
            storable_column(keys.column("level")),
            digest_column(keys.column("key_id")),
            keys.column("canonical"),
            storable_column(keys.column("display")),
        ]
        now = micros_now()
        row = {
            "token": token,
            "task": task,
            "state": "running",
            "published": False,
            "job": job,
            "job_hash": job_hash,
            "code_hash": code_hash,
            "archive": archive,
            "archive_signature": sign(archive) if archive else "",
            "evaluation": _evaluation(job),
            "libraries": json.dumps(dict(libraries)),
            "dataset": dataset,
            "batches": batches,
            "counts": "{}",
            "reason": "",
            "started": now,
            "heartbeat": now,
            "outcomes_path": "",
            "promoted": 0,
            "cancel_requested": False,
            "driver": Driver.here().to_json(),
        }

        def work(connection: sa.Connection) -> RunRecord:
            mine = connection.execute(run_select.where(runs.c.token == token)).first()
            if mine is not None:
                return run_record(mine)
            owner = self._make_model_set(connection, model_set)
            newest = connection.execute(
                sa.select(sa.func.max(runs.c.number)).where(runs.c.model_set == owner)
            )
            number = (newest.scalar() or 0) + 1
            run_id = f"{model_set}-{number:06d}"
            connection.execute(sa.insert(runs).values(**row, model_set=owner, number=number, run_id=run_id))
            if keys.num_rows:
                self._db.fill(connection, incoming_keys, incoming)
                add_keys(self._db, connection, owner)
            write(run_id)
            return run_record(self._run(connection, run_id))

        return self._db.write(work)

    def run(self, run_id: str) -> RunRecord:
        """A run by its id, by the beginning of it, or the ``latest`` one.

        Raises:
            NotFoundError: There is no such run, or several begin like this.
        """

        def work(connection: sa.Connection) -> RunRecord:
            if run_id == LATEST:
                row = connection.execute(run_select.order_by(runs.c.id.desc()).limit(1)).first()
                if row is None:
                    raise NotFoundError(f"no runs in {self.storage.root} yet; `manymodels train` makes one")
                return run_record(row)
            row = connection.execute(run_select.where(runs.c.run_id == run_id)).first()
            if row is None:
                beginning = runs.c.run_id.startswith(run_id, autoescape=True)
                found = connection.execute(run_select.where(beginning).order_by(runs.c.id).limit(6)).all()
                # SQLite's LIKE does not tell upper case from lower case.
                found = [candidate for candidate in found if candidate.run_id.startswith(run_id)]
                if len(found) > 1:
                    names = ", ".join(candidate.run_id for candidate in found[:5])
                    raise NotFoundError(
                        f"several runs begin with {run_id!r}: {names}; write one of them in full"
                    )
                row = found[0] if found else self._run(connection, run_id)
            return run_record(row)

        return self._db.read(work)

    def runs(
        self,
        model_set: str | None = None,
        *,
        state: RunState | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> list[RunRecord]:
        """Runs, newest first.

        Args:
            model_set: Only those of this model set.
            state: Only those in this state.
            limit: At most so many.
            offset: After so many.

        Raises:
            NotFoundError: There is no such model set.
        """

        def work(connection: sa.Connection) -> list[RunRecord]:
            statement = run_select.order_by(runs.c.id.desc()).limit(limit).offset(offset)
            if model_set is not None:
                statement = statement.where(runs.c.model_set == self._model_set(connection, model_set))
            if state is not None:
                statement = statement.where(runs.c.state == state)
            return [run_record(row) for row in connection.execute(statement)]

        return self._db.read(work)

    def journalled(self, run_id: str) -> pa.Table:
        """Batches of a run that have a receipt: ``batch``, ``outcomes_path``, ``attempt``.

        Raises:
            NotFoundError: There is no such run.
        """

        def work(connection: sa.Connection) -> pa.Table:
            run = self._run(connection, run_id).id
            statement = (
                sa.select(batches.c.batch, batches.c.outcomes_path, batches.c.attempt)
                .where(batches.c.run == run)
                .order_by(batches.c.batch)
            )
            return self._db.fetch(connection, statement, _JOURNAL)

        return self._db.read(work)

    def segment_sums(self, run_id: str) -> dict[str, str]:
        """The segments that a run has written so far: path to SHA-256, hex.

        Raises:
            NotFoundError: There is no such run.
        """

        def work(connection: sa.Connection) -> dict[str, str]:
            run = self._run(connection, run_id).id
            statement = sa.select(segments.c.path, segments.c.sha256).where(segments.c.run == run)
            return {line.path: line.sha256.hex() for line in connection.execute(statement)}

        return self._db.read(work)

    def mark_running(self, run_id: str) -> None:
        """Take over a run that stopped, to resume it; of several processes that try, one succeeds.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: Somebody drives it still, or it is published.
        """
        mine = Driver.here().to_json()

        def work(connection: sa.Connection) -> None:
            row = self._run(connection, run_id, lock=True)
            if row.published:
                raise ConflictError(
                    f"run {run_id} is published already; `manymodels train` starts a new one", run=run_id
                )
            gone = sa.select(segments.c.id).where(segments.c.run == row.id, segments.c.retired.is_not(None))
            if connection.execute(gone.limit(1)).first() is not None:
                raise ConflictError(
                    f"run {run_id} cannot be resumed: `manymodels store gc` gave up its models; "
                    "`manymodels train` starts a new one",
                    run=run_id,
                )
            driver = Driver.from_json(row.driver)
            now = micros_now()
            if row.state == "running" and row.driver != mine and driver.is_alive((now - row.heartbeat) / 1e6):
                raise ConflictError(
                    f"run {run_id} is still driven by process {driver.pid} on {driver.host}; "
                    f"`manymodels runs cancel {run_id}` stops it",
                    run=run_id,
                )
            values = {
                "state": "running",
                "reason": "",
                "ended": None,
                "heartbeat": now,
                "cancel_requested": False,
                "driver": mine,
            }
            connection.execute(sa.update(runs).where(runs.c.id == row.id).values(values))

        self._db.write(work)

    def end_run(self, run_id: str, state: RunState, reason: str) -> None:
        """Record that a run stopped without being published; one that is published stays as it is.

        Args:
            run_id: The run.
            state: ``failed`` or ``interrupted``.
            reason: Why.

        Raises:
            NotFoundError: There is no such run.
        """

        def work(connection: sa.Connection) -> None:
            row = self._run(connection, run_id, lock=True)
            if not row.published:
                values = {"state": state, "reason": storable(reason), "ended": micros_now()}
                connection.execute(sa.update(runs).where(runs.c.id == row.id).values(values))

        self._db.write(work)

    def touch(self, run_id: str) -> bool:
        """Record that the run's driver is alive; whether somebody asked it to stop."""
        statement = (
            sa.update(runs)
            .where(runs.c.run_id == run_id)
            .values(heartbeat=micros_now())
            .returning(runs.c.cancel_requested)
        )
        return bool(self._db.write(lambda connection: connection.execute(statement).scalar(), lasting=False))

    def request_cancel(self, run_id: str) -> None:
        """Ask a run's driver to stop; it stays resumable.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: It does not run.
        """

        def work(connection: sa.Connection) -> None:
            row = self._run(connection, run_id, lock=True)
            if row.state != "running":
                raise ConflictError(f"run {run_id} does not run, its state is {row.state}", run=run_id)
            connection.execute(sa.update(runs).where(runs.c.id == row.id).values(cancel_requested=True))

        self._db.write(work)

    def bytes_per_model(self, model_set: str) -> float | None:
        """Mean size of a model of the newest published run; None when there is none."""

        def work(connection: sa.Connection) -> float | None:
            newest = (
                sa.select(sa.func.max(runs.c.id))
                .join(model_sets, model_sets.c.id == runs.c.model_set)
                .join(segments, segments.c.run == runs.c.id)
                .where(model_sets.c.name == model_set, runs.c.published)
            )
            sizes = sa.select(sa.func.sum(segments.c.bytes), sa.func.sum(segments.c.rows)).where(
                segments.c.run == newest.scalar_subquery()
            )
            size, models = connection.execute(sizes).one()
            return float(size / models) if models else None

        return self._db.read(work)

    def _make_model_set(self, connection: sa.Connection, name: str) -> int:
        """The model set's id, locked; made when it is new."""
        add = self._db.upsert(model_sets).values(name=name).on_conflict_do_nothing()
        if connection.execute(sa.select(model_sets.c.id).where(model_sets.c.name == name)).first() is None:
            connection.execute(add)
        owner = self._model_set(connection, name, lock=True)
        make_aliases(connection, owner, (CHAMPION, LATEST))
        return owner


def add_keys(database: Database, connection: sa.Connection, model_set: int) -> None:
    """Add those of ``incoming_keys`` that are new; the model set is locked."""
    known = sa.exists().where(
        keys.c.model_set == model_set,
        keys.c.level == incoming_keys.c.level,
        keys.c.key_id == incoming_keys.c.key_id,
    )
    new = sa.select(sa.literal(model_set), *incoming_keys.c).where(~known)
    columns = ["model_set", *(column.name for column in incoming_keys.c)]
    add = sa.insert(keys).from_select(columns, new)
    if connection.execute(add, execution_options={"preserve_rowcount": True}).rowcount:
        database.analyze(connection, keys)


def make_aliases(connection: sa.Connection, model_set: int, names: tuple[str, ...]) -> None:
    """Make those aliases that are new; the model set is locked."""
    statement = sa.select(alias_names.c.name).where(alias_names.c.model_set == model_set)
    known = set(connection.execute(statement).scalars())
    for name in names:
        if name not in known:
            connection.execute(sa.insert(alias_names).values(model_set=model_set, name=name))


def _evaluation(job: str) -> str:
    """Fingerprint of how the job evaluates: metrics of different evaluations do not compare."""
    try:
        section = dict(json.loads(job).get("evaluation") or {})
    except (ValueError, AttributeError):
        raise RegistryError("a run's job must be a JSON object") from None
    section.pop("keep", None)  # what is kept of it changes no metric
    return blake2b(json.dumps(section, sort_keys=True).encode(), digest_size=8).hexdigest()
