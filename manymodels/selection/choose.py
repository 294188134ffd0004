"""One key's model: every candidate is evaluated, the best is refitted on all rows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from types import MappingProxyType
from typing import Literal

import numpy as np

from manymodels.evaluation.backtests import backtests_of, row_times
from manymodels.evaluation.baseline import baseline_values
from manymodels.evaluation.metrics import Metric
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import Split, make_splits
from manymodels.exceptions import ModelError
from manymodels.models.blended import Parent
from manymodels.models.contract import Family, FitSpec, FittedModel
from manymodels.models.spec import CandidateSpec
from manymodels.records import AttemptFailure, Backtest, CandidateScore, Rows
from manymodels.selection.applicability import applicable
from manymodels.selection.ensembles import ensemble_candidate, judge_ensemble
from manymodels.selection.entries import Entry, Together, Trial
from manymodels.selection.failures import failure_of
from manymodels.selection.incumbents import stays
from manymodels.selection.intervals import Bounds
from manymodels.selection.lessons import Lessons
from manymodels.selection.search import search_of
from manymodels.selection.spec import SelectionSpec
from manymodels.selection.traits import traits_of

__all__ = ["KeyFit", "fit_key"]

_NOBODY: Mapping[str, AttemptFailure] = MappingProxyType({})


@dataclass(frozen=True)
class KeyFit:
    """What became of one key.

    Attributes:
        state: ``trained``; ``fallback``: its rows cannot train any model; ``failed``: no candidate succeeded.
        reason: Why, when not trained; when trained, why there is no metric, where there might have been one.
        candidate: The winner's name; the candidate that is to blame when failed.
        params: The winner's parameters, JSON.
        model: The winner, fitted on all rows; None unless trained.
        metric: The winner's value: the mean over the splits on which all candidates have one.
        baseline: The naive baseline's, on the same splits.
        skill: How much better the winner is; see ``skill_scores``.
        judged: Numbers of the splits that ``metric`` is the mean over.
        scores: The leaderboard, best first, failed candidates last.
        backtests: What was predicted of held-out rows, as ``evaluation.keep`` asks.
        failure: Of the first listed candidate that failed, when failed.
        rows: Rows that the final fit saw.
        cutoff: Time of the last of them (see ``KeyOutcome.cutoff``).
        fit_seconds: Wall time inside fit and predict calls.
        traits: What the key is like, where that is learned from.
        parent: The level whose model the winner is blended with; empty where alone it is better.
        own_weight: Of the winner in the blend.
    """

    state: Literal["trained", "fallback", "failed"]
    reason: str = ""
    candidate: str = ""
    params: str = "{}"
    model: FittedModel | None = None
    metric: float | None = None
    baseline: float | None = None
    skill: float | None = None
    judged: tuple[int, ...] = ()
    scores: tuple[CandidateScore, ...] = ()
    backtests: tuple[Backtest, ...] = ()
    failure: AttemptFailure | None = None
    rows: int = 0
    cutoff: int | None = None
    fit_seconds: float = 0.0
    traits: tuple[float, ...] = ()
    parent: str = ""
    own_weight: float | None = None


def fit_key(
    rows: Rows,
    candidates: Sequence[tuple[CandidateSpec, Family]],
    spec: FitSpec,
    evaluation: EvaluationSpec,
    metric: Metric | None,
    selection: SelectionSpec = SelectionSpec(),  # noqa: B008 - frozen
    *,
    blamed: Mapping[str, AttemptFailure] = _NOBODY,
    incumbent: str | None = None,
    min_gain: float = 0.0,
    lessons: Lessons | None = None,
    seconds: float | None = None,
    parents: Mapping[str, Parent] = MappingProxyType({}),
) -> Generator[str, None, KeyFit]:
    """Choose and fit one key's model.

    A candidate that raises is disqualified, the others go on. Candidates are compared on the splits on
    which all that have a value anywhere have one; ties go to the first listed, candidates without a value
    come last. When the best cannot be refitted on all rows, the next one is.

    Args:
        rows: The key's.
        candidates: In the job's order, at least one; those whose ``when`` does not hold for the key are left out.
        spec: With the key's seed.
        evaluation: What is held out.
        metric: What candidates are compared by; None to take the first that fits.
        selection: Which candidates are tried, and what else may be chosen: an ensemble is one more on the leaderboard, listed
            last.
        blamed: Candidate name to what it did: those that killed or stalled the process are not tried again.
        incumbent: The candidate that the key's champion is of; another must beat it by ``min_gain`` to be chosen.
        min_gain: Relative to the incumbent's value.
        lessons: What other keys taught of the candidates; None to try them as listed.
        seconds: The key's share of the time that the run has for searches.
        parents: Level to its model, the nearest first: what the winner may be blended with (``shrink``).

    Yields:
        The name of each candidate before its evaluation, and again before its refit.

    Returns:
        What became of the key. Nothing that a candidate or the rows do is raised, but ``KeyboardInterrupt``.
    """
    asked = applicable(rows, [candidate for candidate, _ in candidates], spec)
    trials = [
        Trial(candidate, family, blamed.get(candidate.name))
        for candidate, family in compress(candidates, asked)
    ]
    if not trials:
        return KeyFit("fallback", "no candidate is for a key like this (`when`)")
    splits: Sequence[Split] = ()
    shared: Sequence[int] = ()
    reason = stopped = ""
    bounds = Bounds.of(spec, evaluation)
    traits = traits_of(rows, spec) if selection.learn else ()
    if metric is not None:
        try:
            splits = make_splits(rows, spec, evaluation)
        except ModelError as error:
            reason = str(error)
        except Exception as error:
            return _failed(trials, failure_of(error))
        if splits:
            cadence = evaluation.cadence(spec.task)
            search = search_of(
                selection,
                metric,
                [trial.candidate.name for trial in trials],
                splits,
                places=np.flatnonzero(asked).tolist(),
                apart=cadence == 1,
                incumbent=incumbent,
                lessons=lessons,
                traits=traits,
                seconds=seconds,
            )
            while (ask := search.ask()) is not None:
                trial = trials[ask.place]
                badness = None
                if trial.failure is None:
                    yield trial.candidate.name
                    badness = trial.evaluate(ask, splits, bounds.judged(metric), metric, cadence)
                search.tell(badness, failed=trial.failure is not None)
            stopped = search.stopped
        shared = _settle(trials)
    entries: list[Entry] = [*trials]
    if metric is not None and (together := _ensemble(trials, shared, spec, metric, selection)) is not None:
        entries.append(together)
    for entry in _preferred(_ranked(entries, metric), metric, incumbent, min_gain):
        if entry.failure is not None:
            continue
        model = yield from entry.refitted(rows, bounds.refitted(judged=entry.judged))
        if model is None:
            continue
        scores = _leaderboard(entries, metric, entry)
        blend = entry.shrink(model, splits, shared, spec, metric, parents) if parents else None
        baseline = None
        if metric is not None and entry.evaluation is not None:
            reason = entry.evaluation.reason
            baseline = _baseline(entry, splits, shared, spec, metric)
        return KeyFit(
            state="trained",
            reason="; ".join(filter(None, (stopped, reason if entry.metric is None else ""))),
            candidate=entry.candidate.name,
            params=json.dumps(params, default=str) if (params := entry.candidate.params) else "{}",
            model=bounds.around(
                model if blend is None else blend, rows, entry.evaluation, _seen(entry, splits)
            ),
            metric=entry.metric,
            baseline=baseline,
            skill=None if metric is None else metric.skill(entry.metric, baseline),
            judged=tuple(splits[place].number for place in _judged_on(entry, shared)),
            scores=scores,
            backtests=_kept(entries if evaluation.keep == "all" else [entry], splits, rows, bounds)
            if evaluation.keep != "none"
            else (),
            rows=len(rows),
            cutoff=_cutoff(rows, spec),
            fit_seconds=sum(each.fit_seconds for each in trials),
            traits=traits,
            parent="" if blend is None else blend.level,
            own_weight=None if blend is None else blend.weight,
        )
    failure = next((trial.failure for trial in trials if trial.failure is not None), None)
    if failure is not None:
        return _failed(trials, failure)
    return KeyFit(
        state="fallback",
        reason=trials[0].unusable,
        scores=_leaderboard(entries, metric),
        fit_seconds=sum(trial.fit_seconds for trial in trials),
    )


def _failed(trials: Sequence[Trial], failure: AttemptFailure) -> KeyFit:
    return KeyFit(
        state="failed",
        reason=f"{failure.error}: {failure.message}",
        candidate=failure.candidate,
        scores=_leaderboard(trials, None),
        failure=failure,
        fit_seconds=sum(trial.fit_seconds for trial in trials),
    )


def _settle(trials: Sequence[Trial]) -> list[int]:
    """Give each trial its mean over the splits that all trials with a value share (returned), or over its own.

    Those that were judged on fewer splits than others were dropped on the way, and get none.
    """
    judged = [(trial, trial.evaluation.values) for trial in trials if trial.evaluation and not trial.failure]
    most = max((len(values) for _, values in judged), default=0)
    measured = [
        (trial, values)
        for trial, values in judged
        if len(values) == most and any(value is not None for value in values)
    ]
    shared = [
        place
        for place, values in enumerate(zip(*(v for _, v in measured), strict=True))
        if None not in values
    ]
    for trial, values in measured:
        known = [value for value in ([values[place] for place in shared] or values) if value is not None]
        trial.metric = sum(known) / len(known)
    return shared


def _ensemble(
    trials: Sequence[Trial], shared: Sequence[int], spec: FitSpec, metric: Metric, selection: SelectionSpec
) -> Together | None:
    """The best of the trials together, where that is wanted and can be judged."""
    candidate, wanted = ensemble_candidate(selection), selection.ensemble
    if candidate is None or wanted is None:
        return None
    began = time.perf_counter()
    measured = [trial for trial in trials if trial.metric is not None]
    evaluations = [trial.evaluation for trial in measured if trial.evaluation is not None]
    judged = judge_ensemble(evaluations, shared, spec, metric, wanted)
    if judged is None:
        return None
    members = [measured[place] for place in judged.members]
    found = Together(candidate, judged, members, kept=wanted.keep == "always" or judged.better)
    known = [value for value in judged.evaluation.values if value is not None]
    found.metric = sum(known) / len(known)
    found.seconds = time.perf_counter() - began
    return found


def _baseline(
    winner: Entry, splits: Sequence[Split], shared: Sequence[int], spec: FitSpec, metric: Metric
) -> float | None:
    """The naive baseline's mean over the splits that the winner's is over."""
    if winner.metric is None or winner.evaluation is None:
        return None
    values = baseline_values([splits[place] for place in _judged_on(winner, shared)], spec, metric)
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _judged_on(winner: Entry, shared: Sequence[int]) -> Sequence[int]:
    """The places of the splits that the winner's metric is the mean over."""
    if winner.metric is None or winner.evaluation is None:
        return ()
    return shared or [place for place, value in enumerate(winner.evaluation.values) if value is not None]


