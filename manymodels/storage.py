"""Where the store's files live: a local folder or any fsspec URL, with atomic visibility.

A file is written under a temporary name, synced, and renamed; on an object store a single PUT is already atomic. Paths
inside the store are relative, with forward slashes, and may not leave its root.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from manymodels.exceptions import NotFoundError, StoreError, TrustError

__all__ = ["Storage", "StoredFile"]


@dataclass(frozen=True)
class StoredFile:
    """A file of the store.

    Attributes:
        path: Relative to the store's root.
        bytes: Its size.
        modified: When it was last written, microseconds since 1970 UTC.
    """

    path: str
    bytes: int
    modified: int


@dataclass(frozen=True)
class Storage:
    """The root of a store.

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

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine's file system."""
        return "://" not in self.root

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(self.root)
        return filesystem, path

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
        """Whether a file or folder is there."""
        full = self.absolute(path)
        if self.is_local:
            return Path(full).exists()
        filesystem, root = self._remote
        return bool(filesystem.exists(f"{root}/{path}"))

    def read(self, path: str) -> bytes:
        """A whole file.

        Raises:
            NotFoundError: It is not there.
            StoreError: It could not be read.
        """
        full = self.absolute(path)
        try:
            if self.is_local:
                return Path(full).read_bytes()
            filesystem, root = self._remote
            return bytes(filesystem.cat_file(f"{root}/{path}"))
        except FileNotFoundError:
            raise NotFoundError(f"no file {full}; `manymodels store verify` lists what is missing") from None
        except OSError as error:
            raise StoreError(f"could not read {full}: {error}") from error

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; readers see all of it or nothing.

        Raises:
            TrustError: The store is not ours.
            StoreError: It could not be written (with the path and the bytes needed).
        """
        full = self._to_change(path)
        try:
            if self.is_local:
                _write_local(Path(full), content)
            else:
                filesystem, root = self._remote
                filesystem.pipe_file(f"{root}/{path}", content)
        except OSError as error:
            raise StoreError(f"could not write {full} ({len(content):,} bytes): {error}") from error

    def listing(self, path: str) -> list[str]:
        """The finished files under a folder, at any depth, relative to the root, sorted; none when it is not there."""
        return [file.path for file in self.files(path) if not _is_temporary(file.path.rpartition("/")[2])]

    def files(self, path: str = "") -> list[StoredFile]:
        """All files under a folder, at any depth, sorted by path; none when it is not there."""
        full = self.absolute(path)
        if self.is_local:
            return sorted(_local_files(Path(full), Path(self.root)), key=lambda file: file.path)
        filesystem, root = self._remote
        try:
            found = filesystem.find(f"{root}/{path}", detail=True)
        except FileNotFoundError:
            return []
        files = [
            StoredFile(str(name)[len(root) + 1 :], int(info["size"]), _modified(info))
            for name, info in found.items()
        ]
        return sorted(files, key=lambda file: file.path)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        full = self.absolute(path)
        if self.is_local:
            return Path(full).stat().st_size
        filesystem, root = self._remote
        return int(filesystem.size(f"{root}/{path}"))

    def delete(self, path: str) -> None:
        """Remove a file or a folder; nothing happens when it is not there."""
        full = self._to_change(path)
        if self.is_local:
            target = Path(full)
            if target.is_dir():
                shutil.rmtree(target, ignore_errors=True)
            else:
                target.unlink(missing_ok=True)
            return
        filesystem, root = self._remote
        with contextlib.suppress(FileNotFoundError):
            filesystem.rm(f"{root}/{path}", recursive=True)

    def move(self, path: str, to: str) -> None:
        """Give a file another path; one that is there is replaced.

        Raises:
            StoreError: It could not be moved.
        """
        full, target = self._to_change(path), self.absolute(to)
        try:
            if self.is_local:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(full).replace(target)
                return
            filesystem, root = self._remote
            filesystem.mv(f"{root}/{path}", f"{root}/{to}")
        except OSError as error:
            raise StoreError(f"could not move {full} to {target}: {error}") from error

    def publish_folder(self, local: Path, path: str, *, last: str) -> None:
        """Make a finished local folder part of the store; the file named ``last`` appears last.

        Somebody may have published the same folder meanwhile: theirs stays, ours is removed (content is addressed by
        its fingerprint, so both are equal).

        Raises:
            StoreError: It could not be moved or uploaded.
        """
        full = self._to_change(path)
        if self.exists(f"{path}/{last}"):
            shutil.rmtree(local, ignore_errors=True)
            return
        try:
            if self.is_local:
                target = Path(full)
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir() and not (target / last).exists():
                    target.replace(self.scratch() / "remnant")  # of a removal that was cut short
                try:
                    local.replace(target)
                except OSError:
                    if not (target / last).exists():
                        raise
                    shutil.rmtree(local, ignore_errors=True)
                _sync_folder(target.parent)
                return
            filesystem, root = self._remote
            names = sorted((p.name for p in local.iterdir()), key=lambda name: name == last)
            for name in names:
                filesystem.put_file(str(local / name), f"{root}/{path}/{name}")
            shutil.rmtree(local, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"could not publish {full}: {error}") from error

    def scratch(self) -> Path:
        """A new local folder for work in progress: inside a local store (so that publishing is a rename)."""
        if self.is_local:
            folder = Path(self._to_change(f"tmp/{uuid.uuid4().hex}"))
            folder.mkdir(parents=True)
            return folder
        import tempfile

        return Path(tempfile.mkdtemp(prefix="manymodels-"))

    def locate(self, path: str) -> tuple[Any, str]:
        """A ``pyarrow.fs.FileSystem`` and the path of a file in it, for readers that seek."""
        import pyarrow.fs

        full = self.absolute(path)
        if self.is_local:
            return pyarrow.fs.LocalFileSystem(), full
        filesystem, root = self._remote
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)), f"{root}/{path}"


def _is_temporary(name: str) -> bool:
    """Whether a file is one that ``write`` had not finished when its process died."""
    return name.startswith(".") and name.endswith(".tmp")


def _local_files(folder: Path, root: Path) -> Iterator[StoredFile]:
    for here, _, names in os.walk(folder):
        for name in names:
            file = Path(here) / name
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found = file.lstat()
                yield StoredFile(file.relative_to(root).as_posix(), found.st_size, found.st_mtime_ns // 1000)


def _modified(info: Mapping[str, Any]) -> int:
    """When a remote file was written; now, so that it counts as new, when its file system does not say."""
    found = info.get("LastModified") or info.get("created") or info.get("mtime")
    if isinstance(found, dt.datetime):
        return int(found.timestamp() * 1e6)
    return int((found if isinstance(found, int | float) else time.time()) * 1e6)


def _write_local(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
