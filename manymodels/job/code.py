"""The user's own modules: which a job needs, their fingerprint, and how they reach the workers.

Modules are found by reading imports, never by running them. What is not Python source (a model file, a
table) does not travel; give its path or URL as a parameter.
"""

from __future__ import annotations

import ast
import atexit
import io
import json
import os
import re
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from manymodels.exceptions import DamagedError, JobError, StoreError
from manymodels.job.job import Job
from manymodels.storage import Storage

__all__ = ["code_fingerprint", "ensure_code", "find_modules", "snapshot"]

_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::[^\W\d]\w*)?")
_OWN = "manymodels"  # never taken for the user's, even when the job lies in a checkout of it


def find_modules(job: Job) -> list[Path]:
    """Files in the job's folder that its candidates and metric name as modules, and all that those import.

    Raises:
        JobError: One of them is no Python; with its line.
    """
    folder = Path(job.folder)
    found: dict[Path, None] = {}
    waiting = [path for name in _references(job) for path in _files(folder, name)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = None
            waiting += [file for name in _imports(path, folder) for file in _files(folder, name)]
    return sorted(found)


def code_fingerprint(
    files: Iterable[str | os.PathLike[str]],
    families: Iterable[tuple[str, int]],
    libraries: Mapping[str, str],
) -> str:
    """Hash of the code that makes a job's models; the same wherever the files lie.

    Args:
        files: The user's own modules.
        families: Name and revision of every family used.
        libraries: Library that fits to its ``major.minor`` version.

    Returns:
        32 hex digits.
    """
    paths = [Path(file) for file in files]
    base = os.path.commonpath([path.parent for path in paths]) if paths else ""
    content = {
        "files": sorted(
            [path.relative_to(base).as_posix(), sha256(path.read_bytes()).hexdigest()] for path in paths
        ),
        "families": sorted([name, revision] for name, revision in families),
        "libraries": dict(libraries),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16, person=b"manymodels code1").hexdigest()


def snapshot(files: Iterable[str | os.PathLike[str]], folder: str | os.PathLike[str]) -> tuple[str, bytes]:
    """The modules as a zip archive: the same modules always give the same bytes.

    Args:
        files: Files in ``folder``, at any depth.
        folder: What their names in the archive are relative to.

    Returns:
        The archive's SHA-256 (hex), and the archive.
    """
    buffer = io.BytesIO()
    # Stored, since what zlib makes of the same text differs between its versions.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(Path(file) for file in files):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    content = buffer.getvalue()
    return sha256(content).hexdigest(), content


def ensure_code(storage: Storage, path: str, sha256_hex: str) -> Path:
    """The folder on this machine that holds a snapshot's modules, unpacked once.

    Args:
        storage: Of the store.
        path: The archive, relative to the store's root.
        sha256_hex: What ``snapshot`` returned for it.

    Raises:
        DamagedError: The archive is not what was recorded; nothing of it is used.
        NotFoundError: It is not there.
        StoreError: It could not be read or unpacked.
    """
    target = _cache_folder() / sha256_hex
    if target.is_dir():
        return target
    content = storage.read(path)
    if sha256(content).hexdigest() != sha256_hex:
        raise DamagedError(
            f"the modules in {path} are not those recorded with the run; `manymodels store verify` tells more"
        )
    scratch = target.with_name(f".{sha256_hex}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(scratch)
        scratch.rename(target)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.is_dir():  # else somebody was faster, with the same content
            raise StoreError(f"could not unpack the run's modules to {target}: {error}") from error
    return target


@cache
def _cache_folder() -> Path:
    """A folder that only this user can write: code is imported from it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(base) / "manymodels" / "code"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    own = tempfile.mkdtemp(prefix="manymodels-code-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return Path(own)


def _references(job: Job) -> Iterator[str]:
    """Dotted names of modules, or of things in them, that a job names."""
    texts = [text for candidate in job.models for text in (candidate.family, *_texts(candidate.params))]
    for text in [*texts, job.evaluation.metric or ""]:
        if _REFERENCE.fullmatch(text):
            yield text.partition(":")[0]


def _texts(value: Any) -> Iterator[str]:
    """Parameters name modules too: `lag_regression: {estimator: own.module.Class}`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _files(folder: Path, name: str) -> list[Path]:
    """Files in the folder that importing a dotted name runs: its packages, then the module."""
    if name.partition(".")[0] == _OWN:
        return []
    found: list[Path] = []
    place = folder
    for part in name.split("."):
        if (place / f"{part}.py").is_file() and not (place / part / "__init__.py").is_file():
            return [*found, place / f"{part}.py"]
        place /= part
        if not place.is_dir():
            break
        if (place / "__init__.py").is_file():
            found.append(place / "__init__.py")
    return found


def _imports(file: Path, folder: Path) -> Iterator[str]:
    """Dotted names that a module imports, relative ones resolved."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise JobError(f"{file}:{error.lineno or 1}: not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise JobError(f"{file}: not valid Python: {error}") from None
    package = file.relative_to(folder).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level <= len(package) + 1:
            around = package[: len(package) - node.level + 1] if node.level else ()
            base = [*around, *([node.module] if node.module else [])]
            # Whatever is imported may be a module itself.
            yield from (".".join([*base, alias.name]) for alias in node.names)
