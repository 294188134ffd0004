"""Alias events: the record of who moved what, in the database and as one file each in the store.

The file ``aliases/<n>.json`` is written after the event's transaction, and again by whoever comes next when that failed.
Together with the segments the files hold everything that ``rebuild`` needs: a publication carries its run's facts, the
checksums of its segments, its failures, and the keys that no segment spells out.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from manymodels.exceptions import RegistryError, StoreError
from manymodels.registry.columns import storable
from manymodels.registry.connected import Connected, micros_now, moment
from manymodels.registry.records import AliasEvent, EventKind
from manymodels.registry.schema import (
    alias_events,
    alias_moves,
    alias_names,
    failures,
    keys,
    model_sets,
    runs,
    segments,
    signatures,
    versions,
)

__all__ = ["EVENT_FORMAT", "FOLDER", "RUN_FIELDS", "Events", "event_record", "event_select"]

FOLDER = "aliases"
EVENT_FORMAT = 2
"""The newest format; all from 1 on are read. 2 has segments that are ``retired``."""

RUN_FIELDS = (
    "run_id", "number", "task", "state", "job", "job_hash", "code_hash", "evaluation", "libraries", "dataset", "batches",
    "counts", "reason", "started", "heartbeat", "ended", "seconds", "startup_seconds", "outcomes_path", "promoted", "archive",
    "archive_signature",
)  # fmt: skip
"""Columns of ``runs`` that a publication's file carries."""

_log = logging.getLogger(__name__)

event_select = (
    sa.select(
        *alias_events.c,
        model_sets.c.name.label("model_set_name"),
        alias_names.c.name.label("alias_name"),
        runs.c.run_id,
    )
    .join(model_sets, model_sets.c.id == alias_events.c.model_set)
    .outerjoin(alias_names, alias_names.c.id == alias_events.c.alias)
    .outerjoin(runs, runs.c.id == alias_events.c.run)
)
"""Events with names: what ``event_record`` takes."""


class Events(Connected):
    """The record of alias changes."""

    def events(self, model_set: str | None = None, *, limit: int | None = 100) -> list[AliasEvent]:
        """Alias changes and publications, newest first.

        Args:
            model_set: Only those of this model set.
            limit: At most so many.

        Raises:
            NotFoundError: There is no such model set.
        """

        def work(connection: sa.Connection) -> list[AliasEvent]:
            statement = event_select.order_by(alias_events.c.id.desc()).limit(limit)
            if model_set is not None:
                owner = self._model_set(connection, model_set)
                statement = statement.where(alias_events.c.model_set == owner)
            return [event_record(row) for row in connection.execute(statement)]

        return self._db.read(work)

    def write_events(self) -> None:
        """Write the files of events that have none yet.

        What cannot be written now is reported in the log, and written by the next one who opens the registry or
        changes it: the event itself stands.
        """
        pending = sa.select(alias_events.c.id).where(~alias_events.c.written).order_by(alias_events.c.id)
        try:
            for number in self._db.read(lambda connection: connection.execute(pending).scalars().all()):
                done = False
                while not done:
                    content, stamp = self._db.read(_rendering(number))
                    self.storage.write(f"{FOLDER}/{number}.json", content)
                    # If this is lost, the file is written once more.
                    done = self._db.write(_marking(number, stamp), lasting=False)
        except (StoreError, RegistryError) as error:
            _log.warning("the record of an alias change is not in the store's files yet: %s", error)

    def _add_event(
        self,
        connection: sa.Connection,
        *,
        kind: EventKind,
        model_set: int,
        alias: int | None,
        by: str,
        why: str,
        run: int | None = None,
        selection: str = "",
        token: str | None = None,
    ) -> int:
        """Record an event, whose moves are still to come; its number."""
        statement = (
            sa.insert(alias_events)
            .values(
                token=token or uuid.uuid4().hex,
                kind=kind,
                model_set=model_set,
                alias=alias,
                run=run,
                at=micros_now(),
                by=storable(by),
                why=storable(why),
                filter=storable(selection),
                moved=0,
                written=False,
            )
            .returning(alias_events.c.id)
        )
        return int(connection.execute(statement).scalar_one())


def event_record(row: sa.Row[*tuple[Any, ...]]) -> AliasEvent:
    """A row of ``event_select`` as people see it."""
    return AliasEvent(
        number=row.id,
        kind=row.kind,
        model_set=row.model_set_name,
        alias=row.alias_name,
        run_id=row.run_id,
        at=moment(row.at),
        by=row.by,
        why=row.why,
        filter=row.filter,
        moved=row.moved,
    )


