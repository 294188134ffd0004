from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.evaluation.metrics import METRICS, Metric
from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec
from manymodels.models.ensemble import EnsembleModel
from manymodels.models.spec import CandidateSpec
from manymodels.records import AttemptFailure, Rows
from manymodels.selection.choose import KeyFit, fit_key
from manymodels.selection.spec import EnsembleSpec, SelectionSpec

MAE = METRICS["mae"]
R2 = METRICS["r2"]
DAYS = pd.date_range("2024-01-01", periods=20)
ROWS = Rows(pd.DataFrame({"day": DAYS, "y": np.arange(20.0)}))
SPEC = FitSpec("regression", target="y", time="day")
FORECAST = FitSpec("forecast", target="y", time="day", frequency="D", horizon=2)


class Model:
    def __init__(self, value: float, rows: int) -> None:
        self.value, self.rows = value, rows

    def predict(self, rows: Rows) -> dict[str, Any]:
        return {"prediction": np.full(len(rows), self.value)}


class Constant:
    """Predicts a constant; ``on_fit`` may raise."""

    name, revision, isolated, library = "constant", 1, False, ""

    def __init__(self, value: float = 0.0, on_fit: Callable[[Rows], None] = lambda rows: None) -> None:
        self.value, self.on_fit = value, on_fit

    def fit(self, rows: Rows, spec: FitSpec) -> Any:
        self.on_fit(rows)
        return Model(self.value, len(rows))


def choose(
    families: dict[str, Any],
    *,
    rows: Rows = ROWS,
    spec: FitSpec = SPEC,
    evaluation: EvaluationSpec = EvaluationSpec(),  # noqa: B008 - frozen
    metric: Metric | None = MAE,
    blamed: dict[str, AttemptFailure] | None = None,
    **more: Any,
) -> tuple[KeyFit, list[str]]:
    """What became of the key, and the candidates in the order in which they were started."""
    candidates = [
        (CandidateSpec(name=name, family="constant", params={"of": name}), family)
        for name, family in families.items()
    ]
    steps = fit_key(rows, candidates, spec, evaluation, metric, blamed=blamed or {}, **more)
    started = []
    while True:
        try:
            started.append(next(steps))
        except StopIteration as stop:
            return stop.value, started


def raising(error: BaseException, *, above: int = 0) -> Callable[[Rows], None]:
    """Raises in fits on more rows than ``above``."""

    def on_fit(rows: Rows) -> None:
        if len(rows) > above:
            raise error

    return on_fit


def test_the_best_candidate_is_refitted_on_all_rows() -> None:
    found, started = choose({"low": Constant(0.0), "near": Constant(17.0), "high": Constant(30.0)})
    assert started == ["low", "near", "high", "near"]
    assert (found.state, found.candidate, found.params) == ("trained", "near", '{"of": "near"}')
    assert found.metric == pytest.approx(1.0)
    assert isinstance(found.model, Model)
    assert (found.model.rows, found.rows) == (20, 20)
    assert [(score.candidate, score.metric) for score in found.scores] == [
        ("near", 1.0),
        ("high", 12.5),
        ("low", 17.5),
    ]
    assert found.fit_seconds > 0
    assert all(score.seconds > 0 for score in found.scores)
    assert found.reason == ""


def test_a_metric_where_more_is_better_turns_the_order() -> None:
    found, _ = choose({"low": Constant(0.0), "near": Constant(17.0)}, metric=R2)
    assert found.candidate == "near"


def test_ties_go_to_the_first_listed() -> None:
    found, started = choose({"b": Constant(5.0), "a": Constant(5.0)})
    assert found.candidate == "b"
    assert started == ["b", "a", "b"]


def test_a_single_candidate_is_evaluated_too() -> None:
    found, started = choose({"only": Constant(17.0)})
    assert started == ["only", "only"]
    assert found.metric == pytest.approx(1.0)


def test_without_a_metric_the_first_candidate_that_fits_is_taken() -> None:
    families = {"bad": Constant(0.0, raising(ValueError("no"))), "a": Constant(0.0), "b": Constant(17.0)}
    found, started = choose(families, metric=None)
    assert started == ["bad", "a"]
    assert (found.candidate, found.metric, found.reason) == ("a", None, "")
    assert [(score.candidate, score.error) for score in found.scores] == [
        ("a", ""),
        ("b", ""),
        ("bad", "ValueError: no"),
    ]


