"""Search spaces and budgets in whole runs: the same draws for every key, in every process, after every restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.exceptions import JobError
from manymodels.job.fingerprints import job_fingerprint
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
    for isolation in ("auto", "process"):
        asked = job(tmp_path / isolation, selection={"max_trials": 5}, training={"isolation": isolation})
        run = mm.train(asked, data=rows(), progress=False)
        found.append(run.outcomes())
    batched, singly = found
    assert batched["candidate"].tolist() == singly["candidate"].tolist()
    assert batched["metric"].tolist() == pytest.approx(singly["metric"].tolist(), rel=1e-9)
    assert {len(scores) for scores in batched["scores"]} == {5}
    assert batched["candidate"].str.startswith("sklearn.linear_model.Ridge#").all()


def test_a_replay_and_a_loaded_model_have_the_drawn_parameters(tmp_path: Path) -> None:
    asked = job(tmp_path)
    run = mm.train(asked, data=rows(), progress=False)
    registry = mm.Registry(tmp_path / "store")
    outcome = replay_key(registry, registry.run(run.id), key="store=1", key_id=None)
    assert outcome.candidate == run.outcomes().set_index("store").loc[1, "candidate"]
    alpha = json.loads(outcome.params)["alpha"]
    assert 1e-3 <= alpha <= 1e3


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
