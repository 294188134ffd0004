"""An empty registry on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_fleet import Fleet, Place

from manymodels.registry import Registry


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a store will be: its folder, and its database."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    return Place(str(tmp_path / "store"), url)


@pytest.fixture
def registry(place: Place) -> Iterator[Registry]:
    with Registry.open(place, create=True, wait=10.0) as opened:
        yield opened


@pytest.fixture
def other(registry: Registry, place: Place) -> Iterator[Registry]:
    """A second handle on the same registry, as another process has."""
    with Registry.open(place, wait=10.0) as opened:
        yield opened


@pytest.fixture
def fleet(registry: Registry) -> Fleet:
    return Fleet(registry)
