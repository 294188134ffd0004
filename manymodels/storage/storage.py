"""The root of a store: checks paths and permission, and says what could not be done."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from manymodels.exceptions import NotFoundError, StoreError, TrustError
from manymodels.storage.files import Files, StoredFile
from manymodels.storage.local import LocalFiles, is_temporary
from manymodels.storage.remote import RemoteFiles

__all__ = ["Storage"]

T = TypeVar("T")


@dataclass(frozen=True)
class Storage:
    """The root of a store.

    Paths inside the store are relative, with forward slashes, and may not leave its root.

    Attributes:
        root: An absolute local path, or a URL (``s3://bucket/prefix``).
        read_only: Nothing may be changed: the store came from elsewhere, and is not ours.
    """

    root: str
    read_only: bool = False

    @classmethod
    def at(cls, location: str | os.PathLike[str]) -> Storage:
        """The storage at a path or URL; a relative path is taken from the working directory."""
        text = os.fspath(location)
        if "://" in text and not text.startswith("file://"):
            return cls(text.rstrip("/"))
        return cls(str(Path(text.removeprefix("file://")).absolute()))

    def __reduce__(self) -> tuple[object, ...]:
        return Storage, (self.root, self.read_only)  # without connections

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine's file system."""
        return "://" not in self.root

    @cached_property
    def _files(self) -> Files:
        return LocalFiles(self.root) if self.is_local else RemoteFiles(self.root)

    def absolute(self, path: str) -> str:
        """The full path or URL of a file of the store.

        Raises:
            StoreError: ``path`` would leave the store.
        """
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path or "\\" in path:
            raise StoreError(
                f"a path of the store must stay inside it, found {path!r}; the registry is damaged"
            )
        return f"{self.root}/{path}"

    def _to_change(self, path: str) -> str:
        """The full path or URL of a file that is to change.

        Raises:
            TrustError: The store is not ours.
        """
        if self.read_only:
            raise TrustError(
                f"the store {self.root} was made (or was) elsewhere, and is read-only until `manymodels store adopt`"
            )
        return self.absolute(path)

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there.

        Raises:
            StoreError: It could not be found out.
        """
        full = self.absolute(path)
        return _said(f"look for {full}", lambda: self._files.exists(path))

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            NotFoundError: It is not there.
            StoreError: It could not be read.
        """
        full = self.absolute(path)
        try:
            return _said(f"read {full}", lambda: self._files.read(path), may_be_missing=True)
        except FileNotFoundError:
            raise NotFoundError(f"no file {full}; `manymodels store verify` lists what is missing") from None

    def write(self, path: str, content: bytes, *, lasting: bool = True) -> None:
        """Write a whole file; readers see all of it or nothing.

        Args:
            path: The file's.
            content: All of it.
            lasting: Whether it must be there after the machine has failed; a mark among processes need not be.

        Raises:
            TrustError: The store is not ours.
            StoreError: It could not be written (with the path and the bytes needed).
        """
        full = self._to_change(path)
        _said(
            f"write {full} ({len(content):,} bytes)",
            lambda: self._files.write(path, content, lasting=lasting),
        )

    def upload(self, local: Path, path: str) -> None:
        """Make a local file, which may be gone afterwards, a file of the store; readers see all of it or nothing.

        Raises:
            TrustError: The store is not ours.
            StoreError: It could not be written.
        """
        full = self._to_change(path)
        _said(f"write {full} ({local.stat().st_size:,} bytes)", lambda: self._files.upload(local, path))

    def listing(self, path: str) -> list[str]:
        """The finished files under a folder, at any depth, relative to the root, sorted; none when it is not there."""
        return [file.path for file in self.files(path) if not is_temporary(file.path)]

    def files(self, path: str = "") -> list[StoredFile]:
        """All files under a folder, at any depth, sorted by path; none when it is not there.

        Raises:
            StoreError: They could not be listed.
        """
        full = self.absolute(path)
        found = _said(f"list {full}", lambda: list(self._files.listing(path)))
        return sorted(found, key=lambda file: file.path)

    def size(self, path: str) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: It is not there.
            StoreError: It could not be found out.
        """
        full = self.absolute(path)
        return _said(f"look for {full}", lambda: self._files.size(path), may_be_missing=True)

    def delete(self, path: str) -> None:
        """Remove a file or a folder; nothing happens when it is not there.

        Raises:
            TrustError: The store is not ours.
            StoreError: It could not be removed.
        """
        full = self._to_change(path)
        _said(f"remove {full}", lambda: self._files.delete(path))

    def move(self, path: str, to: str) -> None:
        """Give a file another path; one that is there is replaced.

        Raises:
            TrustError: The store is not ours.
            StoreError: It could not be moved.
        """
        full, target = self._to_change(path), self.absolute(to)
        _said(f"move {full} to {target}", lambda: self._files.move(path, to))

    def publish_folder(self, local: Path, path: str, *, last: str) -> None:
        """Make a finished local folder part of the store; the file named ``last`` appears last.

        Somebody may have published the same folder meanwhile: theirs stays, ours is removed (content is addressed by
        its fingerprint, so both are equal).

        Raises:
            TrustError: The store is not ours.
            StoreError: It could not be moved or uploaded.
        """
        full = self._to_change(path)
        if not self.exists(f"{path}/{last}"):
            _said(f"publish {full}", lambda: self._files.publish(local, path, last))
        shutil.rmtree(local, ignore_errors=True)

    def scratch(self) -> Path:
        """A new local folder for work in progress: inside a local store (so that publishing is a rename).

        Raises:
            TrustError: The store is not ours.
            StoreError: The store cannot be written.
        """
        full = self._to_change(f"tmp/{uuid.uuid4().hex}")
        if self.is_local:
            folder = Path(full)
            _said(f"write to the store {self.root}", lambda: folder.mkdir(parents=True))
            return folder
        import tempfile

        return Path(tempfile.mkdtemp(prefix="manymodels-"))

    def locate(self, path: str) -> tuple[Any, str]:
        """A ``pyarrow.fs.FileSystem`` and the path of a file in it, for readers that seek."""
        self.absolute(path)
        return self._files.located(path)

    def patiently(self, work: Callable[[], T]) -> T:
        """Read through ``locate``: again, for a bounded time, while it fails in passing."""
        return self._files.patiently(work)


def _said(what: str, work: Callable[[], T], *, may_be_missing: bool = False) -> T:
    """Do ``work``; what cannot be done is a ``StoreError``, and what may be missing and is a ``FileNotFoundError``."""
    try:
        return work()
    except (OSError, ValueError, ImportError) as error:
        if may_be_missing and isinstance(error, FileNotFoundError):
            raise
        raise StoreError(f"could not {what}: {error}") from error
