"""How much memory a fit will take: the rows' size times a factor of the family, measured by ``benchmarks/memory.py``.

Factors are the least that a family takes, so that nothing is refused that might fit: what libraries and the user's own code
take beyond it is seen by the sandbox when they take it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["BASE", "BATCH_SHARE", "ESTIMATOR", "FACTORS", "OWN", "VALUE_BYTES", "factor_of", "needed"]

BASE = 240 * 2**20
"""Resident size of a process that imported pandas, scikit-learn and statsmodels."""

VALUE_BYTES = 8
"""Bytes of a value of a row; texts take more, which the factors leave room for."""

BATCH_SHARE = 8
"""A batch's rows are at most this part of ``training.memory``: they are read and copied, and a fit needs the rest."""

FACTORS: dict[str, float] = {
    "mean": 2,
    "naive": 4,
    "seasonal_naive": 4,
    "drift": 2,
    "croston": 7,
    "tsb": 7,
    "theta": 7,
    "ets": 18,
    "holt_winters": 18,
    "sarimax": 65,  # the least, one autoregressive term; the states' covariances of a season of 7 make it 940
    "aggregated": 2,
    "lag_regression": 25,
    "robust_zscore": 6,
    "ewma": 9,
    "isolation_forest": 5,
}
"""Peak memory of an evaluation and a refit, beyond a warm process, as a multiple of rows x columns x 8 bytes."""

ESTIMATOR = 7.0
"""The same for scikit-learn's estimators (ridge, least squares and histogram gradient boosting need so much)."""

OWN = 3.0
"""The same for the user's own code: its rows, read and copied. What it takes beyond that is seen when it takes it."""


def factor_of(family: str) -> float:
    """Peak memory of a family's evaluation and refit, as a multiple of the size of the rows."""
    return FACTORS.get(family, OWN if ":" in family else ESTIMATOR)


def needed(
    rows: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], columns: int, family: str
) -> npt.NDArray[np.int64]:
    """Bytes that a process will occupy when it fits a key.

    Args:
        rows: Of each key; all of them are read.
        kept: Of each key, those that are fitted (``training.max_rows``).
        columns: That a fit reads.
        family: The candidate's.
    """
    width = columns * VALUE_BYTES
    return BASE + ((rows - kept) * width + kept * width * factor_of(family)).astype(np.int64)
