"""Series, specs and candidates that the forecast tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from manymodels.models.contract import FitSpec
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec
from manymodels.records import Rows

CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("mean", {}),
    "naive": ("naive", {}),
    "seasonal_naive": ("seasonal_naive", {}),
    "drift": ("drift", {}),
    "ets": ("ets", {}),
    "ets_none": ("ets", {"seasonal": None}),
    "ets_damped": ("ets", {"trend": "add", "damped": True}),
    "ets_mul": ("ets", {"error": "mul", "trend": "add", "seasonal": "mul"}),
    "holt_winters": ("holt_winters", {}),
    "theta": ("theta", {}),
    "sarimax": ("sarimax", {"order": [1, 0, 0], "seasonal_order": [0, 1, 1]}),
    "croston": ("croston", {}),
    "croston_sba": ("croston", {"variant": "sba"}),
    "tsb": ("tsb", {}),
    "aggregated": ("aggregated", {}),
    "aggregated_drift": ("aggregated", {"periods": 4, "model": "drift"}),
    "lag_regression": ("lag_regression", {}),
    "lag_regression_log": ("lag_regression", {"transform": "log", "rolling": [7]}),
    "lag_regression_difference": ("lag_regression", {"transform": "difference", "lags": [7, 14]}),
    "lag_regression_tree": (
        "lag_regression",
        {"estimator": "sklearn.tree.DecisionTreeRegressor", "params": {"max_depth": 4, "max_features": 0.5}},
    ),
}
"""Every family, with the parameters that lead through different code."""


def family(name: str, /, **params: Any) -> Any:
    return build(CandidateSpec(name=name, family=name, params=params), "forecast")


def candidate(case: str) -> Any:
    name, params = CANDIDATES[case]
    return family(name, **params)


def spec(**changes: Any) -> FitSpec:
    given: dict[str, Any] = {
        "task": "forecast",
        "partition_by": ("key",),
        "target": "y",
        "time": "day",
        "frequency": "D",
        "season_length": 7,
        "horizon": 14,
        "levels": (80.0, 95.0),
        "seed": 5,
    }
    return FitSpec(**{**given, **changes})


def weekly(length: int = 140, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A positive series with a level, a slope, a week and noise."""
    at = np.arange(length)
    noise = np.random.default_rng(seed).normal(0, 2, length)
    return 50 + 0.05 * at + 8 * np.sin(2 * np.pi * at / 7) + noise


def frame(values: Any, start: str = "2024-01-01", frequency: str = "D", **columns: Any) -> pd.DataFrame:
    values = np.asarray(values, dtype=float)
    days = pd.date_range(start, periods=len(values), freq=frequency)
    return pd.DataFrame({"day": days, "y": values, **columns})


def rows(values: Any, **columns: Any) -> Rows:
    return Rows(frame(values, **columns))


def without(data: pd.DataFrame, *positions: int) -> Rows:
    """The rows but some: gaps."""
    return Rows(data.drop(index=list(positions)).reset_index(drop=True))
