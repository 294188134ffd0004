"""Estimators from import paths: what is built, and what is refused while the job is read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor, VotingRegressor
from sklearn.linear_model import Lasso, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from manymodels.exceptions import JobError
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.estimators import build_estimator


def made(path: str, params: dict[str, object] | None = None) -> object:
    return build_estimator(path, params or {}, "models: candidate 'x'")


def refusal(path: str, params: dict[str, object] | None = None, task: Task = "regression") -> str:
    with pytest.raises(JobError) as caught:
        build(CandidateSpec(name="x", family=path, params=params or {}), task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parameters_reach_the_estimator() -> None:
    estimator = made("sklearn.linear_model.Ridge", {"alpha": 2.5, "fit_intercept": False})
    assert isinstance(estimator, Ridge)
    assert (estimator.alpha, estimator.fit_intercept) == (2.5, False)


def test_steps_of_a_pipeline_are_built_and_named_as_make_pipeline_names_them() -> None:
    steps = [
        {"sklearn.preprocessing.StandardScaler": {"with_mean": False}},
        "sklearn.preprocessing.StandardScaler",
        "passthrough",
        {"sklearn.linear_model.Ridge": {"alpha": 2}},
    ]
    estimator = made("sklearn.pipeline.Pipeline", {"steps": steps})
    assert isinstance(estimator, Pipeline)
    assert [name for name, _ in estimator.steps] == [
        "standardscaler-1",
        "standardscaler-2",
        "passthrough",
        "ridge",
    ]
    assert isinstance(estimator.steps[0][1], StandardScaler)
    assert estimator.steps[0][1].with_mean is False
    assert estimator.steps[-1][1].alpha == 2


def test_named_steps_keep_their_names() -> None:
    steps = [["first", {"sklearn.linear_model.Ridge": {}}], {"sklearn.linear_model.Lasso": None}]
    estimator = made("sklearn.ensemble.VotingRegressor", {"estimators": steps})
    assert isinstance(estimator, VotingRegressor)
    assert [(name, type(part)) for name, part in estimator.estimators] == [("first", Ridge), ("lasso", Lasso)]


def test_a_parameter_that_is_a_bare_import_path_is_built() -> None:
    estimator = made("sklearn.ensemble.BaggingRegressor", {"estimator": "sklearn.linear_model.Ridge"})
    assert isinstance(estimator, BaggingRegressor)
    assert isinstance(estimator.estimator, Ridge)


def test_dotted_text_that_names_no_package_stays_text() -> None:
    params: dict[str, object] = {"missing_values": "not.known", "strategy": "most_frequent"}
    assert made("sklearn.impute.SimpleImputer", params).missing_values == "not.known"  # type: ignore[attr-defined]


def test_a_list_becomes_a_tuple_where_the_default_is_one() -> None:
    assert made("sklearn.preprocessing.MinMaxScaler", {"feature_range": [0, 2]}).feature_range == (0, 2)  # type: ignore[attr-defined]


def test_work_is_never_spread_inside_an_estimator() -> None:
    forest = made("sklearn.ensemble.RandomForestRegressor", {"n_jobs": -1})
    assert isinstance(forest, RandomForestRegressor)
    assert forest.n_jobs == 1
    nested = made(
        "sklearn.ensemble.BaggingRegressor", {"estimator": "sklearn.ensemble.RandomForestRegressor"}
    )
    assert nested.estimator.n_jobs == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("sklearn.linear_model.Rigde", {}, "sklearn.linear_model has no 'Rigde' (did you mean 'Ridge'?)"),
        (
            "sklearn.linear_models.Ridge",
            {},
            "no module 'sklearn.linear_models' (did you mean 'linear_model'?)",
        ),
        ("nowhere_at_all.Ridge", {}, "no module 'nowhere_at_all' among the installed packages"),
        ("sklearn.base.clone", {}, "sklearn.base.clone is no estimator"),
        ("pathlib.Path", {}, "pathlib.Path is no estimator"),
        (
            "sklearn.linear_model.Ridge",
            {"alhpa": 1},
            "sklearn.linear_model.Ridge has no parameter 'alhpa' (did you mean 'alpha'?)",
        ),
        ("sklearn.linear_model.Ridge", {"alpha": -1.0}, "The 'alpha' parameter of Ridge must be"),
        ("sklearn.linear_model.Ridge", {"solver": "fast"}, "The 'solver' parameter of Ridge must be"),
        ("sklearn.model_selection.GridSearchCV", {}, "needs the parameter 'estimator'"),
        (
            "sklearn.ensemble.BaggingRegressor",
            {"estimator": "sklearn.linear_model.Rigde"},
            "sklearn.linear_model has no 'Rigde' (did you mean 'Ridge'?)",
        ),
        (
            "sklearn.pipeline.Pipeline",
            {"steps": [{"sklearn.linear_model.Ridge": {"alhpa": 2}}]},
            "sklearn.linear_model.Ridge has no parameter 'alhpa'",
        ),
        ("sklearn.linear_model.LogisticRegression", {}, "is a classifier; the job's task is regression"),
        ("sklearn.ensemble.IsolationForest", {}, "is an outlier detector; the job's task is regression"),
        ("sklearn.cluster.KMeans", {}, "is a clusterer; the job's task is regression"),
        ("sklearn.preprocessing.StandardScaler", {}, "has no `predict`"),
        (
            "sklearn.pipeline.Pipeline",
            {"steps": [{"sklearn.svm.SVC": {}}]},
            "is a classifier; the job's task is regression",
        ),
    ],
)
def test_what_cannot_be_an_estimator_of_the_task_is_refused_by_name(
    path: str, params: dict[str, object], expected: str
) -> None:
    message = refusal(path, params)
    assert message.startswith("models: candidate 'x': ")
    assert expected in message


def test_a_regressor_cannot_classify() -> None:
    message = refusal("sklearn.linear_model.Ridge", task="classification")
    assert message.endswith("sklearn.linear_model.Ridge is a regressor; the job's task is classification")


def test_an_import_that_fails_is_told_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_on_import.py").write_text("import not_there_either\n")
    (tmp_path / "exits_on_import.py").write_text("raise SystemExit('bye')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    message = refusal("breaks_on_import.Model")
    assert (
        "importing breaks_on_import failed: ModuleNotFoundError: No module named 'not_there_either'"
        in message
    )
    assert "importing exits_on_import failed: SystemExit: bye" in refusal("exits_on_import.Model")
    assert "exits_on_import" not in sys.modules
    (tmp_path / "gives_nothing.py").write_text(
        "def __getattr__(name):\n    raise ImportError('not enabled')\n"
    )
    assert "importing gives_nothing.Model failed: ImportError: not enabled" in refusal("gives_nothing.Model")


def test_an_unknown_family_names_what_the_task_can_be_done_with() -> None:
    message = refusal("isolation_forrest", task="anomaly")
    assert "did you mean 'isolation_forest'?" in message
    assert "ewma, isolation_forest, robust_zscore, estimators by import path, your own" in message
    assert refusal("seasonal_naive").endswith("estimators by import path, your own as `module:name`")
