"""Linear and ridge regression for many keys at once, by their normal equations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from manymodels.exceptions import DataError
from manymodels.models.batched.contract import (
    Ints,
    ModelColumns,
    Panel,
    PanelFit,
    PanelPredictions,
    segment_sums,
)
from manymodels.models.batched.design import Encoders, by_key, fit_encoders, padded
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.conditioning import WORST, condition

if TYPE_CHECKING:  # to predict with coefficients takes no scikit-learn, which takes a second to import
    from manymodels.models.tabular.family import SklearnFamily, Template
    from manymodels.models.tabular.model import TabularModel

__all__ = ["BatchedLinear", "LinearModels", "encoder_columns", "encoders_of", "template_of"]

_BLOCK = 32_768
"""Rows that are worked on at a time: their matrices stay in the processor's cache, which halves the time."""

_Part = tuple[npt.NDArray[np.bool_], Encoders, Floats, Floats]
"""Which keys are good, their encoders, coefficients and intercepts."""

_RIDGE = {"alpha", "fit_intercept", "copy_X", "max_iter", "tol", "solver", "random_state"}
_LEAST_SQUARES = {"fit_intercept", "copy_X", "n_jobs", "tol"}


@dataclass(frozen=True, eq=False)
class LinearModels(ModelColumns):
    """``TabularModel`` of many keys, each with a linear regression of scikit-learn."""

    schema: ClassVar[str] = "linear/1"

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        try:
            matrix = encoders_of(self).matrix(panel)
        except DataError:  # said of each key when it is scored alone
            return PanelPredictions(
                {"prediction": np.zeros(len(panel.owner))}, np.zeros(len(panel), dtype=bool)
            )
        by_key(np.multiply, matrix, self.numbers("coef"), panel.lengths)
        values = matrix.sum(axis=1) + self.numbers("intercept")[panel.owner]
        served = np.ones(len(panel), dtype=bool)
        served[panel.owner[~np.isfinite(values)]] = False
        return PanelPredictions({"prediction": values}, served)

    def model(self, place: int) -> TabularModel:
        """See ``ModelColumns.model``."""
        from manymodels.models.tabular.model import TabularModel

        encoder, own = encoders_of(self.take(np.array([place]))).one(0)
        shared = self.shared
        template = template_of(shared["family"], json.dumps(shared["params"]), shared["task"])
        estimator = template.new(int(self.seeds[place]))
        estimator.coef_ = self.numbers("coef")[place][own]
        estimator.intercept_ = float(self.numbers("intercept")[place])
        estimator.n_features_in_ = len(estimator.coef_)
        if "alpha" in estimator.get_params():
            estimator.n_iter_, estimator.solver_ = None, "cholesky"
        return TabularModel(family=shared["family"], encoder=encoder, estimator=estimator)


@dataclass(frozen=True)
class BatchedLinear:
    """Least squares with an intercept that is not penalised.

    Attributes:
        family: Import path of the estimator.
        params: As in the job.
        task: ``regression`` or ``ranking``.
        alpha: Of the ridge penalty; 0 for none.
        intercept: Whether there is one.
    """

    family: str
    params: str
    task: Task
    alpha: float
    intercept: bool

    @classmethod
    def of(cls, family: SklearnFamily) -> BatchedLinear | None:
        """That of a family with plain ``Ridge`` or ``LinearRegression``; None for parameters that change the method."""
        candidate, task = family.candidate, family.task
        estimator = family.template.make()
        kind = type(estimator)
        params = estimator.get_params()
        given = set(candidate.params)
        if (
            not family.coded
            or task not in ("regression", "ranking")
            or not kind.__module__.startswith("sklearn.linear_model.")
        ):
            return None
        if kind.__name__ == "Ridge" and given <= _RIDGE and params["solver"] in ("auto", "cholesky"):
            alpha = params["alpha"]
            if not isinstance(alpha, int | float) or not 0 < alpha < np.inf:
                return None
        elif kind.__name__ == "LinearRegression" and given <= _LEAST_SQUARES:
            alpha = 0.0
        else:
            return None
        return cls(
            family.name, json.dumps(candidate.params), task, float(alpha), bool(params["fit_intercept"])
        )

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        places = _learnable(panel, spec)
        parts: list[_Part] = []
        for first, last in _blocks(panel.lengths[places]):
            part = self._part(panel.take(places[first:last]), spec)
            if part is None:
                return self._nothing(seeds)
            parts.append(part)
        if not parts:
            return self._nothing(seeds)
        good, encoders, coef, intercept = _joined(parts)
        table = pa.table({"coef": _lists(coef), "intercept": intercept, **encoder_columns(encoders)})
        columns = LinearModels(table, self._shared(encoders), seeds[places])
        return PanelFit(places[good], columns if good.all() else columns.take(np.flatnonzero(good)))

    def _part(self, keys: Panel, spec: FitSpec) -> _Part | None:
        """Some keys' encoders and coefficients, and which are good; None where the columns allow none."""
        try:
            fitted = fit_encoders(keys, spec.features, spec.categorical)
        except DataError:
            fitted = None
        if fitted is None:
            return None
        usable, encoders = fitted
        matrix = encoders.matrix(keys)
        target = keys.flat(keys.rows.numbers(str(spec.target)))
        weights = None if spec.weight is None else keys.flat(keys.rows.numbers(spec.weight))
        coef, intercept, solved = solve(
            matrix, target, weights, keys.offsets, alpha=self.alpha, intercept=self.intercept
        )
        return usable & solved, encoders, coef, intercept

    def _shared(self, encoders: Encoders) -> dict[str, Any]:
        return {
            "family": self.family,
            "params": json.loads(self.params),
            "task": self.task,
            "columns": list(encoders.columns),
            "categories": [[name, list(values)] for name, values in encoders.categories],
        }

    def _nothing(self, seeds: Ints) -> PanelFit:
        nothing = pa.table({"coef": pa.array([], pa.list_(pa.float64(), 1)), "intercept": np.empty(0)})
        shared = {"family": self.family, "params": {}, "task": self.task, "columns": [], "categories": []}
        return PanelFit(np.empty(0, dtype=np.int64), LinearModels(nothing, shared, seeds[:0]))


