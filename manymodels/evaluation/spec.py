"""The job file's ``evaluation`` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from manymodels.models.spec import Task
from manymodels.spans import Span, WindowSetting
from manymodels.specs import Fraction, Spec

__all__ = ["BacktestSpec", "EvaluationSpec"]


class BacktestSpec(Spec):
    """Rolling-origin evaluation of forecasts."""

    added = frozenset({"window", "refit"})

    windows: int = Field(default=1, ge=1)
    """Cutoffs to forecast from."""
    step: int | None = Field(default=None, ge=1)
    """Periods between cutoffs; the horizon when null."""
    window: WindowSetting = "expanding"
    """What a fit sees of the periods before its cutoff: all of them, or a sliding window: `2y`, `26w`, `90d`, or a number of
    periods. The final fit sees all rows; `data.window` limits those."""
    refit: Literal["every", "once"] | Annotated[int, Field(ge=1)] = "every"
    """Windows that are fitted: every one; `once`: the oldest, whose model goes on over the newer history of the others, as
    `score --data` does it; or every so many, from the oldest on. A model that cannot go on is fitted again."""

    @field_validator("window")
    @classmethod
    def _long_enough(cls, window: int | str) -> int | str:
        if isinstance(window, int) and window < 2:
            raise ValueError(f"a sliding window has at least 2 periods; found {window}")
        return window

    @property
    def span(self) -> Span | None:
        """How far back from its cutoff a fit sees; None is everything."""
        return None if self.window == "expanding" else Span.parse(self.window)


class EvaluationSpec(Spec):
    """How candidates are compared, per key."""

    added = frozenset({"groups"})

    metric: str | None = None
    """Null takes the task's: forecast mase; regression and ranking rmse; classification logloss; anomaly none. Forecast:
    mase smape mae rmse wape rmsse pinball coverage; regression: rmse mae r2; classification: logloss roc_auc f1 accuracy;
    ranking: rmse ndcg; or `module:function`."""
    backtest: BacktestSpec = BacktestSpec()
    """Forecasts only."""
    holdout: Fraction = 0.2
    """Other tasks: the last part by time where there is a time column, else a seeded part; 0 is none."""
    folds: int | None = Field(default=None, ge=2)
    """k-fold instead of a hold-out."""
    groups: str | None = None
    """Other tasks: a column whose rows of one value (a patient, an engine, a session) are held out together or not at all. It
    is no feature."""
    keep: Literal["winner", "all", "none"] = "winner"
    """Whose predictions of held-out rows are kept with the run, to be queried: the winner's, every candidate's, or nobody's."""
    label: str | None = None
    """Anomaly detection: a column with the truth, which lets several candidates compete."""

    def cadence(self, task: Task) -> int:
        """Splits to a fit, from the oldest on; the others go on with its model."""
        refit = self.backtest.refit
        if task != "forecast" or refit == "every":
            return 1
        return self.backtest.windows if refit == "once" else int(refit)
