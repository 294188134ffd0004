"""The command line: one thin file per verb over a same-named function."""

from __future__ import annotations

import io
import sys
import warnings

__all__ = ["main"]


def main() -> None:
    """Run the ``manymodels`` command."""
    from manymodels.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A key that the locale cannot write is still shown.
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    app(prog_name="manymodels")
