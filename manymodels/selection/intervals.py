"""Whose word is taken for the bounds of predictions: the model's own, or that of its errors on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.conformal import crossed_widths, residual_widths
from manymodels.evaluation.evaluate import Evaluation
from manymodels.evaluation.metrics import HeldOut, Metric
from manymodels.evaluation.panels import HeldPanel, PanelEvaluation
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import Split
from manymodels.models.batched.contract import Ints, ModelColumns, Panel
from manymodels.models.batched.intervals import IntervalForecasts, IntervalRegressions
from manymodels.models.contract import FitSpec, FittedModel, Floats, Predictions, interval_columns
from manymodels.models.forecast.series import Basis
from manymodels.models.intervals import IntervalForecast, IntervalRegression, Widths
from manymodels.records import Rows

__all__ = ["Bounds"]

_WINDOWS = 2
"""Windows from which on held-out errors cover better than models' own bounds (docs/results.md)."""
_OF_BOUNDS = ("pinball", "coverage")
"""Metrics that look at bounds."""


@dataclass(frozen=True)
class Bounds:
    """How the bounds of a job's predictions come about.

    Attributes:
        spec: What a fit needs to know.
        apart: Periods between the cutoffs of a forecast's windows; None for other tasks.
        from_errors: Whether they come from errors on held-out rows, where there are some.
        where_none: Whether they do for models without bounds.
    """

    spec: FitSpec
    apart: int | None
    from_errors: bool
    where_none: bool

    @classmethod
    def of(cls, spec: FitSpec, evaluation: EvaluationSpec) -> Bounds:
        """Those of a job."""
        asked = bool(spec.levels)
        if spec.task != "forecast":  # no family has bounds of its own
            return cls(spec, None, asked, asked)
        several = evaluation.backtest.windows >= _WINDOWS
        return cls(
            spec,
            evaluation.backtest.step or spec.horizon,
            asked and (spec.intervals == "conformal" or (spec.intervals == "auto" and several)),
            asked and spec.intervals != "model",
        )

    def judged(self, metric: Metric) -> FitSpec:
        """What fits are told that are judged: bounds of their own cost time, and few metrics look at them."""
        return self._bare if self.from_errors and metric.name not in _OF_BOUNDS else self.spec

    def refitted(self, *, judged: bool) -> FitSpec:
        """What the fit on all rows is told.

        Args:
            judged: Whether there are held-out rows that the candidate predicted.
        """
        return self._bare if self.from_errors and judged else self.spec

    def around(
        self, model: FittedModel, rows: Rows, evaluation: Evaluation | None, splits: Sequence[Split]
    ) -> FittedModel:
        """A key's model with the bounds that it is to have.

        Args:
            model: Fitted as told.
            rows: The key's.
            evaluation: Of its candidate, where it was judged.
            splits: On which it was.
        """
        residuals = self._residuals(evaluation, splits)
        if residuals is None:
            return model
        widths = residual_widths(residuals, self.spec.levels, self.apart)
        if self.apart is None:
            return IntervalRegression(model, self.spec.levels, widths)
        return IntervalForecast.of(model, rows, Basis.of(self.spec), widths)

    def kept(self, evaluation: Evaluation, splits: Sequence[Split]) -> tuple[HeldOut | None, ...]:
        """What was predicted of held-out rows, with the bounds that the other windows' errors would have given."""
        residuals = self._residuals(evaluation, splits)
        if residuals is None:
            return evaluation.held
        crossed = crossed_widths(residuals, self.spec.levels, self.apart)
        return tuple(
            held
            and replace(
                held,
                predictions=self._bounded(
                    held.predictions,
                    widths,
                    None if self.apart is None else split.steps,
                    np.zeros(len(held.actual), dtype=np.int64),
                ),
            )
            for held, widths, split in zip(evaluation.held, crossed, splits, strict=True)
        )

    def panel_unsure(self, evaluation: PanelEvaluation, keys: int) -> npt.NDArray[np.bool_]:
        """Keys of a panel whose model turned out to have no bounds where it should have: they are fitted one by one.

        Args:
            evaluation: Of a candidate.
            keys: How many the panel has.
        """
        unsure = np.zeros(keys, dtype=np.bool_)
        if self.from_errors or not self.where_none:
            return unsure
        unsure[:] = True
        for held in evaluation.held:
            if held is not None:
                bounds = np.array([held.predictions[name] for name in _names(self.spec.levels)])
                told = held.mean(np.isfinite(bounds).max(axis=0).astype(np.float64)) > 0
                unsure[held.places[told]] = False
        return unsure

    def panel_around(
        self, columns: ModelColumns, places: Ints, evaluation: PanelEvaluation, keys: int
    ) -> ModelColumns:
        """What ``around`` makes of the models of many keys.

        Args:
            columns: The models.
            places: Their keys in the panel.
            evaluation: Of their candidate.
            keys: How many the panel has.
        """
        if not self.from_errors:
            return columns
        residuals = _panel_residuals(evaluation, keys)[places]
        widths = residual_widths(residuals, self.spec.levels, self.apart)
        if self.apart is None:
            return IntervalRegressions.of(columns, self.spec.levels, widths)
        return IntervalForecasts.of(columns, Basis.of(self.spec), widths)

    def panel_kept(self, evaluation: PanelEvaluation, chosen: npt.NDArray[np.bool_]) -> PanelEvaluation:
        """What ``kept`` makes of the held-out rows of many keys.

        Args:
            evaluation: Of a candidate.
            chosen: Keys whose rows are wanted; the bounds of the others are NaN. Shape (keys,).
        """
        if not self.from_errors or not chosen.any():
            return evaluation
        residuals = _panel_residuals(evaluation, len(chosen))[chosen]
        crossed = [
            _spread(widths, chosen) for widths in crossed_widths(residuals, self.spec.levels, self.apart)
        ]
        return replace(
            evaluation,
            held=tuple(
                held
                and replace(
                    held,
                    predictions=self._bounded(
                        held.predictions,
                        widths,
                        None if self.apart is None else _steps(held.held),
                        held.places[held.held.owner],
                    ),
                )
                for held, widths in zip(evaluation.held, crossed, strict=True)
            ),
        )

    @property
    def _bare(self) -> FitSpec:
        return replace(self.spec, levels=())

    def _residuals(self, evaluation: Evaluation | None, splits: Sequence[Split]) -> Floats | None:
        """Errors on held-out rows, shape (1, splits, steps or rows); None where bounds are not to come from them."""
        if evaluation is None or not self.where_none:
            return None
        width = max((len(split.judged) for split in splits), default=0)
        found = np.full((1, len(splits), width if self.apart is None else self.spec.horizon), np.nan)
        for place, (held, split) in enumerate(zip(evaluation.held, splits, strict=True)):
            if held is not None:
                if not self.from_errors and self._has_bounds(held.predictions):
                    return None
                at = np.arange(len(held.actual)) if self.apart is None else split.steps - 1
                found[0, place, at] = held.actual - held.predicted
        return None if np.isnan(found).all() else found

    def _has_bounds(self, predictions: Predictions) -> bool:
        bounds = [predictions[name] for name in _names(self.spec.levels) if name in predictions]
        return bool(np.isfinite(bounds).any())

    def _bounded(
        self, predictions: Predictions, widths: Widths, steps: Ints | None, owner: Ints
    ) -> dict[str, Floats]:
        main, spec = predictions["prediction"], self.spec
        bounds = widths.bounds(main, steps, owner, spec.levels, non_negative=spec.non_negative)
        return {"prediction": main, **bounds}


