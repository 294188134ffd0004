"""The options that benchmarks of a fleet share."""

from __future__ import annotations

import argparse

__all__ = ["sized"]


def sized(doc: str | None, *, keys: int, rows: int, repeats: int = 3) -> argparse.ArgumentParser:
    """A parser with ``--keys``, ``--rows`` and ``--repeats``.

    Args:
        doc: What the benchmark says of itself, as it is.
        keys: Unless asked otherwise; so are the others.
        rows: Of a key, or of all.
        repeats: Of each measurement.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("--keys", keys), ("--rows", rows), ("--repeats", repeats)):
        parser.add_argument(name, type=int, default=value)
    return parser
