"""Which families run compiled loops (``models/compiled.py``), so that these are there before a fit is timed.

Loading numba and a module of loops takes a third of a second, once a process: counted as some key's time, it would be
expected of every key.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

from manymodels.models.spec import CandidateSpec

__all__ = ["are_loaded", "load_loops", "loops_of"]

_SMOOTHING = "manymodels.models.forecast.smoothing_kernel"
_THETA = "manymodels.models.forecast.theta_kernel"
_BATCHED = "manymodels.models.batched"

_EVER: dict[str, tuple[str, ...]] = {
    "ets": (_SMOOTHING,),
    "holt_winters": (_SMOOTHING,),
    "theta": (_SMOOTHING, _THETA),
}
_AT_ONCE: dict[str, tuple[str, ...]] = {
    **_EVER,
    "croston": (f"{_BATCHED}.intermittent_kernel",),
    "tsb": (f"{_BATCHED}.intermittent_kernel",),
    "lag_regression": (f"{_BATCHED}.lag_kernel",),
    "robust_zscore": (f"{_BATCHED}.anomaly_kernel",),
    "ewma": (f"{_BATCHED}.anomaly_kernel",),
}


def loops_of(candidates: Iterable[CandidateSpec], *, at_once: bool) -> list[str]:
    """The modules of loops that fits of the candidates run.

    Args:
        candidates: Of the job.
        at_once: Whether many keys are fitted in one call.
    """
    known = _AT_ONCE if at_once else _EVER
    return list(dict.fromkeys(name for each in candidates for name in known.get(each.family, ())))


def load_loops(candidates: Iterable[CandidateSpec], *, at_once: bool) -> None:
    """Import what ``loops_of`` gives."""
    for name in loops_of(candidates, at_once=at_once):
        import_module(name)


def are_loaded(names: Iterable[str]) -> bool:
    """Whether this process has imported all of these modules."""
    return all(name in sys.modules for name in names)
