"""The user's own modules: which a job needs, their fingerprint, and the snapshot that is kept with a run.

Modules are found by reading imports, never by running them. What is not Python source (a model file, a
table) does not travel; give its path or URL as a parameter.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from manymodels.exceptions import JobError
from manymodels.job.job import Job

__all__ = ["code_fingerprint", "find_modules", "snapshot"]

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
