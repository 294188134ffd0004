"""The registry's database: SQLite in the store, or PostgreSQL by URL.

Transactions wait, for a bounded time, for a database that is busy or away; rows go in and come out in bulk.
"""

from __future__ import annotations

import gc
import os
import random
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.schema import CreateTable

from manymodels.exceptions import RegistryError, TrustError, UsageError
from manymodels.registry.faults import describe, is_passing

__all__ = ["Database", "network_file_system", "parse_url", "sqlite_url"]

T = TypeVar("T")

WAIT = 30.0
"""Seconds to wait for a database that is busy or away, before giving up."""

_CHUNK = 65_536
_NETWORK = {
    "afpfs", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
    "orangefs", "smb2", "smb3", "smbfs", "webdav", "fuse.blobfuse", "fuse.blobfuse2", "fuse.ceph", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.goofys", "fuse.mountpoint-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
}  # fmt: skip


def parse_url(text: str) -> sa.URL:
    """A database URL: ``postgresql://…`` (through psycopg 3) or ``sqlite:///…``.

    Raises:
        UsageError: It is neither.
    """
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(
            "the registry's URL cannot be read; it is written like postgresql+psycopg://user@host:5432/database"
        ) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return sqlite_url(Path(url.database).absolute())
    raise UsageError(
        f"the registry's URL must begin with postgresql+psycopg:// or sqlite:///, found {url.drivername}://; "
        "other databases are not supported"
    )


def sqlite_url(path: Path) -> sa.URL:
    """The URL of an SQLite file."""
    return sa.URL.create("sqlite+pysqlite", database=str(path))


def network_file_system(path: Path) -> str | None:
    """The kind of network file system that a path is on; None on a local one."""
    import psutil

    target = path.resolve()
    best, kind = "", ""
    for partition in psutil.disk_partitions(all=True):
        mount = partition.mountpoint
        if target.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, partition.fstype.lower()
    return kind if kind in _NETWORK else None


