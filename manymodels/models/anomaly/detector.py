"""Isolation forests, and any outlier detector of scikit-learn's, on a key's numeric columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from sklearn import config_context

from manymodels.exceptions import JobError
from manymodels.models.anomaly.watch import anomaly_columns, threshold_at, watched_columns
from manymodels.models.contract import FitSpec, FittedModel, Floats, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.spec import CandidateSpec
from manymodels.models.tabular.family import Template, estimator_maker, fitting
from manymodels.models.tabular.outputs import usable_numbers
from manymodels.models.tabular.preprocessing import Encoder, fit_encoder
from manymodels.records import Rows

__all__ = ["DetectorModel", "IsolationForest", "SklearnDetector", "outlier_scores"]


@dataclass(frozen=True)
class IsolationForest:
    """How few random splits isolate a row: the fewer, the more anomalous. scikit-learn's.

    Liu, Ting and Zhou, Isolation Forest, IEEE International Conference on Data Mining (2008). The score lies
    between 0 and 1; rows above the one that the share ``anomaly.rate`` of the training rows exceed are anomalies.

    Attributes:
        n_estimators: Trees.
        max_samples: Rows that each tree sees: a count, a share, or ``auto``, 256 at most.
        max_features: Columns that each tree sees: a count or a share.
    """

    n_estimators: int = 100
    max_samples: int | float | str = "auto"
    max_features: int | float = 1.0

    name: ClassVar[str] = "isolation_forest"
    revision: ClassVar[int] = 1
    isolated: ClassVar[bool] = True
    library: ClassVar[str] = "sklearn"

    def __post_init__(self) -> None:
        self._make()._validate_params()

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Fit one key's rows.

        Raises:
            UnusableRowsError: No watched column is numeric, or none has a value.
        """
        return _fit(self.name, self._template, rows, spec)

    @cached_property
    def _template(self) -> Template:
        return Template.of(self._make)

    def _make(self) -> Any:
        from sklearn.ensemble import IsolationForest as Forest

        return Forest(
            n_estimators=self.n_estimators,
            max_samples=self.max_samples,
            max_features=self.max_features,
            n_jobs=1,
        )


class SklearnDetector:
    """An outlier detector by import path; rows above the training rows' 1 - rate quantile are anomalies.

    Args:
        candidate: ``family`` is the import path, ``params`` the detector's parameters. ``novelty`` is true where
            there is such a parameter: without it a detector cannot score new rows.

    Raises:
        JobError: The path leads to no detector, or the parameters are not its own.
    """

    revision = 1
    isolated = True

    def __init__(self, candidate: CandidateSpec) -> None:
        self.name = candidate.family
        self.library = candidate.family.partition(".")[0]
        make = estimator_maker(candidate, "anomaly")
        if make().get_params().get("novelty") is False:
            params = {**candidate.params, "novelty": True}
            make = estimator_maker(candidate.model_copy(update={"params": params}), "anomaly")
        estimator = make()
        if not (hasattr(estimator, "score_samples") or hasattr(estimator, "decision_function")):
            raise JobError(
                f"models: candidate {candidate.name!r}: {candidate.family} gives new rows no score "
                "(`score_samples` or `decision_function`); it cannot do the job's task, anomaly"
            )
        self._template = Template.of(make)

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Fit one key's rows.

        Raises:
            UnusableRowsError: No watched column is numeric, or none has a value.
        """
        return _fit(self.name, self._template, rows, spec)


@dataclass(frozen=True, eq=False)
class DetectorModel(FixedModel):
    """A fitted outlier detector behind its preprocessing.

    Attributes:
        family: What made it.
        encoder: From rows to the detector's matrix.
        estimator: Fitted.
        threshold: Score above which a row is an anomaly.
        notes: What the detector warned of.
    """

    family: str
    encoder: Encoder
    estimator: Any
    threshold: float
    notes: tuple[str, ...] = ()

    def predict(self, rows: Rows) -> Predictions:
        """``score``, higher for more anomalous rows, and ``is_anomaly``.

        Raises:
            DataError: A watched column is not there, or holds what is no number.
            ModelError: The detector does not give one usable score a row.
        """
        scores = _scores(self.family, self.estimator, self.encoder.matrix(rows))
        return anomaly_columns(scores, self.threshold)

    def describe(self) -> Mapping[str, Any]:
        """Family, watched columns, threshold and notes."""
        return {
            "family": self.family,
            "features": self.encoder.names,
            "threshold": self.threshold,
            "notes": list(self.notes),
        }


def outlier_scores(estimator: Any, rows: Any) -> Any:
    """What a detector says of rows, turned so that higher is more anomalous (scikit-learn's are the other way)."""
    if hasattr(estimator, "score_samples"):
        return -np.asarray(estimator.score_samples(rows))
    return -np.asarray(estimator.decision_function(rows))


def _fit(name: str, template: Template, rows: Rows, spec: FitSpec) -> DetectorModel:
    encoder = fit_encoder(rows, watched_columns(rows, spec), (), template.needs)
    matrix = encoder.matrix(rows)
    estimator = template.new(spec.seed)
    with fitting(matrix) as notes:
        estimator.fit(matrix)
    threshold = threshold_at(_scores(name, estimator, matrix), spec.rate)
    return DetectorModel(name, encoder, estimator, threshold, tuple(notes))


def _scores(name: str, estimator: Any, matrix: Floats) -> Floats:
    with config_context(assume_finite=bool(np.isfinite(matrix.sum()))):
        return usable_numbers(outlier_scores(estimator, matrix), len(matrix), name)
