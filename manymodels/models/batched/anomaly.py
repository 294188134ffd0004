"""Control charts and robust z-scores of many keys at once.

The formulas are those of ``anomaly.ewma`` and ``anomaly.robust_zscore``. Keys in which a watched column has no value
are left to fits one by one, since their models watch fewer columns.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from manymodels.exceptions import DataError, UnusableRowsError
from manymodels.models.anomaly.ewma import RANGE_TO_SIGMA, Ewma, EwmaModel, chart_scores
from manymodels.models.anomaly.robust_zscore import RobustZscore, RobustZscoreModel, scaled, zscores
from manymodels.models.anomaly.watch import anomaly_columns, watched_columns
from manymodels.models.batched.contract import Ints, ModelColumns, Panel, PanelFit, PanelPredictions, lists
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.tabular.columns import numbers

__all__ = ["BatchedEwma", "BatchedZscore", "Charts", "Zscores"]


class _Watches(ModelColumns):
    """Models that score the rows of watched columns, continuing from the training rows."""

    @property
    def watched(self) -> tuple[str, ...]:
        """The watched columns."""
        return tuple(self.shared["columns"])

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        served = np.ones(len(panel), dtype=bool)
        try:
            values = panel.flat(numbers(panel.rows, self.watched))
            scores = self._scores(values, panel.offsets, self._continued(panel))
        except DataError:  # a column is not there: the one model says so
            served[:], scores = False, np.full(int(panel.offsets[-1]), np.nan)
        return PanelPredictions(anomaly_columns(scores, self.numbers("threshold")[panel.owner]), served)

    def _continued(self, panel: Panel) -> npt.NDArray[np.bool_]:
        """Whether each key's rows come after its training rows; see ``watch.starts_after``."""
        continued = np.ones(len(panel), dtype=bool)
        time = self.shared["time"]
        if time is not None:
            first = numbers(panel.rows, (time,))[:, 0]
            some = panel.lengths > 0
            continued[some] = first[panel.starts[some]] > self.numbers("last")[some]
        return continued

    def _row(self, place: int) -> dict[str, Any]:
        row: dict[str, Any] = self.table.slice(place, 1).to_pylist()[0]
        return {**row, "last": row["last"] if self.shared["time"] is not None else None}

    @abstractmethod
    def _scores(self, values: Floats, offsets: Ints, continued: npt.NDArray[np.bool_]) -> Floats:
        """Scores of the watched columns of all the keys' rows. Shape (rows of all keys,)."""


@dataclass(frozen=True, eq=False)
class Charts(_Watches):
    """``EwmaModel`` of many keys."""

    schema: ClassVar[str] = "ewma/1"

    def model(self, place: int) -> EwmaModel:
        """See ``ModelColumns.model``."""
        row = self._row(place)
        return EwmaModel(
            smoothing=self.shared["smoothing"],
            columns=self.watched,
            mean=np.array(row["mean"]),
            sigma=np.array(row["sigma"]),
            threshold=row["threshold"],
            average=np.array(row["average"]),
            seen=np.array(row["seen"]),
            time=self.shared["time"],
            last=row["last"],
        )

    def _scores(self, values: Floats, offsets: Ints, continued: npt.NDArray[np.bool_]) -> Floats:
        mean, seen = self.numbers("mean"), self.numbers("seen")
        average = np.where(continued[:, None], self.numbers("average"), mean)
        sigma, smoothing = self.numbers("sigma"), self.shared["smoothing"]
        return _charted(values, offsets, smoothing, average, seen * continued[:, None], mean, sigma)[0]


def _charted(
    values: Floats, offsets: Ints, smoothing: float, average: Floats, seen: Ints, mean: Floats, sigma: Floats
) -> tuple[Floats, Floats, Ints]:
    """Scores, averages and counts of all rows."""
    # Imported here: numba takes half a second.
    from manymodels.models.batched.anomaly_kernel import moving_averages

    averages, counts = moving_averages(np.array(values), offsets, smoothing, average, seen)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return chart_scores(values, averages, counts, smoothing, mean[owner], sigma[owner]), averages, counts