class Database:
    """A database, and the transactions on it.

    Args:
        url: Where it is.
        wait: Seconds to wait for it when it is busy or away.
        read_only: Refuse to write, because it serves a store that is not ours.

    Raises:
        RegistryError: SQLite on a network file system, or the PostgreSQL driver is not installed.
    """

    def __init__(self, url: sa.URL, *, wait: float = WAIT, read_only: bool = False) -> None:
        self.url = url
        self.read_only = read_only
        self.wait = wait
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.place = str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)
        self._engine = self._sqlite_engine() if self.is_sqlite else self._postgres_engine()
        self._finalizer = weakref.finalize(self, self._engine.dispose)

    def close(self) -> None:
        """Close every connection."""
        self._finalizer()

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run ``work`` on one consistent view of the data; it may run more than once.

        Raises:
            RegistryError: The database could not be used in the time given.
        """
        return self._transact(work, writes=False)

    def write(self, work: Callable[[sa.Connection], T], *, lasting: bool = True) -> T:
        """Run ``work`` in a transaction, committed as a whole or not at all; it may run more than once.

        When the connection is lost while committing, ``work`` runs again without knowing whether its first run
        was committed: it must recognise its own writes.

        Args:
            work: What is done.
            lasting: Whether it must be there after the machine has failed: else nobody waits for the disk.

        Raises:
            ConflictError: Something that must be unique is there already.
            TrustError: The database serves a store that is not ours.
            RegistryError: The database could not be used in the time given.
        """
        if self.read_only:
            raise TrustError(
                f"the registry {self.place} is of a store that was made elsewhere, and read-only until "
                "`manymodels store adopt`"
            )
        return self._transact(work, writes=True, lasting=lasting)

    def _transact(self, work: Callable[[sa.Connection], T], *, writes: bool, lasting: bool = True) -> T:
        options: dict[str, Any] = {"writes": writes, "lasting": lasting}
        if not self.is_sqlite and not writes:
            options["isolation_level"] = "REPEATABLE READ"  # several statements, one view
        began = time.monotonic()
        pause = 0.02
        while True:
            try:
                with self._engine.connect() as connection:
                    connection = connection.execution_options(**options)
                    with connection.begin():
                        if not (lasting or self.is_sqlite):
                            connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                        return work(connection)
            except DBAPIError as error:
                waited = time.monotonic() - began
                if not is_passing(error) or waited + pause > self.wait:
                    raise describe(error, self.place, waited) from error
            # Waiters that woke together would collide again.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, 1.0)

    def fill(
        self, connection: sa.Connection, table: sa.Table, columns: Sequence[Sequence[Any] | pa.ChunkedArray]
    ) -> None:
        """Put rows into a temporary table of this connection; what it held is gone.

        Args:
            connection: In a transaction.
            table: A temporary table.
            columns: Its columns' values, in its order, of one length.
        """
        connection.execute(CreateTable(table, if_not_exists=True))
        connection.execute(sa.delete(table))
        self.insert(connection, table, columns)

    def insert(
        self, connection: sa.Connection, table: sa.Table, columns: Sequence[Sequence[Any] | pa.ChunkedArray]
    ) -> None:
        """Insert many rows into a table, as fast as the database can; Arrow columns become Python's values a part at a time.

        Args:
            connection: In a transaction.
            table: The table.
            columns: Values of its first columns, in its order, of one length.
        """
        names = tuple(column.name for column in table.columns)[: len(columns)]
        if self.is_sqlite:
            statement = _insert_text(table, names)
            with _no_garbage():
                for part in _parts(columns):
                    connection.exec_driver_sql(statement, part)
            return
        quoted = self._engine.dialect.identifier_preparer.quote
        copy = f"COPY {quoted(table.name)} ({', '.join(map(quoted, names))}) FROM STDIN"
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(copy) as stream:
            for part in _parts(columns):
                for row in part:
                    stream.write_row(row)

    def analyze(self, connection: sa.Connection, table: sa.Table) -> None:
        """Tell PostgreSQL's planner what a table holds now: it would read it whole for every batch otherwise."""
        if not self.is_sqlite:
            connection.exec_driver_sql(
                f"ANALYZE {self._engine.dialect.identifier_preparer.quote(table.name)}"
            )

    def upsert(self, table: sa.Table) -> Any:
        """An INSERT of the database's dialect, which knows ``on_conflict_do_…``."""
        if self.is_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def fetch(self, connection: sa.Connection, statement: sa.Select[Any], schema: pa.Schema) -> pa.Table:
        """The rows of a query as an Arrow table.

        Args:
            connection: In a transaction.
            statement: Selects the schema's columns, in its order.
            schema: Names and types.
        """
        if self.is_sqlite and not any(pa.types.is_boolean(field.type) for field in schema):
            # The driver's own rows: SQLAlchemy would look at every value again, and make an object of every row.
            result = connection.execute(statement)
            cursor: Any = result.cursor
            pages = iter(lambda: cursor.fetchmany(_CHUNK), [])
        else:
            result = connection.execute(statement, execution_options={"yield_per": _CHUNK})
            pages = result.partitions(_CHUNK)
        with result, _no_garbage():
            parts = [
                pa.record_batch(
                    [
                        pa.array(values, field.type)
                        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                    ],
                    schema=schema,
                )
                for rows in pages
            ]
        return pa.Table.from_batches(parts, schema=schema)

    def _sqlite_engine(self) -> sa.Engine:
        path = Path(str(self.url.database))
        kind = network_file_system(path.parent)
        if kind is not None:
            raise RegistryError(
                f"an SQLite registry must be on a disk of this host, and {path} is on a network file system "
                f"({kind}); give the store a PostgreSQL `registry`"
            )
        writable = os.access(path.parent, os.W_OK) and not self.read_only
        engine = sa.create_engine(
            self.url if writable else _read_only(path),
            connect_args={"timeout": self.wait},
            hide_parameters=True,
        )

        @sa.event.listens_for(engine, "connect")
        def connected(connection: sqlite3.Connection, record: Any) -> None:
            connection.isolation_level = None  # the module's own BEGIN comes too late for a consistent view
            if writable:
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -65536")

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            # A deferred transaction that turns into a writer can fail without waiting.
            options = connection.get_execution_options()
            writes = options.get("writes", False)
            if writes:
                level = "FULL" if options.get("lasting", True) else "NORMAL"
                connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _postgres_engine(self) -> sa.Engine:
        milliseconds = max(1, int(self.wait * 1000))
        limits = {"connect_timeout": max(2, int(self.wait)), "tcp_user_timeout": milliseconds}
        try:
            engine = sa.create_engine(self.url, hide_parameters=True, connect_args=limits)
        except ImportError:
            raise RegistryError(
                "a PostgreSQL registry needs the extra `postgres`: pip install 'manymodels[postgres]'"
            ) from None

        @sa.event.listens_for(engine, "connect")
        def connected(connection: Any, record: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{milliseconds}ms",))
            connection.commit()

        return engine


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Rows by the thousand are no garbage: looking for it meanwhile would go through all that the process holds."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.enable()


def _parts(columns: Sequence[Sequence[Any] | pa.ChunkedArray]) -> Iterator[list[tuple[Any, ...]]]:
    """Columns as rows of Python's values, some thousands at a time."""
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"columns of one length are needed, found {[len(column) for column in columns]}")
    for start in range(0, len(columns[0]), _CHUNK):
        part = (column[start : start + _CHUNK] for column in columns)
        values = (found.to_pylist() if isinstance(found, pa.ChunkedArray) else found for found in part)
        yield list(zip(*values, strict=True))


@lru_cache
def _insert_text(table: sa.Table, names: tuple[str, ...]) -> str:
    from sqlalchemy.dialects import sqlite

    statement = sa.insert(table).values({name: sa.bindparam(name) for name in names})
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


def _read_only(path: Path) -> sa.URL:
    """The URL of an SQLite file in a folder that we may not write to.

    SQLite's write-ahead log needs a shared-memory file beside it. When there is neither, and we cannot make one,
    the file is read as it is.
    """
    query = {"mode": "ro", "uri": "true"}
    if not path.with_name(f"{path.name}-wal").exists():
        query["immutable"] = "1"
    return sa.URL.create("sqlite+pysqlite", database=f"file:{quote(path.as_posix())}", query=query)
