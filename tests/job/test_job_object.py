import json
import pickle

import pytest

from manymodels.compute.spec import ComputeSpec
from manymodels.exceptions import JobError
from manymodels.job import Job, JobSpec, load_job
from manymodels.job.fingerprints import job_json

DATA = {"path": "sales.parquet", "partition_by": ["store"], "time": "date", "target": "sales"}


def make(**fields):
    return Job(**{"name": "sales", "task": "forecast", "data": DATA, "models": ["naive"], **fields})


def test_a_job_made_in_python_is_checked_like_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = make(training={"timeout": "10s"}, compute=ComputeSpec(target="serial"), store="here")
    assert (job.training.timeout, job.compute.target, job.store.path) == (10.0, "serial", "here")
    assert job.folder == str(tmp_path)


def test_a_job_without_a_path_can_be_given_a_frame_later():
    assert make(data={**DATA, "path": None}).data.path is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dat": 1}, "the job: unknown field `dat`; did you mean `data`?"),
        ({"data": {**DATA, "partition_by": ("a",)}}, "the job: `data.partition_by` must be a list of text; found a tuple"),
        ({"data": {**DATA, "types": {1: "x"}}}, "the job: the names in `data.types` must be text; found 1"),
        ({"data": {**DATA, "types": {"a": 1}}}, "the job: `data.types.a` must be text; found 1"),
        ({"data": {**DATA, 1: 2}}, "the job: the names in `data` must be text; found 1"),
        ({"data": None}, "the job: `data` must be a mapping; found null"),
        ({"models": [{"ets": {"a": object()}}]}, "the job: `models`, candidate ets.a: must be text, a number, true, "
         "false, null, or a list or mapping of them; found object"),
        ({"models": [{"ets": {"a": {0: 1}}}]}, "the job: `models`, candidate ets.a: names must be text; found 0"),
        ({"models": [{"ets": {"a": "\ud800"}}]}, "the job: `models`, candidate ets.a: a lone surrogate is no text; "
         "found '\\ud800'"),
        ({"data": {**DATA, "csv": {"a": {1}}}}, "the job: `data.csv`.a: must be text, a number, true, false, null, or a "
         "list or mapping of them; found set"),
        ({"training": {"seed": 10**5000}}, None),
        ({"training": {"seed": -(10**5000)}}, "the job: `training.seed` must be a whole number of at least 0; found a "
         "number out of range"),
        ({"name": "a\nb"}, "the job: `name` must be text matching `^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`; found the text "
         "'a\\nb'"),
    ],
)  # fmt: skip
def test_what_a_job_cannot_have_is_one_clear_line(fields, message):
    if message is None:
        assert make(**fields).training.seed > 0
        return
    with pytest.raises(JobError) as caught:
        make(**fields)
    assert caught.value.message == message


def test_parameters_nested_in_themselves_are_refused():
    endless = {}
    endless["self"] = endless
    with pytest.raises(JobError, match="nested more than 40 deep"):
        make(models=[{"ets": endless}])


def test_the_repr_says_what_the_job_does():
    job = make(models=["naive", {"ets": {"trend": "add"}}])
    assert repr(job) == str(job)
    assert repr(job) == (
        "<Job sales: forecast of sales by store with naive, ets; data sales.parquet, store .manymodels>"
    )


def test_a_job_survives_pickle_with_its_folder(tmp_path):
    job = Job.from_dict({"name": "a", "task": "forecast", "data": DATA, "models": ["naive"]}, folder=tmp_path)
    copy = pickle.loads(pickle.dumps(job))
    assert copy == job
    assert copy.folder == job.folder == str(tmp_path)


def test_from_yaml_takes_overrides_like_load_job(tmp_path):
    (tmp_path / "job.yaml").write_text(make().to_yaml())
    job = Job.from_yaml(tmp_path / "job.yaml", overrides=["training.seed=3"], environ={})
    assert job.training.seed == 3
    assert job == load_job(tmp_path / "job.yaml", overrides=["training.seed=3"], environ={})


def full_job():
    return make(
        data={**DATA, "where": "a > 1e3 # \"x\"", "types": {"NO": "string"}, "csv": {"separator": ";"}, "ignore": ["1e3"]},
        models=["ets", {"ets": {"alpha": 0.1}}, {"name": "mine", "family": "m:F", "params": {"d": {"e": [None, "010"]}}}],
        forecast={"levels": [80, 95.5], "non_negative": True},
        evaluation={"backtest": {"windows": 3}, "holdout": "12.5%"},
        training={"timeout": "90s", "memory": "1500MB", "max_failed": 3, "only": "all"},
        fallback=[{"level": ["region"]}, "naive"],
        promotion={"min_gain": 1 / 3},
        compute={"workers": 2, "memory": "1GiB"},
        store={"path": "s3://b/p", "registry": "postgresql://u:${PW}@h/db"},
    )  # fmt: skip


def test_to_yaml_is_short_and_reads_back_as_the_same_job(tmp_path):
    (tmp_path / "job.yaml").write_text(full_job().to_yaml(), encoding="utf-8")
    again = load_job(tmp_path / "job.yaml", environ={})
    assert again.model_dump() == full_job().model_dump()
    assert "retries" not in full_job().to_yaml()
    assert "timeout: 90s" in full_job().to_yaml()
    assert make().to_yaml().splitlines()[-1] == "models: [naive]"


def test_job_json_is_canonical_and_reads_back_as_the_same_job():
    job = full_job()
    assert Job.from_dict(json.loads(job_json(job))).model_dump() == job.model_dump()
    assert job_json(job) == job_json(JobSpec.model_validate(dict(reversed(list(job.model_dump().items())))))
    assert " " not in job_json(make())


@pytest.mark.parametrize(
    ("written", "value"), [(3, 3), ("3%", 0.03), (0.03, 0.03), (1, 1), (1.0, 1.0), (0, 0), ("0%", 0.0)]
)
def test_max_failed_is_a_count_when_whole_and_a_share_otherwise(written, value):
    found = make(training={"max_failed": written}).training.max_failed
    assert found == value
    assert type(found) is type(value)


def test_defaults_are_those_of_the_contract():
    job = make()
    assert (job.training.max_failed, job.training.memory, job.training.retries) == (0.01, 2 * 2**30, 1)
    assert (job.data.min_rows, job.fallback, job.promotion.alias) == (10, ["pooled", "naive"], "champion")
    assert (job.compute.target, job.compute.workers, job.store.path) == ("local", "auto", ".manymodels")
