"""Search spaces and budgets in whole runs: the same draws for every key, in every process, after every restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels import api
from manymodels.exceptions import JobError, RunInterrupted
from manymodels.job.fingerprints import job_fingerprint
from manymodels.progress import NoProgress
from manymodels.training import engine
from manymodels.training.replay import replay_key

SPACE = {"log_uniform": [1e-3, 1e3]}


def rows(keys: int = 4, count: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = []
    for key in range(keys):
        features = rng.normal(size=(count, 8))
        target = features[:, 0] * (key % 2) + rng.normal(0, 1 + key, count)
        frames.append(pd.DataFrame(features, columns=list("abcdefgh")).assign(store=key, y=target))
    return pd.concat(frames)


def job(folder: Path, models: list[Any] | None = None, **sections: Any) -> mm.Job:
    fields = {
        "name": "search",
        "task": "regression",
        "data": {"partition_by": ["store"], "target": "y"},
        "models": models or [{"sklearn.linear_model.Ridge": {"alpha": SPACE}}],
        "fallback": [],
        "compute": "serial",
        "store": str(folder / "store"),
    }
    return mm.Job.from_dict(fields | sections)


def test_batched_and_one_by_one_try_the_same_configurations(tmp_path: Path) -> None:
    found = []
    for name, more in (("batched", {}), ("singly", {"target_score": -1.0})):  # which is never met
        asked = job(tmp_path / name, selection={"max_trials": 5, **more}, training={"isolation": "none"})
        run = mm.train(asked, data=rows(), progress=False)
        found.append(run.outcomes())
    batched, singly = found
    assert batched["candidate"].tolist() == singly["candidate"].tolist()
    assert batched["metric"].tolist() == pytest.approx(singly["metric"].tolist(), rel=1e-9)
    assert {len(scores) for scores in batched["scores"]} == {5}
    assert batched["candidate"].str.startswith("sklearn.linear_model.Ridge#").all()


def test_drawn_parameters_are_told_by_a_replay_the_registry_and_the_leaderboard(tmp_path: Path) -> None:
    asked = job(tmp_path)
    run = mm.train(asked, data=rows(), progress=False)
    registry = mm.Registry(tmp_path / "store")
    outcome = replay_key(registry, registry.run(run.id), key="store=1", key_id=None)
    assert outcome.candidate == run.outcomes().set_index("store").loc[1, "candidate"]
    params = json.loads(outcome.params)
    assert 1e-3 <= params["alpha"] <= 1e3
    assert registry.parameters("search", key_id=outcome.key_id, version=1) == params
    board = run.leaderboard().set_index("candidate")
    assert json.loads(board.loc[outcome.candidate, "params"]) == params


def test_the_champions_drawn_configuration_stays_without_the_gain_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    series = pd.DataFrame({"store": 1, "step": range(120), "y": rng.normal(size=120).cumsum()})
    models: list[Any] = [{"lag_regression": {"lags": {"choice": [[1], [1, 2], [1, 2, 3], [7], [1, 7]]}}}]
    sections: dict[str, Any] = {
        "task": "forecast",
        "data": {"partition_by": ["store"], "time": "step", "target": "y", "frequency": "step"},
        "forecast": {"horizon": 5},
        "selection": {"draws": 2},
    }
    mm.train(job(tmp_path, models, **sections), data=series[:110], progress=False)
    registry = mm.Registry(tmp_path / "store")
    before = registry.models("search").to_pylist()[0]
    # Twice as many draws begin with the same two, under a candidate of the same name.
    sections |= {"selection": {"draws": 5}, "promotion": {"min_gain": "99%"}}
    mm.train(job(tmp_path, models, **sections), data=series, progress=False)
    after = registry.models("search").to_pylist()[0]
    assert (after["candidate"], after["version"]) == (before["candidate"], before["version"] + 1)


def test_a_space_that_is_none_names_candidate_and_parameter(tmp_path: Path) -> None:
    with pytest.raises(
        JobError, match=r"candidate sklearn\.linear_model\.Ridge, parameter alpha: .*above zero"
    ):
        job(tmp_path, [{"sklearn.linear_model.Ridge": {"alpha": {"log_uniform": [0, 1]}}}])


def test_a_drawn_value_that_the_estimator_refuses_stops_the_job_and_not_every_key(tmp_path: Path) -> None:
    asked = job(tmp_path, [{"sklearn.linear_model.Ridge": {"alpha": {"uniform": [-2, -1]}}}])
    with pytest.raises(JobError, match=r"Ridge#1.*alpha"):
        mm.train(asked, data=rows(), progress=False)


def test_spaces_need_something_to_be_judged_by(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="several candidates, or search spaces, need"):
        job(tmp_path, evaluation={"holdout": 0})


def test_the_selection_is_in_the_fingerprint_where_a_job_has_one(tmp_path: Path) -> None:
    plain = job_fingerprint(job(tmp_path))
    assert job_fingerprint(job(tmp_path, selection={})) == plain
    assert job_fingerprint(job(tmp_path, selection={"max_trials": 3})) != plain


def fleet(keys: int = 30) -> pd.DataFrame:
    """Every third key has a season, every third a trend, and the others neither."""
    rng = np.random.default_rng(2)
    steps = np.arange(60)
    kinds = [4 * np.sin(2 * np.pi * steps / 7), 0.3 * steps, np.zeros(60)]
    return pd.concat(
        pd.DataFrame({"store": key, "step": steps, "y": 10 + kinds[key % 3] + rng.normal(0, 1, 60)})
        for key in range(keys)
    )


def learning(folder: Path, compute: str = "serial", isolation: str = "auto", **selection: Any) -> mm.Job:
    lags = {"choice": [[1], [7], [1, 7]]}
    return job(
        folder,
        ["mean", "naive", "drift", "seasonal_naive", {"lag_regression": {"lags": lags}}],
        task="forecast",
        data={"partition_by": ["store"], "time": "step", "target": "y", "frequency": "step"},
        forecast={"horizon": 7, "season_length": 7},
        selection={"learn": True, "max_trials": 2, "pilot": 9, **selection},
        training={"isolation": isolation},
        compute=compute,
    )


def told(outcomes: pd.DataFrame) -> list[Any]:
    return [
        (
            line.candidate,
            line.params,
            pytest.approx(line.metric),
            [score["candidate"] for score in line.scores],
        )
        for line in outcomes.itertuples()
    ]


def test_all_keys_but_the_pilot_try_what_did_best_on_similar_keys(tmp_path: Path) -> None:
    run = mm.train(learning(tmp_path), data=fleet(), progress=False)
    outcomes = run.outcomes()
    assert sorted(outcomes["scores"].map(len).unique()) == [2, 7]
    assert (outcomes["scores"].map(len) == 7).sum() == 9
    assert outcomes["params"].map(json.loads).map(type).eq(dict).all()
    everything = mm.train(
        learning(tmp_path / "all", learn=False, max_trials=None), data=fleet(), progress=False
    ).outcomes()
    assert outcomes["metric"].mean() < everything["metric"].mean() * 1.1
    unlearned = mm.train(learning(tmp_path / "few", learn=False), data=fleet(), progress=False).outcomes()
    assert outcomes["metric"].mean() < unlearned["metric"].mean() * 0.9


def test_what_is_learned_depends_neither_on_the_way_of_fitting_nor_on_the_order_of_the_rows(
    tmp_path: Path,
) -> None:
    batched = mm.train(learning(tmp_path / "a"), data=fleet(), progress=False)
    # A target, which is never met, has keys fitted one by one.
    singly = mm.train(learning(tmp_path / "b", target_score=-1.0), data=fleet(), progress=False)
    shuffled = fleet().sample(frac=1, random_state=0)
    other_order = mm.train(learning(tmp_path / "c"), data=shuffled, progress=False)
    assert told(batched.outcomes()) == told(singly.outcomes()) == told(other_order.outcomes())


def test_a_replay_has_the_lessons_of_then(tmp_path: Path) -> None:
    run = mm.train(learning(tmp_path), data=fleet(), progress=False)
    registry = mm.Registry(tmp_path / "store")
    outcomes = run.outcomes().set_index("store")
    for store in (0, 1, 2, 3, 4):
        again = replay_key(registry, registry.run(run.id), key=f"store={store}", key_id=None)
        line = outcomes.loc[store]
        assert again.candidate == line["candidate"]
        assert [score.candidate for score in again.scores] == [score["candidate"] for score in line["scores"]]


def test_earlier_runs_take_the_place_of_the_pilot(tmp_path: Path) -> None:
    mm.train(learning(tmp_path), data=fleet(), progress=False)
    first = {
        line["key"]: line["candidate"]
        for line in mm.Registry(tmp_path / "store").models("search").to_pylist()
    }
    run = mm.train(learning(tmp_path), data=fleet(), only="all", progress=False)
    outcomes = run.outcomes()
    assert set(outcomes["scores"].map(len)) == {2}
    # Each key tries its own champion first.
    tried = [{score["candidate"] for score in scores} for scores in outcomes["scores"]]
    assert all(first[f"store={s}"] in names for s, names in zip(outcomes["store"], tried, strict=True))


def test_a_run_that_was_stopped_after_its_pilot_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mm.train(learning(tmp_path / "whole"), data=fleet(), progress=False)
    begun = engine.stages

    def only_the_pilot(*arguments: Any) -> Any:
        for number, stage in enumerate(begun(*arguments)):
            if number:
                raise KeyboardInterrupt
            yield stage

    monkeypatch.setattr(engine, "stages", only_the_pilot)
    with pytest.raises(RunInterrupted) as stopped:
        mm.train(learning(tmp_path / "part"), data=fleet(), progress=False)
    monkeypatch.undo()
    registry = mm.Registry(tmp_path / "part" / "store")
    run_id = stopped.value.run
    assert run_id is not None
    engine.resume(run_id, registry, NoProgress())
    resumed = api.Run(registry, registry.run(run_id))
    assert told(resumed.outcomes()) == told(whole.outcomes())


def test_a_key_that_hit_a_limit_in_seconds_says_so(tmp_path: Path) -> None:
    hurried = learning(tmp_path, max_seconds=1e-6)
    outcomes = mm.train(hurried, data=fleet(), progress=False).outcomes()
    assert set(outcomes["reason"]) == {"stopped early by `selection.max_seconds`"}
    assert set(outcomes["state"]) == {"trained"}
    assert set(outcomes["scores"].map(len)) == {1}
    ample = learning(tmp_path / "ample", max_seconds="1h", max_seconds_per_key="10m")
    in_time = mm.train(ample, data=fleet(), progress=False).outcomes()
    assert set(in_time["reason"]) == {""}
    assert told(in_time) == told(mm.train(learning(tmp_path / "no"), data=fleet(), progress=False).outcomes())


def test_limits_in_seconds_train_nothing_again(tmp_path: Path) -> None:
    plain = job_fingerprint(learning(tmp_path))
    assert job_fingerprint(learning(tmp_path, max_seconds=5, max_seconds_per_key=1)) == plain
    assert job_fingerprint(learning(tmp_path, patience=5)) != plain


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"learn": True}, "`learn` settles the order of the trials"),
        ({"search": "halving", "patience": 3}, "`patience` has no meaning with `search: halving`"),
        ({"pilot": 0}, "at least one key"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(
    tmp_path: Path, selection: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        job(tmp_path, selection=selection)
