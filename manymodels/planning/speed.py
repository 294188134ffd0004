"""How fast this machine is at the moment: first guesses were measured on another one, with nobody else on it."""

from __future__ import annotations

import time

import numpy as np

__all__ = ["slowness"]

_REFERENCE = 1.45e-3  # seconds of the work below where the first guesses were made
_TIMES = 30
_BOUNDS = 1 / 3, 3.0


def slowness() -> float:
    """How many times longer than there a piece of work takes here and now: sorting, and a loop of the interpreter.

    It is wall time, a twentieth of a second of it: what others do on the machine counts, as it will in a run.
    """
    began = time.perf_counter()
    for _ in range(_TIMES):
        _work()
    found = (time.perf_counter() - began) / _TIMES / _REFERENCE
    return min(max(found, _BOUNDS[0]), _BOUNDS[1])


def _work() -> int:
    values = np.sin(np.arange(20_000.0))
    for _ in range(3):
        np.argsort(values)
    return sum(number * number % 7 for number in range(20_000))
