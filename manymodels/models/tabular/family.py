"""Any estimator with scikit-learn's interface as a family of tabular models."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn import config_context

from manymodels.exceptions import JobError
from manymodels.models.contract import FitSpec, FittedModel, Floats
from manymodels.models.spec import CandidateSpec, Task
from manymodels.models.tabular.constant import ConstantModel
from manymodels.models.tabular.estimators import build_estimator
from manymodels.models.tabular.logistic import logistic_of, polish
from manymodels.models.tabular.model import TabularModel
from manymodels.models.tabular.preprocessing import Needs, fit_encoder
from manymodels.models.tabular.signatures import remember_signatures
from manymodels.models.tabular.targets import Labelled, labelled
from manymodels.models.tabular.traits import estimator_kind, needs_of, weight_parameter
from manymodels.records import Rows

__all__ = ["SklearnFamily", "Template", "estimator_maker", "fitting"]

_WRONG_KINDS: dict[str, tuple[str, ...]] = {
    "regression": ("classifier", "clusterer", "outlier_detector", "density_estimator"),
    "ranking": ("classifier", "clusterer", "outlier_detector", "density_estimator"),
    "classification": ("regressor", "clusterer", "outlier_detector", "density_estimator"),
    "anomaly": ("regressor", "classifier", "clusterer"),
}

_FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


@dataclass(frozen=True)
class Template:
    """An unfitted estimator that can be had again and again.

    Attributes:
        make: Gives a new one.
        seeds: Parameters that take the key's seed: every ``random_state`` that the job leaves open.
        class_weights: Parameters with a weight for each class.
        needs: What its matrix must be.
        weight: The argument of ``fit`` that takes sample weights; None when there is none.
        tells_categories: Whether it must be told which columns are categories.
    """

    make: Callable[[], Any]
    seeds: tuple[str, ...]
    class_weights: dict[str, dict[Any, float]]
    needs: Needs
    weight: str | None
    tells_categories: bool

    @classmethod
    def of(cls, make: Callable[[], Any], *, as_given: bool = False) -> Template:
        """The template of what ``make`` gives.

        Args:
            make: Gives a new one.
            as_given: Nothing is standardised in front of it.
        """
        estimator = make()
        remember_signatures(estimator)
        params = estimator.get_params() if hasattr(estimator, "get_params") else vars(estimator).copy()
        needs = needs_of(estimator, as_given=as_given)
        return cls(
            make=make,
            seeds=tuple(n for n, value in params.items() if _leaf(n) == "random_state" and value is None),
            class_weights={
                n: value
                for n, value in params.items()
                if _leaf(n) == "class_weight" and isinstance(value, dict)
            },
            needs=needs,
            weight=weight_parameter(estimator),
            tells_categories=needs.categories == "native"
            and params.get("categorical_features") == "from_dtype",
        )

    def new(self, seed: int) -> Any:
        """A new estimator, seeded."""
        estimator = self.make()
        for name in self.seeds:
            if "__" in name:
                estimator.set_params(**{name: seed})
            else:
                setattr(estimator, name, seed)  # what set_params does, which costs 0.08 ms
        return estimator


class SklearnFamily:
    """An estimator by import path, or a pipeline of them, behind preprocessing by the columns' types.

    Args:
        candidate: ``family`` is the import path, ``params`` the estimator's parameters.
        task: ``regression``, ``ranking`` or ``classification``.
        make: Gives an unfitted estimator of the user's own, which is not found by import path.
        as_given: Numbers come to it as they are: nothing is standardised in front of it.

    Raises:
        JobError: The path leads to no estimator for the task, or the parameters are not its own.
    """

    revision = 1
    isolated = True

    def __init__(
        self,
        candidate: CandidateSpec,
        task: Task,
        *,
        make: Callable[[], Any] | None = None,
        as_given: bool = False,
    ) -> None:
        self.candidate, self.task = candidate, task
        self.name = candidate.family
        self.library = re.split("[.:]", candidate.family)[0]
        self.coded = make is None
        self.template = Template.of(make or estimator_maker(candidate, task), as_given=as_given)
        self.logistic = logistic_of(self.template.make(), candidate.params.keys()) if self.coded else None
        if self.logistic is not None:
            self.revision = 2  # taken on to the minimum

    @classmethod
    def of_estimator(cls, candidate: CandidateSpec, task: Task, content: bytes) -> SklearnFamily:
        """An estimator object, as its owner set it up.

        Args:
            candidate: Its name.
            task: ``regression``, ``ranking`` or ``classification``.
            content: The unfitted estimator, pickled.

        Raises:
            JobError: It does another task.
        """
        make = partial(pickle.loads, content)
        _check_task(make(), candidate, task)
        return cls(candidate, task, make=make, as_given=True)

    def fit(self, rows: Rows, spec: FitSpec) -> FittedModel:
        """Fit one key's rows.

        A classification whose rows have one class becomes a constant model, which says why.

        Raises:
            UnusableRowsError: No row has a target, the target is infinite, or no feature has a value.
            DataError: A feature column is not there.
        """
        known = labelled(rows, spec)
        target, seen = known.target, None
        if spec.task == "classification":
            seen = np.unique(target)
            if len(seen) == 1:
                return ConstantModel.of_class(self.name, known.classes, int(seen[0]), "only one class")
            # Codes without gaps, which libraries beside scikit-learn insist on; the user's own code gets the classes.
            target = np.searchsorted(seen, target) if self.coded else np.array(known.classes)[target]
        encoder = fit_encoder(known.rows, spec.features, spec.categorical, self.template.needs)
        matrix = encoder.matrix(known.rows)
        estimator = self.template.new(spec.seed)
        if self.template.tells_categories and encoder.native:
            estimator.set_params(categorical_features=encoder.native)
        for name, weights in self.template.class_weights.items():
            estimator.set_params(**{name: _present(weights, known, seen, coded=self.coded)})
        arguments = {}
        if known.weights is not None and self.template.weight is not None:
            arguments[self.template.weight] = known.weights
        with fitting(matrix) as notes:
            estimator.fit(matrix, target, **arguments)
        if self.logistic is not None:
            polish(estimator, self.logistic, matrix, target, known.weights)
        if known.weights is not None and self.template.weight is None:
            notes.append(f"{self.name} takes no sample weights")
        return TabularModel(
            family=self.name,
            encoder=encoder,
            estimator=estimator,
            classes=known.classes,
            seen=None if seen is None else tuple(seen.tolist()),
            coded=self.coded,
            notes=tuple(notes),
        )


def estimator_maker(candidate: CandidateSpec, task: Task) -> Callable[[], Any]:
    """What gives a candidate's unfitted estimator, once it is known to be one for the task.

    Raises:
        JobError: As ``build_estimator``; or the estimator does another task.
    """
    where = f"models: candidate {candidate.name!r}"
    estimator = build_estimator(candidate.family, candidate.params, where)
    _check_task(estimator, candidate, task)
    content = pickle.dumps(estimator)
    return lambda: pickle.loads(content)  # noqa: S301 - our own bytes; a fifteenth of the time of sklearn.base.clone


def _check_task(estimator: Any, candidate: CandidateSpec, task: Task) -> None:
    where = f"models: candidate {candidate.name!r}"
    kind = estimator_kind(estimator)
    if kind in _WRONG_KINDS[task]:
        article = "an" if kind[0] in "aeiou" else "a"
        raise JobError(
            f"{where}: {candidate.family} is {article} {kind.replace('_', ' ')}; the job's task is {task}"
        )
    if task != "anomaly" and not hasattr(estimator, "predict"):
        raise JobError(f"{where}: {candidate.family} has no `predict`; it cannot do the job's task, {task}")


@contextmanager
def fitting(matrix: Floats) -> Iterator[list[str]]:
    """Runs scikit-learn on checked input without checking it again; the list takes what it warned of."""
    notes: list[str] = []
    with (
        warnings.catch_warnings(record=True) as caught,
        config_context(assume_finite=bool(np.isfinite(matrix.sum())), skip_parameter_validation=True),
    ):
        warnings.simplefilter("default")
        yield notes
    told = [warning.message for warning in caught if not issubclass(warning.category, _FOR_DEVELOPERS)]
    notes.extend(dict.fromkeys(" ".join(str(message).split()) for message in told))


def _present(weights: dict[Any, float], known: Labelled, seen: Any, *, coded: bool) -> dict[Any, float]:
    """Class weights of the classes that the key has, as the estimator calls them."""
    classes = [known.classes[place] for place in seen.tolist()]
    return {
        code if coded else value: weights[value] for code, value in enumerate(classes) if value in weights
    }


def _leaf(name: str) -> str:
    return name.rpartition("__")[2]
