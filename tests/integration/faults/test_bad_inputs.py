"""Every bad input gets a clear typed error or the documented behaviour; nothing is lost, nothing else is hurt."""

from __future__ import annotations

from pathlib import Path

import bad_input_artifacts
import bad_input_commands
import bad_input_data
import bad_input_jobs
import bad_input_keys
import bad_input_models
import pytest
from bad_inputs import CASES, ITEMS, BadInput, Place, table

__all__ = [
    "bad_input_artifacts",
    "bad_input_commands",
    "bad_input_data",
    "bad_input_jobs",
    "bad_input_keys",
    "bad_input_models",
]

pytestmark = pytest.mark.integration

DOCUMENT = Path(__file__).parents[3] / "docs" / "reliability.md"


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_bad_input_gets_what_the_documents_say(case: BadInput, place: Place) -> None:
    case.check(place)


def test_every_item_of_the_list_has_a_case_and_no_two_have_one_name() -> None:
    assert sorted({case.item for case in CASES}) == list(range(1, ITEMS + 1))
    assert len({case.id for case in CASES}) == len(CASES)


def test_the_documents_have_the_table_of_these_cases() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    found = document.partition("## Bad inputs\n")[2].partition("\n### Keys\n")[2].partition("\n## ")[0]
    assert f"### Keys\n{found}".strip() == table().strip(), (
        "put `bad_inputs.table()` into docs/reliability.md"
    )