@dataclass(frozen=True)
class BatchedEwma:
    """The EWMA control chart.

    Attributes:
        family: With its smoothing and limit.
    """

    family: Ewma

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        names, places, values = _watched(panel, spec)
        panel, smoothing = panel.take(places), self.family.smoothing
        mean = _means(values, panel)
        # A constant column: any other value is far away, but not infinitely far.
        sigma = np.maximum(
            _moving_ranges(values, panel) / RANGE_TO_SIGMA, 1e-9 * np.maximum(np.abs(mean), 1.0)
        )
        none = np.zeros(mean.shape, dtype=np.int64)
        scores, averages, counts = _charted(values, panel.offsets, smoothing, mean, none, mean, sigma)
        last = panel.offsets[1:] - 1
        threshold = _thresholds(self.family.limit, scores, panel, spec)
        table = pa.table(
            {
                "mean": lists(mean),
                "sigma": lists(sigma),
                "average": lists(averages[last]),
                "seen": lists(counts[last]),
                "threshold": threshold,
                "last": _last_times(panel, spec),
            }
        )
        shared = {"columns": list(names), "time": spec.time, "smoothing": smoothing}
        return _fitted(places, Charts(table, shared, seeds[places]), threshold)


@dataclass(frozen=True, eq=False)
class Zscores(_Watches):
    """``RobustZscoreModel`` of many keys, around medians."""

    schema: ClassVar[str] = "robust_zscore/1"

    def model(self, place: int) -> RobustZscoreModel:
        """See ``ModelColumns.model``."""
        row = self._row(place)
        return RobustZscoreModel(
            expectation=self.shared["expectation"],
            columns=self.watched,
            center=np.array(row["center"]),
            sigma=np.array(row["sigma"]),
            threshold=row["threshold"],
            window=self.shared["window"],
            tail=np.array(row["tail"], dtype=np.float64).reshape(-1, len(self.watched)),
            time=self.shared["time"],
            last=row["last"],
        )

    def _scores(self, values: Floats, offsets: Ints, continued: npt.NDArray[np.bool_]) -> Floats:
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        tails = self.table.column("tail").combine_chunks()
        width = max(len(self.watched), 1)
        lengths = np.asarray(tails.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64) // width
        before = np.asarray(tails.flatten().to_numpy(), dtype=np.float64).reshape(-1, width)
        before = before[np.repeat(continued, lengths)]
        bounds = np.concatenate([[0], np.cumsum(lengths * continued)])
        rolling = self.shared["expectation"] == "rolling"
        window = self.shared["window"] if rolling else 0
        residuals = _residuals(values, offsets, owner, self.numbers("center"), window, before, bounds)
        return zscores(residuals, self.numbers("sigma")[owner])


def _residuals(
    values: Floats, offsets: Ints, owner: Ints, center: Floats, window: int, before: Floats, bounds: Ints
) -> Floats:
    """Values less what was expected of them: the center, or the median of a window. Shape (rows, columns)."""
    if not window:
        return values - center[owner]
    from manymodels.models.batched.anomaly_kernel import moving_medians

    return values - moving_medians(np.array(values), offsets, window, np.array(before), bounds)


@dataclass(frozen=True)
class BatchedZscore:
    """Robust z-scores around medians.

    Attributes:
        family: Whose expectation is no regression.
    """

    family: RobustZscore

    @classmethod
    def of(cls, family: RobustZscore) -> BatchedZscore | None:
        """That of the family; None for one that may fit a regression."""
        return None if family.expectation == "regression" else cls(family)

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        family = self.family
        names, places, values = _watched(panel, spec)
        if family.expectation is None and spec.target and spec.features:  # a regression
            places, values = places[:0], values[:0]
        panel, width = panel.take(places), len(names)
        center = _medians(values, panel)
        window = family.window if family.expectation == "rolling" else 0
        nothing, bounds = np.zeros((0, width)), np.zeros(len(panel) + 1, dtype=np.int64)
        residuals = _residuals(values, panel.offsets, panel.owner, center, window, nothing, bounds)
        sizes = np.abs(residuals)
        sigma = scaled(_medians(sizes, panel), _means(sizes, panel), center)
        scores = zscores(residuals, sigma[panel.owner])
        threshold = _thresholds(family.threshold, scores, panel, spec)
        kept = np.minimum(panel.lengths, window) * width
        late = panel.offsets[1:][panel.owner] - np.arange(len(panel.owner)) <= window
        tail = pa.ListArray.from_arrays(
            np.concatenate([[0], np.cumsum(kept)]).astype(np.int32), values[late].ravel()
        )
        table = pa.table(
            {
                "center": lists(center),
                "sigma": lists(sigma),
                "threshold": threshold,
                "tail": tail,
                "last": _last_times(panel, spec),
            }
        )
        shared = {
            "columns": list(names),
            "time": spec.time,
            "expectation": family.expectation or "median",
            "window": family.window,
        }
        return _fitted(places, Zscores(table, shared, seeds[places]), threshold)


