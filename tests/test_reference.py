"""The generated reference keeps up with the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generate_reference", ROOT / "scripts" / "generate_reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_verb_is_documented_as_it_is(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "verbs.md").read_text(encoding="utf-8") == generator.verbs()


def test_every_family_is_documented_as_it_is(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == generator.models()


def test_the_candidates_of_auto_are_documented_as_they_are(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "auto.md").read_text(encoding="utf-8") == generator.auto()


def test_every_metric_is_documented_with_its_source(generator: ModuleType) -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == generator.metrics()


def test_the_readme_links_to_documents_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [part.partition(")")[0] for part in readme.split("](")[1:]]
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
