"""Making a registry again from the store's files: the segments and the alias events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from manymodels.artifacts.reader import SegmentReader
from manymodels.exceptions import NotFoundError, RegistryError, StoreError, StoreFormatError, TrustError
from manymodels.partitioning.keys import canonical_array, decode, display
from manymodels.records import SegmentInfo
from manymodels.registry.adoption import adopt, is_adopted
from manymodels.registry.aliases import undo
from manymodels.registry.columns import digests, storable
from manymodels.registry.connected import CHAMPION, Connected, micros_now
from manymodels.registry.database import WAIT, Database, sqlite_url
from manymodels.registry.drivers import Driver
from manymodels.registry.events import EVENT_FORMAT, FOLDER, RUN_FIELDS
from manymodels.registry.journal import add_segments, add_versions, insert_failures, signature_ids
from manymodels.registry.migrations import revision_of
from manymodels.registry.publishing import apply_moves, count_moves, settle, show_versions
from manymodels.registry.records import LATEST, RebuildReport
from manymodels.registry.runs import add_keys, make_aliases
from manymodels.registry.schema import alias_events, alias_moves, keys, model_sets, runs, versions
from manymodels.registry.staging import incoming_keys, incoming_moves, undoing
from manymodels.registry.store import (
    StoreMarker,
    database_url,
    prepare_database,
    read_marker,
    without_secrets,
    write_marker,
)
from manymodels.storage import Storage

__all__ = ["rebuild"]

_VERSION_COLUMNS = ("key_id", "level", "candidate", "metric", "content", "cutoff", "seconds")
_BESIDE = ("", "-wal", "-shm")  # an SQLite database is up to three files


def rebuild(storage: Storage, registry: str | None = None, *, wait: float = WAIT) -> RebuildReport:
    """Make the store's registry again: published runs, their models and failures, and every alias as it stands.

    Runs that were not published, and the record of scorings, are not in the store's files and not in the new registry.
    An SQLite registry that is there is kept beside the new one, as ``registry.db.before-…``.

    Args:
        storage: The store.
        registry: URL of an empty database; where the registry was before when None.
        wait: Seconds to wait for a database that is busy or away.

    Raises:
        NotFoundError: There is no store.
        StoreFormatError: The store's files are of a newer format.
        StoreError: An event's file is damaged.
        TrustError: The store was made elsewhere, and not adopted.
        RegistryError: The database holds a registry, or a run is being driven, or it could not be used.
    """
    marker = _marker(storage)
    events = _read_events(storage)
    if marker is None and not events:
        raise NotFoundError(f"no store at {storage.root}: neither store.json nor {FOLDER}/ is there")
    store_id = uuid.uuid4().hex if marker is None else marker.store_id
    if marker is not None and not is_adopted(store_id, storage):
        raise TrustError(f"the store {storage.root} was made elsewhere; `manymodels store adopt` it first")
    kept = registry or (None if marker is None else marker.registry)
    url = database_url(storage, kept)
    target = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
    if target is not None:
        _refuse_while_driven(target, wait)
        url = sqlite_url(target.with_name(f"{target.name}.new-{uuid.uuid4().hex[:8]}"))
    database = Database(url, wait=wait)
    try:
        restoring = _Restoring(storage, database)

        def work(connection: sa.Connection) -> RebuildReport:
            if revision_of(connection) is not None:
                raise RegistryError(
                    f"the database {database.place} holds a registry already; give an empty one with `--registry`"
                )
            prepare_database(connection, database, store_id)
            return restoring.run(connection, events)

        report = database.write(work)
    except BaseException:
        database.close()
        if target is not None:
            _remove(Path(str(url.database)))
        raise
    database.close()
    if target is not None:
        _replace(Path(str(url.database)), target)
    adopt(store_id, storage)
    write_marker(storage, StoreMarker(store_id, without_secrets(kept)))
    return report


def _marker(storage: Storage) -> StoreMarker | None:
    try:
        return read_marker(storage)
    except StoreFormatError:
        raise
    except StoreError:
        return None


def _read_events(storage: Storage) -> list[dict[str, Any]]:
    """The store's events, in order."""
    events = []
    for path in storage.listing(FOLDER):
        if not PurePosixPath(path).stem.isdecimal() or not path.endswith(".json"):
            continue
        try:
            event = json.loads(storage.read(path))
            found = event["format"]
        except (ValueError, TypeError, KeyError):
            raise StoreError(
                f"{storage.absolute(path)} is damaged; restore it from a backup, or delete it to go on without what it records"
            ) from None
        if found > EVENT_FORMAT:
            raise StoreFormatError(
                f"{storage.absolute(path)} has format {found}, and this version of manymodels knows {EVENT_FORMAT}; "
                "use the version that wrote it, or a newer one"
            )
        events.append(event)
    return sorted(events, key=lambda event: int(event["event"]))


