"""What stands on one key's leaderboard: candidates, and an ensemble of them."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence

from manymodels.evaluation.evaluate import Evaluation, evaluate, fit_checked
from manymodels.evaluation.metrics import Metric
from manymodels.evaluation.splits import Split
from manymodels.exceptions import UnusableRowsError
from manymodels.models.blended import Blended, Parent
from manymodels.models.contract import Family, FitSpec, FittedModel
from manymodels.models.ensemble import EnsembleModel
from manymodels.models.spec import CandidateSpec
from manymodels.records import AttemptFailure, CandidateScore, Rows
from manymodels.selection.ensembles import JudgedEnsemble
from manymodels.selection.failures import failure_of
from manymodels.selection.search import asked_of
from manymodels.selection.shrinkage import shrink
from manymodels.selection.strategies import Ask

__all__ = ["Entry", "Together", "Trial"]


class Entry(ABC):
    """What stands on one key's leaderboard."""

    __slots__ = (
        "candidate",
        "evaluation",
        "failure",
        "fit_seconds",
        "metric",
        "reached",
        "seconds",
        "unusable",
    )

    def __init__(self, candidate: CandidateSpec, failure: AttemptFailure | None) -> None:
        self.candidate, self.failure = candidate, failure
        self.evaluation: Evaluation | None = None
        # By how much of the evaluation it was judged last, and how bad it was.
        self.reached: tuple[float, int, float] | None = None
        self.metric: float | None = None
        self.unusable = ""
        self.seconds = self.fit_seconds = 0.0

    @property
    def judged(self) -> bool:
        """Whether it predicted held-out rows."""
        return self.evaluation is not None and any(held is not None for held in self.evaluation.held)

    @abstractmethod
    def refitted(self, rows: Rows, spec: FitSpec) -> Generator[str, None, FittedModel | None]:
        """Fit it on all rows, naming each candidate before its fit; None where that cannot be done."""

    def shrink(
        self,
        model: FittedModel,
        splits: Sequence[Split],
        shared: Sequence[int],
        spec: FitSpec,
        metric: Metric | None,
        parents: Mapping[str, Parent],
    ) -> Blended | None:
        """The refitted model, blended with a level's where that is better; what is judged is then the blend."""
        began = time.perf_counter()
        found = shrink(model, self.evaluation, splits, shared, spec, metric, parents)
        self.seconds += time.perf_counter() - began
        if found is None:
            return None
        if found.evaluation is not None:
            self.metric, self.evaluation = found.metric, found.evaluation
        return found.model

    def score(self) -> CandidateScore:
        """Its line of the leaderboard."""
        if self.failure is not None:
            error = f"{self.failure.error}: {self.failure.message}"
            return CandidateScore(self.candidate.name, None, self.seconds, error)
        return CandidateScore(self.candidate.name, self.metric, self.seconds, self.unusable)


class Trial(Entry):
    """One candidate at work on one key."""

    __slots__ = ("family",)

    def __init__(self, candidate: CandidateSpec, family: Family, failure: AttemptFailure | None) -> None:
        super().__init__(candidate, failure)
        self.family = family

    def evaluate(
        self, asked: Ask, splits: Sequence[Split], spec: FitSpec, metric: Metric, cadence: int
    ) -> float | None:
        """Judge it by what was asked for; how bad it is by that, None where nothing says."""
        began = time.perf_counter()
        found: float | None = None
        try:
            judged = evaluate(self.family, asked_of(asked, splits, spec), spec, metric, cadence=cadence)
            self.fit_seconds += judged.fit_seconds
            if asked.share == 1.0:
                judged = judged if self.evaluation is None else self.evaluation.extended(judged)
                self.evaluation = judged
            found = None if judged.mean is None else metric.badness(judged.mean)
            self.reached = asked.share, asked.stop, math.inf if found is None else found
        except (Exception, SystemExit) as error:
            self.failure = failure_of(error, self.candidate.name)
            self.fit_seconds += time.perf_counter() - began
        self.seconds += time.perf_counter() - began
        return found

    def refitted(self, rows: Rows, spec: FitSpec) -> Generator[str, None, FittedModel | None]:
        """See ``Entry.refitted``."""
        yield self.candidate.name
        began = time.perf_counter()
        try:
            return fit_checked(self.family, rows, spec)
        except UnusableRowsError as error:
            self.unusable = str(error)
        except (Exception, SystemExit) as error:
            self.failure = failure_of(error, self.candidate.name)
        finally:
            seconds = time.perf_counter() - began
            self.seconds += seconds
            self.fit_seconds += seconds
        return None


class Together(Entry):
    """The best candidates of one key together."""

    __slots__ = ("combination", "kept", "members")

    def __init__(
        self, candidate: CandidateSpec, judged: JudgedEnsemble, members: Sequence[Entry], *, kept: bool
    ) -> None:
        super().__init__(candidate, None)
        self.members, self.combination, self.kept = members, judged.combination, kept
        self.evaluation = judged.evaluation

    def refitted(self, rows: Rows, spec: FitSpec) -> Generator[str, None, FittedModel | None]:
        """See ``Entry.refitted``."""
        models = []
        for member in self.members:
            model = yield from member.refitted(rows, spec)
            if model is None:
                self.unusable = f"{member.candidate.name} could not be fitted on all rows"
                return None
            models.append(model)
        names = tuple(member.candidate.name for member in self.members)
        return EnsembleModel(names, tuple(models), self.combination)
