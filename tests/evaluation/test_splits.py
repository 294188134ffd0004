from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation_rows import daily, forecast, regression, surrounded

from manymodels.evaluation.spec import BacktestSpec, EvaluationSpec
from manymodels.evaluation.splits import Split, make_splits
from manymodels.exceptions import ModelError, UnusableRowsError
from manymodels.models.contract import FitSpec

SALES = np.arange(10.0)


def backtest(windows: int = 1, step: int | None = None, window: int | str = "expanding") -> EvaluationSpec:
    return EvaluationSpec(backtest=BacktestSpec(windows=windows, step=step, window=window))


def sales(split: Split) -> tuple[list[float], list[float]]:
    return split.train.values("sales").tolist(), split.actual.tolist()


def test_windows_are_counted_back_from_the_end_newest_first() -> None:
    splits = make_splits(daily(SALES), forecast(horizon=2), backtest(windows=3))
    assert [sales(split)[1] for split in splits] == [[8, 9], [6, 7], [4, 5]]
    assert [len(split.train) for split in splits] == [8, 6, 4]
    assert [split.training.tolist() for split in splits] == [list(range(8)), list(range(6)), list(range(4))]


def test_windows_may_overlap_by_a_step_shorter_than_the_horizon() -> None:
    splits = make_splits(daily(SALES), forecast(horizon=3), backtest(windows=2, step=1))
    assert [sales(split)[1] for split in splits] == [[7, 8, 9], [6, 7, 8]]


@pytest.mark.parametrize("window", [3, "3d", "72h"])
def test_a_sliding_window_sees_the_last_periods_before_each_cutoff(window: int | str) -> None:
    splits = make_splits(daily(SALES), forecast(horizon=2), backtest(windows=4, window=window))
    assert [sales(split)[0] for split in splits] == [[5, 6, 7], [3, 4, 5], [1, 2, 3], [0, 1]]
    assert [split.training.tolist() for split in splits] == [sales(split)[0] for split in splits]
    assert [len(split.history) for split in splits if split.history is not None] == [8, 6, 4, 2]


def test_a_sliding_window_counts_periods_not_rows() -> None:
    rows = daily(SALES).take(np.array([0, 1, 2, 5, 6, 8, 9]))
    (split,) = make_splits(rows, forecast(horizon=2), backtest(window=4))
    assert sales(split) == ([5, 6], [8, 9])
    assert split.training.tolist() == pytest.approx([np.nan, 5, 6, np.nan], nan_ok=True)


def test_a_year_of_months_is_twelve_of_them() -> None:
    months = pd.DataFrame(
        {"day": pd.date_range("2020-01-31", periods=30, freq="ME"), "sales": np.arange(30.0)}
    )
    for frequency, days in (("ME", months["day"]), ("MS", months["day"] - pd.offsets.MonthBegin())):
        spec = FitSpec("forecast", target="sales", time="day", frequency=frequency, horizon=2)
        splits = make_splits(surrounded(months.assign(day=days)), spec, backtest(windows=2, window="1y"))
        assert [sales(split)[0] for split in splits] == [list(range(16, 28)), list(range(14, 26))]


def test_a_short_key_has_fewer_windows_and_none_that_tests_more_than_it_trains_on() -> None:
    splits = make_splits(daily(SALES), forecast(horizon=4), backtest(windows=5))
    assert [sales(split)[1] for split in splits] == [[6, 7, 8, 9]]
    with pytest.raises(ModelError, match="10 rows are too few"):
        make_splits(daily(SALES), forecast(horizon=6), backtest())


def test_rows_to_forecast_show_only_what_is_known_ahead() -> None:
    rows = daily(SALES, store=1, promo=1, visitors=SALES, weight=1.0)
    spec = forecast(features=("promo", "visitors"), known_future=("promo",), weight="weight")
    (split,) = make_splits(rows, spec, backtest())
    assert split.held.columns == ["day", "store", "promo"]
    assert split.train.columns == ["day", "sales", "store", "promo", "visitors", "weight"]
    assert split.held.values("day").tolist() == rows.values("day")[8:].tolist()


def test_periods_without_a_row_or_a_target_are_not_judged() -> None:
    rows = daily([*range(6), 6, np.nan, 8, 9])
    without_day_8 = rows.take(np.array([*range(8), 9]))
    (split,) = make_splits(without_day_8, forecast(horizon=4, gaps="zero"), backtest())
    assert sales(split) == ([0, 1, 2, 3, 4, 5], [6, 9])
    assert split.judged.tolist() == [0, 2]
    assert len(split.held) == 3


def test_targets_that_end_early_are_judged_where_they_end() -> None:
    rows = daily([*range(8), np.nan, np.nan])
    (split,) = make_splits(rows, forecast(horizon=2), backtest())
    assert sales(split) == ([0, 1, 2, 3, 4, 5], [6, 7])
    assert len(split.held) == 2


def test_a_cutoff_in_a_gap_trains_on_what_came_before_it() -> None:
    rows = daily(SALES).take(np.array([0, 1, 2, 3, 4, 5, 8, 9]))
    (split,) = make_splits(rows, forecast(horizon=3), backtest())
    assert sales(split) == ([0, 1, 2, 3, 4, 5], [8, 9])


def test_several_rows_of_one_period_are_judged_as_they_are_combined() -> None:
    rows = daily(SALES).take(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9]))
    spec = forecast(horizon=2, on_duplicate_time="sum")
    (split,) = make_splits(rows, spec, backtest())
    assert split.actual.tolist() == [16, 9]
    assert split.held.values("day")[split.judged].tolist() == daily(SALES).values("day")[8:].tolist()


