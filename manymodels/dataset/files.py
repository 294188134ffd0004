"""Which files a path means: a file, a folder, a glob, a URL or a list of them."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from manymodels.exceptions import DataError
from manymodels.redaction import remember_inline, with_placeholders
from manymodels.secrets import resolve_secrets

__all__ = ["Format", "Listing", "SourceFile", "find_files", "nearest", "overlap"]

Format = Literal["parquet", "csv", "arrow"]

_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
# What lies beside data without being data; any other file of unknown kind in a folder could be rows, and is an error.
_BESIDE_DATA = {".md", ".crc", ".md5", ".sha256"}
_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
_GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class SourceFile:
    """One input file.

    Attributes:
        path: Absolute path, or URL; placeholders (``${TOKEN}``) stand where secrets do.
        size: Bytes.
        version: Modification time in nanoseconds, or what the file system has instead (an ETag).
        folders: Values of the hive columns, decoded from the folder names, in the order of ``Listing.hive``; None is null.
    """

    path: str
    size: int
    version: str
    folders: tuple[str | None, ...] = ()

    def open(self) -> Any:
        """The file, opened for reading bytes; close it."""
        if self.is_local:
            return Path(self.location).open("rb")
        filesystem, path = self.filesystem()
        return filesystem.open(path, "rb")

    @property
    def location(self) -> str:
        """The path or URL to open, secrets and all: not to be stored, shown or put into an error."""
        return resolve_secrets(self.path, os.environ)

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine's file system."""
        return "://" not in self.location

    def filesystem(self) -> tuple[Any, str]:
        """The fsspec file system and the path in it."""
        import fsspec

        if self.is_local:
            return fsspec.filesystem("file"), self.location
        filesystem, path = fsspec.core.url_to_fs(self.location)
        return filesystem, str(path)

    def current_version(self) -> tuple[int, str]:
        """Size and version as they are now.

        Raises:
            OSError: It is not there any more, or cannot be reached.
        """
        filesystem, path = self.filesystem()
        return _stamp({} if self.is_local else filesystem.info(path), path if self.is_local else None)


@dataclass(frozen=True)
class Listing:
    """The files that a path means.

    Attributes:
        format: The one format of all files.
        files: Sorted by path, each once.
        hive: Names of the columns that stand in folder names (``year=2024/``), outermost first.
    """

    format: Format
    files: tuple[SourceFile, ...]
    hive: tuple[str, ...]


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest of the known names, or nothing when none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def find_files(paths: str | Sequence[str]) -> Listing:
    """Resolve ``data.path``; relative paths are taken from the working directory.

    Files whose name, or a folder of theirs, begins with ``.`` or ``_`` are left out (``_SUCCESS``, ``.crc``).

    Raises:
        DataError: Nothing matches, an unknown extension, an empty folder, or files of different formats or folder columns.
    """
    found: dict[str, tuple[SourceFile, tuple[str, ...], Format]] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        remember_inline(path)
        resolved = resolve_secrets(path, os.environ)
        for file, hive, data_format in _resolve(resolved):
            if resolved != path:
                file = replace(file, path=with_placeholders(file.path))
            found.setdefault(file.path, (file, hive, data_format))
    if not found:
        raise DataError("`data.path` is an empty list; expected at least one file, folder, glob or URL")
    entries = [found[path] for path in sorted(found)]
    first_file, hive, data_format = entries[0]
    for file, names, other in entries[1:]:
        if other != data_format:
            raise DataError(
                f"one dataset has one format, found {data_format} ({first_file.path}) and {other} ({file.path}); "
                f"give a glob such as *.{data_format}"
            )
        if names != hive:
            raise DataError(
                f"all files must lie in the same kind of folders, found {_described(hive)} ({first_file.path}) and "
                f"{_described(names)} ({file.path})"
            )
    return Listing(data_format, tuple(file for file, _, _ in entries), hive)


def overlap(path: str, place: Path) -> Literal["inside", "around"] | None:
    """Whether a local file or folder, there or to be, lies inside what ``data.path`` names, or around it.

    Links are followed. None for a URL, and where a scan would pass over the place (a name in it begins with ``.`` or ``_``).
    """
    if "://" in path and not path.startswith("file://"):
        return None
    place = place.resolve()
    named = Path(path.removeprefix("file://")).expanduser().absolute()
    sources = [named.resolve()]
    if not named.exists() and _GLOB_CHARACTERS & set(path):
        sources = [Path(found).resolve() for found in glob.iglob(str(named), recursive=True)]  # noqa: PTH207 - any pattern
        if any(fnmatch.fnmatchcase(str(inner), str(named)) for inner in (place, *place.parents)):
            return "inside"
    for source in sources:
        if place.is_relative_to(source) and not _is_hidden(place.relative_to(source).parts):
            return "inside"
        if source.is_relative_to(place):
            return "around"
    return None


def _described(hive: tuple[str, ...]) -> str:
    return "/".join(f"{name}=…" for name in hive) if hive else "no `name=value` folder"


