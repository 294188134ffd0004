"""Messages that differ in values only are one."""

from __future__ import annotations

import pytest

from manymodels.registry.signatures import common_form, normalised


@pytest.mark.parametrize(
    ("message", "form"),
    [
        ("needs 14 rows, found 3", "needs # rows, found #"),
        ("loss -0.25 at 1e-3, 1_000 and 3.84093275347032", "loss # at # … and #"),
        ("<own.Model object at 0x7f3a2c10>", "<own.Model object at #>"),
        ("'price' is not in ['a', 'b', 'c']", "'…' is not in ['…' …]"),
        ('no column "sales"', 'no column "…"'),
        ("it doesn't converge, isn't it", "it doesn't converge, isn't it"),
        ("no file /data/well_3.csv", "no file <path>"),
        ("C:\\data\\x.csv is gone", "<path> is gone"),
        ("read ./a/b.parquet, ~/c and ../d", "read <path> … and <path>"),
        ("https://host/path?x=1 gave 503", "<url> gave #"),
        ("on 2024-01-05T10:00:00+01:00 and 2023-12-31", "on # and #"),
        ("run 5f3c9b2ae1d04c7f99aa of 123e4567-e89b-12d3-a456-426614174000", "run # of #"),
        ("float64 overflow, cannot make int32", "float64 overflow, cannot make int32"),
        ("feature_12 and x3", "feature_# and x#"),
        ("shapes (3,4) and (5, 6)", "shapes (#) and (# …)"),
        ("[1. 2. nan 4.]", "[# …]"),
        ("many\n  lines\there", "many lines here"),
        ("singular", "singular"),
        ("", ""),
        (None, ""),
    ],
)
def test_values_are_left_out(message: str | None, form: str) -> None:
    assert normalised(message) == form
    assert normalised(form) == form


@pytest.mark.parametrize(
    "piece", ["'", '"', "'a", "/", "./", "1", "1.", "a1", "0x", "[1, ", "\\", "`", "x://"]
)
def test_a_message_of_any_length_has_a_short_form(piece: str) -> None:
    assert len(normalised(piece * 100_000)) <= 1_000


@pytest.mark.parametrize(
    ("messages", "form"),
    [
        (["well Ada is dry", "well Berta Two is dry"], "well … is dry"),
        (["same", "same"], "same"),
        (["one", "two"], "…"),
        (["a b a", "a a"], "a … a"),
        (["no pump", "no pump here"], "no pump …"),
    ],
)
def test_what_messages_have_in_common(messages: list[str], form: str) -> None:
    assert common_form(messages) == form