def _seen(entry: Entry, splits: Sequence[Split]) -> Sequence[Split]:
    """The splits that an entry was judged on: the newest."""
    return splits if entry.evaluation is None else splits[: len(entry.evaluation.values)]


def _kept(
    entries: Sequence[Entry], splits: Sequence[Split], rows: Rows, bounds: Bounds
) -> tuple[Backtest, ...]:
    return tuple(
        backtest
        for entry in entries
        if entry.evaluation is not None
        for seen in [_seen(entry, splits)]
        for backtest in backtests_of(
            entry.candidate.name, bounds.kept(entry.evaluation, seen), seen, rows, bounds.spec
        )
    )


def _ranked(trials: Sequence[Entry], metric: Metric | None) -> list[Entry]:
    """Best first; without a value last, those that came further in the search before the others; ties as listed.

    An ensemble is before all others where it is kept, else not first.
    """

    def badness(trial: Entry) -> tuple[float, ...]:
        if metric is None or trial.metric is None:
            share, splits, bad = trial.reached or (0.0, 0, math.inf)
            return 1, -share, -splits, bad
        return 0, metric.badness(trial.metric)

    ranked = sorted(trials, key=badness)
    together = next((trial for trial in ranked if isinstance(trial, Together)), None)
    if together is None or (not together.kept and together is not ranked[0]):
        return ranked
    singles = [trial for trial in ranked if trial is not together]
    return [together, *singles] if together.kept else [singles[0], together, *singles[1:]]


