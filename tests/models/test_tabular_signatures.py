"""Constructors' signatures are looked up once, and are what they were."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from manymodels.models.tabular.signatures import remember_signatures


class Leaf(BaseEstimator):  # type: ignore[misc]
    def __init__(self, depth: int = 1) -> None:
        self.depth = depth


class Forest(BaseEstimator):  # type: ignore[misc]
    def __init__(self, trees: int = 2) -> None:
        self.trees = trees
        self.template = Leaf()


class Odd(BaseEstimator):  # type: ignore[misc]
    """Has no constructor of its own."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for kind in (Leaf, Forest, Odd):
        vars(kind.__init__).pop("__signature__", None)


def remembered(kind: type) -> Any:
    return vars(kind.__init__).get("__signature__")


def test_an_estimator_and_what_it_holds_are_remembered_with_the_signatures_that_they_have() -> None:
    before = inspect.signature(Leaf.__init__)
    remember_signatures(Pipeline([("scale", None), ("model", Forest())]))
    assert remembered(Leaf) == before
    assert remembered(Forest) == inspect.signature(Forest.__init__)
    assert inspect.signature(Leaf).parameters.keys() == {"depth"}
    assert Leaf(depth=3).get_params() == {"depth": 3}


def test_an_estimator_that_holds_itself_ends() -> None:
    remember_signatures(Odd())
    assert remembered(Odd) is not None


def test_what_is_no_estimator_is_passed_over() -> None:
    remember_signatures("ridge")
    remember_signatures(Leaf)
    assert remembered(Leaf) is None
