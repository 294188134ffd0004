"""An exception as data: what failed, where in whose code, and the traceback."""

from __future__ import annotations

import os
import sysconfig
import traceback
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from manymodels.records import AttemptFailure, Cause
from manymodels.redaction import redact

__all__ = ["failure_of"]

_PRODUCT = str(Path(__file__).parents[1]) + os.sep
_LIBRARIES = (
    "<frozen",
    *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
_LONGEST_TRACEBACK = 20_000


def failure_of(error: BaseException, candidate: str = "") -> AttemptFailure:
    """An exception of a candidate as the value that outcomes carry.

    ``frame`` is the innermost frame outside installed packages and the standard library, else the innermost.
    """
    return AttemptFailure(
        cause=_cause(error),
        error=type(error).__name__,
        message=_plain(redact(_message(error))),
        frame=_frame(error.__traceback__),
        traceback=_plain(redact("".join(traceback.format_exception(error))))[-_LONGEST_TRACEBACK:],
        candidate=candidate,
    )


def _cause(error: BaseException) -> Cause:
    if isinstance(error, MemoryError):
        return "memory"
    # Where the model runs in a child process, leaving it is a crash; here it is the same.
    return "crash" if isinstance(error, SystemExit) else "exception"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__} whose text cannot be had>"


def _plain(text: str) -> str:
    """Text that Arrow and SQL can hold: no lone surrogates, no NUL."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _frame(trace: TracebackType | None) -> str:
    codes = [frame.f_code for frame, _ in traceback.walk_tb(trace)]
    own = [code for code in codes if not _is_library(code.co_filename)]
    if not codes:
        return ""
    code = (own or codes)[-1]
    return f"{Path(code.co_filename).name}:{code.co_name}"


@lru_cache(maxsize=4096)
def _is_library(path: str) -> bool:
    if path.startswith(_PRODUCT):
        return False
    return path.startswith(_LIBRARIES) or not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts)
