"""The command line: one thin file per verb over a same-named function."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the ``manymodels`` command."""
    from manymodels.cli.app import app

    app(prog_name="manymodels")