def _preferred(
    ranked: list[Entry], metric: Metric | None, incumbent: str | None, min_gain: float
) -> list[Entry]:
    """The order in which trials are refitted: the incumbent first, where the best does not beat it by enough."""
    best = ranked[0]
    champion = next((trial for trial in ranked[1:] if trial.candidate.name == incumbent), None)
    if metric is None or champion is None or champion.metric is None or best.metric is None:
        return ranked
    if not stays(metric.badness(champion.metric), metric.badness(best.metric), min_gain):
        return ranked
    return [champion, *(trial for trial in ranked if trial is not champion)]


def _leaderboard(
    trials: Sequence[Entry], metric: Metric | None, winner: Entry | None = None
) -> tuple[CandidateScore, ...]:
    """A line for everything that was tried; for all that is listed, where there was nothing to judge by."""
    if any(trial.reached for trial in trials):
        trials = [t for t in trials if t.reached or t.failure or t.metric is not None or t is winner]
    scores = [trial.score() for trial in _ranked(trials, metric)]
    return tuple(sorted(scores, key=lambda score: score.error != ""))


def _cutoff(rows: Rows, spec: FitSpec) -> int | None:
    times = None if spec.time is None else row_times(rows, spec.time)
    if times is None:
        return None
    last = int(times[-1])
    return None if last == np.iinfo(np.int64).min else last
