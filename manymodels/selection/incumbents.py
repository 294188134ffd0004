"""Whether the configuration of a champion stays when another one did better."""

from __future__ import annotations

from typing import Any

import numpy as np

from manymodels.models.contract import Floats

__all__ = ["stays"]


def stays(incumbent: float | Floats, best: float | Floats, min_gain: float) -> Any:
    """Whether the best is not enough better than the incumbent, on the same evaluation.

    Args:
        incumbent: Its values, turned so that lower is better (``Metric.badness``); numbers or arrays.
        best: The best's.
        min_gain: The gain that is asked for, relative to the incumbent's value.

    Returns:
        A boolean, or an array of them.
    """
    gain = incumbent - best
    return (gain <= 0) | (gain < min_gain * np.abs(incumbent))
