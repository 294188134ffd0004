"""Models meet other versions of the libraries that fitted them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata

__all__ = ["installed_version", "other_versions"]

# What a pickle of these holds is stable, or theirs to check; Python's own is recorded with every segment.
_STABLE = {"manymodels", "numpy", "pandas", "pyarrow", "python", "scipy"}


@lru_cache
def installed_version(name: str) -> str:
    """The version of a distribution, whose metadata is a file of hundreds of lines: read once.

    Raises:
        PackageNotFoundError: It is not installed.
    """
    return metadata.version(name)


def other_versions(run_id: str, recorded: Mapping[str, str]) -> list[str]:
    """A warning for each library that a run recorded and that is of another ``major.minor`` version here, or absent."""
    lines = []
    for library, then in recorded.items():
        if library in _STABLE:
            continue
        try:
            now = installed_version(library)
        except metadata.PackageNotFoundError:
            now = "not installed"
        if now.split(".")[:2] != then.split(".")[:2]:
            lines.append(
                f"the models of {run_id} were trained with {library} {then}, here it is {now}: they may predict otherwise, or "
                "not load; install that version, or train again"
            )
    return lines
