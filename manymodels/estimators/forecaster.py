"""Forecasts with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import RegressorMixin

from manymodels.estimators.partitioned import Columns, Partitioned, as_numbers

__all__ = ["PartitionedForecaster"]


class PartitionedForecaster(RegressorMixin, Partitioned):  # type: ignore[misc]
    """One forecast per key: X has the key columns, the time, and what else is known ahead.

    ``predict`` takes the periods to forecast, which lie after the last row that ``fit`` saw of their key: cross-validate with
    ``TimeSeriesSplit`` on rows sorted by time. Attributes are those of ``PartitionedRegressor``.

    Args:
        models: Names of forecast families, or mappings of one to parameters, as in the job file. Of several each key gets
            the one that backtests best. ``theta`` when None.
        partition_by: As of ``PartitionedRegressor``.
        time: The time column, by name or position; times, or integer positions.
        categorical: As of ``PartitionedRegressor``.
        frequency: A pandas offset alias, or ``step`` for positions; inferred when None.
        horizon: Periods ahead that are meant: what backtests forecast.
        season_length: Periods in a season; by frequency when None.
        levels: Prediction intervals, percent; ``predict_frame`` has them.
        non_negative: Whether forecasts below zero are raised to zero.
        gaps: What the target is in periods without a row, as in the job file.
        min_rows: As of ``PartitionedRegressor``.
        evaluation: As of ``PartitionedRegressor``.
        fallback: The ladder: ``pooled`` is a regression on lags over all keys, ``naive`` repeats the last season.
        training: As of ``PartitionedRegressor``.
        random_state: As of ``PartitionedRegressor``.
        compute: As of ``PartitionedRegressor``.
    """

    _task = "forecast"
    _default = "theta"

    def __init__(
        self,
        models: Any = None,
        *,
        partition_by: Columns | None = None,
        time: str | int | None = None,
        categorical: Columns = (),
        frequency: str | None = None,
        horizon: int = 14,
        season_length: int | None = None,
        levels: Sequence[float] = (),
        non_negative: bool = False,
        gaps: str = "leave",
        min_rows: int = 10,
        evaluation: Mapping[str, Any] | None = None,
        fallback: Sequence[Any] = ("pooled", "naive"),
        training: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        compute: Any = None,
    ) -> None:
        super().__init__(
            models,
            partition_by=partition_by,
            time=time,
            categorical=categorical,
            min_rows=min_rows,
            evaluation=evaluation,
            fallback=fallback,
            training=training,
            random_state=random_state,
            compute=compute,
        )
        self.frequency = frequency
        self.horizon = horizon
        self.season_length = season_length
        self.levels = levels
        self.non_negative = non_negative
        self.gaps = gaps

    def _prepared(self, frame: pd.DataFrame, time: str | None) -> pd.DataFrame:
        # An array of floats may hold the positions of periods.
        if time is not None and frame[time].dtype.kind == "f":
            times = frame[time].to_numpy()
            if np.isfinite(times).all() and (times == times.round()).all():
                return frame.assign(**{time: times.astype(np.int64)})
        return frame

    def _target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        return as_numbers(super()._target(y, rows), allow_nan=True)

    def _more(self, fields: dict[str, Any]) -> dict[str, Any]:
        data = {
            **fields["data"],
            "known_future": fields["data"]["features"],
            "frequency": self.frequency,
            "gaps": self.gaps,
        }
        forecast = {
            "horizon": self.horizon,
            "season_length": self.season_length,
            "levels": list(self.levels),
            "non_negative": self.non_negative,
        }
        return {**fields, "data": data, "forecast": forecast}
