from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from batched_panels import compare, panel_of

from manymodels.models.batched.contract import Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import Family, FitSpec
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ewma": ("ewma", {}),
    "ewma_limit": ("ewma", {"smoothing": 0.5, "limit": 2.0}),
    "median": ("robust_zscore", {}),
    "median_threshold": ("robust_zscore", {"expectation": "median", "threshold": 3.5}),
    "rolling": ("robust_zscore", {"expectation": "rolling", "window": 6}),
}
SPEC = FitSpec("anomaly", time="at", features=("a", "b"), rate=0.05)

every = pytest.mark.parametrize("case", CASES)


def _family(case: str) -> Family:
    name, params = CASES[case]
    return build(CandidateSpec(name=name, family=name, params=params), "anomaly")


def _panel(seed: int, start: str = "2026-01-01", keys: int = 20, longest: int = 60) -> Panel:
    """Hourly rows of 2 to ``longest`` hours, with holes; some columns constant, one key without a value in one."""
    rng = np.random.default_rng(seed)
    frames = []
    for key in range(keys):
        length = int(rng.integers(2, longest + 1)) if key % 3 else longest
        frame = pd.DataFrame(rng.normal(10, 2, (length, 2)), columns=["a", "b"]).cumsum()
        frame.insert(0, "at", pd.date_range(start, periods=length, freq="h"))
        if key % 5 == 1:
            frame["b"] = 4.25
        if key % 5 == 2 and length > 9:
            frame.loc[rng.integers(1, length, length // 3), "a"] = np.nan
            frame.loc[5, "b"] = np.inf
        if key == 8:
            frame["a"] = np.nan
        frames.append(frame)
    return panel_of(frames)


@every
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("start", ["2026-02-01", "2026-01-01"])
def test_a_batched_fit_gives_the_models_of_fits_one_by_one(case: str, seed: int, start: str) -> None:
    panel = _panel(seed)
    compared = compare(_family(case), panel, _panel(seed + 9, start), SPEC)
    assert set(compared.alone) - set(compared.fit.places.tolist()) == {8}


@every
def test_without_a_time_column_new_rows_continue_the_history(case: str) -> None:
    spec = replace(SPEC, time=None)
    assert len(compare(_family(case), _panel(3), _panel(4), spec).fit.places) > 15


@every
def test_training_rows_have_the_very_scores_of_the_one_model(case: str) -> None:
    # The threshold is often the score of a training row: a last bit would flag it.
    panel, trainer = _panel(5), trainer_of(_family(case))
    assert trainer is not None
    fit = trainer.fit_batch(panel, np.arange(len(panel)), replace(SPEC, rate=0.0))
    some = panel.take(fit.places)
    found = fit.columns.predict(some).values
    for number in range(len(fit.places)):
        rows = slice(int(some.offsets[number]), int(some.offsets[number + 1]))
        alone = fit.columns.model(number).predict(some.key(number))
        np.testing.assert_array_equal(found["score"][rows], alone["score"])
    if "limit" not in case and "threshold" not in case:
        assert not found["is_anomaly"].any()


@every
def test_a_missing_column_leaves_every_key_unserved(case: str) -> None:
    panel, trainer = _panel(6), trainer_of(_family(case))
    assert trainer is not None
    columns = trainer.fit_batch(panel, np.arange(len(panel)), SPEC).columns
    narrow = Panel(panel.rows.only(["at", "a"]), panel.starts, panel.stops).take(np.arange(len(columns)))
    assert not columns.predict(narrow).served.any()


@every
@pytest.mark.parametrize("features", [(), ("at",), ("a", "absent")])
def test_nothing_to_watch_is_no_model(case: str, features: tuple[str, ...]) -> None:
    panel, trainer = _panel(7), trainer_of(_family(case))
    assert trainer is not None
    fit = trainer.fit_batch(panel, np.arange(len(panel)), replace(SPEC, features=features))
    assert len(fit.places) == len(fit.columns) == 0


@every
def test_no_key_at_all_is_no_model(case: str) -> None:
    panel = _panel(7).take(np.empty(0, dtype=np.int64))
    assert len(compare(_family(case), panel, panel, SPEC).fit.places) == 0


def test_a_regressions_residuals_are_left_to_fits_one_by_one() -> None:
    explicit = CandidateSpec(name="x", family="robust_zscore", params={"expectation": "regression"})
    assert trainer_of(build(explicit, "anomaly")) is None
    trainer, panel = trainer_of(_family("median")), _panel(1)
    assert trainer is not None
    spec = replace(SPEC, target="a", features=("b",))
    assert len(trainer.fit_batch(panel, np.arange(len(panel)), spec).places) == 0
