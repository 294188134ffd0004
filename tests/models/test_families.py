from __future__ import annotations

from typing import Any

import pytest

from manymodels.exceptions import JobError
from manymodels.models.families import FAMILIES, build
from manymodels.models.spec import CandidateSpec, Task


def _build(family: str, task: Task = "forecast", /, **params: Any) -> Any:
    return build(CandidateSpec(name=f"my-{family}", family=family, params=params), task)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_the_table_is_there_and_carries_its_name(name: str) -> None:
    entry = FAMILIES[name]
    for task in entry.tasks:
        family = _build(name, task)
        assert family.name == name
        assert family.revision >= 1
        assert isinstance(family.isolated, bool)
        assert isinstance(family.library, str)
    assert entry.summary.endswith(".")
    assert entry.source


def test_an_unknown_family_names_the_nearest_and_those_of_the_task() -> None:
    with pytest.raises(
        JobError, match=r"no family 'seasonal_naiv' \(did you mean 'seasonal_naive'\?\)"
    ) as told:
        _build("seasonal_naiv")
    assert "task forecast" in told.value.message
    assert "croston" in told.value.message
    assert "isolation_forest" not in told.value.message.split("there are")[1]


def test_a_family_of_another_task_is_refused() -> None:
    with pytest.raises(JobError, match=r"ets does forecast, the job's task is anomaly; .*isolation_forest"):
        _build("ets", "anomaly")


def test_an_unknown_parameter_names_the_candidate_the_nearest_and_the_valid_ones() -> None:
    with pytest.raises(
        JobError, match=r"'my-ets' has no parameter 'seasonl' \(did you mean 'seasonal'\?\)"
    ) as told:
        _build("ets", seasonl="add")
    assert "damped, error, season_length, seasonal, trend" in told.value.message
    with pytest.raises(JobError, match="'my-naive' has no parameter 'season_length'; it takes none"):
        _build("naive", season_length=7)


@pytest.mark.parametrize(
    ("family", "params"),
    [
        ("ets", {"season_length": "7"}),
        ("ets", {"season_length": 7.0}),
        ("ets", {"season_length": True}),
        ("ets", {"season_length": 0}),
        ("ets", {"trend": "additive"}),
        ("ets", {"damped": "yes"}),
        ("croston", {"alpha": 1.5}),
        ("croston", {"alpha": float("nan")}),
        ("tsb", {"beta": 0}),
        ("sarimax", {"order": [1, 1]}),
        ("sarimax", {"order": [1, -1, 0]}),
        ("sarimax", {"order": "110"}),
        ("sarimax", {"seasonal_order": [1, 0]}),
        ("lag_regression", {"lags": [0, 1]}),
        ("lag_regression", {"lags": [1.5]}),
        ("lag_regression", {"lags": 7}),
        ("lag_regression", {"calendar": ["weekdays"]}),
        ("lag_regression", {"params": [1]}),
    ],
)
def test_an_ill_typed_or_impossible_parameter_is_refused_by_name(family: str, params: dict[str, Any]) -> None:
    with pytest.raises(JobError, match=f"candidate 'my-{family}': parameter {next(iter(params))}: .*; found"):
        _build(family, **params)


def test_whole_numbers_do_for_numbers_and_lists_for_tuples() -> None:
    assert _build("croston", alpha=1).alpha == 1.0
    assert _build("sarimax", order=[2, 0, 1]).order == (2, 0, 1)
    assert _build("lag_regression", lags=[7, 14], calendar=["weekday"]).lags == (7, 14)
    assert _build("lag_regression", calendar=False).calendar is False


def test_parameters_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(JobError, match="candidate 'my-ets': `damped` needs a `trend`"):
        _build("ets", damped=True)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("sklearn.linear_model.Rigde", "could not import sklearn.linear_model.Rigde"),
        ("no_such_package.Model", "ModuleNotFoundError"),
        ("Ridge", "could not import Ridge"),
        ("sklearn.linear_model.LogisticRegression", "is a classifier"),
        ("sklearn.preprocessing.StandardScaler", "needs fit and predict"),
        ("sklearn.linear_model.ridge_regression", "could not make"),
    ],
)
def test_an_estimator_that_is_none_is_refused_when_the_job_is_read(path: str, told: str) -> None:
    with pytest.raises(JobError, match=f"my-lag_regression.*{told}"):
        _build("lag_regression", estimator=path)


def test_an_estimators_unknown_parameter_is_refused_when_the_job_is_read() -> None:
    with pytest.raises(JobError, match="alfa"):
        _build("lag_regression", params={"alfa": 1.0})


def test_an_import_path_as_a_forecast_family_is_told_where_it_belongs() -> None:
    with pytest.raises(JobError, match=r"lag_regression: \{estimator: sklearn.linear_model.Ridge\}"):
        _build("sklearn.linear_model.Ridge")


def test_only_code_that_is_not_our_own_is_isolated() -> None:
    own = ["mean", "naive", "seasonal_naive", "drift", "ets", "holt_winters", "theta", "croston", "tsb"]
    assert not any(_build(name).isolated for name in own)
    assert not _build("ets", seasonal="mul").isolated
    assert not _build("lag_regression").isolated
    assert _build("lag_regression", estimator="sklearn.svm.SVR").isolated
    assert _build("lag_regression", params={"solver": "lsqr"}).isolated
    assert _build("sarimax").isolated


def test_the_library_is_what_fits() -> None:
    assert _build("ets").library == "numba"
    assert _build("sarimax").library == "statsmodels"
    assert _build("lag_regression", estimator="sklearn.svm.SVR").library == "sklearn"
    assert _build("naive").library == ""
