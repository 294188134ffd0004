"""What a key will cost, and what a run will: first guesses, and what is learned from runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from manymodels.planning.costs import Candidate, Effort, estimate_seconds, guess_rung, guess_seconds
from manymodels.planning.estimate import learned_engine, makespan
from manymodels.planning.receipts import OTHER, RunCosts, Size, Tally, read_costs

JOB = "job-1"
RUN = RunCosts(
    keys=100, tried=80, starts=0.0, rungs=0.5, batches=4, parallel=2, here=False, batched=False, evaluations=1,
    key_seconds=8.0, batch_seconds=9.0, rung_seconds=0.5, fan_out=5.5, packed=5.0, outside=0.7,
)  # fmt: skip


def candidates(*families: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(family, family, {}) for family in families)


def effort(*families: str, **options: Any) -> Effort:
    return Effort(**{"candidates": candidates(*families), "evaluations": 1, "batched": False, **options})


def manifest(*rows: int) -> pa.Table:
    return pa.table({"key_id": [f"k{n}" for n in range(len(rows))], "rows": pa.array(rows, pa.int64())})


def history(**seconds: float) -> pa.Table:
    return pa.table(
        {
            "key_id": pa.array(list(seconds), pa.string()),
            "seconds": pa.array(list(seconds.values()), pa.float64()),
            "job_hash": pa.array([JOB] * len(seconds), pa.string()),
        }
    )


def seconds(rows: pa.Table, past: pa.Table, what: Effort, *runs: RunCosts, job: str = JOB) -> list[float]:
    found: list[float] = estimate_seconds(rows, past, what, runs, job_hash=job).tolist()
    return found


def test_a_first_run_is_guessed_from_rows_and_families() -> None:
    keys = manifest(1000, 100)
    cheap, dear = (seconds(keys, history(), effort(*names)) for names in (["mean"], ["mean", "sarimax"]))
    assert dear[0] > cheap[0]
    assert dear[1] > cheap[1]
    assert dear[0] > dear[1]


def test_keys_that_are_fitted_at_once_cost_far_less() -> None:
    one_by_one, at_once = (
        seconds(manifest(365), history(), effort("sklearn.linear_model.Ridge", batched=batched))[0]
        for batched in (False, True)
    )
    assert at_once < one_by_one / 5


def test_a_forest_costs_what_its_trees_do() -> None:
    def forest(trees: int) -> float:
        family = "sklearn.ensemble.RandomForestRegressor"
        what = effort(candidates=(Candidate("forest", family, {"n_estimators": trees}),))
        return seconds(manifest(365), history(), what)[0]

    assert forest(500) / forest(50) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    ("family", "batched"),
    [("sklearn.ensemble.RandomForestRegressor", False), ("sklearn.linear_model.Ridge", True)],
)
def test_more_features_cost_more(family: str, batched: bool) -> None:
    few, many = (
        seconds(manifest(365), history(), effort(family, batched=batched, features=n))[0] for n in (2, 32)
    )
    assert many > 3 * few


def test_a_tree_takes_longer_for_a_row_of_many() -> None:
    short, long = guess_seconds(np.array([3650.0, 365_000.0]), effort("sklearn.tree.DecisionTreeRegressor"))
    assert long > 150 * short


def test_guesses_are_those_of_keys_that_nothing_is_known_of() -> None:
    what = effort("theta", "mean")
    found = guess_seconds(np.array([100.0, 400.0]), what).tolist()
    assert found == pytest.approx(seconds(manifest(100, 400), history(), what))


def test_a_key_costs_what_it_took_the_last_time_in_the_same_job() -> None:
    past = history(k0=3.0)
    found = seconds(manifest(100, 100), past, effort("mean"))
    assert found[0] == 3.0
    assert found[1] < 1
    assert seconds(manifest(100), past, effort("mean"), job="job-2")[0] < 1


def test_what_a_key_took_one_by_one_says_nothing_of_fitting_it_at_once() -> None:
    at_once = effort("mean", batched=True)
    assert seconds(manifest(100), history(k0=3.0), at_once, RUN)[0] < 1


def test_a_candidate_costs_what_it_took_of_keys_of_that_size() -> None:
    what = effort("own:Model")
    sizes = {
        what.candidates[0].id: (Size(10, 1000, 5.0), Size(10, 100_000, 100.0)),
        OTHER: (Size(10, 1000, 0.0), Size(10, 100_000, 0.0)),
    }
    run = replace(RUN, sizes=sizes)
    short, long, longest = seconds(manifest(100, 10_000, 20_000), history(), what, run)
    assert short == pytest.approx(0.5, rel=0.2)
    assert long == pytest.approx(10.0, rel=0.2)
    assert longest > long


def test_a_candidate_is_known_in_another_job_with_other_windows() -> None:
    once = effort("own:Model")
    run = replace(RUN, sizes={once.candidates[0].id: (Size(10, 1000, 5.0),), OTHER: (Size(10, 1000, 0.0),)})
    thrice = replace(once, evaluations=5)
    assert seconds(manifest(100), history(), thrice, run, job="new")[0] == pytest.approx(1.5, rel=0.05)


def outcomes(*lines: tuple[str, int, float, dict[str, float]]) -> pa.Table:
    score = pa.struct([("candidate", pa.string()), ("seconds", pa.float64())])
    columns = {
        "state": pa.array([line[0] for line in lines]),
        "rows": pa.array([line[1] for line in lines], pa.int64()),
        "seconds": pa.array([line[2] for line in lines]),
        "scores": pa.array(
            [[{"candidate": n, "seconds": s} for n, s in line[3].items()] for line in lines], pa.list_(score)
        ),
    }
    return pa.table(columns)


def test_outcomes_are_summed_up_by_candidate_and_size() -> None:
    tally = Tally({"a": "A", "b": "B"})
    tally.add(outcomes(("trained", 100, 1.0, {"a": 0.25, "b": 0.5}), ("failed", 0, 9.0, {"a": 9.0})))
    tally.add(outcomes(("trained", 120, 2.0, {"b": 1.0, "a": 1.0}), ("trained", 1000, 4.0, {"a": 3.0})))
    assert tally.sizes() == {
        OTHER: (Size(2, 220, 0.25), Size(1, 1000, 1.0)),
        "A": (Size(2, 220, 1.25), Size(1, 1000, 3.0)),
        "B": (Size(2, 220, 1.5),),
    }


def test_what_is_no_candidate_is_among_the_rest() -> None:
    tally = Tally({"a": "A"})
    tally.add(outcomes(("trained", 100, 2.0, {"ensemble": 0.5, "a": 1.0})))
    assert tally.sizes() == {OTHER: (Size(1, 100, 1.0),), "A": (Size(1, 100, 1.0),)}


def test_what_is_tried_on_few_keys_costs_little() -> None:
    what = effort("mean", "own:Model")
    rare = {what.candidates[1].id: (Size(1, 100, 5.0),), OTHER: (Size(100, 10_000, 0.0),)}
    found = seconds(manifest(100), history(), what, replace(RUN, sizes=rare))
    assert found[0] == pytest.approx(5.0 / 100, rel=0.1)


def test_a_limit_of_trials_lowers_what_a_key_costs() -> None:
    models = ["sarimax"] * 8
    all_of_them, two = (seconds(manifest(100), history(), effort(*models, trials=n))[0] for n in (None, 2))
    assert two < all_of_them / 2


def test_costs_are_read_as_they_were_written() -> None:
    run = replace(RUN, sizes={"A": (Size(1, 2, 3.0),)})
    assert read_costs(run.to_json()) == run


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 2, "sizes": {}}', b"\xff"]
)
def test_costs_that_cannot_be_read_are_passed_over(content: bytes) -> None:
    assert read_costs(content) is None


def test_batches_end_when_the_last_worker_does() -> None:
    assert makespan([3.0, 2.0, 2.0], 2) == 4.0
    assert makespan([3.0], 4) == 3.0


def test_a_run_like_the_last_one_takes_as_long() -> None:
    engine = learned_engine([RUN], batched=False, here=False)
    batches = [2.0 + engine.batch(20)] * 4 + [engine.rung(0.5)]
    found = engine.seconds(batches, 2, 100)
    assert found == pytest.approx(RUN.fan_out + RUN.outside, rel=0.1)


def test_what_workers_took_of_batches_and_rungs_is_expected_of_this_process_too() -> None:
    slow = replace(RUN, batch_seconds=20.0, rung_seconds=5.0)
    there, here = (learned_engine([slow], batched=False, here=where) for where in (False, True))
    nothing = learned_engine([], batched=False, here=True)
    assert (here.batches, here.rungs) == (there.batches, there.rungs)
    assert here.rungs > 5
    assert (here.run, here.pauses) == (nothing.run, nothing.pauses)


def test_a_run_of_the_same_kind_counts_before_a_larger_one_of_another() -> None:
    small = replace(RUN, here=True, tried=8, rung_seconds=0.25)
    assert learned_engine([RUN, small], batched=False, here=True).rungs == pytest.approx(0.5)


def test_what_was_fitted_key_by_key_says_nothing_of_batches_at_once() -> None:
    assert learned_engine([RUN], batched=True, here=True) == learned_engine([], batched=True, here=True)


def test_a_child_that_starts_is_not_what_a_key_costs() -> None:
    few = replace(
        RUN, tried=4, keys=4, batches=1, starts=1.3, batch_seconds=2.5, key_seconds=1.0, parallel=1, here=True
    )
    engine = learned_engine([few], batched=False, here=True, starts=1.3)
    assert engine.batch(10_000) < 10


def test_no_key_costs_nothing_or_more_than_can_be_counted() -> None:
    found = seconds(manifest(1, 2**40), history(), effort("mean", "own:Model"), RUN)
    assert np.isfinite(found).all()
    assert min(found) > 0


def test_the_steps_of_a_pipeline_count() -> None:
    forest = {"sklearn.ensemble.RandomForestRegressor": {"n_estimators": 50}}
    alone = guess_rung(
        "sklearn.ensemble.RandomForestRegressor", forest["sklearn.ensemble.RandomForestRegressor"], 300
    )
    piped = guess_rung("sklearn.pipeline.Pipeline", {"steps": [forest]}, 300)
    assert alone < piped < 1.1 * alone
