"""Secrets in the job file: taken from the environment at the last moment, and never shown.

A job writes ``${PGPASSWORD}``; specs, dumps and the registry keep that placeholder. A secret that was written
out all the same is hidden wherever a spec is shown or stored (``redaction``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from manymodels.exceptions import JobError
from manymodels.redaction import PLACEHOLDER, remember

__all__ = ["resolve_secrets"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
        remember(environ[name], match[0])
        return environ[name]

    return PLACEHOLDER.sub(value, text)
