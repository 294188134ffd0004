"""scikit-learn's manners: one model per key behind ``fit``, ``predict`` and ``score``, on the same engine, without a store."""

from __future__ import annotations

from manymodels.estimators.checks import EXPECTED_FAILED_CHECKS
from manymodels.estimators.forecaster import PartitionedForecaster
from manymodels.estimators.tabular import PartitionedClassifier, PartitionedRegressor

__all__ = ["EXPECTED_FAILED_CHECKS", "PartitionedClassifier", "PartitionedForecaster", "PartitionedRegressor"]
