"""Root mean square percentage error, the measure of the Rossmann competition; the job's ``evaluation.metric``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def rmspe(actual: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> float | None:
    """Over the rows with sales; None without any."""
    sold = actual != 0
    if not sold.any():
        return None
    return float(np.sqrt(np.mean(np.square(predicted[sold] / actual[sold] - 1))))