def test_a_key_too_short_to_evaluate_takes_the_first_candidate_that_fits_and_says_so() -> None:
    families = {"a": Constant(0.0), "b": Constant(2.0)}
    found, started = choose(families, rows=ROWS.part(0, 3), spec=FORECAST)
    assert started == ["a"]
    assert (found.candidate, found.metric) == ("a", None)
    assert found.reason == "3 rows are too few to hold some of them out"


def test_a_metric_without_a_value_is_explained() -> None:
    flat = Rows(pd.DataFrame({"day": DAYS, "y": np.zeros(20)}))
    found, _ = choose({"a": Constant(0.0)}, rows=flat, spec=FORECAST, metric=METRICS["mase"])
    assert (found.state, found.metric) == ("trained", None)
    assert "does not change" in found.reason


def test_a_candidate_that_raises_is_disqualified_and_the_others_go_on() -> None:
    families = {"bad": Constant(17.5, raising(ValueError("singular"))), "good": Constant(0.0)}
    found, started = choose(families)
    assert started == ["bad", "good", "good"]
    assert (found.state, found.candidate, found.failure) == ("trained", "good", None)
    assert found.scores[-1].candidate == "bad"
    assert found.scores[-1].metric is None
    assert found.scores[-1].error == "ValueError: singular"


def test_when_the_refit_of_the_best_fails_the_next_best_is_taken() -> None:
    families = {"far": Constant(0.0), "best": Constant(17.5, raising(ValueError("all rows"), above=16))}
    found, started = choose(families | {"near": Constant(10.0)})
    assert started == ["far", "best", "near", "best", "near"]
    assert (found.candidate, found.metric) == ("near", 7.5)
    assert [score.candidate for score in found.scores] == ["near", "far", "best"]
    assert found.scores[-1].error == "ValueError: all rows"


def test_when_all_fail_the_key_fails_with_the_first_listed_failure() -> None:
    families = {"a": Constant(0.0, raising(ValueError("one"))), "b": Constant(0.0, raising(KeyError("two")))}
    found, started = choose(families)
    assert started == ["a", "b"]
    assert (found.state, found.model, found.candidate) == ("failed", None, "a")
    assert found.failure is not None
    assert (found.failure.error, found.failure.candidate) == ("ValueError", "a")
    assert found.failure.frame == "test_choose.py:on_fit"
    assert found.reason == "ValueError: one"
    assert [score.error for score in found.scores] == ["ValueError: one", "KeyError: 'two'"]


def test_a_model_that_predicts_no_numbers_is_disqualified() -> None:
    found, _ = choose({"nan": Constant(np.nan), "good": Constant(0.0)})
    assert found.candidate == "good"
    assert "no finite number" in found.scores[-1].error


def test_a_candidate_that_returns_no_model_is_disqualified_even_without_evaluation() -> None:
    class Nothing(Constant):
        def fit(self, rows: Rows, spec: FitSpec) -> Any:
            return None

    found, _ = choose({"none": Nothing()}, metric=None)
    assert found.state == "failed"
    assert found.reason == "ModelError: constant made a NoneType, expected a model with `predict`"


def test_leaving_the_interpreter_is_a_crash_of_the_candidate() -> None:
    def leave(rows: Rows) -> None:
        sys.exit(3)

    found, _ = choose({"exit": Constant(0.0, leave)})
    assert found.failure is not None
    assert (found.failure.cause, found.failure.error) == ("crash", "SystemExit")


def test_the_users_interrupt_is_no_failure() -> None:
    with pytest.raises(KeyboardInterrupt):
        choose({"slow": Constant(0.0, raising(KeyboardInterrupt()))})


def test_blamed_candidates_are_not_run_and_keep_their_failure() -> None:
    crash = AttemptFailure("crash", "SIGSEGV", "signal 11", candidate="bad")
    fits: list[int] = []
    bad = Constant(17.5, lambda rows: fits.append(len(rows)))
    found, started = choose({"bad": bad, "good": Constant(0.0)}, blamed={"bad": crash})
    assert started == ["good", "good"]
    assert (found.candidate, fits) == ("good", [])
    assert found.scores[-1].error == "SIGSEGV: signal 11"

    found, started = choose({"bad": bad}, blamed={"bad": crash})
    assert (found.state, found.failure, started) == ("failed", crash, [])


def test_rows_that_no_family_can_use_are_a_fallback_not_a_failure() -> None:
    unusable = raising(UnusableRowsError("no target in 20 rows"))
    found, started = choose({"a": Constant(0.0, unusable), "b": Constant(0.0, unusable)})
    assert (found.state, found.reason, found.failure) == ("fallback", "no target in 20 rows", None)
    assert found.model is None
    assert started == ["a", "b", "a", "b"]