def _resolve(path: str) -> list[tuple[SourceFile, tuple[str, ...], Format]]:
    filesystem, root, is_local = _filesystem(path)
    try:
        if filesystem.isfile(root):
            return [_entry(filesystem, root, filesystem.info(root), root.rpartition("/")[0], is_local)]
        if filesystem.isdir(root):
            entries = _in_folder(filesystem, root, root, is_local)
            if not entries:
                raise DataError(f"the folder {root} holds no data file; expected Parquet, CSV or Arrow")
            return entries
        entries = _matching(filesystem, root, is_local) if _GLOB_CHARACTERS & set(root) else []
    except (OSError, ValueError) as error:
        raise DataError(f"could not list {path!r} ({root}): {error}") from error
    if not entries:
        raise DataError(
            f"no file matches `data.path` {path!r} (looked at {root}){_neighbours(filesystem, root)}"
        )
    return entries


def _filesystem(path: str) -> tuple[Any, str, bool]:
    import fsspec

    if "://" not in path or path.startswith("file://"):
        local = Path(path.removeprefix("file://")).expanduser()
        return fsspec.filesystem("file"), os.path.abspath(local).replace(os.sep, "/"), True  # noqa: PTH100 - keeps symlinks
    try:
        filesystem, root = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise DataError(f"could not open `data.path` {path!r}: {error}") from error
    return filesystem, str(root).rstrip("/"), False


def _in_folder(
    filesystem: Any, folder: str, base: str, is_local: bool
) -> list[tuple[SourceFile, tuple[str, ...], Format]]:
    found: dict[str, dict[str, Any]] = _walk(folder) if is_local else filesystem.find(folder, detail=True)
    entries, unknown = [], []
    for path, info in sorted(found.items()):
        if _is_hidden(_below(path, base)):
            continue
        if _format(path) is not None:
            entries.append(_entry(filesystem, path, info, base, is_local))
        elif PurePosixPath(path).suffix.lower() not in _BESIDE_DATA:
            unknown.append(path)
    if unknown:
        # Passing over it in silence could lose rows.
        raise DataError(
            f"unknown kind of file {unknown[0]}; {_EXPECTED}; move it away or give a glob such as *.parquet"
        )
    return entries


def _walk(folder: str) -> dict[str, dict[str, Any]]:
    """The files of a local folder, at any depth; links to folders are followed, but not in circles."""

    def refuse(error: OSError) -> None:
        raise error

    found: dict[str, dict[str, Any]] = {}
    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        for name in list(folders):
            path = Path(here, name)
            if path.is_symlink() and Path(here).resolve().is_relative_to(path.resolve()):
                folders.remove(name)
        found.update((f"{here}/{name}", {}) for name in names)
    return found


def _matching(
    filesystem: Any, pattern: str, is_local: bool
) -> list[tuple[SourceFile, tuple[str, ...], Format]]:
    fixed = []
    for segment in pattern.split("/"):
        if _GLOB_CHARACTERS & set(segment):
            break
        fixed.append(segment)
    base = "/".join(fixed)
    entries = []
    for path, info in sorted(filesystem.glob(pattern, detail=True).items()):
        if _is_hidden(_below(path, base)):
            continue
        if info["type"] == "directory":
            entries += _in_folder(filesystem, path, base, is_local)
        else:
            entries.append(_entry(filesystem, path, info, base, is_local))
    return entries


def _below(path: str, base: str) -> list[str]:
    return path.removeprefix(base).strip("/").split("/")


def _is_hidden(segments: Sequence[str]) -> bool:
    return any(s.startswith(".") or (s.startswith("_") and "=" not in s) for s in segments)


_EXPECTED = f"expected one of {' '.join(_FORMATS)} .csv.gz"


def _format(path: str) -> Format | None:
    if "://" in path:
        path = urlsplit(path).path  # without the query
    name = path.rpartition("/")[2].lower().removesuffix(".gz")
    found = _FORMATS.get(f".{name.rpartition('.')[2]}")
    return None if path.lower().endswith(".gz") and found != "csv" else found


def _entry(
    filesystem: Any, path: str, info: dict[str, Any], base: str, is_local: bool
) -> tuple[SourceFile, tuple[str, ...], Format]:
    data_format = _format(path)
    if data_format is None:
        raise DataError(f"unknown kind of file {path}; {_EXPECTED}")
    folders = [s.partition("=") for s in _below(path, base)[:-1] if "=" in s]
    names = tuple(unquote(name) for name, _, _ in folders)
    values = tuple(None if value == _NULL_FOLDER else unquote(value) for _, _, value in folders)
    size, version = _stamp(info, path if is_local else None)
    url = path if is_local else str(filesystem.unstrip_protocol(path))
    return SourceFile(url, size, version, values), names, data_format


def _stamp(info: dict[str, Any], local: str | None) -> tuple[int, str]:
    if local is not None:
        status = os.stat(local)  # noqa: PTH116 - ten thousand files are common
        return status.st_size, str(status.st_mtime_ns)
    return int(info["size"] or 0), str(next((info[k] for k in _VERSIONS if info.get(k)), ""))


_VERSIONS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "updated",
    "mtime",
    "created",
)


def _neighbours(filesystem: Any, root: str) -> str:
    """What a person who mistyped would look for: the closest names in the folder, or the last folder that is there."""
    folder, _, name = root.rpartition("/")
    try:
        if not filesystem.isdir(folder):
            while folder and not filesystem.isdir(folder):
                folder = folder.rpartition("/")[0]
            return f"; the folder {folder or '/'} is the last of it that is there"
        names = sorted(
            str(path).rstrip("/").rpartition("/")[2] for path in filesystem.ls(folder, detail=False)
        )
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
    return f"; that folder has {', '.join(close)}" if close else "; that folder is empty"