@dataclass
class _Restoring:
    """One rebuild at work.

    Attributes:
        storage: The store.
        database: The new one.
        models: Model set to its id.
        numbers: Model set to the ids of its runs, by their numbers.
        known: Model set to the keys that it has already.
        paths: Run to its segments' ids, by their paths.
        damaged: Segments that could not be read.
        versions: Models restored.
    """

    storage: Storage
    database: Database
    models: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, dict[int, int]] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)
    paths: dict[str, dict[str, int]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    versions: int = 0

    def run(self, connection: sa.Connection, events: list[dict[str, Any]]) -> RebuildReport:
        """Restore everything into an empty registry."""
        self.__dict__.update(
            models={}, numbers={}, known={}, paths={}, damaged=[], versions=0
        )  # it may run more than once
        published = [event for event in events if event["kind"] == "publish"]
        # A run's id must be above those of the model set's earlier runs.
        for event in sorted(published, key=lambda event: (event["model_set"], event["run"]["number"])):
            self._add_run(connection, event)
        # Only now all keys are known: the files of models that were given up may be gone, and their keys with them.
        for event in published:
            self._add_given_up(connection, event)
        for event in events:
            self._replay(connection, event)
        if not self.database.is_sqlite and events:
            sequence = sa.func.pg_get_serial_sequence(alias_events.name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, max(event["event"] for event in events))))
        return RebuildReport(len(published), self.versions, len(events), tuple(self.damaged))

    def _add_run(self, connection: sa.Connection, event: Mapping[str, Any]) -> None:
        """Restore a run with its segments, keys, versions and failures; nothing of it is visible yet."""
        name = event["model_set"]
        if name not in self.models:
            made = sa.insert(model_sets).values(name=name).returning(model_sets.c.id)
            self.models[name] = int(connection.execute(made).scalar_one())
            make_aliases(connection, self.models[name], (CHAMPION, LATEST))
        owner = self.models[name]
        # Events of earlier versions have no archive.
        values = {column: event["run"].get(column, "") for column in RUN_FIELDS}
        add = sa.insert(runs).values(
            **values,
            model_set=owner,
            token=uuid.uuid4().hex,
            published=False,
            cancel_requested=False,
            driver=Driver.nobody().to_json(),
        )
        run = int(connection.execute(add.returning(runs.c.id)).scalar_one())
        self.numbers.setdefault(name, {})[event["run"]["number"]] = run
        paths: dict[str, int] = {}
        for file in event["segments"]:
            known = {entry.name: file[entry.name] for entry in fields(SegmentInfo) if entry.name in file}
            info = SegmentInfo(**known)
            paths |= add_segments(connection, run, {file["batch"]: [info]}, retired=file.get("retired"))
        self.paths[event["run"]["run_id"]] = paths
        trained, spelled = self._read_segments(event)
        self._add_keys(connection, name, [*spelled, *event["keys"]])
        if trained is not None:
            add_versions(self.database, connection, owner, run, trained, paths)
            self.versions += trained.num_rows
        self._add_failures(connection, owner, run, event)

    def _read_segments(self, event: Mapping[str, Any]) -> tuple[pa.Table | None, list[list[str]]]:
        """The models in a run's segments, and the keys that are new: level, key_id, canonical in hex, display."""
        reader = SegmentReader(self.storage)
        tables: list[pa.Table] = []
        spelled: list[list[str]] = []
        known = self.known.setdefault(event["model_set"], set())
        for file in event["segments"]:
            if "retired" in file:
                continue
            try:
                whole = reader.read_table(file["path"], None, sha256=file["sha256"])
            except StoreError as error:
                self.damaged.append(error.message)
                continue
            table = whole.select(list(_VERSION_COLUMNS))
            table = table.append_column("segment", pa.array([file["path"]] * table.num_rows, pa.string()))
            tables.append(table.append_column("segment_row", pa.array(range(table.num_rows), pa.int32())))
            columns = [column for column in whole.column_names if column.startswith("key:")]
            if columns:
                names = [column.removeprefix("key:") for column in columns]
                encoded = canonical_array(whole.select(columns), columns).to_pylist()
                for key_id, form in zip(whole.column("key_id").to_pylist(), encoded, strict=True):
                    if key_id not in known:
                        spelled.append(["", key_id, form.hex(), display(decode(form), names)])
        return (pa.concat_tables(tables) if tables else None), spelled

    def _add_given_up(self, connection: sa.Connection, event: Mapping[str, Any]) -> None:
        """Restore the record of models that garbage collection has given up, from the run's outcomes."""
        retired = {file["path"] for file in event["segments"] if "retired" in file}
        if not retired:
            return
        name = event["model_set"]
        owner, run = self.models[name], self.numbers[name][event["run"]["number"]]
        try:
            outcomes = pq.read_table(pa.BufferReader(self.storage.read(event["run"]["outcomes_path"])))
        except (StoreError, NotFoundError, pa.ArrowException) as error:
            self.damaged.append(f"the outcomes of run {event['run']['run_id']} could not be read: {error}")
            return
        there = sa.select(keys.c.level, keys.c.key_id).join(versions, versions.c.key == keys.c.id)
        present = {
            (level, key_id.hex()) for level, key_id in connection.execute(there.where(versions.c.run == run))
        }
        known = sa.select(keys.c.level, keys.c.key_id).where(keys.c.model_set == owner)
        missing = {(level, key_id.hex()) for level, key_id in connection.execute(known)} - present
        lines = zip(
            *(outcomes.column(column).to_pylist() for column in ("level", "key_id", "segment")), strict=True
        )
        lost = [(level, key_id) in missing and segment in retired for level, key_id, segment in lines]
        given_up = outcomes.filter(pa.array(lost, pa.bool_()))
        add_versions(self.database, connection, owner, run, given_up, self.paths[event["run"]["run_id"]])
        self.versions += given_up.num_rows

    def _add_keys(self, connection: sa.Connection, model_set: str, lines: Iterable[list[str]]) -> None:
        known = self.known.setdefault(model_set, set())
        new = {
            (level, key_id): (encoded, text) for level, key_id, encoded, text in lines if key_id not in known
        }
        known.update(key_id for _, key_id in new)
        columns: list[list[Any]] = [
            [level for level, _ in new],
            digests([key_id for _, key_id in new]),
            [bytes.fromhex(encoded) for encoded, _ in new.values()],
            [storable(text) for _, text in new.values()],
        ]
        self.database.fill(connection, incoming_keys, columns)
        add_keys(self.database, connection, self.models[model_set])

    def _add_failures(
        self, connection: sa.Connection, model_set: int, run: int, event: Mapping[str, Any]
    ) -> None:
        if not event["failures"]:
            return
        lines = event["signatures"]
        fields = ("cause", "error", "message", "frame", "traceback")
        columns = [[line[name] for line in lines.values()] for name in fields]
        marks = dict(zip(lines, signature_ids(self.database, connection, columns), strict=True))
        levels, key_ids, signatures = zip(*event["failures"], strict=True)
        insert_failures(
            self.database,
            connection,
            model_set,
            run,
            levels,
            digests(list(key_ids)),
            [marks[str(mark)] for mark in signatures],
        )

    def _replay(self, connection: sa.Connection, event: Mapping[str, Any]) -> None:
        """Do again what an event did to the aliases."""
        name = event["model_set"]
        if name not in self.models:
            return  # of a model set without a published run nothing is left to point at
        owner, numbers = self.models[name], self.numbers[name]
        finder = Connected(self.storage, self.database)
        latest = finder._alias(connection, owner, LATEST)
        alias = None
        if event["alias"] is not None:
            make_aliases(connection, owner, (event["alias"],))
            alias = finder._alias(connection, owner, event["alias"])
        run = numbers[event["run"]["number"]] if event["kind"] == "publish" else None
        connection.execute(
            sa.insert(alias_events).values(
                id=event["event"],
                token=uuid.uuid4().hex,
                model_set=owner,
                alias=alias,
                run=run,
                moved=0,
                written=True,
                **{name: event[name] for name in ("kind", "at", "by", "why", "filter")},
            )
        )
        if run is not None:
            connection.execute(sa.update(runs).where(runs.c.id == run).values(published=True))
            show_versions(self.database, connection, latest, run)
        if alias is None:
            return
        self._add_moves(connection, event, owner, numbers)
        if run is not None:
            settle(self.database, connection, event["event"], latest, alias)
        else:
            self._undo(connection, event["event"], alias)
            apply_moves(self.database, connection, event["event"], alias)
        count_moves(connection, event["event"])

    def _add_moves(
        self, connection: sa.Connection, event: Mapping[str, Any], model_set: int, numbers: Mapping[int, int]
    ) -> None:
        """Restore an event's moves, those of keys that are known."""
        columns: list[list[Any]] = [[] for _ in incoming_moves.c]
        for group in event["moves"]:
            members = digests(group["keys"])
            before, after = numbers.get(group["before"]), numbers.get(group["after"])
            count = len(members)
            parts: list[list[Any]] = [
                [group["level"]] * count,
                members,
                [before] * count,
                [after] * count,
                [group["undoes"]] * count,
            ]
            for column, part in zip(columns, parts, strict=True):
                column.extend(part)
        self.database.fill(connection, incoming_moves, columns)
        moves = sa.select(
            sa.literal(event["event"]),
            keys.c.id,
            incoming_moves.c.before,
            incoming_moves.c.after,
            incoming_moves.c.undoes,
        ).join(
            incoming_moves,
            sa.and_(
                keys.c.model_set == model_set,
                keys.c.level == incoming_moves.c.level,
                keys.c.key_id == incoming_moves.c.key_id,
            ),
        )
        connection.execute(
            sa.insert(alias_moves).from_select(["event", "key", "before", "after", "undoes"], moves)
        )

    def _undo(self, connection: sa.Connection, event: int, alias: int) -> None:
        """Mark what a rollback undid: of each of its keys, the standing moves since the oldest one."""
        mine = alias_moves.alias("mine")
        concerned = sa.select(alias_events.c.id).where(
            alias_events.c.alias == alias, alias_events.c.kind != "rollback", alias_events.c.id < event
        )
        standing = (
            sa.select(alias_moves.c.event, alias_moves.c.key, alias_moves.c.before)
            .join(mine, mine.c.key == alias_moves.c.key)
            .where(
                mine.c.event == event,
                alias_moves.c.event >= mine.c.undoes,
                alias_moves.c.event.in_(concerned),
                alias_moves.c.undone.is_(None),
            )
        )
        self.database.fill(connection, undoing, [[], [], []])
        connection.execute(sa.insert(undoing).from_select(["event", "key", "before"], standing))
        undo(connection, event)


