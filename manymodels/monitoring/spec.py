"""The job file's ``monitor`` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manymodels.specs import Fraction, Spec

__all__ = ["MonitorSpec"]


class MonitorSpec(Spec):
    """When a key's model is to be trained again, by what happened after its predictions."""

    match: list[str] = []
    """Columns that tell a key's rows apart, by which actuals find their predictions; `data.time` when empty."""
    scorings: int = Field(default=10, ge=1)
    """The newest scorings that are looked at."""
    min_rows: int = Field(default=10, ge=1)
    """Keys with fewer predictions that came true are shown, not judged."""
    retrain_on: list[Literal["accuracy", "coverage", "residuals", "features"]] = [
        "accuracy",
        "coverage",
        "residuals",
    ]
    """What puts a key on the list. A feature may drift without harm, so `features` is not among them by default."""
    max_loss: float | None = Field(default=1.0, ge=0)
    """Accuracy: how much worse than in its evaluation the metric may be, relative to it (1 is twice as bad)."""
    coverage_gap: Fraction | None = 0.1
    """Intervals: how far their coverage may lie below the nominal one."""
    cusum: float | None = Field(default=8.0, gt=0)
    """Residuals: root mean squares that a one-sided cumulative sum (slack 0.5) may reach before the mean has shifted."""
    ks: float | None = Field(default=0.3, gt=0, le=1)
    """Features, per key: the Kolmogorov-Smirnov distance from the training rows that is drift, where it is significant."""
    psi: float | None = Field(default=0.25, gt=0)
    """Features, over all keys: the population stability index that is drift."""
