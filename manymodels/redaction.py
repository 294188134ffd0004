"""Secrets in texts: hidden wherever a text is shown or stored."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "PLACEHOLDER", "TELLING", "redact"]

HIDDEN = "***"
PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
TELLING = (  # names of what must not be shown: `db_password`, but not `token_pattern`
    r"(?:[\w.-]*[._-])?(?:password|passwd|pwd|passphrase|secret|token|sig|signature|credential|authorization"
    r"|account[_-]?key|api[_-]?key|secret[_-]?access[_-]?key)"
)

# The password of `scheme://user:password@host`: up to the last @, since people forget to encode one; but
# `host:80/a@b` is a port and a path.
_USERINFO = re.compile(r"(://[^\s:/@]*:)(?!\d{1,5}/)(\S+)(?=@)")
_PARAMETER = re.compile(rf"([?&;]{TELLING}=)([^&;\s]+)", re.IGNORECASE)
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.*?)(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


def redact(text: str) -> str:
    """The text with passwords in URLs, secret parameters in their queries, and private keys hidden.

    Placeholders (``${PGPASSWORD}``) stay.
    """
    for pattern in (_USERINFO, _PARAMETER, _PRIVATE_KEY):
        text = pattern.sub(_hide, text)
    return text


def _hide(match: re.Match[str]) -> str:
    return match[1] + (match[2] if PLACEHOLDER.fullmatch(match[2]) else HIDDEN)