def _blocks(lengths: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of keys whose rows together fit the processor's cache, about."""
    stops = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = stops[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(stops, before + _BLOCK, side="right")))
        yield first, last
        first = last


def _joined(parts: Sequence[_Part]) -> _Part:
    good, encoders, coef, intercept = zip(*parts, strict=True)
    arrays = {name: np.concatenate([getattr(one, name) for one in encoders]) for name in _ENCODER}
    return (
        np.concatenate(good),
        replace(encoders[0], **arrays),
        np.concatenate(coef),
        np.concatenate(intercept),
    )


def solve(
    matrix: Floats, target: Floats, weights: Floats | None, offsets: Ints, *, alpha: float, intercept: bool
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Weighted (ridge) least squares of many keys: ``(X'WX + alpha I) b = X'Wy`` on centred columns.

    Args:
        matrix: All keys' rows. Shape (rows, columns).
        target: Shape (rows,).
        weights: Shape (rows,); None for ones.
        offsets: Where each key's rows begin. Shape (keys + 1,).
        alpha: Of the penalty, 0 for none. Columns without any variation then get the coefficient 0.
        intercept: Whether columns and target are centred.

    Returns:
        Coefficients of shape (keys, columns), intercepts of shape (keys,), and which keys are solved well enough.
    """
    keys, width = len(offsets) - 1, matrix.shape[1]
    both = np.column_stack([matrix, target])
    mean = np.zeros((keys, width + 1))
    lengths = np.diff(offsets)
    if intercept and keys:
        weighted = both if weights is None else both * weights[:, None]
        total = (
            lengths.astype(np.float64)
            if weights is None
            else segment_sums(weights, offsets[:-1], offsets[1:])
        )
        mean = segment_sums(weighted, offsets[:-1], offsets[1:]) / total[:, None]
        by_key(np.subtract, both, mean, lengths)
    if weights is not None:
        both *= np.sqrt(weights)[:, None]
    gram = np.zeros((keys, width + 1, width + 1))
    for group, block in padded(both, offsets):
        gram[group] = block.transpose(0, 2, 1) @ block
    system, right = gram[:, :width, :width], gram[:, :width, width]
    diagonal = np.einsum("kii->ki", system)
    size = diagonal.sum(axis=1)  # at least the largest eigenvalue
    if alpha:
        diagonal += alpha
        doubtful = np.flatnonzero((size + alpha) / alpha > WORST)
    else:
        still = diagonal <= 1e-20 * np.maximum(size, 1.0)[:, None]
        diagonal[still] = 1.0
        right[still] = 0.0
        doubtful = np.arange(keys)
    solved = np.asarray(np.isfinite(gram.reshape(keys, (width + 1) ** 2)).all(axis=1))
    system[~solved] = np.eye(width)
    checked = doubtful[solved[doubtful]]
    solved[checked] = condition(system[checked]) <= WORST
    system[~solved] = np.eye(width)
    coef = np.linalg.solve(system, right[:, :, None])[:, :, 0] if width else np.zeros((keys, 0))
    return coef, mean[:, width] - np.einsum("ki,ki->k", coef, mean[:, :width]), solved


def _learnable(panel: Panel, spec: FitSpec) -> Ints:
    """The keys of which every row has a finite target, and a weight above zero."""
    usable = np.isfinite(panel.rows.numbers(str(spec.target)))
    if spec.weight is not None:
        weights = panel.rows.numbers(spec.weight)
        usable &= np.isfinite(weights) & (weights > 0)
    lost = np.concatenate([[0], np.cumsum(~usable)])
    return np.flatnonzero(lost[panel.stops] == lost[panel.starts])


_ENCODER = {
    "used": np.bool_,
    "fill": np.float64,
    "center": np.float64,
    "scale": np.float64,
    "present": np.bool_,
}


def encoder_columns(encoders: Encoders) -> dict[str, pa.Array]:
    """Encoders as columns of a table; what has no width has no column."""
    parts = {name: getattr(encoders, name) for name in _ENCODER}
    return {name: _lists(values) for name, values in parts.items() if values.shape[1]}


def encoders_of(columns: ModelColumns) -> Encoders:
    """The encoders that ``encoder_columns`` kept."""
    shared, there = columns.shared, columns.table.column_names
    categories = tuple((name, tuple(values)) for name, values in shared["categories"])
    parts = {
        name: columns.numbers(name) if name in there else np.zeros((len(columns), 0), kind)
        for name, kind in _ENCODER.items()
    }
    return Encoders(columns=tuple(shared["columns"]), categories=categories, **parts)


def _lists(values: npt.NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


@lru_cache(maxsize=64)
def template_of(family: str, params: str, task: Task) -> Template:
    """The unfitted estimator of a candidate; ``params`` is JSON."""
    from manymodels.models.tabular.family import Template, estimator_maker

    candidate = CandidateSpec(name=family, family=family, params=json.loads(params))
    return Template.of(estimator_maker(candidate, task))
