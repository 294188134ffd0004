"""Small rows and specs for the tests of evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from manymodels.models.contract import FitSpec
from manymodels.records import Rows


def daily(target: list[float] | np.ndarray, **columns: Any) -> Rows:
    """One row a day, embedded between the rows of two other keys."""
    count = len(target)
    frame = pd.DataFrame(
        {"day": pd.date_range("2024-01-01", periods=count), "sales": np.asarray(target, float)} | columns
    )
    return surrounded(frame)


def surrounded(frame: pd.DataFrame) -> Rows:
    """The rows of a key whose batch has other keys before and after it."""
    batch = pd.concat([frame.iloc[:2], frame, frame.iloc[:3]], ignore_index=True)
    return Rows(batch, 2, 2 + len(frame))


def forecast(horizon: int = 2, **changes: Any) -> FitSpec:
    return FitSpec("forecast", target="sales", time="day", frequency="D", horizon=horizon, **changes)


def regression(time: str | None = None, **changes: Any) -> FitSpec:
    return FitSpec("regression", target="sales", time=time, **changes)
