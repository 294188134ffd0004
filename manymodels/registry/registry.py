"""The registry: the index of every run, model, version and alias of a store."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from manymodels.artifacts.trust import Trust
from manymodels.exceptions import ManyModelsError
from manymodels.registry.aliases import Aliases
from manymodels.registry.compacting import Compaction
from manymodels.registry.database import WAIT
from manymodels.registry.garbage import GarbageCollection
from manymodels.registry.journal import Journal
from manymodels.registry.listing import Listing
from manymodels.registry.publishing import Publishing
from manymodels.registry.runs import RunLog
from manymodels.registry.schema import alias_events
from manymodels.registry.scores import Scores
from manymodels.registry.serving import Serving
from manymodels.registry.store import StorePlace, init_store, open_store, read_marker
from manymodels.registry.verify import Verification
from manymodels.storage import Storage

__all__ = ["Registry"]


class Registry(
    RunLog,
    Journal,
    Publishing,
    Aliases,
    Serving,
    Listing,
    Scores,
    Verification,
    GarbageCollection,
    Compaction,
):
    """The index of every run, model, version and alias of a store; threads may share one.

    Args:
        store: Folder or URL of a store that is there.
        registry: Database URL; the one that the store was made with when None.
        wait: Seconds to wait for a database that is busy or away.
        trust: What to trust of the store: ``hashes``, ``signed`` or ``columns-only``; the reader's settings when None.

    Attributes:
        storage: The store's files; read-only when the store came from elsewhere and was not adopted.
        trust: What the reader trusts.

    Raises:
        NotFoundError: There is no store.
        StoreFormatError: The store is of another format.
        StoreError: The database serves another store.
        RegistryError: The database could not be used.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        *,
        registry: str | None = None,
        wait: float = WAIT,
        trust: str | None = None,
    ) -> None:
        reader = Trust.of_reader(trust)
        storage, database = open_store(Storage.at(store), registry, wait=wait)
        super().__init__(storage, database, reader)
        if (
            not storage.read_only
            and self._db.read(lambda connection: connection.execute(_PENDING).first()) is not None
        ):
            self.write_events()

    @classmethod
    def open(
        cls,
        store: str | os.PathLike[str] | StorePlace,
        *,
        create: bool = False,
        wait: float = WAIT,
        trust: str | None = None,
    ) -> Self:
        """The registry of a store.

        Args:
            store: Folder, URL, or a job's ``store`` section.
            create: Whether to make the store when there is none.
            wait: Seconds to wait for a database that is busy or away.
            trust: What to trust of the store: ``hashes``, ``signed`` or ``columns-only``; the reader's settings when None.

        Raises:
            NotFoundError: There is no store, and none is to be made.
            StoreFormatError: The store is of another format.
            StoreError: The store could not be made, or the database serves another store.
            RegistryError: The database could not be used.
        """
        path, registry = (
            (store, None) if isinstance(store, str | os.PathLike) else (store.path, store.registry)
        )
        if create and read_marker(Storage.at(path)) is None:
            init_store(Storage.at(path), registry, wait=wait).close()
        return cls(path, registry=registry, wait=wait, trust=trust)

    def close(self) -> None:
        """Close every connection; the registry is done for."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        try:
            found = self.model_sets()
        except ManyModelsError as error:
            return f"<Registry {self.storage.root}: {error}>"
        sets = ", ".join(
            f"{entry.name} ({entry.models:,} models, {entry.runs:,} runs)" for entry in found[:10]
        )
        more = f" and {len(found) - 10:,} more" if len(found) > 10 else ""
        return f"<Registry {self.storage.root}: {sets or 'empty'}{more}>"


_PENDING = sa.select(alias_events.c.id).where(~alias_events.c.written).limit(1)