def test_a_family_that_cannot_use_the_rows_leaves_them_to_the_next() -> None:
    found, _ = choose({"a": Constant(0.0, raising(UnusableRowsError("no"))), "b": Constant(0.0)})
    assert (found.state, found.candidate) == ("trained", "b")


def test_unusable_rows_and_a_failure_are_a_failure() -> None:
    families = {
        "a": Constant(0.0, raising(UnusableRowsError("no"))),
        "b": Constant(0.0, raising(ValueError("two"))),
    }
    found, _ = choose(families)
    assert found.state == "failed"
    assert found.failure is not None
    assert found.failure.candidate == "b"


def test_a_candidate_too_long_for_a_window_comes_after_those_with_a_value_but_can_win_alone() -> None:
    picky = Constant(17.5, raising(ModelError("needs 20 rows")))
    picky.on_fit = lambda rows: raising(ModelError("needs 20 rows"))(rows) if len(rows) < 20 else None
    found, started = choose({"picky": picky, "far": Constant(0.0)})
    assert found.candidate == "far"
    assert started == ["picky", "far", "far"]
    found, _ = choose({"picky": picky})
    assert (found.state, found.metric, found.reason) == ("trained", None, "needs 20 rows")


def test_candidates_are_compared_on_the_windows_that_all_of_them_have() -> None:
    # The older window is easier for both; only `a` has a value there.
    rows = Rows(pd.DataFrame({"day": DAYS, "y": [0.0] * 18 + [10.0] * 2}))
    evaluation = EvaluationSpec(backtest=BacktestSpec(windows=2))
    short = Constant(4.0, lambda rows: raising(ModelError("short"))(rows) if len(rows) < 18 else None)
    families = {"a": Constant(3.0), "b": short}
    found, _ = choose(families, rows=rows, spec=FORECAST, evaluation=evaluation)
    assert (found.candidate, found.metric) == ("b", 6.0)
    assert [score.metric for score in found.scores] == [6.0, 7.0]
    found, _ = choose({"a": Constant(3.0)}, rows=rows, spec=FORECAST, evaluation=evaluation)
    assert found.metric == 5.0


def test_rows_without_the_target_column_fail_the_key_alone() -> None:
    found, started = choose({"a": Constant()}, rows=ROWS.only(("day",)))
    assert (found.state, started) == ("failed", [])
    assert found.failure is not None
    assert found.failure.error == "KeyError"


@pytest.mark.parametrize(
    ("times", "cutoff"),
    [
        (pd.to_datetime(["2024-01-01 00:00", "2024-01-02 03:00"]), 1_704_164_400_000_000),
        (
            pd.to_datetime(["2024-01-01 00:00", "2024-01-02 03:00"]).tz_localize("Asia/Tokyo"),
            1_704_132_000_000_000,
        ),
        ([5, 9], 9),
        (pd.to_datetime([None, None]), None),
        ([0.5, 1.5], None),
    ],
)
def test_the_cutoff_is_the_last_time(times: Any, cutoff: int | None) -> None:
    rows = Rows(pd.DataFrame({"t": times, "y": [1.0, 2.0]}))
    found, _ = choose(
        {"a": Constant()}, rows=rows, spec=FitSpec("regression", target="y", time="t"), metric=None
    )
    assert found.cutoff == cutoff


def test_without_a_time_column_there_is_no_cutoff() -> None:
    found, _ = choose({"a": Constant()}, spec=FitSpec("regression", target="y"))
    assert found.cutoff is None
    assert found.rows == 20


def test_candidates_are_judged_on_the_same_seeded_part() -> None:
    parts: list[list[float]] = []
    families = {
        name: Constant(0.0, lambda rows: parts.append(rows.numbers("y").tolist())) for name in ("a", "b")
    }
    choose(families, spec=FitSpec("regression", target="y", seed=5))
    assert parts[0] == parts[1]
    assert len(parts[0]) == 16
    assert len(parts[2]) == 20


