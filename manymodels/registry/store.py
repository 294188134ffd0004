"""The store's marker file, and the way from a store to its registry's database."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from manymodels.exceptions import NotFoundError, RegistryError, StoreError, StoreFormatError, TrustError
from manymodels.redaction import redact, remember_inline
from manymodels.registry import schema
from manymodels.registry.adoption import adopt, is_adopted, refuse_links
from manymodels.registry.database import WAIT, Database, parse_url, sqlite_url
from manymodels.registry.migrations import create, revision_of, upgrade
from manymodels.secrets import resolve_secrets
from manymodels.storage import Storage

__all__ = [
    "FORMAT",
    "StoreMarker",
    "StorePlace",
    "adopt_store",
    "database_url",
    "init_store",
    "migrate",
    "open_store",
    "prepare_database",
    "read_marker",
    "without_secrets",
    "write_marker",
]

FORMAT = 1
"""The store's format: raised when an older version could misread the store's files."""

_MARKER = "store.json"
_DATABASE = "registry.db"
_INIT_LOCK = 0x6D616E79  # PostgreSQL's advisory locks are numbers
_SECRETS = ("password", "sslpassword")


class StorePlace(Protocol):
    """Where a store is: a job's ``store`` section."""

    @property
    def path(self) -> str:
        """Folder or URL."""

    @property
    def registry(self) -> str | None:
        """Database URL; None is an SQLite file in the folder."""


@dataclass(frozen=True)
class StoreMarker:
    """What ``store.json`` says.

    Attributes:
        store_id: The same as in the registry's database: a registry serves one store.
        registry: The database's URL, without secrets; None is an SQLite file in the folder.
    """

    store_id: str
    registry: str | None


def read_marker(storage: Storage) -> StoreMarker | None:
    """The store's marker; None when there is no store.

    Raises:
        StoreFormatError: The store is of another format.
        StoreError: The marker cannot be read.
    """
    try:
        content = storage.read(_MARKER)
    except NotFoundError:
        return None
    try:
        fields = json.loads(content)
        found = fields["format"]
        if found == FORMAT:
            return StoreMarker(fields["store_id"], fields["registry"])
    except (ValueError, TypeError, KeyError):
        raise StoreError(
            f"{storage.absolute(_MARKER)} is damaged; `manymodels store rebuild` makes it again"
        ) from None
    raise StoreFormatError(
        f"the store {storage.root} has format {found}, and this version of manymodels knows format {FORMAT}; "
        "use the version that wrote it, or a newer one"
    )


def write_marker(storage: Storage, marker: StoreMarker) -> None:
    """Write the store's marker: from now on there is a store.

    Raises:
        StoreError: It could not be written.
    """
    fields = {"format": FORMAT, "store_id": marker.store_id, "registry": marker.registry}
    storage.write(_MARKER, json.dumps(fields, indent=1).encode())


def init_store(storage: Storage, registry: str | None = None, *, wait: float = WAIT) -> Database:
    """Make a store and its registry; a store that is there already is left as it is.

    The marker is written last. Of two processes that make the same store, both end with the same one.

    Args:
        storage: Where.
        registry: Database URL; an SQLite file in the folder when None.
        wait: Seconds to wait for a database that is busy or away.

    Raises:
        StoreError: It could not be written, or the database serves another store.
        RegistryError: The database could not be used.
    """
    if read_marker(storage) is not None:
        return open_store(storage, registry, wait=wait)[1]
    if storage.is_local:
        try:
            Path(storage.root).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"could not make the store {storage.root}: {error.strerror}") from error
    database = Database(database_url(storage, registry), wait=wait)
    try:
        store_id = database.write(lambda connection: prepare_database(connection, database, uuid.uuid4().hex))
        if not is_adopted(store_id, storage):
            if database.read(lambda connection: connection.execute(_ANY_RUN).first()) is not None:
                raise TrustError(
                    f"{storage.root} has the registry of a store that was made elsewhere, and no {_MARKER}; "
                    "ask for the whole store, or use another folder"
                )
            adopt(store_id, storage)
        write_marker(storage, StoreMarker(store_id, without_secrets(registry)))
    except BaseException:
        database.close()
        raise
    return database


_ANY_RUN = sa.select(schema.runs.c.id).limit(1)


def open_store(
    storage: Storage, registry: str | None = None, *, wait: float = WAIT
) -> tuple[Storage, Database]:
    """The files and the database of a store that is there; both read-only when it is not ours.

    Args:
        storage: The store.
        registry: Database URL; the one that the store was made with when None.
        wait: Seconds to wait for a database that is busy or away.

    Raises:
        NotFoundError: There is no store.
        StoreFormatError: The store, or its registry, is of another format.
        StoreError: The database serves another store.
        TrustError: The store came from elsewhere and names a database outside its folder.
        RegistryError: The database could not be used, or holds no registry.
    """
    marker, database = _opened(storage, registry, wait)
    try:
        database.read(lambda connection: _check(connection, database.place, marker.store_id))
    except BaseException:
        database.close()
        raise
    return replace(storage, read_only=not is_adopted(marker.store_id, storage)), database


