"""The schema for editors, and the reference made from it."""

import json
import re
import runpy
from pathlib import Path

import pytest

from manymodels.job import load_job
from manymodels.job.document import parse
from manymodels.job.fields import job_fields, nearest
from manymodels.job.schema import job_schema

ROOT = Path(__file__).resolve().parents[2]
PAGES = runpy.run_path(str(ROOT / "scripts" / "generate_docs.py"))["PAGES"]
JOBS = sorted((ROOT / "configs").glob("*.yaml"))

_KINDS = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "null": lambda v: v is None,
}
_ANNOTATIONS = {"$schema", "title", "description", "default", "examples"}


def fits(value, schema) -> bool:
    """Whether a value is valid: the part of JSON Schema that ours uses; any other keyword is an error."""
    return all(
        _holds(value, keyword, given, schema)
        for keyword, given in schema.items()
        if keyword not in _ANNOTATIONS
    )


def _holds(value, keyword, given, schema) -> bool:
    is_object, is_array = isinstance(value, dict), isinstance(value, list)
    match keyword:
        case "type":
            return any(_KINDS[kind](value) for kind in ([given] if isinstance(given, str) else given))
        case "anyOf":
            return any(fits(value, part) for part in given)
        case "not":
            return not fits(value, given)
        case "enum":
            return value in given
        case "const":
            return value == given
        case "pattern":
            return not isinstance(value, str) or re.search(given, value) is not None
        case "minimum":
            return not _KINDS["number"](value) or value >= given
        case "minItems":
            return not is_array or len(value) >= given
        case "items":
            return not is_array or all(fits(item, given) for item in value)
        case "required":
            return not is_object or all(name in value for name in given)
        case "properties":
            return not is_object or all(
                fits(value[name], part) for name, part in given.items() if name in value
            )
        case "minProperties":
            return not is_object or len(value) >= given
        case "maxProperties":
            return not is_object or len(value) <= given
        case "propertyNames":
            return not is_object or all(fits(name, given) for name in value)
        case "additionalProperties":
            rest = (
                [inner for name, inner in value.items() if name not in schema.get("properties", {})]
                if is_object
                else []
            )
            return not rest if given is False else given is True or all(fits(inner, given) for inner in rest)
        case _:
            raise AssertionError(f"unknown keyword {keyword}")


@pytest.mark.parametrize("page", PAGES)
def test_generated_documents_are_up_to_date(page):
    found = (ROOT / page).read_text(encoding="utf-8")
    assert found == PAGES[page](), f"run python scripts/generate_docs.py: {page} is old"


def test_every_field_says_what_it_is():
    assert [field.dotted for field in job_fields().values() if not field.description] == []


def test_every_field_is_in_the_reference():
    text = (ROOT / "docs" / "job_file.md").read_text(encoding="utf-8")
    for field in job_fields().values():
        section, _, name = field.dotted.partition(".")
        part = text.partition(f"### `{section}`")[2].partition("\n### ")[0] if name else text
        assert field.is_section or f"| `{name or section}` |" in part, field.dotted


def test_the_schema_is_json_and_has_nothing_of_ours_in_it():
    text = json.dumps(job_schema())
    assert '"kind"' not in text
    assert "$ref" not in text


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_the_example_jobs_are_valid_by_the_schema(path):
    assert fits(parse(path.read_text(encoding="utf-8"), str(path)).value, job_schema())


GOOD = {
    "name": "a",
    "task": "forecast",
    "data": {"path": ["a", "b"], "partition_by": ["k"], "time": "t", "target": "y", "types": {"a": "string"}},
    "models": [
        "naive",
        {"ets": None},
        {"ets": {"trend": "add"}},
        {"family": "x:Y", "name": "z", "params": {}},
    ],
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"store": "here"},
        {"store": {"path": "s3://b", "registry": "postgresql://h/db"}},
        {"compute": "serial"},
        {"compute": {"target": "dask", "address": "tcp://h:1"}},
        {"fallback": ["naive", {"level": ["region"]}]},
        {"training": {"timeout": "10s", "memory": "1GiB", "max_failed": 3}},
        {"training": {"timeout": 10, "memory": 10**9, "max_failed": "3%"}},
    ],
)
def test_the_schema_and_the_loader_take_the_same_forms(more, tmp_path):
    job = {**GOOD, **more}
    assert fits(job, job_schema())
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    load_job(tmp_path / "job.yaml", environ={})


@pytest.mark.parametrize(
    "bad",
    [
        {"extra": 1},
        {"name": "a b"},
        {"task": "guess"},
        {"models": []},
        {"models": [{"ets": {}, "theta": {}}]},
        {"models": [{"ets": 5}]},
        {"data": {"partition_by": ["k"]}},
        {"training": {"retries": -1}},
        {"forecast": {"non_negative": "NO"}},
        {"fallback": ["poled"]},
        {"store": 5},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(bad):
    assert not fits({**GOOD, **bad}, job_schema())


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (("data", "partiton_by"), "partition_by"),
        (("data", "Target"), "target"),
        (("data", "horizon"), "forecast.horizon"),
        (("partition_by",), "data.partition_by"),
        (("training", "time_out"), "timeout"),
        (("partitionby",), "data.partition_by"),
        (("data", "qqqq"), None),
    ],
)
def test_the_nearest_field_is_one_of_the_section_or_where_the_name_belongs(path, meant):
    assert nearest(path) == meant


def test_defaults_are_shown_as_one_would_write_them():
    shown = {field.dotted: field.default for field in job_fields().values()}
    assert (shown["training.timeout"], shown["training.memory"], shown["training.max_failed"]) == (
        "60s",
        "2GiB",
        "1%",
    )
    assert (shown["fallback"], shown["data.time"], shown["name"]) == ("[pooled, naive]", "null", "")
