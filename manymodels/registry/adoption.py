"""Which stores are ours: those made by this user, and those that this user adopted, each at its place.

A store from elsewhere could name any database in ``store.json``, and any file of ours by a link. It opens read-only, with the
database in its own folder or one given by the reader, until ``manymodels store adopt``. The list of adopted stores is the
reader's: one file a store in ``~/.local/state/manymodels/stores`` (or under ``XDG_STATE_HOME``). Where no home lasts, as in a
container, ``MANYMODELS_ADOPTED`` lists the ids of the stores to adopt, or is ``*``.
"""

from __future__ import annotations

import json
import logging
import os
from hashlib import blake2b
from pathlib import Path

from manymodels.exceptions import StoreError
from manymodels.storage import Storage

__all__ = ["adopt", "is_adopted", "refuse_links"]

_VARIABLE = "MANYMODELS_ADOPTED"
_HERE: set[str] = set()  # adopted by this process, should the list not be writable

_log = logging.getLogger(__name__)


def is_adopted(store_id: str, storage: Storage) -> bool:
    """Whether a store, at this place, is ours."""
    listed = os.environ.get(_VARIABLE, "").replace(",", " ").split()
    if "*" in listed or store_id in listed:
        return True
    mark = _mark(store_id, storage)
    try:
        return mark in _HERE or (_folder() / mark).exists()
    except (OSError, RuntimeError):
        return False


def adopt(store_id: str, storage: Storage) -> None:
    """Note that a store, at this place, is ours."""
    mark = _mark(store_id, storage)
    _HERE.add(mark)
    try:
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / mark).write_text(json.dumps({"store_id": store_id, "place": _place(storage)}))
    except (OSError, RuntimeError) as error:
        _log.warning(
            "could not note that the store is ours (%s); set %s to its id, %s", error, _VARIABLE, store_id
        )


def refuse_links(storage: Storage) -> None:
    """Refuse a store with symbolic links that lead out of it: what is written there would land elsewhere.

    Raises:
        StoreError: With the first of them.
    """
    if not storage.is_local:
        return
    root = Path(storage.root).resolve()
    for here, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(here, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise StoreError(f"{path} is a link out of the store; remove it before the store is adopted")


def _mark(store_id: str, storage: Storage) -> str:
    return blake2b(f"{store_id}\0{_place(storage)}".encode(), digest_size=16).hexdigest()


def _place(storage: Storage) -> str:
    return str(Path(storage.root).resolve()) if storage.is_local else storage.root


def _folder() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "manymodels" / "stores"
