from __future__ import annotations

import pytest

from manymodels.models.batched.trainers import trainer_module, trainer_of
from manymodels.models.families import FAMILIES, build
from manymodels.models.spec import CandidateSpec, Task

ESTIMATORS: list[tuple[str, Task]] = [
    ("sklearn.linear_model.Ridge", "regression"),
    ("sklearn.linear_model.Lasso", "regression"),
    ("sklearn.linear_model.LogisticRegression", "classification"),
    ("sklearn.linear_model.SGDClassifier", "classification"),
    ("sklearn.ensemble.RandomForestRegressor", "regression"),
    ("sklearn.covariance.EllipticEnvelope", "anomaly"),
]


@pytest.mark.parametrize(
    ("family", "task"), [*((name, entry.tasks[0]) for name, entry in FAMILIES.items()), *ESTIMATORS]
)
def test_where_a_trainer_is_defined_is_known_without_building_the_family(family: str, task: Task) -> None:
    params = {"order": (1, 0, 0)} if family == "sarimax" else {}
    candidate = CandidateSpec(name=family, family=family, params=params)
    trainer = trainer_of(build(candidate, task))
    module = trainer_module(candidate, task)
    if trainer is not None:
        assert module == type(trainer).__module__
    assert module is None or module.startswith("manymodels.models.batched.")


def test_nobodys_trainer_is_guessed_for_what_has_none() -> None:
    for family, task in (ESTIMATORS[-2], ESTIMATORS[-1], ("module:Mine", "regression")):
        assert trainer_module(CandidateSpec(name="one", family=family), task) is None
