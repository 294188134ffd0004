"""Models meet other versions of the libraries that fitted them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

__all__ = ["other_versions"]

# What a pickle of these holds is stable, or theirs to check; Python's own is recorded with every segment.
_STABLE = {"manymodels", "numpy", "pandas", "pyarrow", "python", "scipy"}


def other_versions(run_id: str, recorded: Mapping[str, str]) -> list[str]:
    """A warning for each library that a run recorded and that is of another ``major.minor`` version here, or absent."""
    lines = []
    for library, then in recorded.items():
        if library in _STABLE:
            continue
        try:
            now = metadata.version(library)
        except metadata.PackageNotFoundError:
            now = "not installed"
        if now.split(".")[:2] != then.split(".")[:2]:
            lines.append(
                f"the models of {run_id} were trained with {library} {then}, here it is {now}: they may predict otherwise, or "
                "not load; install that version, or train again"
            )
    return lines