def test_anomaly_detectors_compete_on_the_label() -> None:
    truth = np.array([0, 1] * 10)
    rows = Rows(pd.DataFrame({"day": DAYS, "x": np.arange(20.0), "fault": truth}))

    class Detector(Constant):
        def fit(self, rows: Rows, spec: FitSpec) -> Any:
            return self

        def predict(self, rows: Rows) -> dict[str, Any]:
            return {"score": self.value * (rows.numbers("x") % 2), "is_anomaly": np.zeros(len(rows), bool)}

    spec = FitSpec("anomaly", time="day", features=("x",), label="fault")
    families = {"against": Detector(-1.0), "for": Detector(1.0)}
    found, _ = choose(families, rows=rows, spec=spec, metric=METRICS["average_precision"])
    assert (found.candidate, found.metric) == ("for", 1.0)


@pytest.mark.parametrize(
    ("incumbent", "min_gain", "winner"),
    [
        ("far", 0.0, "near"),
        ("far", 0.4, "near"),
        ("far", 0.6, "far"),
        ("near", 0.6, "near"),
        ("gone", 0.6, "near"),
        (None, 0.6, "near"),
        ("broken", 0.6, "near"),
    ],
)
def test_another_configuration_must_beat_the_champions_by_the_gain_asked_for(
    incumbent: str | None, min_gain: float, winner: str
) -> None:
    def fail(rows: Rows) -> None:
        raise ValueError("broken")

    # The last four targets are 16 to 19: errors of 2 and of 4.
    families = {"far": Constant(13.5), "near": Constant(15.5), "broken": Constant(17.5, fail)}
    fit, _ = choose(families, incumbent=incumbent, min_gain=min_gain)
    assert fit.candidate == winner
    assert [score.candidate for score in fit.scores] == ["near", "far", "broken"]


def test_an_incumbent_that_cannot_be_refitted_gives_way() -> None:
    def fail_on_all(rows: Rows) -> None:
        if len(rows) == 20:
            raise ValueError("too many")

    families = {"far": Constant(13.5, fail_on_all), "near": Constant(15.5)}
    fit, started = choose(families, incumbent="far", min_gain=0.9)
    assert (fit.candidate, started) == ("near", ["far", "near", "far", "near"])


def test_an_ensemble_is_kept_where_it_does_better_than_the_best() -> None:
    wanted = SelectionSpec(ensemble=EnsembleSpec(top=2))
    families = {"far": Constant(90.0), "low": Constant(14.0), "high": Constant(21.0)}
    found, started = choose(families, selection=wanted)
    # The members are refitted on all rows, and both are named before, so that both can be blamed.
    assert started == ["far", "low", "high", "low", "high"]
    assert (found.candidate, found.params) == (
        "ensemble",
        '{"top": 2, "combine": "weighted", "keep": "better"}',
    )
    assert isinstance(found.model, EnsembleModel)
    assert [member.rows for member in found.model.members] == [20, 20]  # type: ignore[attr-defined]
    assert [score.candidate for score in found.scores] == ["ensemble", "low", "high", "far"]
    assert found.metric == found.scores[0].metric
    assert found.metric is not None
    assert found.metric < 2.5
    assert {backtest.candidate for backtest in found.backtests} == {"ensemble"}


def test_an_ensemble_that_is_no_better_stands_on_the_leaderboard_only() -> None:
    wanted = SelectionSpec(ensemble=EnsembleSpec())
    found, started = choose({"near": Constant(17.0), "high": Constant(21.0)}, selection=wanted)
    assert found.candidate == "near"
    assert started == ["near", "high", "near"]
    assert [score.candidate for score in found.scores] == ["near", "ensemble", "high"]


def test_an_incumbent_ensemble_stays_unless_it_is_beaten_by_enough() -> None:
    wanted = SelectionSpec(ensemble=EnsembleSpec())
    found, _ = choose(
        {"near": Constant(17.0), "high": Constant(21.0)},
        selection=wanted,
        incumbent="ensemble",
        min_gain=0.9,
    )
    assert found.candidate == "ensemble"


def test_an_ensemble_whose_member_cannot_be_fitted_on_all_rows_gives_way() -> None:
    wanted = SelectionSpec(ensemble=EnsembleSpec())
    families = {"low": Constant(14.0, raising(ValueError("no"), above=16)), "high": Constant(21.0)}
    found, _ = choose(families, selection=wanted)
    assert found.candidate == "high"
    assert next(score for score in found.scores if score.candidate == "ensemble").error == (
        "low could not be fitted on all rows"
    )


def test_a_single_candidate_makes_no_ensemble() -> None:
    found, _ = choose({"only": Constant(17.0)}, selection=SelectionSpec(ensemble=EnsembleSpec()))
    assert [score.candidate for score in found.scores] == ["only"]
