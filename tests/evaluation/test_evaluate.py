from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from evaluation_rows import daily, forecast, regression

from manymodels.evaluation.evaluate import evaluate, fit_checked
from manymodels.evaluation.metrics import METRICS
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.evaluation.splits import make_splits
from manymodels.exceptions import CannotExtendError, ModelError
from manymodels.models.contract import FitSpec
from manymodels.records import Rows

ROWS = daily(np.arange(12.0), visitors=np.arange(12.0))
SPEC = forecast(horizon=2, features=("visitors",))
TWO_WINDOWS = make_splits(ROWS, SPEC, EvaluationSpec(backtest=BacktestSpec(windows=2)))


class Stub:
    """A family whose models predict by a function of the rows."""

    name, revision, isolated, library = "stub", 1, False, ""

    def __init__(
        self, predict: Callable[[Rows], Any], fit: Callable[[Rows], None] = lambda rows: None
    ) -> None:
        self.predict, self._fit = predict, fit

    def fit(self, rows: Rows, spec: FitSpec) -> Any:
        self._fit(rows)
        return self


def constant(value: float) -> Callable[[Rows], Any]:
    return lambda rows: {"prediction": np.full(len(rows), value)}


def test_every_split_is_fitted_and_measured() -> None:
    found = evaluate(Stub(constant(9.0)), TWO_WINDOWS, SPEC, METRICS["mae"])
    assert found.values == (1.5, 0.5)
    assert found.reason == ""
    assert found.fit_seconds > 0


def test_a_fit_sees_no_row_after_its_cutoff_and_no_target_or_feature_of_the_rows_to_forecast() -> None:
    seen: list[tuple[Any, list[str]]] = []
    cutoffs: list[Any] = []

    def predict(rows: Rows) -> Any:
        with pytest.raises(KeyError):
            rows.values("sales")
        with pytest.raises(KeyError):
            rows.frame(["visitors"])
        seen.append((rows.values("day").min(), rows.frame().columns.tolist()))
        return {"prediction": np.zeros(len(rows))}

    def fit(rows: Rows) -> None:
        cutoffs.append(max(rows.values("day").max(), rows.frame()["day"].to_numpy().max()))
        assert len(rows.numbers("visitors")) == len(rows.frame()) == len(rows)

    evaluate(Stub(predict, fit), TWO_WINDOWS, SPEC, METRICS["mase"])
    days = ROWS.values("day")
    assert cutoffs == [days[7], days[9]]
    assert seen == [(days[8], ["day"]), (days[10], ["day"])]


def test_a_split_that_is_too_short_for_the_family_has_no_value() -> None:
    def fit(rows: Rows) -> None:
        if len(rows) < 10:
            raise ModelError("needs 10 rows")

    found = evaluate(Stub(constant(9.0), fit), TWO_WINDOWS, SPEC, METRICS["mae"])
    assert found.values == (1.5, None)
    assert found.reason == "needs 10 rows"


def test_a_metric_that_cannot_be_computed_has_no_value_and_a_reason() -> None:
    rows = daily([0.0] * 12)
    found = evaluate(Stub(constant(9.0)), make_splits(rows, SPEC, EvaluationSpec()), SPEC, METRICS["wape"])
    assert found.values == (None,)
    assert "zero" in found.reason


def test_some_predictions_that_are_no_numbers_leave_the_split_without_a_value() -> None:
    predict = lambda rows: {"prediction": np.array([1.0, np.inf])}  # noqa: E731
    found = evaluate(Stub(predict), TWO_WINDOWS, SPEC, METRICS["mae"])
    assert found.values == (None, None)
    assert found.reason == "`predict` gave no finite number for 1 of 2 rows"


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (constant(np.nan), "gave no finite number for any of 2 rows"),
        (lambda rows: {"prediction": np.zeros(3)}, "gave 3 values in `prediction` for 2 rows"),
        (
            lambda rows: {"forecast": np.zeros(2)},
            r"gave columns \['forecast'\], expected columns with `prediction`",
        ),
        (lambda rows: np.zeros(2), "gave a ndarray, expected columns"),
        (lambda rows: None, "gave a NoneType, expected columns"),
    ],
)
def test_predictions_of_the_wrong_shape_are_refused(predict: Callable[[Rows], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        evaluate(Stub(predict), TWO_WINDOWS, SPEC, METRICS["mae"])


def test_a_family_that_returns_no_model_is_refused() -> None:
    class Nothing(Stub):
        def fit(self, rows: Rows, spec: FitSpec) -> Any:
            return None

    with pytest.raises(ModelError, match="stub made a NoneType, expected a model"):
        fit_checked(Nothing(constant(0.0)), ROWS, SPEC)


def test_what_a_model_raises_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        evaluate(Stub(lambda rows: 1 / 0), TWO_WINDOWS, SPEC, METRICS["mae"])


def test_judged_predictions_are_those_of_rows_with_an_outcome() -> None:
    rows = daily([*range(8), np.nan, 9.0], size=np.arange(10.0))
    spec = regression(time="day", features=("size",))
    splits = make_splits(rows, spec, EvaluationSpec())
    family = Stub(lambda rows: {"prediction": rows.numbers("size") + 0.5})
    assert evaluate(family, splits, spec, METRICS["mae"]).values == (0.5,)


class Counted:
    """A family that counts its fits; whether its models can go on is told."""

    name, revision, isolated, library = "counted", 1, False, ""

    def __init__(self, extends: bool = True, least: int = 0) -> None:
        self.extends, self.least = extends, least
        self.fitted: list[int] = []
        self.extended: list[int] = []

    def fit(self, rows: Rows, spec: FitSpec) -> Any:
        if len(rows) < self.least:
            raise ModelError("too few")
        self.fitted.append(len(rows))
        return self

    def extend(self, rows: Rows) -> Any:
        if not self.extends:
            raise CannotExtendError("no")
        self.extended.append(len(rows))
        return self

    def predict(self, rows: Rows) -> Any:
        return {"prediction": np.zeros(len(rows))}


FIVE_WINDOWS = make_splits(ROWS, SPEC, EvaluationSpec(backtest=BacktestSpec(windows=5)))


@pytest.mark.parametrize(
    ("cadence", "fitted", "extended"),
    [(1, [2, 4, 6, 8, 10], []), (2, [2, 6, 10], [4, 8]), (3, [2, 8], [4, 6, 10]), (5, [2], [4, 6, 8, 10])],
)
def test_a_cadence_fits_from_the_oldest_window_on(
    cadence: int, fitted: list[int], extended: list[int]
) -> None:
    family = Counted()
    found = evaluate(family, FIVE_WINDOWS, SPEC, METRICS["mae"], cadence=cadence)
    assert (family.fitted, family.extended) == (fitted, extended)
    assert found.values == (10.5, 8.5, 6.5, 4.5, 2.5)


def test_a_model_that_cannot_go_on_is_fitted_again() -> None:
    family = Counted(extends=False)
    evaluate(family, FIVE_WINDOWS, SPEC, METRICS["mae"], cadence=5)
    assert family.fitted == [2, 4, 6, 8, 10]


def test_where_the_oldest_window_cannot_be_fitted_the_next_one_is() -> None:
    family = Counted(least=5)
    found = evaluate(family, FIVE_WINDOWS, SPEC, METRICS["mae"], cadence=5)
    assert (family.fitted, family.extended) == ([6], [8, 10])
    assert found.values == (10.5, 8.5, 6.5, None, None)
    assert found.reason == "too few"
