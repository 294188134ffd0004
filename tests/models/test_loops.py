"""Compiled loops are named, so that they can be loaded before a fit is timed."""

from __future__ import annotations

from pathlib import Path

import manymodels.models
from manymodels.models.families import FAMILIES
from manymodels.models.loops import are_loaded, load_loops, loops_of
from manymodels.models.spec import CandidateSpec

EVERY = [CandidateSpec(name=family, family=family) for family in FAMILIES]


def test_every_module_of_compiled_loops_is_some_familys() -> None:
    root = Path(manymodels.models.__file__).parent
    compiled = {
        f"manymodels.models.{path.relative_to(root).with_suffix('').as_posix().replace('/', '.')}"
        for path in root.rglob("*.py")
        if "from manymodels.models.compiled import" in path.read_text()
    }
    assert compiled == set(loops_of(EVERY, at_once=True))


def test_one_by_one_fewer_are_needed() -> None:
    assert set(loops_of(EVERY, at_once=False)) < set(loops_of(EVERY, at_once=True))
    assert loops_of([CandidateSpec(name="mean", family="mean")], at_once=True) == []


def test_loops_are_loaded_when_asked_for() -> None:
    theta = [CandidateSpec(name="theta", family="theta")]
    load_loops(theta, at_once=False)
    assert are_loaded(loops_of(theta, at_once=False))
    assert not are_loaded(["manymodels.models.no_such_kernel"])
