"""The documents name tests as proof; they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text()


def _named() -> list[tuple[str, str]]:
    """Every test file that the page names, with the test in it where it names one; ``::name`` goes on in the same file."""
    found = []
    path = ""
    for file, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", TEXT):
        path = file or path
        if file or name:
            found.append((path, name))
    return found


def test_the_page_names_proofs() -> None:
    assert len(_named()) > 50


@pytest.mark.parametrize(("path", "name"), sorted(set(_named())))
def test_a_proof_that_is_named_is_there(path: str, name: str) -> None:
    assert re.search(rf"^def {name}\b" if name else "def test_", (ROOT / path).read_text(), re.MULTILINE)
