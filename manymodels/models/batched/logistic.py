"""Logistic regression for many keys at once, by Newton's method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import expit

from manymodels.exceptions import DataError, ModelError
from manymodels.models.batched.contract import Ints, ModelColumns, Panel, PanelFit, PanelPredictions, lists
from manymodels.models.batched.design import by_key, fit_encoders, padded
from manymodels.models.batched.linear import encoder_columns, encoders_of, template_of
from manymodels.models.contract import FitSpec, Floats
from manymodels.models.tabular.logistic import MOST_PARAMETERS, Logistic, logistic_of, minimise, parameters
from manymodels.models.tabular.outputs import class_columns
from manymodels.models.tabular.targets import class_codes

if TYPE_CHECKING:  # to predict with coefficients takes no scikit-learn, which takes a second to import
    from manymodels.models.tabular.family import SklearnFamily
    from manymodels.models.tabular.model import TabularModel

__all__ = ["BatchedLogistic", "LogisticModels"]

_VALUES = 1 << 17  # of a block's matrix, about: it and what is made of it stay in the processor's cache
_PLAIN = (str, bool, int, float)  # classes that come back from JSON as they are


@dataclass(frozen=True, eq=False)
class LogisticModels(ModelColumns):
    """``TabularModel`` of many keys, each with scikit-learn's ``LogisticRegression``.

    A model has a line of coefficients for each class of the data set; where there are two, only for the second. A key that
    has seen two classes of more has its line at the second of them.
    """

    schema: ClassVar[str] = "logistic/1"

    def predict(self, panel: Panel) -> PanelPredictions:
        """See ``ModelColumns.predict``."""
        classes = tuple(self.shared["classes"])
        try:
            matrix = encoders_of(self).matrix(panel)
        except DataError:  # said of each key when it is scored alone
            nothing = class_columns(np.zeros(len(panel.owner), dtype=np.intp), None, classes)
            return PanelPredictions(nothing, np.zeros(len(panel), dtype=bool))
        chances = self._chances(matrix, panel)
        served = np.ones(len(panel), dtype=bool)
        served[panel.owner[~np.isfinite(chances).all(axis=1)]] = False
        return PanelPredictions(class_columns(chances.argmax(axis=1), chances, classes), served)

    def model(self, place: int) -> TabularModel:
        """See ``ModelColumns.model``."""
        from manymodels.models.tabular.model import TabularModel

        one = self.take(np.array([place]))
        encoder, own = encoders_of(one).one(0)
        shared = self.shared
        estimator = template_of(shared["family"], json.dumps(shared["params"]), "classification").new(
            int(self.seeds[place])
        )
        seen = np.flatnonzero(one._seen[0])
        lines = (
            one._lines[0] if len(one._lines[0]) == 1 else one._lines[0][seen[1:] if len(seen) == 2 else seen]
        )
        estimator.coef_ = np.ascontiguousarray(lines[:, :-1][:, own])
        estimator.intercept_ = np.ascontiguousarray(lines[:, -1])
        estimator.classes_ = np.arange(len(seen))
        estimator.n_features_in_ = int(own.sum())
        estimator.n_iter_ = np.ones(1, dtype=np.int32)
        return TabularModel(
            family=shared["family"],
            encoder=encoder,
            estimator=estimator,
            classes=tuple(shared["classes"]),
            seen=tuple(seen.tolist()),
        )

    @property
    def _lines(self) -> Floats:
        """Coefficients, with the intercept as the last. Shape (models, lines, columns + 1)."""
        flat: Floats = self.numbers("lines")
        count = len(self.shared["classes"])
        return flat.reshape(len(flat), 1 if count == 2 else count, -1)

    @property
    def _seen(self) -> npt.NDArray[np.bool_]:
        """Which classes a key has. Shape (models, classes)."""
        if "seen" not in self.table.column_names:
            return np.ones((len(self), 2), dtype=bool)
        return self.numbers("seen").astype(bool)

    def _chances(self, matrix: Floats, panel: Panel) -> Floats:
        """The probability of each class of the data set. Shape (rows, classes)."""
        lines, seen = self._lines, self._seen[panel.owner]
        scores = np.empty((len(matrix), lines.shape[1]))
        for number in range(lines.shape[1]):
            part = matrix.copy()
            by_key(np.multiply, part, np.ascontiguousarray(lines[:, number, :-1]), panel.lengths)
            scores[:, number] = part.sum(axis=1) + lines[:, number, -1][panel.owner]
        if lines.shape[1] == 1:
            second = expit(scores[:, 0])
            return np.column_stack([1.0 - second, second])
        shown = np.where(seen, scores, -np.inf)
        chances: Floats = np.exp(shown - shown.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        pair = seen.sum(axis=1) == 2
        if pair.any():
            rows = np.flatnonzero(pair)
            low, high = seen[pair].argmax(axis=1), seen.shape[1] - 1 - seen[pair][:, ::-1].argmax(axis=1)
            second = expit(scores[rows, high])
            chances[rows, high], chances[rows, low] = second, 1.0 - second
        return chances


@dataclass(frozen=True)
class BatchedLogistic:
    """Logistic regression with an L2 penalty.

    Attributes:
        family: Import path of the estimator.
        params: As in the job.
        problem: What is minimised.
    """

    family: str
    params: str
    problem: Logistic

    @classmethod
    def of(cls, family: SklearnFamily) -> BatchedLogistic | None:
        """That of a family with a plain ``LogisticRegression``; None for parameters that change the method."""
        if not family.coded or family.task != "classification":
            return None
        candidate = family.candidate
        problem = logistic_of(family.template.make(), candidate.params.keys())
        return None if problem is None else cls(family.name, json.dumps(candidate.params), problem)

    def fit_batch(self, panel: Panel, seeds: Ints, spec: FitSpec) -> PanelFit:
        """See ``BatchedTrainer.fit_batch``."""
        classes = spec.classes
        shared = {"family": self.family, "params": json.loads(self.params), "classes": list(classes)}
        if len(classes) < 2 or not all(type(value) in _PLAIN for value in classes):
            return _nothing(shared, seeds)
        try:
            found, _ = class_codes(panel.rows, str(spec.target), classes)
            places = _learnable(panel, found, spec)
            keys = panel.take(places)
            fitted = fit_encoders(keys, spec.features, spec.categorical)
        except (DataError, ModelError):  # said of the key that it is about, alone
            return _nothing(shared, seeds)
        if fitted is None or len(places) == 0:
            return _nothing(shared, seeds)
        usable, encoders = fitted
        matrix, target = encoders.matrix(keys), keys.flat(found)
        counts = np.bincount(keys.owner * len(classes) + target, minlength=len(keys) * len(classes))
        seen = counts.reshape(len(keys), len(classes)) > 0
        weights = np.ones(len(target)) if spec.weight is None else keys.flat(keys.rows.numbers(spec.weight))
        lines, good = self._solve(matrix, target, weights, keys, seen)
        columns = {"lines": lists(lines.reshape(len(keys), -1)), **encoder_columns(encoders)}
        if len(classes) > 2:
            columns["seen"] = lists(seen)
        shared |= {
            "columns": list(encoders.columns),
            "categories": [[name, list(values)] for name, values in encoders.categories],
        }
        models = LogisticModels(pa.table(columns), shared, seeds[places])
        chosen = np.flatnonzero(usable & good)
        return PanelFit(places[chosen], models.take(chosen))

    def _solve(
        self,
        matrix: Floats,
        target: npt.NDArray[np.intp],
        weights: Floats,
        keys: Panel,
        seen: npt.NDArray[np.bool_],
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Each key's lines, shape (keys, lines, columns + 1), and which keys have them."""
        width, classes = matrix.shape[1], seen.shape[1]
        lines = np.zeros((len(keys), 1 if classes == 2 else classes, width + 1))
        good = np.zeros(len(keys), dtype=bool)
        # The code that a class has among those of the key.
        codes = (np.cumsum(seen, axis=1) - 1)[keys.owner, target]
        whole = np.column_stack([matrix, codes, weights])
        for some, block in _blocks(whole, keys.offsets, seen.sum(axis=1)):
            count = int(seen[some[0]].sum())
            if count < 2 or parameters(count, width) > MOST_PARAMETERS:
                continue
            found, solved = minimise(
                self.problem, block[:, :, :width], block[:, :, width].astype(np.intp), block[:, :, -1], count
            )
            good[some] = solved
            if classes == 2:
                lines[some] = found
            elif count == 2:
                last = classes - 1 - seen[some][:, ::-1].argmax(axis=1)
                lines[some, last] = found[:, 0]
            else:
                key, line = np.nonzero(seen[some])
                lines[some[key], line] = found.reshape(-1, width + 1)
        return lines, good