_Stamp = tuple[int, int, int | None]
"""What of a publication can change later: its run's segments, those out of use, and when the last one was retired."""


def _stamp(connection: sa.Connection, run: int | None) -> _Stamp:
    retired = segments.c.retired
    statement = sa.select(sa.func.count(), sa.func.count(retired), sa.func.max(retired))
    found = connection.execute(statement.where(segments.c.run == run)).one()
    return found[0], found[1], found[2]


def _marking(number: int, stamp: _Stamp) -> Callable[[sa.Connection], bool]:
    """Note that an event's file is written, unless the event changed meanwhile."""

    def work(connection: sa.Connection) -> bool:
        mine = alias_events.c.id == number
        run = connection.execute(sa.select(alias_events.c.run).where(mine).with_for_update()).scalar_one()
        if _stamp(connection, run) != stamp:
            return False
        connection.execute(sa.update(alias_events).where(mine).values(written=True))
        return True

    return work


def _rendering(number: int) -> Callable[[sa.Connection], tuple[bytes, _Stamp]]:
    def work(connection: sa.Connection) -> tuple[bytes, _Stamp]:
        row = connection.execute(event_select.where(alias_events.c.id == number)).one()
        content: dict[str, Any] = {
            "format": EVENT_FORMAT if row.run is not None else 1,
            "event": number,
            "kind": row.kind,
            "model_set": row.model_set_name,
            "alias": row.alias_name,
            "at": row.at,
            "by": row.by,
            "why": row.why,
            "filter": row.filter,
            "moves": _moves(connection, number),
        }
        if row.run is not None:
            content.update(_publication(connection, row.run))
            if not any("retired" in file for file in content["segments"]):
                content["format"] = 1  # older versions read it
        return json.dumps(content, separators=(",", ":")).encode(), _stamp(connection, row.run)

    return work


def _moves(connection: sa.Connection, number: int) -> list[dict[str, Any]]:
    """An event's moves, by where they lead: runs are named by their numbers, which are the versions."""
    before, after = runs.alias("before_run"), runs.alias("after_run")
    statement = (
        sa.select(keys.c.level, before.c.number, after.c.number, alias_moves.c.undoes, keys.c.key_id)
        .select_from(
            alias_moves.join(keys, keys.c.id == alias_moves.c.key)
            .outerjoin(before, before.c.id == alias_moves.c.before)
            .outerjoin(after, after.c.id == alias_moves.c.after)
        )
        .where(alias_moves.c.event == number)
    )
    groups: dict[tuple[Any, ...], list[str]] = {}
    for *where, key_id in connection.execute(statement):
        groups.setdefault(tuple(where), []).append(key_id.hex())
    names = ("level", "before", "after", "undoes")
    return [{**dict(zip(names, where, strict=True)), "keys": members} for where, members in groups.items()]


def _publication(connection: sa.Connection, run: int) -> dict[str, Any]:
    """What a publication's file says of its run."""
    row = connection.execute(sa.select(*(runs.c[name] for name in RUN_FIELDS)).where(runs.c.id == run)).one()
    files = sa.select(segments).where(segments.c.run == run).order_by(segments.c.id)
    failed = (
        sa.select(keys.c.level, keys.c.key_id, keys.c.canonical, keys.c.display, failures.c.signature)
        .join(keys, keys.c.id == failures.c.key)
        .where(failures.c.run == run)
    )
    rungs = (
        sa.select(keys.c.level, keys.c.key_id, keys.c.canonical, keys.c.display)
        .join(versions, versions.c.key == keys.c.id)
        .where(versions.c.run == run, keys.c.level != "")
    )
    lost = connection.execute(failed).all()
    spelled = [*connection.execute(rungs), *(line[:4] for line in lost)]
    used = sa.select(signatures).where(
        signatures.c.id.in_(sa.select(failures.c.signature).where(failures.c.run == run))
    )
    fields = ("cause", "error", "message", "frame", "traceback")
    return {
        "run": dict(row._mapping),
        "segments": [
            {
                "path": file.path,
                "sha256": file.sha256.hex(),
                "rows": file.rows,
                "bytes": file.bytes,
                "codec": file.codec,
                "batch": file.batch,
                "signature": file.signature,
                **({} if file.retired is None else {"retired": file.retired}),
            }
            for file in connection.execute(files)
        ],
        "keys": [[level, key_id.hex(), encoded.hex(), text] for level, key_id, encoded, text in spelled],
        "signatures": {
            line.id: {name: getattr(line, name) for name in fields} for line in connection.execute(used)
        },
        "failures": [[line.level, line.key_id.hex(), line.signature] for line in lost],
    }
