"""Loops that NumPy cannot express, compiled by numba once and kept on disk.

The machine code is kept in ``__pycache__`` beside the source; where the package is installed read-only, in the
user's cache folder (``~/.cache/numba``), or wherever ``NUMBA_CACHE_DIR`` says: the first process to call a loop
compiles it, all others load it. Where none of these can be written, every process compiles for itself.

Import modules of compiled loops where they are called, not at the top: numba takes half a second to import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["compiled"]

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The same function as machine code, called without the GIL.

    Call it with contiguous arrays of one's own making: numba compiles again for a read-only array or a view with
    strides. A function that is called by another must be in the same module, since numba looks for changes there.
    """
    try:
        made: F = numba.njit(function, nogil=True, error_model="numpy", cache=True)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(function, nogil=True, error_model="numpy")
    return made
