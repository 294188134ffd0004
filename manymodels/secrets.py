"""Secrets in the job file: taken from the environment at the last moment, and never shown.

A job writes ``${PGPASSWORD}``; specs, dumps and the registry keep that placeholder. A secret that was written
out all the same is hidden wherever a spec is shown or stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from manymodels.exceptions import JobError
from manymodels.redaction import HIDDEN, PLACEHOLDER, TELLING, redact

__all__ = ["redacted", "resolve_secrets"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TELLING_FIELD = re.compile(TELLING, re.IGNORECASE)


def resolve_secrets(text: str, environ: Mapping[str, str]) -> str:
    """The text with every ``${NAME}`` replaced from the environment.

    Call it where the text is used; what it returns must not be stored, logged or put into an error.

    Raises:
        JobError: A variable is not set, or a placeholder names none.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not _NAME.fullmatch(name):
            raise JobError(f"`${{{name}}}` names no environment variable; write it like `${{PGPASSWORD}}`")
        if name not in environ:
            raise JobError(
                f"the job needs the environment variable {name}, which is not set; export it and try again"
            )
        return environ[name]

    return PLACEHOLDER.sub(value, text)


def redacted(value: Any) -> Any:
    """A value of plain mappings, lists and scalars with its secrets hidden, those under telling names too."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _field(name, inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return value


def _field(name: Any, value: Any) -> Any:
    if isinstance(name, str) and isinstance(value, str) and _TELLING_FIELD.fullmatch(name):
        return value if PLACEHOLDER.fullmatch(value) else HIDDEN
    return redacted(value)
