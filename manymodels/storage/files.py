"""What a storage needs of a file system: two of them have it, ``LocalFiles`` and ``RemoteFiles``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

__all__ = ["Files", "StoredFile"]

T = TypeVar("T")


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


class Files(Protocol):
    """The files under a root; paths are relative to it and inside it. What cannot be done is an ``OSError``."""

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""

    def read(self, path: str) -> bytes:
        """A whole file."""

    def write(self, path: str, content: bytes, *, lasting: bool) -> None:
        """Write a whole file; readers see all of it or nothing. If ``lasting``, it survives the machine when this returns."""

    def upload(self, local: Path, path: str) -> None:
        """Like ``write``, from a local file, which may be gone afterwards."""

    def listing(self, path: str) -> Iterable[StoredFile]:
        """The files under a folder, at any depth; none when it is not there."""

    def size(self, path: str) -> int:
        """Bytes of a file."""

    def delete(self, path: str) -> None:
        """Remove a file or a folder; nothing happens when it is not there."""

    def move(self, path: str, to: str) -> None:
        """Give a file another path; one that is there is replaced."""

    def publish(self, local: Path, path: str, last: str) -> None:
        """Make a local folder a folder here; its file ``last`` appears last. One that has it already stays."""

    def located(self, path: str) -> tuple[Any, str]:
        """A ``pyarrow.fs.FileSystem``, and the path in it."""

    def patiently(self, work: Callable[[], T]) -> T:
        """Do ``work``, again while it fails in passing."""
