"""Whatever a job file holds, the answer is a job or one of our errors, readable and of a few lines."""

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manymodels.exceptions import JobError
from manymodels.job import Job, load_job
from manymodels.job.fields import job_fields
from manymodels.job.fingerprints import job_fingerprint, job_json

GOOD = {
    "name": "a",
    "task": "regression",
    "data": {"path": "x.parquet", "partition_by": ["k"], "target": "y"},
    "models": ["a.B"],
}
FUZZ = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.sampled_from([*sorted({field.path[-1] for field in job_fields().values()}), "ets", "x"]) | st.text(
    max_size=5
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 0, 1, -1])
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(
        ["10s", "1GiB", "5%", "9" * 400 + "s", "1e999", "NO", "010", "auto", "pooled", "forecast", "${X}"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
places = st.sampled_from([field.path for field in job_fields().values() if not field.repeated])


def check(message: str) -> None:
    lines = message.split("\n")
    assert 1 <= len(lines) <= 21
    assert all(line.strip() and line.isprintable() for line in lines)
    message.encode()


def put(job: dict, path: tuple[str, ...], value: object) -> dict:
    copy = {name: dict(inner) if isinstance(inner, dict) else inner for name, inner in job.items()}
    section = copy
    for name in path[:-1]:
        section = section.setdefault(name, {})
    section[path[-1]] = value
    return copy


@FUZZ
@given(st.lists(st.tuples(places, values), min_size=1, max_size=3))
def test_any_value_in_any_field_gives_a_job_or_a_clear_error(changes):
    fields = GOOD
    for path, value in changes:
        try:
            fields = put(fields, path, value)
        except (
            TypeError,
            AttributeError,
        ):  # a value of an earlier change stands where this one's section should
            continue
    try:
        job = Job.from_dict(fields)
    except JobError as error:
        check(error.message)
        return
    again = Job.from_dict(json.loads(job_json(job)))
    assert job_json(again) == job_json(job)
    assert job_fingerprint(again) == job_fingerprint(job)
    assert repr(job)


@FUZZ
@given(st.dictionaries(names, values, max_size=5))
def test_any_mapping_gives_a_clear_error(fields):
    try:
        Job.from_dict(fields)
    except JobError as error:
        check(error.message)


def load_text(folder: Path, content: bytes, *overrides: str) -> None:
    (folder / "job.yaml").write_bytes(content)
    try:
        load_job(folder / "job.yaml", overrides=overrides, environ={})
    except JobError as error:
        check(error.message)


fragments = st.sampled_from(
    ["name: a\n", "task: forecast\n", "data:\n", "  path: x\n", "  - ", "models: ", "[", "]", "{", "}", ": ", "&a ", "*a",
     "!!x ", "'", '"', "\n", "\t", "# ", "|", ">", "? ", "---\n", "...\n", "%YAML 1.1\n", "<<: ", "\\", "\0", "\x85", "\ufeff",
     "NO", "010"]
)  # fmt: skip


@FUZZ
@given(st.lists(fragments | st.text(max_size=6), max_size=25).map("".join))
def test_any_text_gives_a_job_or_a_clear_error(tmp_path, text):
    load_text(tmp_path, text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.binary(max_size=60))
def test_any_bytes_give_a_clear_error(tmp_path, content):
    load_text(tmp_path, content)


@FUZZ
@given(places, fragments | st.text(max_size=10) | values.map(repr))
def test_any_flag_gives_a_job_or_a_clear_error(tmp_path, path, text):
    load_text(tmp_path, json.dumps(GOOD).encode(), f"{'.'.join(path)}={text}")


@FUZZ
@given(st.text(max_size=20))
def test_any_flag_that_names_nothing_gives_a_clear_error(tmp_path, flag):
    load_text(tmp_path, json.dumps(GOOD).encode(), flag)
