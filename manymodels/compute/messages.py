"""What comes out of a sandbox beside the function's own values."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Literal

__all__ = ["Died", "Raised", "Started", "raised"]

_LONGEST_MESSAGE = 10_000  # characters: an error that carries its data must not flood outcomes and logs


@dataclass(frozen=True)
class Started:
    """The function begins a new unit of work; the deadline starts again.

    Attributes:
        unit: What began, for whoever must be told which unit a crash is to be blamed on.
    """

    unit: object


@dataclass(frozen=True)
class Raised:
    """An exception left the function, or a value that it yielded cannot be pickled; nothing follows.

    Attributes:
        error: Name of the exception's class.
        message: The exception's message, as raised.
        traceback: The formatted traceback.
    """

    error: str
    message: str
    traceback: str


@dataclass(frozen=True)
class Died:
    """The child process ended, or was ended; nothing follows.

    Attributes:
        cause: ``crash`` when it died by itself, ``timeout`` or ``memory`` when it passed a limit.
        error: ``SIGSEGV``, ``exit code 3``, ``timeout 60 s``, ``memory 2.0 GiB``.
        message: Where it was, as far as the interpreter could still say.
        started: The last unit that began, None when none had.
    """

    cause: Literal["crash", "timeout", "memory"]
    error: str
    message: str
    started: Started | None


def raised(error: BaseException) -> Raised:
    """An exception as text, whatever its ``__str__`` does."""
    try:
        message = str(error)
    except Exception as failure:
        message = f"its message could not be made: {type(failure).__name__}"
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = ""
    return Raised(type(error).__name__, message[:_LONGEST_MESSAGE], text[-_LONGEST_MESSAGE:])