def _refuse_while_driven(path: Path, wait: float) -> None:
    """Refuse to replace an SQLite registry while a run uses it; one that cannot be read is used by nobody.

    Raises:
        RegistryError: A run is being driven.
    """
    if not path.exists():
        return
    database = Database(sqlite_url(path), wait=min(wait, 5.0))
    driving = sa.select(runs.c.run_id, runs.c.driver, runs.c.heartbeat).where(runs.c.state == "running")
    try:
        found = database.read(lambda connection: connection.execute(driving).all())
    except RegistryError:
        return
    finally:
        database.close()
    for run_id, driver, heartbeat in found:
        if Driver.from_json(driver).is_alive((micros_now() - heartbeat) / 1e6):
            raise RegistryError(f"run {run_id} is using the registry {path}; rebuild it when the run is over")


def _replace(new: Path, target: Path) -> None:
    """Put a new SQLite database in an old one's place, and keep the old one."""
    aside = target.with_name(f"{target.name}.before-{uuid.uuid4().hex[:8]}")
    # The log first: beside the new database, SQLite would apply it to that.
    for suffix in reversed(_BESIDE):
        old = target.with_name(target.name + suffix)
        if old.exists():
            old.replace(aside.with_name(aside.name + suffix))
    new.replace(target)


def _remove(path: Path) -> None:
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
