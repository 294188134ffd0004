from __future__ import annotations

from typing import Any

import pytest

from manymodels.exceptions import JobError
from manymodels.job import Job
from manymodels.job.fingerprints import job_fingerprint
from manymodels.models.families import build
from manymodels.selection.auto import ENSEMBLE_OF_AUTO

DATA = {"path": "sales.parquet", "partition_by": ["store"], "time": "day", "target": "sales"}


def _job(models: Any, task: str = "forecast", **fields: Any) -> Job:
    return Job(**{"name": "sales", "task": task, "data": DATA, "models": models, **fields})


def _names(models: Any) -> list[str]:
    return [candidate.name for candidate in _job(models).models]


@pytest.mark.parametrize(
    ("task", "least"), [("forecast", 8), ("regression", 5), ("ranking", 5), ("classification", 4)]
)
def test_auto_is_a_list_of_candidates_that_can_be_built(task: str, least: int) -> None:
    job = _job("auto", task)
    assert len(job.models) >= least
    for candidate in job.models:
        build(candidate, job.task)


def test_an_anomaly_job_has_one_candidate_and_more_where_the_truth_is_known() -> None:
    assert [candidate.family for candidate in _job("auto", "anomaly").models] == ["robust_zscore"]
    judged = _job({"auto": {"include": ["ewma"]}}, "anomaly", evaluation={"label": "fault"})
    assert [candidate.family for candidate in judged.models] == ["robust_zscore", "ewma"]


def test_a_country_gives_its_holidays_to_the_regressions() -> None:
    job = _job({"auto": {"country": "DE-BY"}})
    found = {candidate.family: candidate.params.get("holidays") for candidate in job.models}
    assert found["lag_regression"] == "DE-BY"
    assert found["ets"] is None


def test_a_costly_candidate_is_tried_when_asked_for() -> None:
    assert "sarimax" not in _names("auto")
    assert set(_names({"auto": {"include": ["sarimax"]}})) == {*_names("auto"), "sarimax"}
    assert _names({"auto": {"allow": ["sarimax"]}}) == ["sarimax"]


def test_some_candidates_are_for_every_kind_of_series() -> None:
    for alive in (True, False):
        for intermittent in (True, False):
            left = [
                candidate.name
                for candidate in _job("auto").models
                if candidate.when is None
                or (
                    candidate.when.alive in (None, alive)
                    and candidate.when.intermittent in (None, intermittent)
                    and not candidate.when.model_dump(exclude_none=True, exclude={"alive", "intermittent"})
                )
            ]
            assert left, (alive, intermittent)


def test_a_dead_series_has_no_costly_candidate() -> None:
    dead = {c.family for c in _job("auto").models if c.when is None or c.when.alive is not True}
    assert dead == {"naive"}


def test_auto_can_be_narrowed_by_candidate_and_by_family() -> None:
    every = _names("auto")
    assert _names({"auto": None}) == every
    assert _names({"auto": {"allow": ["theta", "ets_factors"]}}) == ["theta", "ets_factors"]
    without = _names({"auto": {"block": ["lag_regression"]}})
    regressions = {
        candidate.name for candidate in _job("auto").models if candidate.family == "lag_regression"
    }
    assert len(regressions) > 3
    assert without == [name for name in every if name not in regressions]


def test_auto_stands_beside_other_candidates() -> None:
    names = _names(["drift", {"auto": {"allow": ["theta"]}}, {"ets": {"trend": "add"}}])
    assert names == ["drift", "theta", "ets"]


def test_the_candidates_of_auto_are_combined_unless_the_job_says_otherwise() -> None:
    found = _job("auto").selection.ensemble
    assert found is not None
    assert found.model_dump() == ENSEMBLE_OF_AUTO["forecast"]
    tabular = _job("auto", "regression").selection.ensemble
    assert tabular is not None
    assert tabular.model_dump() == ENSEMBLE_OF_AUTO["regression"]
    assert _job(["drift", {"auto": {"block": ["ets"]}}]).selection.ensemble == found
    assert _job("auto", selection={"max_trials": 5}).selection.ensemble == found
    assert _job("auto", selection={"ensemble": None}).selection.ensemble is None
    own = _job("auto", selection={"ensemble": {"top": 2}}).selection.ensemble
    assert own is not None
    assert (own.top, own.keep) == (2, "better")
    assert _job("auto", "anomaly").selection.ensemble is None
    assert _job(["drift", "naive"]).selection.ensemble is None


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            {"auto": {"blck": ["ets"]}},
            "auto: blck: extra inputs are not permitted; it takes allow, block, include, country",
        ),
        ({"auto": {"block": ["thta"]}}, "task forecast has no candidate 'thta'; did you mean theta?"),
        ({"auto": {"allow": ["theta"], "block": ["theta"]}}, "`allow` and `block` leave no candidate"),
        ({"auto": 3}, "auto: "),
    ],
)
def test_what_auto_does_not_have_is_refused(models: Any, message: str) -> None:
    with pytest.raises(JobError) as caught:
        _job(models)
    assert message in str(caught.value)


def test_the_job_keeps_the_candidates_and_not_the_word() -> None:
    job = _job({"auto": {"block": ["ets"]}})
    again = Job.from_dict(job.model_dump(mode="json"))
    assert again.models == job.models
    assert job_fingerprint(again) == job_fingerprint(job)
    assert "when: {min_rows: 40" in job.to_yaml()


def test_a_rule_makes_other_models_and_none_makes_the_same() -> None:
    plain = _job(["theta"])
    ruled = _job([{"name": "theta", "family": "theta", "when": {"min_rows": 20}}])
    assert job_fingerprint(plain) != job_fingerprint(ruled)
    assert job_fingerprint(plain) == job_fingerprint(
        _job([{"name": "theta", "family": "theta", "when": None}])
    )
