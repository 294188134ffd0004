"""Files of this machine: written under a temporary name, synced, and renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from manymodels.storage.files import StoredFile

__all__ = ["LocalFiles", "is_temporary"]

T = TypeVar("T")


def is_temporary(path: str) -> bool:
    """Whether a file is one that ``write`` had not finished when its process died."""
    name = path.rpartition("/")[2]
    return name.startswith(".") and name.endswith(".tmp")


class LocalFiles:
    """The files under a folder; see ``Files``."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def exists(self, path: str) -> bool:  # noqa: D102
        return (self._root / path).exists()

    def read(self, path: str) -> bytes:  # noqa: D102
        return (self._root / path).read_bytes()

    def write(self, path: str, content: bytes, *, lasting: bool) -> None:  # noqa: D102
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                if lasting:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if lasting:
            _sync(target.parent)

    def upload(self, local: Path, path: str) -> None:  # noqa: D102
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with local.open("rb") as file:
            os.fsync(file.fileno())
        shutil.move(local, target)
        _sync(target.parent)

    def listing(self, path: str) -> Iterator[StoredFile]:  # noqa: D102
        for here, _, names in os.walk(self._root / path):
            for name in names:
                file = Path(here) / name
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    found = file.lstat()
                    relative = file.relative_to(self._root).as_posix()
                    yield StoredFile(relative, found.st_size, found.st_mtime_ns // 1000)

    def size(self, path: str) -> int:  # noqa: D102
        return (self._root / path).stat().st_size

    def delete(self, path: str) -> None:  # noqa: D102
        target = self._root / path
        if target.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)

    def move(self, path: str, to: str) -> None:  # noqa: D102
        target = self._root / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).replace(target)

    def publish(self, local: Path, path: str, last: str) -> None:  # noqa: D102
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not (target / last).exists():  # of a removal that was cut short
            aside = self._root / "tmp" / uuid.uuid4().hex / "remnant"
            aside.parent.mkdir(parents=True)
            target.replace(aside)
        try:
            local.replace(target)
        except OSError:
            if not (target / last).exists():
                raise
            shutil.rmtree(local, ignore_errors=True)
        _sync(target.parent)

    def located(self, path: str) -> tuple[Any, str]:  # noqa: D102
        import pyarrow.fs

        return pyarrow.fs.LocalFileSystem(), str(self._root / path)

    def patiently(self, work: Callable[[], T]) -> T:  # noqa: D102 - a disk does not fail in passing
        return work()


def _sync(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
