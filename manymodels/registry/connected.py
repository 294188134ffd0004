"""What every part of the registry starts from: the database, the store's files, and finding things by name."""

from __future__ import annotations

import datetime as dt
import difflib
import getpass
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from manymodels.artifacts.trust import Trust
from manymodels.exceptions import NotFoundError
from manymodels.registry.columns import digests
from manymodels.registry.database import Database
from manymodels.registry.records import RunRecord
from manymodels.registry.schema import alias_names, model_sets, runs
from manymodels.registry.staging import wanted
from manymodels.storage import Storage

__all__ = ["CHAMPION", "Connected", "micros_now", "moment", "run_record", "run_select", "whoami"]

CHAMPION = "champion"

run_select = sa.select(*runs.c, model_sets.c.name).join(model_sets, model_sets.c.id == runs.c.model_set)
"""Runs with the names of their model sets: what ``run_record`` takes."""


_MODEL_SET = sa.select(model_sets.c.id).where(model_sets.c.name == sa.bindparam("name"))
_ALIASES = sa.select(alias_names.c.id, alias_names.c.name).where(
    alias_names.c.model_set == sa.bindparam("model_set")
)


class Connected:
    """A registry's database and files.

    Attributes:
        storage: The store's files.
        trust: What the reader trusts.
    """

    def __init__(self, storage: Storage, database: Database, trust: Trust | None = None) -> None:
        self.storage = storage
        self.trust = trust or Trust.of_reader()
        self._db = database

    def _model_set(self, connection: sa.Connection, name: str, *, lock: bool = False) -> int:
        """The model set's id; ``lock`` keeps everybody else from changing the model set in this transaction.

        Raises:
            NotFoundError: There is none of that name.
        """
        statement = _MODEL_SET.with_for_update() if lock else _MODEL_SET
        found: int | None = connection.execute(statement, {"name": name}).scalar()
        if found is None:
            names = (
                connection.execute(sa.select(model_sets.c.name).order_by(model_sets.c.name)).scalars().all()
            )
            raise NotFoundError(f"no model set {name!r} in {self.storage.root}; {_nearest(name, names)}")
        return found

    def _alias(self, connection: sa.Connection, model_set: int, name: str) -> int:
        """The alias's id.

        Raises:
            NotFoundError: The model set has no such alias.
        """
        found = {row.name: row.id for row in connection.execute(_ALIASES, {"model_set": model_set})}
        if name not in found:
            raise NotFoundError(f"no alias {name!r} here; {_nearest(name, sorted(found))}")
        return int(found[name])

    def _run(self, connection: sa.Connection, run_id: str, *, lock: bool = False) -> sa.Row[*tuple[Any, ...]]:
        """The run's row.

        Raises:
            NotFoundError: There is no such run.
        """
        statement = run_select.where(runs.c.run_id == run_id)
        row = connection.execute(statement.with_for_update(of=runs) if lock else statement).first()
        if row is None:
            raise NotFoundError(
                f"no run {run_id!r} in {self.storage.root}; `manymodels runs list` lists them"
            )
        return row

    def _published(
        self, connection: sa.Connection, run_id: str, model_set: int | None = None
    ) -> sa.Row[*tuple[Any, ...]]:
        """The row of a run, of the model set if one is given, whose models can be seen.

        Raises:
            NotFoundError: There is no such run, or it is not published.
        """
        row = self._run(connection, run_id)
        if model_set is not None and row.model_set != model_set:
            raise NotFoundError(
                f"run {run_id} is of the model set {row.name!r}, not of the one asked for", run=run_id
            )
        if not row.published:
            raise NotFoundError(
                f"run {run_id} has no published models, its state is {row.state}; `manymodels runs resume` finishes it",
                run=run_id,
            )
        return row

    def _want(self, connection: sa.Connection, key_ids: Iterable[str]) -> int:
        """Put keys into the table ``wanted``; how many they are.

        Raises:
            UsageError: One of them is no key id.
        """
        unique = list(dict.fromkeys(key_ids))
        self._db.fill(connection, wanted, [digests(unique)])
        return len(unique)


def run_record(row: sa.Row[*tuple[Any, ...]]) -> RunRecord:
    """A row of ``run_select`` as people see it."""
    return RunRecord(
        id=row.run_id,
        model_set=row.name,
        number=row.number,
        task=row.task,
        state=row.state,
        job=row.job,
        job_hash=row.job_hash,
        code_hash=row.code_hash,
        archive=row.archive,
        archive_signature=row.archive_signature,
        libraries=json.loads(row.libraries),
        dataset=row.dataset,
        batches=row.batches,
        counts=json.loads(row.counts),
        reason=row.reason,
        started=moment(row.started),
        heartbeat=moment(row.heartbeat),
        ended=None if row.ended is None else moment(row.ended),
        seconds=row.seconds,
        startup_seconds=row.startup_seconds,
        outcomes_path=row.outcomes_path,
        promoted=row.promoted,
        cancel_requested=row.cancel_requested,
        published=row.published,
    )


def micros_now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def moment(micros: int) -> dt.datetime:
    """Microseconds since 1970 UTC as a time with its zone."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)


def whoami() -> str:
    """The user, for the record of who moved an alias."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"


def _nearest(name: str, names: Sequence[str]) -> str:
    if not names:
        return "there are none yet"
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(repr(known) for known in names[:10])
    return f"there are {shown}{', …' if len(names) > 10 else ''}"
