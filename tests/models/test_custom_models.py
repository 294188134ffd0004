"""Your own classes and functions: how they are found, what they get, and what they may give back."""

from __future__ import annotations

import pickle
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.exceptions import CannotExtendError, DataError, JobError, ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec, Task
from manymodels.records import Rows

SOURCE = """
    import numpy as np
    import pandas as pd

    settings = {"not": "a model"}


    class Nearest:
        '''Predicts the target of the nearest row: sklearn-like, but not scikit-learn's.'''

        def __init__(self, power=2, random_state=None):
            self.power, self.random_state = power, random_state

        def fit(self, X, y):
            self.X, self.y = np.asarray(X), np.asarray(y)

        def predict(self, X):
            apart = np.abs(np.asarray(X)[:, None] - self.X[None]) ** self.power
            return self.y[apart.sum(axis=2).argmin(axis=1)]


    class Trend:
        def fit(self, X, y):
            self.columns = list(X.columns)
            self.slope, self.start = np.polyfit(np.arange(len(y)), y, 1)
            self.rows = len(y)

        def predict(self, X):
            return self.start + self.slope * np.arange(self.rows, self.rows + len(X))


    class Distance:
        def fit(self, X, y):
            assert y is None
            self.columns = list(X.columns)
            self.mean = X[["a", "y"]].mean()

        def predict(self, X):
            return (X[["a", "y"]] - self.mean).abs().max(axis=1)


    class LikeSklearns(Distance):
        def score_samples(self, X):
            return -super().predict(X)

        def predict(self, X):
            raise AssertionError("the scores are in score_samples")


    class Needy:
        def __init__(self, size):
            raise RuntimeError("no such size")

        def fit(self, X, y): ...

        def predict(self, X): ...


    class NoEstimator:
        pass


    class Returns:
        def __init__(self, values, spec=None):
            self.values, self.spec = values, spec

        def predict(self, frame):
            return self.values(frame) if callable(self.values) else self.values


    class Proba:
        classes_ = np.array(["b", "a"])

        def predict(self, frame):
            return ["b"] * len(frame)

        def predict_proba(self, frame):
            return np.tile([0.7, 0.3], (len(frame), 1))


    def shifted(frame, spec, by=0.0):
        level = frame[spec.target].mean() + by
        return Level(level)


    class Level:
        def __init__(self, level):
            self.level = level

        def predict(self, frame):
            return pd.Series(self.level, index=frame.index)


    def knows_its_seed(frame, spec):
        return Level(spec.seed)


    def no_model(frame, spec):
        return None


    def with_rows_only(frame):
        return Level(0)


    def changes_its_frame(frame, spec):
        frame["a"] = 0.0
        return Level(1.0)


    def proba(frame, spec):
        return Proba()


    def fails(frame, spec):
        raise KeyError("no such column")


    made = {}


    def returns(frame, spec):
        return Returns(made["values"], spec)
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own_models.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_models", None)


def table(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "kind": rng.choice(["u", "v"], rows)})
    frame["y"] = frame["a"] * 2 + (frame["kind"] == "u")
    frame.insert(0, "at", pd.date_range("2026-01-01", periods=rows))
    return frame


def spec(task: Task = "regression", **fields: Any) -> FitSpec:
    return FitSpec(
        **{"task": task, "target": "y", "time": "at", "features": ("a", "kind"), "seed": 4, **fields}
    )


def fit(name: str, known: FitSpec | None = None, frame: pd.DataFrame | None = None, **params: Any) -> Any:
    known = known or spec()
    family = build(CandidateSpec(name="mine", family=f"own_models:{name}", params=params), known.task)
    return family.fit(Rows(table() if frame is None else frame), known)


def given(values: Any, known: FitSpec | None = None, rows: int = 4) -> Any:
    """The output of a model whose predict gives these values."""
    import own_models

    own_models.made["values"] = values
    return fit("returns", known).predict(Rows(table()[:rows]))


# Finding it


@pytest.mark.parametrize(
    ("family", "params", "message"),
    [
        ("own_modles:Nearest", {}, "no module 'own_modles' beside the job file ("),
        ("own_models:Nearset", {}, "own_models has no 'Nearset' (did you mean 'Nearest'?)"),
        ("own_models:settings", {}, "own_models:settings is a dict; a class, or a function"),
        ("own_models:NoEstimator", {}, "own_models:NoEstimator is no estimator"),
        ("own_models:Nearest", {"powre": 1}, "has no parameter 'powre' (did you mean 'power'?)"),
        ("own_models:Needy", {}, "own_models:Needy needs the parameter 'size'"),
        ("own_models:Needy", {"size": 2}, "own_models:Needy: RuntimeError: no such size"),
        ("own_models:shifted", {"bye": 1}, "has no parameter 'bye' (did you mean 'by'?)"),
        ("own_models:with_rows_only", {}, "own_models:with_rows_only(frame) must take the rows and the spec"),
    ],
)
def test_what_is_no_model_is_refused_while_the_job_is_read(
    family: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError) as caught:
        build(CandidateSpec(name="mine", family=family, params=params), "regression")
    assert str(caught.value).startswith("models: candidate 'mine': ")
    assert message in str(caught.value)


def test_the_folder_that_was_searched_is_named(own_module: Path) -> None:
    with pytest.raises(JobError, match="among the installed packages") as caught:
        build(CandidateSpec(name="mine", family="own_modles:Nearest"), "regression")
    assert str(own_module) in str(caught.value)


def test_a_module_that_fails_on_import_is_told_with_its_message(own_module: Path) -> None:
    (own_module / "half_written.py").write_text("def fit(frame, spec:\n")
    with pytest.raises(JobError, match="importing half_written failed: SyntaxError: ") as caught:
        build(CandidateSpec(name="mine", family="half_written:fit"), "regression")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Nearest", "shifted"])
def test_own_code_runs_in_the_child_process(name: str) -> None:
    family = build(CandidateSpec(name="mine", family=f"own_models:{name}"), "regression")
    assert family.isolated
    assert (family.name, family.revision, family.library) == (f"own_models:{name}", 1, "own_models")


# Classes


def test_a_class_gets_the_matrix_that_estimators_get() -> None:
    model = fit("Nearest", power=1)
    assert model.estimator.X.shape == (40, 3)
    assert model.estimator.power == 1
    assert model.estimator.random_state == 4
    np.testing.assert_array_equal(model.predict(Rows(table()))["prediction"], table()["y"])


def test_a_class_that_classifies_gets_the_classes_themselves() -> None:
    frame = table().assign(y=lambda f: np.where(f["a"] > 0, "up", "down"))
    model = fit("Nearest", spec("classification", classes=("down", "flat", "up")), frame)
    assert set(model.estimator.y) == {"down", "up"}
    found = model.predict(Rows(frame))
    assert found["prediction"].tolist() == frame["y"].tolist()
    np.testing.assert_array_equal(found["probability_up"], frame["y"] == "up")
    assert not found["probability_flat"].any()


def test_a_class_that_forecasts_gets_time_and_known_future_features() -> None:
    known = spec("forecast", frequency="D", known_future=("kind",), levels=(80,))
    frame = table().assign(y=np.arange(40.0))
    frame.loc[39, "y"] = np.nan
    model = fit("Trend", known, frame)
    assert model.model.columns == ["at", "kind"]
    assert model.model.rows == 39
    found = model.predict(Rows(frame[["at", "kind"]][:3]))
    assert list(found) == ["prediction", "prediction_lo_80", "prediction_hi_80"]
    np.testing.assert_allclose(found["prediction"], [39, 40, 41])
    assert np.isnan(found["prediction_lo_80"]).all()


def test_a_class_that_forecasts_needs_a_target() -> None:
    with pytest.raises(UnusableRowsError, match="the target 'y' has no value in 40 rows"):
        fit("Trend", spec("forecast", frequency="D"), table().assign(y=np.nan))


@pytest.mark.parametrize("name", ["Distance", "LikeSklearns"])
def test_a_class_that_detects_scores_a_frame_of_time_features_and_target(name: str) -> None:
    frame = table()
    frame.loc[7, "a"] = 100.0
    model = fit(name, spec("anomaly", rate=0.05), frame)
    assert model.model.columns == ["at", "a", "kind", "y"]
    found = model.predict(Rows(frame))
    assert np.argmax(found["score"]) == 7
    assert found["is_anomaly"].sum() == 2
    assert found["is_anomaly"][7]


# Functions


def test_a_function_gets_the_rows_the_spec_and_its_parameters() -> None:
    found = fit("shifted", by=10.0).predict(Rows(table()[:5]))
    np.testing.assert_allclose(found["prediction"], table()["y"].mean() + 10)
    assert fit("knows_its_seed").model.level == 4


def test_a_function_cannot_change_the_batch() -> None:
    frame = table()
    fit("changes_its_frame", frame=frame)
    pd.testing.assert_frame_equal(frame, table())


def test_an_error_of_a_function_stays_its_own() -> None:
    with pytest.raises(KeyError, match="no such column"):
        fit("fails")


def test_a_function_that_returns_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"own_models:no_model must return a model with .*; found None"):
        fit("no_model")


def test_a_model_of_ones_own_predicts_the_same_after_pickling() -> None:
    model = fit("shifted", by=1.0)
    again = pickle.loads(pickle.dumps(model, 5))
    rows = Rows(table()[:3])
    np.testing.assert_array_equal(again.predict(rows)["prediction"], model.predict(rows)["prediction"])
    assert again.describe() == {"family": "own_models:shifted", "model": "own_models.Level"}
    with pytest.raises(CannotExtendError):
        again.extend(rows)


def test_a_column_that_a_class_needs_is_named_when_it_is_missing() -> None:
    model = fit("Distance", spec("anomaly"))
    with pytest.raises(DataError, match="the rows have no column 'kind', which own_models:Distance needs"):
        model.predict(Rows(table().drop(columns="kind")))


# What predict gives


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "must predict one value a row; found None for 4 rows"),
        ([1.0, 2.0], "must predict one value a row; found 2 values for 4 rows"),
        (3.0, r"must predict one value a row; found an array of shape \(\)"),
        (np.zeros((4, 2)), r"found an array of shape \(4, 2\) for 4 rows"),
        ([[1], [2, 3], [4], [5]], "found lists of unequal length"),
        ([np.nan] * 4, "must predict numbers; all 4 predictions are NaN or infinite"),
        ([np.inf] * 4, "must predict numbers; all 4 predictions are NaN or infinite"),
        (["1", "2", "3", "4"], "must predict numbers; found type <U1 "),
        (np.array(["1", 2, 3, 4], dtype=object), "must predict numbers; found type object "),
        ([None, 1, 2, {}], "must predict numbers; found type object "),
        (pd.DataFrame({"value": [1.0] * 4}), "must predict a column `prediction`; found value"),
    ],
)
def test_predictions_of_no_use_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ModelError, match=f"own_models:returns .*{message}"):
        given(values)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4],
        (1.0, 2.0, 3.0, 4.0),
        np.array([[1], [2], [3], [4]]),
        pd.Series([1, 2, 3, 4], index=list("abcd")),
    ],
)
def test_any_four_numbers_are_four_predictions(values: Any) -> None:
    found = given(values)["prediction"]
    assert found.dtype == np.float64
    assert found.tolist() == [1, 2, 3, 4]


def test_some_rows_may_stay_without_a_prediction() -> None:
    np.testing.assert_array_equal(given([1.0, None, np.nan, 4.0])["prediction"], [1, np.nan, np.nan, 4])


def test_a_frame_may_bring_intervals() -> None:
    known = spec("forecast", frequency="D", levels=(80, 95), non_negative=True)
    frame = pd.DataFrame(
        {"prediction": [1.0] * 4, "prediction_lo_80": [-2.0] * 4, "prediction_hi_80": [3.0] * 4}
    )
    found = given(frame, known)
    assert found["prediction_lo_80"].tolist() == [0.0] * 4
    assert found["prediction_hi_80"].tolist() == [3.0] * 4
    assert np.isnan(found["prediction_hi_95"]).all()


CLASSES = spec("classification", classes=("a", "b", "c"))


def test_predicted_classes_are_certain_unless_probabilities_come_with_them() -> None:
    found = given(["a", "c", "a", "b"], CLASSES)
    assert found["prediction"].tolist() == ["a", "c", "a", "b"]
    assert found["probability_a"].tolist() == [1, 0, 1, 0]
    frame = pd.DataFrame(
        {"prediction": ["a"] * 4, **{f"probability_{c}": [0.5, 0.4, 0.3, 0.2] for c in "abc"}}
    )
    assert given(frame, CLASSES)["probability_b"].tolist() == [0.5, 0.4, 0.3, 0.2]


def test_a_model_with_predict_proba_and_classes_gives_probabilities() -> None:
    found = fit("proba", CLASSES).predict(Rows(table()[:2]))
    assert found["prediction"].tolist() == ["b", "b"]
    assert [found[f"probability_{c}"].tolist() for c in "abc"] == [[0.3, 0.3], [0.7, 0.7], [0.0, 0.0]]


def test_probabilities_of_another_shape_are_refused() -> None:
    import own_models

    own_models.Proba.classes_ = np.array(["b"])
    with pytest.raises(
        ModelError, match=r"must predict 1 probabilities a row; found shape \(2, 2\) for 2 rows"
    ):
        fit("proba", CLASSES).predict(Rows(table()[:2]))


@pytest.mark.parametrize("values", [["a", "b", "z", "a"], ["a", None, "b", "a"], [1, 2, 3, 4]])
def test_what_is_no_class_of_the_data_set_is_refused(values: list[Any]) -> None:
    with pytest.raises(ModelError, match=r"must predict classes of the data set \('a', 'b', 'c'\); found "):
        given(values, CLASSES)


def test_a_frame_may_bring_flags() -> None:
    def flagged(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"score": frame["a"], "is_anomaly": frame["a"] > 0})

    found = given(flagged, spec("anomaly"))
    np.testing.assert_array_equal(found["is_anomaly"], table()["a"][:4] > 0)
    np.testing.assert_array_equal(found["score"], table()["a"][:4])
