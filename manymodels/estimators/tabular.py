"""Regressions and classifications with scikit-learn's manners."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite

from manymodels.estimators.partitioned import Partitioned, as_numbers
from manymodels.models.tabular.outputs import probability_column

__all__ = ["PartitionedClassifier", "PartitionedRegressor"]


class _Weighted(Partitioned):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit one model per key, and the ladder's models for the keys that have none.

        Args:
            X: Rows: the key columns, and what a model may learn from. Shape (rows, columns).
            y: What to predict. Shape (rows,).
            sample_weight: Weights of the rows; rows of weight 0 are left out. Shape (rows,).

        Raises:
            ValueError: X, y or a parameter is not what it must be.
            JobError: A parameter that the engine refuses, under its name in job files.
            DataError: Rows that the engine refuses: a null key, say.
            RunError: More keys failed than ``training["max_failed"]`` allows, or there is no model at all.
        """
        return self._fit(X, y, sample_weight)


class PartitionedRegressor(RegressorMixin, _Weighted):  # type: ignore[misc]
    """One regression per key.

    Args:
        models: What is fitted for each key: an estimator, an import path, a mapping of one import path to parameters, or a
            list of them, of which each key gets the best. An estimator gets numbers as they are; one by import path gets
            the job file's preprocessing. Ridge by import path when None.
        partition_by: The key column, or several: names of X's columns, or positions. They are no features.
        time: A column that orders each key's rows for the hold-out; no feature.
        categorical: Columns that are categories whatever their type.
        min_rows: Keys with fewer rows have no model of their own.
        evaluation: The job file's section of that name. A single candidate is evaluated only when it names a metric.
        fallback: The ladder: who serves keys without a model, in order. ``pooled``: one model of all keys' rows; ``naive``:
            the mean; ``{"level": columns}``: one model for each value of columns that are constant within a key. Empty:
            predicting such a key is an error.
        training: The job file's section of that name: ``max_failed``, and ``timeout`` and ``memory`` of isolated fits.
        random_state: Seed of the run: an integer gives the same models again.
        compute: Where keys are fitted. None is this process; else as in the job file (``"local"``, ``"serial"``,
            ``{"target": "dask", "address": …}``), and model code runs isolated from the workers.

    Attributes:
        models_: Key to its fitted model. A key is a value, or a tuple where there are several key columns.
        estimators_: Key to its fitted estimator.
        outcomes_: One row per key: the key columns, ``state``, ``reason``, ``candidate``, ``metric``, ``rows``.
        n_features_in_: Columns of X, the key columns among them.
        feature_names_in_: Their names, where X had names.
    """

    _task = "regression"
    _default = "sklearn.linear_model.Ridge"

    def _target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        return as_numbers(super()._target(y, rows))


class PartitionedClassifier(ClassifierMixin, _Weighted):  # type: ignore[misc]
    """One classification per key; a key whose rows have one class predicts it.

    The parameters and other attributes are those of ``PartitionedRegressor``, with ``LogisticRegression`` when ``models`` is
    None, and the shares of the classes for ``naive``.

    Attributes:
        classes_: The classes of all keys, sorted.
    """

    _task = "classification"
    _default = "sklearn.linear_model.LogisticRegression"

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """See ``PartitionedRegressor.predict``; one of ``classes_`` a row."""
        return np.asarray(super().predict(X).tolist(), dtype=self.classes_.dtype)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probabilities of the classes, in the order of ``classes_``; 0 where a key never saw one.

        An estimator without probabilities gives 1 to the class that it predicts.

        Args:
            X: As for ``predict``.

        Returns:
            Shape (rows, classes).

        Raises:
            ValueError: As for ``predict``.
        """
        values = self._scores(X).values
        return np.column_stack([values[probability_column(value)] for value in self._classes])

    def _target(self, y: Any, rows: int) -> npt.NDArray[Any]:
        target = super()._target(y, rows)
        check_classification_targets(target)
        if target.dtype.kind == "f":
            assert_all_finite(target, input_name="y")
        self.classes_ = np.unique(target)
        return target