def adopt_store(storage: Storage) -> StoreMarker:
    """Make a store that came from elsewhere ours, at its place: it can be written, and the database that it names is used.

    Raises:
        NotFoundError: There is no store.
        StoreError: A link leads out of it.
    """
    marker = read_marker(storage)
    if marker is None:
        raise NotFoundError(f"no store at {storage.root} to adopt")
    refuse_links(storage)
    adopt(marker.store_id, storage)
    return marker


def migrate(storage: Storage, registry: str | None = None, *, wait: float = WAIT) -> str:
    """Bring the registry's tables to this version's form; the version that they had.

    Args:
        storage: The store.
        registry: Database URL; the one that the store was made with when None.
        wait: Seconds to wait for a database that is busy or away.

    Raises:
        NotFoundError: There is no store.
        StoreFormatError: The store is of another format, or its registry of a newer one.
        StoreError: The database serves another store.
        RegistryError: The database could not be used, or holds no registry.
    """
    marker, database = _opened(storage, registry, wait)

    def work(connection: sa.Connection) -> str:
        found = revision_of(connection)
        if found is not None and found < schema.REVISION:
            upgrade(connection)
        _check(connection, database.place, marker.store_id)
        return found or schema.REVISION

    try:
        return database.write(work)
    finally:
        database.close()


def database_url(storage: Storage, registry: str | None) -> sa.URL:
    """The database's URL, secrets and all; an SQLite file in the store when ``registry`` is None.

    Raises:
        StoreError: The store is at a URL and has no ``registry``.
        UsageError: ``registry`` is no URL of a database that is supported.
        JobError: A placeholder's variable is not set.
    """
    if registry is not None:
        remember_inline(registry)
        return parse_url(resolve_secrets(registry, os.environ))
    if not storage.is_local:
        raise StoreError(f"a store at a URL needs a `registry`, a database URL; {storage.root} has none")
    return sqlite_url(Path(storage.root) / _DATABASE)


def without_secrets(registry: str | None) -> str | None:
    """The URL to keep: placeholders (``${PGPASSWORD}``) stay, a secret that was written out does not."""
    if registry is None:
        return None
    url = parse_url(registry)
    if url.get_backend_name() != "sqlite" and redact(registry) == registry:
        return registry
    url = url.difference_update_query(_SECRETS)
    bare = sa.URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.query,
    )
    return bare.render_as_string(hide_password=False)


def prepare_database(connection: sa.Connection, database: Database, store_id: str) -> str:
    """Make the registry's tables where there are none; the id of the store that the database serves.

    Raises:
        StoreFormatError: The tables are of another version.
        StoreError: The database serves another store.
    """
    if not database.is_sqlite:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_INIT_LOCK)))
    found = revision_of(connection)
    if found is None:
        create(connection)
    _check_revision(found or schema.REVISION, database.place)
    known = connection.execute(sa.select(schema.store.c.store_id)).scalar()
    if known is None:
        connection.execute(sa.insert(schema.store).values(id=1, store_id=store_id))
        return store_id
    if (
        not database.is_sqlite
        and connection.execute(sa.select(schema.runs.c.id).limit(1)).first() is not None
    ):
        raise StoreError(
            f"the database {database.place} is the registry of another store; give every store a database of its own"
        )
    return str(known)


def _opened(storage: Storage, registry: str | None, wait: float) -> tuple[StoreMarker, Database]:
    """A store's marker, and its database, which may hold anything."""
    marker = read_marker(storage)
    if marker is None:
        raise NotFoundError(
            f"no store at {storage.root}; `manymodels store init` makes one, and so does `manymodels train`"
        )
    ours = is_adopted(marker.store_id, storage)
    if registry is None and marker.registry is not None and not ours:
        # Opening it would tell a stranger's database who we are, and fill placeholders from our environment.
        raise TrustError(
            f"the store {storage.root} was made elsewhere and names a database, {marker.registry!r}; give the database to "
            "use with --registry, or `manymodels store adopt` the store"
        )
    url = database_url(storage, registry or marker.registry)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        raise RegistryError(
            f"the store's registry {url.database} is missing; `manymodels store rebuild` makes it again from the "
            "store's files"
        )
    return marker, Database(url, wait=wait, read_only=not ours)


def _check(connection: sa.Connection, place: str, store_id: str) -> None:
    found = revision_of(connection)
    if found is None:
        raise RegistryError(
            f"the database {place} holds no registry; `manymodels store rebuild` makes the store's registry there"
        )
    _check_revision(found, place)
    if connection.execute(sa.select(schema.store.c.store_id)).scalar() != store_id:
        raise StoreError(
            f"the database {place} is the registry of another store; give every store a database of its own"
        )


def _check_revision(found: str, place: str) -> None:
    if found < schema.REVISION:
        raise StoreFormatError(
            f"the registry {place} has schema {found}, and this version of manymodels needs {schema.REVISION}; "
            "`manymodels store migrate` brings it there (older versions cannot use it then)"
        )
    if found != schema.REVISION:
        raise StoreFormatError(
            f"the registry {place} has schema {found}, and this version of manymodels knows {schema.REVISION}; "
            "use the version that wrote it, or a newer one"
        )