def _blocks(whole: Floats, offsets: Ints, kinds: Ints) -> Iterator[tuple[Ints, Floats]]:
    """Keys of one kind as padded blocks that are not too large."""
    for keys, block in padded(whole, offsets):
        for kind in np.unique(kinds[keys]).tolist():
            same = np.flatnonzero(kinds[keys] == kind)
            size = max(1, _VALUES // (block.shape[1] * block.shape[2]))
            for first in range(0, len(same), size):
                part = same[first : first + size]
                yield keys[part], block[part]


def _learnable(panel: Panel, found: npt.NDArray[np.intp], spec: FitSpec) -> Ints:
    """The keys of which every row has a class, and a weight above zero."""
    usable = found >= 0
    if spec.weight is not None:
        weights = panel.rows.numbers(spec.weight)
        usable &= np.isfinite(weights) & (weights > 0)
    lost = np.concatenate([[0], np.cumsum(~usable)])
    return np.flatnonzero(lost[panel.stops] == lost[panel.starts])


def _nothing(shared: dict[str, Any], seeds: Ints) -> PanelFit:
    nothing = pa.table({"lines": pa.array([], pa.list_(pa.float64(), 1))})
    columns = LogisticModels(nothing, {**shared, "columns": [], "categories": []}, seeds[:0])
    return PanelFit(np.empty(0, dtype=np.int64), columns)
