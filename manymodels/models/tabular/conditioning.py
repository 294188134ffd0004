"""How well symmetric equations can be solved."""

from __future__ import annotations

import numpy as np

from manymodels.models.contract import Floats

__all__ = ["WORST", "condition"]

WORST = 1e7
"""Condition beyond which 1e-9 is not promised: such keys are fitted one by one."""


def condition(systems: Floats) -> Floats:
    """Condition numbers of symmetric matrices with their diagonals scaled to one. Shape (systems,)."""
    if systems.size == 0:
        return np.ones(len(systems))
    root = np.sqrt(np.einsum("kii->ki", systems))
    values = np.linalg.eigvalsh(systems / (root[:, :, None] * root[:, None, :]))
    found: Floats = values[:, -1] / np.maximum(values[:, 0], np.finfo(np.float64).tiny)
    return found