def test_a_row_without_its_known_future_feature_is_not_judged() -> None:
    rows = daily(SALES, promo=[*range(9), np.nan])
    spec = forecast(horizon=2, features=("promo",), known_future=("promo",))
    (split,) = make_splits(rows, spec, backtest())
    assert split.actual.tolist() == [8]


def test_a_series_without_targets_is_unusable() -> None:
    with pytest.raises(UnusableRowsError, match="no value in the target"):
        make_splits(daily([np.nan] * 10), forecast(), backtest())


def test_with_a_time_column_the_last_part_is_held_out() -> None:
    (split,) = make_splits(daily(SALES), regression(time="day"), EvaluationSpec(holdout=0.3))
    assert sales(split) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])


def test_rows_of_one_time_stay_on_one_side_of_the_cut() -> None:
    rows = surrounded(pd.DataFrame({"day": [1, 2, 3, 4, 4, 4], "sales": range(6)}))
    (split,) = make_splits(rows, regression(time="day"), EvaluationSpec(holdout=0.2))
    assert sales(split) == ([0, 1, 2], [3, 4, 5])
    rows = surrounded(pd.DataFrame({"day": [1, 1, 1, 1, 1, 2], "sales": range(6)}))
    (split,) = make_splits(rows, regression(time="day"), EvaluationSpec(holdout=0.5))
    assert sales(split) == ([0, 1, 2, 3, 4], [5])


def test_rows_that_all_have_one_time_are_cut_all_the_same() -> None:
    rows = surrounded(pd.DataFrame({"day": [1] * 10, "sales": range(10)}))
    (split,) = make_splits(rows, regression(time="day"), EvaluationSpec())
    assert sales(split)[1] == [8, 9]


def test_without_a_time_column_the_seed_draws_the_part() -> None:
    rows = daily(np.arange(50.0))
    spec = regression()
    (split,) = make_splits(rows, spec, EvaluationSpec())
    train, held = sales(split)
    assert len(held) == 10
    assert sorted(train + held) == list(range(50))
    assert held != list(range(40, 50))
    assert sales(make_splits(rows, spec, EvaluationSpec())[0]) == (train, held)
    assert sales(make_splits(rows, spec.seeded(1), EvaluationSpec())[0]) != (train, held)


def test_rows_to_predict_show_neither_target_nor_weight() -> None:
    rows = daily(SALES, size=SALES, weight=1.0)
    (split,) = make_splits(rows, regression(features=("size",), weight="weight"), EvaluationSpec())
    assert split.held.columns == ["day", "size"]
    assert split.held.values("size").tolist() == split.actual.tolist()


def test_folds_without_time_hold_every_row_out_once() -> None:
    splits = make_splits(daily(SALES), regression(), EvaluationSpec(folds=3))
    assert sorted(value for split in splits for value in sales(split)[1]) == list(range(10))
    assert all(sorted([*sales(split)[0], *sales(split)[1]]) == list(range(10)) for split in splits)
    assert sorted(len(split.held) for split in splits) == [3, 3, 4]


def test_folds_with_time_train_only_on_the_past() -> None:
    splits = make_splits(daily(SALES), regression(time="day"), EvaluationSpec(folds=3))
    assert [sales(split) for split in splits] == [
        (list(range(8)), [8, 9]),
        (list(range(6)), [6, 7]),
        (list(range(4)), [4, 5]),
    ]


def test_short_keys_have_fewer_folds_or_none() -> None:
    assert len(make_splits(daily(SALES[:6]), regression(), EvaluationSpec(folds=10))) == 3
    for evaluation in (EvaluationSpec(folds=2), EvaluationSpec()):
        with pytest.raises(ModelError, match="2 rows are too few"):
            make_splits(daily(SALES[:2]), regression(), evaluation)


def test_holdout_zero_holds_nothing_out() -> None:
    with pytest.raises(ModelError, match="nothing is held out"):
        make_splits(daily(SALES), regression(), EvaluationSpec(holdout=0.0))


def test_rows_without_a_target_are_not_judged() -> None:
    rows = daily([*range(8), np.nan, 9])
    (split,) = make_splits(rows, regression(time="day"), EvaluationSpec())
    assert (split.actual.tolist(), split.judged.tolist(), len(split.held)) == ([9], [1], 2)
    with pytest.raises(ModelError, match="too few"):
        make_splits(daily([*range(8), np.nan, np.nan]), regression(time="day"), EvaluationSpec())
    with pytest.raises(ModelError, match="no row has a known outcome"):
        make_splits(daily([np.nan] * 10), regression(), EvaluationSpec())


def test_a_classification_of_one_class_is_not_evaluated() -> None:
    rows = daily(SALES, kind=pd.Series(["a"] * 9 + [None], dtype=object))
    spec = FitSpec("classification", target="kind", classes=("a", "b"))
    with pytest.raises(ModelError, match="all rows are of one class, a"):
        make_splits(rows, spec, EvaluationSpec())


def test_classes_are_held_out_as_they_are() -> None:
    rows = daily(SALES, kind=pd.Series(["a", "b"] * 4 + ["b", None], dtype=object))
    spec = FitSpec("classification", target="kind", time="day", classes=("a", "b"))
    (split,) = make_splits(rows, spec, EvaluationSpec())
    assert split.actual.tolist() == ["b"]


def test_an_anomaly_label_is_judged_as_zero_or_one_and_hidden() -> None:
    rows = daily(SALES, fault=[False] * 9 + [True])
    spec = FitSpec("anomaly", time="day", features=("sales",), label="fault")
    (split,) = make_splits(rows, spec, EvaluationSpec())
    assert split.actual.tolist() == [0, 1]
    assert split.held.columns == ["day", "sales"]
