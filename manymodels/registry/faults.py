"""The database's errors, told apart: what passes when waited for, and what to say about the rest."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from manymodels.exceptions import ConflictError, RegistryError

__all__ = ["describe", "is_passing"]

# PostgreSQL's error codes: serialization, deadlock, too many connections, shut down, starting up.
_PASSING_STATES = {"40001", "40P01", "53300", "57P01", "57P02", "57P03"}
_BUSY_STATE = "55P03"
_READ_ONLY_STATES = {"25006", "42501"}
# A refused connection carries no code, only the server's or libpq's sentence.
_LASTING = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "translate host name",
    "permission denied",
)


def _sqlite_code(error: DBAPIError) -> int | None:
    """SQLite's primary result code."""
    if isinstance(error.orig, sqlite3.Error):
        code: int | None = getattr(error.orig, "sqlite_errorcode", None)
        return None if code is None else code & 0xFF
    return None


def _state(error: DBAPIError) -> str | None:
    """PostgreSQL's SQLSTATE."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a little later."""
    code = _sqlite_code(error)
    if code is not None:
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    state = _state(error)
    if state is not None:
        return state in _PASSING_STATES
    if isinstance(error.orig, sqlite3.Error) or isinstance(error, IntegrityError):
        return False
    sentence = str(error.orig)
    unreachable = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return error.connection_invalidated or (unreachable and not any(text in sentence for text in _LASTING))


def describe(error: DBAPIError, place: str, waited: float) -> RegistryError:
    """The error to raise.

    Args:
        error: What the driver said.
        place: The database, without its password.
        waited: Seconds spent on retries.
    """
    said = _first_line(error.orig)
    code, state = _sqlite_code(error), _state(error)
    if isinstance(error, IntegrityError):
        return ConflictError(f"the registry {place} already holds what was to be written: {said}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state == _BUSY_STATE:
        return RegistryError(
            f"the registry {place} is busy: another process has held its lock for {waited:.0f} s; try again when "
            "it is done"
        )
    if code == sqlite3.SQLITE_READONLY or state in _READ_ONLY_STATES:
        return RegistryError(
            f"the registry {place} is read-only here: {said}; ask for write access, or use another store"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return RegistryError(
            f"the registry {place} is damaged: {said}; `manymodels store rebuild` makes it again from the store's "
            "files"
        )
    if code == sqlite3.SQLITE_FULL:
        return RegistryError(f"no room to write the registry {place}: {said}; free some disk space")
    if is_passing(error):
        return RegistryError(
            f"the registry {place} could not be reached in {waited:.0f} s: {said}; check that the server is up"
        )
    return RegistryError(f"the registry {place} could not be used: {said}")


def _first_line(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
