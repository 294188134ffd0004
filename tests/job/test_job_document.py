import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manymodels.exceptions import JobError
from manymodels.job.document import parse, render


def problem(text: str) -> str:
    with pytest.raises(JobError) as caught:
        parse(text, "job.yaml")
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "text", ["NO", "no", "yes", "on", "Off", "010", "-007", "1_000", "0x1F", "0o17", "1:30"]
)
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text):
    assert parse(f"a: {text}", "job.yaml").value == {"a": text}


@pytest.mark.parametrize("text", ["2024-01-01", "2024-01-01T10:00:00Z", "10s", "5%", "512MiB", "=", "a # b"])
def test_dates_and_values_with_units_are_text(text):
    assert parse(f"a: {text}", "job.yaml").value == {"a": text.partition(" #")[0]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-0", 0),
        ("+3", 3),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".5", 0.5),
        ("5.", 5.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text, value):
    found = parse(f"a: {text}", "job.yaml").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float():
    assert math.isnan(parse(".nan", "job.yaml").value)


def test_quoted_scalars_are_text():
    assert parse("""{a: "1", b: 'true', c: ""}""", "job.yaml").value == {"a": "1", "b": "true", "c": ""}


def test_names_are_text_whatever_they_look_like():
    assert parse("1: a\ntrue: b\n~: c\non: d", "job.yaml").value == {
        "1": "a",
        "true": "b",
        "~": "c",
        "on": "d",
    }


def test_lines_are_those_of_names_and_of_list_entries():
    lines = parse("a:\n  b:\n    - x\n    - y\n  c:\n    1", "job.yaml").lines
    assert lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 4, ("a", "c"): 5}


def test_a_name_given_twice_is_refused_with_both_lines():
    message = problem("data:\n  path: x\n  time: t\n  path: y\n")
    assert message == "job.yaml:4: `data.path` is given twice, first in line 2; keep one"


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "a: !!python/tuple [1]",
        "a: !own x",
        "a: !!str 5",
        "? !!binary aGk=\n: 1",
    ],
)
def test_tags_are_refused_and_run_nothing(text):
    message = problem(text)
    assert message.startswith("job.yaml:1: the tag `")
    assert "refused" in message


def test_a_billion_laughs_are_refused():
    layers = ["l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    layers += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "once its aliases are expanded" in problem("\n".join(layers))


def test_an_alias_to_itself_is_refused():
    assert "once its aliases are expanded" in problem("a: &a [*a]")


def test_a_few_aliases_are_fine_and_do_not_share():
    value = parse("a: &a {b: [1]}\nc: *a", "job.yaml").value
    assert value == {"a": {"b": [1]}, "c": {"b": [1]}}
    assert value["a"]["b"] is not value["c"]["b"]


def test_deep_nesting_is_refused_before_the_stack_ends():
    assert "nested more than 40 deep" in problem("[" * 50_000)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 'x", 2),
        ("a: 1\nb: c: d", 2),
        ("a: 1\n\tb: 2", 2),
        ("a: 1\n---\nb: 2", 2),
        ("a: *nowhere", 1),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text, line):
    assert problem(text).startswith(f"job.yaml:{line}: ")


@pytest.mark.parametrize(
    "text", ["a: \0", 'a: "\\U99999999"', 'a: "\\ud800"', "a: \x07", "%YAML 9.9\n---\na: 1"]
)
def test_characters_that_no_text_has_are_refused(text):
    assert problem(text).startswith("job.yaml")


def test_a_glob_is_told_to_be_quoted():
    assert "quote text that starts with *" in problem("path: *.parquet")


def test_a_list_is_no_name():
    assert problem("[a, b]: 1") == "job.yaml:1: a field's name must be plain text"


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(
        ["NO", "010", "1e3", "~", ".inf", "2024-01-01", "=", "<<", "- a", "a: b", "*x", "", " a "]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(plain)
def test_what_is_rendered_is_read_back(value):
    assert parse(render(value), "job.yaml").value == value
