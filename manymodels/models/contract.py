"""What every model is: a family fits one key's rows, and what it returns predicts and says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from manymodels.models.spec import Task
from manymodels.records import Rows

__all__ = ["Family", "FitSpec", "FittedModel", "Floats", "PooledFamily", "Predictions"]

Floats = npt.NDArray[np.float64]
Predictions = Mapping[str, npt.NDArray[Any]]
"""Output column to values, each of one length: one value a row."""


@dataclass(frozen=True)
class FitSpec:
    """What a fit needs to know beyond the rows; small, picklable, the same for every key but ``seed``.

    Attributes:
        task: The job's task.
        partition_by: Key columns.
        target: Column to predict; None for anomaly detection without one.
        time: Time column.
        frequency: Forecasts: pandas offset alias in today's spelling, or ``step``.
        season_length: Forecasts: periods in a season, 1 for none.
        horizon: Forecasts: periods ahead.
        levels: Forecasts and regressions: prediction intervals in percent, ascending.
        intervals: Forecasts: where their bounds come from (``auto``, ``conformal``, ``model``).
        non_negative: Forecasts: raise forecasts below zero to zero.
        gaps: Forecasts: what the target is in periods without a row (``leave``, ``zero``, ``ffill``, ``interpolate``).
        on_duplicate_time: Forecasts: how rows at one time are combined.
        features: Feature columns.
        known_future: Those of them that are known ahead.
        categorical: Those of them that are categories.
        weight: Sample-weight column.
        classes: Classification: the classes of the whole data set, sorted.
        rate: Anomaly detection: expected share of anomalous rows.
        label: Anomaly detection: column with the truth, for evaluation.
        threads: BLAS and OpenMP threads per fit.
        seed: The key's seed: every random draw of a fit starts from it.
    """

    task: Task
    partition_by: tuple[str, ...] = ()
    target: str | None = None
    time: str | None = None
    frequency: str | None = None
    season_length: int = 1
    horizon: int = 1
    levels: tuple[float, ...] = ()
    intervals: str = "auto"
    non_negative: bool = False
    gaps: str = "leave"
    on_duplicate_time: str = "error"
    features: tuple[str, ...] = ()
    known_future: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    weight: str | None = None
    classes: tuple[Any, ...] = ()
    rate: float = 0.01
    label: str | None = None
    threads: int = 1
    seed: int = 0

    def seeded(self, seed: int) -> FitSpec:
        """The same with another seed."""
        return replace(self, seed=seed)


@runtime_checkable
class FittedModel(Protocol):
    """One key's model."""

    def predict(self, rows: Rows) -> Predictions:
        """Predict for rows that came after training.

        Args:
            rows: Forecasts: the periods to forecast, with the time column and the known-future features, in time order;
                gaps are allowed. Other tasks: rows with the feature columns.

        Returns:
            One value a row in each column. Forecast: ``prediction`` and, for every level, ``prediction_lo_80`` and
            ``prediction_hi_80`` (``interval_columns``). Regression, ranking: ``prediction``, to which regressions get the
            bounds by their errors (``models.intervals``). Classification:
            ``prediction`` (a class) and ``probability_<class>`` for every class of ``FitSpec.classes``. Anomaly:
            ``score`` (higher is more anomalous) and ``is_anomaly``.

        Raises:
            ModelError: The rows cannot be predicted, with the reason.
        """
        ...

    def extend(self, rows: Rows) -> FittedModel:
        """The same model, parameters untouched, continued over newer rows (forecasts), or for one key (pooled models).

        Args:
            rows: The key's rows up to the new cutoff; rows at or before the model's own cutoff may be among them.

        Raises:
            CannotExtendError: This model would need a refit.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """What it is: ``family`` and its fitted parameters, JSON-ready."""
        ...


class Family(Protocol):
    """A way to fit models; one instance per candidate, with the candidate's parameters."""

    @property
    def name(self) -> str:
        """The family's name in job files."""
        ...

    @property
    def revision(self) -> int:
        """Raised when a release changes the models it makes from the same rows."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether fits run in the child process (code that is not the product's own)."""
        ...

    @property
    def library(self) -> str:
        """Import name of the library that fits; its version is in the code fingerprint; may be empty."""
        ...

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Fit one key's rows.

        Raises:
            ModelError: These rows cannot be fitted, with the reason.
        """
        ...


class PooledFamily(Protocol):
    """A way to fit one model over the rows of many keys (the ``pooled`` and ``level`` rungs of the ladder)."""

    def fit_pooled(self, keys: list[Rows], spec: FitSpec) -> FittedModel:
        """Fit the rows of many keys; ``extend`` gives the model a key's own rows, which a forecast must have.

        Raises:
            ModelError: These rows cannot be fitted, with the reason.
        """
        ...


def interval_columns(level: float) -> tuple[str, str]:
    """Names of the lower and upper bound at a level: 80 gives ``prediction_lo_80`` and ``prediction_hi_80``."""
    text = f"{level:g}"
    return f"prediction_lo_{text}", f"prediction_hi_{text}"
