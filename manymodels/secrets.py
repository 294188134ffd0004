"""Secrets in the job file: taken from the environment at the last moment, and never shown.

A job writes ``${PGPASSWORD}``; specs, dumps and the registry keep that placeholder. A secret that was written
out all the same is hidden wherever a spec is shown or stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from manymodels.exceptions import JobError

__all__ = ["redact", "redacted", "resolve_secrets"]

HIDDEN = "***"

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The password of `scheme://user:password@host`: up to the last @, since people forget to encode one; but
# `host:80/a@b` is a port and a path.
_USERINFO = re.compile(r"(://[^\s:/@]*:)(?!\d{1,5}/)(\S+)(?=@)")
_TELLING = (  # names of what must not be shown: `db_password`, but not `token_pattern`
    r"(?:[\w.-]*[._-])?(?:password|passwd|pwd|passphrase|secret|token|sig|signature|credential|authorization"
    r"|account[_-]?key|api[_-]?key|secret[_-]?access[_-]?key)"
)
_PARAMETER = re.compile(rf"([?&;]{_TELLING}=)([^&;\s]+)", re.IGNORECASE)
_TELLING_FIELD = re.compile(_TELLING, re.IGNORECASE)
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


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

    return _PLACEHOLDER.sub(value, text)


def redact(text: str) -> str:
    """The text with passwords in URLs, secret parameters in their queries, and private keys hidden.

    Placeholders (``${PGPASSWORD}``) stay.
    """
    for pattern in (_USERINFO, _PARAMETER, _PRIVATE_KEY):
        text = pattern.sub(_hide, text)
    return text


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
        return value if _PLACEHOLDER.fullmatch(value) else HIDDEN
    return redacted(value)


def _hide(match: re.Match[str]) -> str:
    return match[1] + (match[2] if _PLACEHOLDER.fullmatch(match[2]) else HIDDEN)
