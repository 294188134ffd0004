"""The gate: how many keys may fail before a run, or a scoring, counts as failed."""

from __future__ import annotations

__all__ = ["gate_reason", "too_many"]


def too_many(limit: int | float, failed: int, attempted: int) -> bool:
    """Whether more keys failed than ``training.max_failed`` allows: a whole number is a count, else it is a fraction."""
    return failed > (limit if isinstance(limit, int) else limit * attempted)


def gate_reason(limit: int | float, failed: int, attempted: int) -> str:
    """Why a run or scoring did not pass."""
    allowed = f"{limit:,}" if isinstance(limit, int) else f"{limit * 100:g}%"
    return f"{failed:,} of {attempted:,} keys failed, more than `training.max_failed` allows ({allowed})"
