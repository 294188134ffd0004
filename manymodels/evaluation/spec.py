"""The job file's ``evaluation`` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from manymodels.specs import Fraction, Spec

__all__ = ["BacktestSpec", "EvaluationSpec"]


class BacktestSpec(Spec):
    """Rolling-origin evaluation of forecasts."""

    windows: int = Field(default=1, ge=1)
    """Cutoffs to forecast from."""
    step: int | None = Field(default=None, ge=1)
    """Periods between cutoffs; the horizon when null."""


class EvaluationSpec(Spec):
    """How candidates are compared, per key."""

    metric: str | None = None
    """Null takes the task's: forecast mase; regression and ranking rmse; classification logloss; anomaly none. Forecast:
    mase smape mae rmse wape rmsse pinball; regression: rmse mae r2; classification: logloss roc_auc f1 accuracy; ranking:
    rmse ndcg; or `module:function`."""
    backtest: BacktestSpec = BacktestSpec()
    """Forecasts only."""
    holdout: Fraction = 0.2
    """Other tasks: the last part by time where there is a time column, else a seeded part; 0 is none."""
    folds: int | None = Field(default=None, ge=2)
    """k-fold instead of a hold-out."""
    keep: Literal["winner", "all", "none"] = "winner"
    """Whose predictions of held-out rows are kept with the run, to be queried: the winner's, every candidate's, or nobody's."""
    label: str | None = None
    """Anomaly detection: a column with the truth, which lets several candidates compete."""
