"""Hiding secrets in whatever is shown or stored: errors, specs, the registry, names of files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["PLACEHOLDER", "redact", "redacted", "remember", "remember_inline", "with_placeholders"]

HIDDEN = "***"
PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
"""``${NAME}``: how a job file says that the environment has the value."""

_SHORTEST = 4  # characters: what is shorter is no secret, and would be found everywhere
_values: dict[str, str] = {}  # what placeholders stood for in this process, to the placeholders
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


def remember(value: str, placeholder: str) -> None:
    """From now on this process shows a placeholder in the place of its value."""
    if len(value) >= _SHORTEST:
        _values[value] = placeholder


def remember_inline(text: str) -> None:
    """From now on this process hides the secrets that are written out in a text, wherever they come up again."""
    for pattern in (_USERINFO, _PARAMETER):
        for found in pattern.finditer(text):
            if not PLACEHOLDER.fullmatch(found[2]):
                remember(found[2], HIDDEN)


def with_placeholders(text: str) -> str:
    """The text with each remembered value of a placeholder replaced by the placeholder."""
    for value, placeholder in list(_values.items()):
        if placeholder != HIDDEN:
            text = text.replace(value, placeholder)
    return text


def redact(text: str) -> str:
    """The text with passwords in URLs, secret parameters in their queries, private keys, and what is remembered hidden.

    Placeholders (``${PGPASSWORD}``) stay, and stand again for the values that were put in their places.
    """
    for value, shown in list(_values.items()):
        text = text.replace(value, shown)
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
        return value if PLACEHOLDER.fullmatch(value) else HIDDEN
    return redacted(value)


def _hide(match: re.Match[str]) -> str:
    return match[1] + (match[2] if PLACEHOLDER.fullmatch(match[2]) else HIDDEN)