def _names(levels: tuple[float, ...]) -> list[str]:
    return [name for level in levels for name in interval_columns(level)]


def _spread(widths: Widths, chosen: npt.NDArray[np.bool_]) -> Widths:
    """Widths of some keys as widths of all, NaN for the others."""
    growth = np.zeros(len(chosen))
    half = np.full((len(chosen), widths.half.shape[1]), np.nan)
    growth[chosen], half[chosen] = widths.growth, widths.half
    return Widths(growth, half)


def _steps(held: Panel) -> Ints:
    """Places of rows among their key's, from 1: the periods ahead, as in a panel none is missing."""
    steps: Ints = np.arange(len(held.owner)) - held.offsets[held.owner] + 1
    return steps


def _panel_residuals(evaluation: PanelEvaluation, keys: int) -> Floats:
    """Errors on held-out rows. Shape (keys, splits, steps or rows)."""
    width = max((int(held.held.lengths.max()) for held in evaluation.held if held is not None), default=0)
    found = np.full((keys, len(evaluation.held), width), np.nan)
    for place, held in enumerate(evaluation.held):
        if held is not None:
            found[_cells(held, place)] = held.actual - held.predicted
    return found


def _cells(held: HeldPanel, place: int) -> tuple[Ints, int, Ints]:
    return held.places[held.held.owner], place, _steps(held.held) - 1