def _watched(panel: Panel, spec: FitSpec) -> tuple[tuple[str, ...], Ints, Floats]:
    """The watched columns, the keys that have a value in each of them, and those keys' rows of the columns."""
    try:
        names = watched_columns(panel.rows, spec)
        values = numbers(panel.rows, names)
    except (UnusableRowsError, DataError):  # the fit of the one key says why
        return ("",), np.empty(0, dtype=np.int64), np.empty((0, 1))
    before = np.concatenate([np.zeros((1, len(names))), np.cumsum(~np.isnan(values), axis=0)])
    places = np.flatnonzero((before[panel.stops] > before[panel.starts]).all(axis=1))
    return names, places, panel.take(places).flat(values)


def _fitted(places: Ints, columns: ModelColumns, threshold: Floats) -> PanelFit:
    """The models, without those of keys in which no row has a score."""
    usable = np.flatnonzero(threshold == threshold)
    return PanelFit(places[usable], columns.take(usable))


def _last_times(panel: Panel, spec: FitSpec) -> Floats:
    """See ``watch.last_time``; NaN without a time column. Shape (keys,)."""
    if spec.time is None:
        return np.full(len(panel), np.nan)
    times: Floats = numbers(panel.rows, (spec.time,))[panel.stops - 1, 0]
    return times


def _means(values: Floats, panel: Panel) -> Floats:
    """The mean of each key's values, missing ones left out. Shape (keys, columns)."""
    means = np.empty((len(panel), values.shape[1]))
    for place, column in enumerate(values.T):
        known = ~np.isnan(column)
        sums = np.bincount(panel.owner[known], column[known], len(panel))
        with np.errstate(invalid="ignore"):
            means[:, place] = sums / np.bincount(panel.owner[known], minlength=len(panel))
    return means


def _moving_ranges(values: Floats, panel: Panel) -> Floats:
    """The mean distance of each value from the one before it; 0 for one value. Shape (keys, columns)."""
    ranges = np.empty((len(panel), values.shape[1]))
    for place, column in enumerate(values.T):
        known = np.flatnonzero(~np.isnan(column))
        owner, steps = panel.owner[known], np.abs(np.diff(column[known]))
        same = owner[1:] == owner[:-1]
        sums = np.bincount(owner[1:][same], steps[same], len(panel))
        ranges[:, place] = sums / np.maximum(np.bincount(owner[1:][same], minlength=len(panel)), 1)
    return ranges


def _ordered(column: Floats, panel: Panel) -> tuple[Floats, Ints]:
    """Each key's values in order, missing ones last, and how many are not missing."""
    from manymodels.models.batched.anomaly_kernel import sort_each

    ordered = sort_each(np.array(column), panel.offsets)
    return ordered, np.bincount(panel.owner[~np.isnan(column)], minlength=len(panel))


def _medians(values: Floats, panel: Panel) -> Floats:
    """The median of each key's values, missing ones left out. Shape (keys, columns)."""
    medians, starts = np.full((len(panel), values.shape[1]), np.nan), panel.offsets[:-1]
    for place, column in enumerate(values.T):
        ordered, counts = _ordered(column, panel)
        some = counts > 0
        first, count = starts[some], counts[some]
        medians[some, place] = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / 2
    return medians


def _thresholds(given: float | None, scores: Floats, panel: Panel, spec: FitSpec) -> Floats:
    """What is given, or each key's quantile of its scores as NumPy has it; NaN without a score. Shape (keys,)."""
    if given:
        return np.full(len(panel), given)
    ordered, counts = _ordered(np.where(np.isfinite(scores), scores, np.nan), panel)
    place = np.maximum(counts - 1, 0) * (1 - spec.rate)
    low = place.astype(np.int64)
    share = place - low
    first = panel.offsets[:-1]
    lower, upper = ordered[first + low], ordered[first + np.minimum(low + 1, np.maximum(counts - 1, 0))]
    apart = upper - lower
    found: Floats = np.where(share >= 0.5, upper - apart * (1 - share), lower + apart * share)
    return found
