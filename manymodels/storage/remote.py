"""Files in an object store, or whatever else fsspec reaches: one PUT is atomic, nothing is renamed.

What fails in passing (5xx, a timeout, a connection that is cut) is done again with growing pauses: by the library of the
object store for a second or two, and then here, for half a minute in all. Every operation can be done twice: a PUT writes
the same, a removal does not mind that the file is gone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from manymodels.storage.files import StoredFile

__all__ = ["RemoteFiles"]

T = TypeVar("T")

_PATIENCE = 30.0  # seconds after which what still fails is an error
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LASTING = (
    FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError, ValueError, TypeError,
    AttributeError, NotImplementedError, ImportError,
)  # fmt: skip
_LASTING_NAMES = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "NoRegionError"}
_S3 = {"connect_timeout": 10, "read_timeout": 20, "retries": {"mode": "standard", "total_max_attempts": 3}}
_S3_ROUNDS = 2  # of the above; s3fs has 5
_AT_ONCE = 1000  # keys in one call to remove them


class RemoteFiles:
    """The files under a URL; see ``Files``."""

    def __init__(self, root: str) -> None:
        self._url = root

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system, which must not remember listings that others change, and the root's path in it."""
        import fsspec

        options: dict[str, Any] = {"use_listings_cache": False}
        if self._url.startswith(("s3://", "s3a://")):
            own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
            options["config_kwargs"] = {**_S3, **own}
        filesystem, root = fsspec.core.url_to_fs(self._url, **options)
        if "config_kwargs" in options:
            filesystem.retries = _S3_ROUNDS
        return filesystem, root

    def exists(self, path: str) -> bool:  # noqa: D102
        filesystem, full = self._at(path)
        return bool(self.patiently(lambda: filesystem.exists(full)))

    def read(self, path: str) -> bytes:  # noqa: D102
        filesystem, full = self._at(path)
        return bytes(self.patiently(lambda: filesystem.cat_file(full)))

    def write(self, path: str, content: bytes, *, lasting: bool) -> None:  # noqa: D102
        filesystem, full = self._at(path)
        self.patiently(lambda: filesystem.pipe_file(full, content))

    def upload(self, local: Path, path: str) -> None:  # noqa: D102
        filesystem, full = self._at(path)
        self.patiently(lambda: filesystem.put_file(str(local), full))

    def listing(self, path: str) -> Iterator[StoredFile]:  # noqa: D102
        _, root = self._place
        for name, info in self._found(path).items():
            yield StoredFile(name[len(root) :].lstrip("/"), int(info["size"]), _modified(info))

    def size(self, path: str) -> int:  # noqa: D102
        filesystem, full = self._at(path)
        return int(self.patiently(lambda: filesystem.size(full)))

    def delete(self, path: str) -> None:  # noqa: D102
        filesystem, _ = self._place

        def remove() -> None:
            names = sorted(self._found(path))
            for start in range(0, len(names), _AT_ONCE):
                with contextlib.suppress(FileNotFoundError):
                    filesystem.rm(names[start : start + _AT_ONCE])
            # Some file systems keep the errors of a removal of many to themselves.
            if names and self._found(path):
                raise OSError(f"{len(self._found(path)):,} files could not be removed")

        self.patiently(remove)

    def move(self, path: str, to: str) -> None:  # noqa: D102
        filesystem, full = self._at(path)
        _, target = self._at(to)
        self.patiently(lambda: filesystem.cp_file(full, target))
        self.delete(path)

    def publish(self, local: Path, path: str, last: str) -> None:  # noqa: D102
        for name in sorted((p.name for p in local.iterdir()), key=lambda name: name == last):
            self.upload(local / name, f"{path}/{name}")

    def located(self, path: str) -> tuple[Any, str]:  # noqa: D102
        import pyarrow.fs

        filesystem, full = self._at(path)
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)), full

    def patiently(self, work: Callable[[], T]) -> T:  # noqa: D102
        began = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            try:
                return work()
            except _LASTING:
                raise
            except Exception as error:
                if type(error).__name__ in _LASTING_NAMES or time.monotonic() - began + pause > _PATIENCE:
                    if isinstance(error, OSError):
                        raise
                    # The libraries' own kinds of errors, told apart by nobody else.
                    raise OSError(f"{type(error).__name__}: {error}") from error
            # Those who failed together would collide again.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _at(self, path: str) -> tuple[Any, str]:
        filesystem, root = self._place
        return filesystem, f"{root}/{path}" if path else root

    def _found(self, path: str) -> Mapping[str, Any]:
        """The files under a path, or the file that it is; by the names that the file system has for them."""
        filesystem, full = self._at(path)
        try:
            found: Mapping[str, Any] = self.patiently(lambda: filesystem.find(full, detail=True))
        except FileNotFoundError:
            return {}
        return {str(name): info for name, info in found.items()}


def _modified(info: Mapping[str, Any]) -> int:
    """When a file was written; now, so that it counts as new, when the file system does not say."""
    found = info.get("LastModified") or info.get("last_modified") or info.get("created") or info.get("mtime")
    if isinstance(found, dt.datetime):
        return int(found.timestamp() * 1e6)
    return int((found if isinstance(found, int | float) else time.time()) * 1e6)
