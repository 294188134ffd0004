"""What of scikit-learn's own checks the estimators cannot pass, and why."""

from __future__ import annotations

__all__ = ["EXPECTED_FAILED_CHECKS"]

_NULL_KEY = (
    "puts NaN into every column, the key column too: a row without a key belongs to no model, and is an error"
)
_ROWS_COUNT = (
    "a row of weight 3 is not three rows: `min_rows` decides by rows whether a key has a model of its own, hold-outs and "
    "folds are drawn by rows, and the preprocessing of candidates by import path uses unweighted means"
)
_NO_SERIES = "fits rows whose time column holds random numbers: they have no frequency, or several rows of a key at one time"

_OF_ROWS = {
    "check_estimators_pickle": _NULL_KEY,
    "check_sample_weight_equivalence_on_dense_data": _ROWS_COUNT,
}
_THAT_FIT = (
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_regressor_data_not_an_array",
    "check_regressors_int",
    "check_regressors_no_decision_function",
    "check_regressors_train",
    "check_supervised_y_2d",
)

EXPECTED_FAILED_CHECKS: dict[str, dict[str, str]] = {
    "PartitionedRegressor": _OF_ROWS,
    "PartitionedClassifier": _OF_ROWS,
    "PartitionedForecaster": dict.fromkeys(_THAT_FIT, _NO_SERIES),
}
"""Estimator to the checks of ``sklearn.utils.estimator_checks.check_estimator`` that it cannot pass, and why."""
