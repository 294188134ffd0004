"""Many keys' models at once: every candidate is evaluated, each key's best is refitted on all its rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.baseline import panel_baselines
from manymodels.evaluation.metrics import Metric
from manymodels.evaluation.panel_splits import PanelSplit, panel_splits
from manymodels.evaluation.panels import PanelEvaluation, evaluate_panel
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import holds_out
from manymodels.models.batched.contract import BatchedTrainer, Ints, ModelColumns, Panel
from manymodels.models.contract import FitSpec, Floats
from manymodels.selection.incumbents import stays
from manymodels.selection.intervals import Bounds

__all__ = ["PanelChoice", "Winners", "fit_panel", "split_means"]


@dataclass(frozen=True, eq=False)
class Winners:
    """The keys that one candidate won.

    Attributes:
        candidate: Its place among the candidates.
        places: The keys, ascending.
        columns: Their models, fitted on all rows; model n is that of key ``places[n]``.
    """

    candidate: int
    places: Ints
    columns: ModelColumns


@dataclass(frozen=True, eq=False)
class PanelChoice:
    """What became of a panel.

    Attributes:
        winners: By candidate; a key is in at most one. The keys in none are to be fitted one by one.
        tried: Which candidates are for which keys. Shape (candidates, keys).
        metric: Each candidate's mean over a key's splits, NaN where there is none. Shape (candidates, keys).
        baseline: The naive baseline's, on the same splits. Shape (keys,).
        evaluations: Of each candidate; empty where they are not compared.
        seconds: Wall time of each candidate for a key: the average, since all are fitted at once. Shape (candidates,).
    """

    winners: tuple[Winners, ...]
    tried: npt.NDArray[np.bool_]
    metric: Floats
    baseline: Floats
    evaluations: tuple[PanelEvaluation, ...]
    seconds: Floats


def fit_panel(
    panel: Panel,
    seeds: Ints,
    trainers: Sequence[BatchedTrainer | None],
    spec: FitSpec,
    evaluation: EvaluationSpec,
    metric: Metric | None,
    *,
    applicable: npt.NDArray[np.bool_] | None = None,
    incumbents: Ints | None = None,
    min_gain: float = 0.0,
) -> PanelChoice:
    """Choose and fit the models of the keys in which nothing is special; the same models that ``fit_key`` makes.

    A key in which a candidate has no value on a split, or cannot be fitted, or for which one without a trainer is tried, is
    left to ``fit_key``, which knows the rules and says why.

    Args:
        panel: The keys' rows.
        seeds: The keys'. Shape (keys,).
        trainers: The candidates', in the job's order, at least one; None for a candidate without one.
        spec: What a fit needs to know.
        evaluation: What is held out.
        metric: What candidates are compared by; the first is taken where it is None, or nothing is held out.
        applicable: Which candidates are tried on which keys; None is all. Shape (candidates, keys).
        incumbents: The candidate that each key's champion is of, -1 where none is; see ``fit_key``. Shape (keys,).
        min_gain: See ``fit_key``.
    """
    keys = len(panel)
    tried = np.ones((len(trainers), keys), dtype=np.bool_) if applicable is None else applicable
    means = np.full((len(trainers), keys), np.nan)
    seconds = np.zeros(len(trainers))
    baseline = np.full(keys, np.nan)
    evaluations = []
    alone = tried[[trainer is None for trainer in trainers]].any(axis=0) | ~tried.any(axis=0)
    chosen = tried.argmax(axis=0)
    bounds = Bounds.of(spec, evaluation)
    if metric is not None and holds_out(spec, evaluation):
        splits = panel_splits(panel, seeds, spec, evaluation)
        asked = np.zeros((len(splits), keys), dtype=bool)
        for number, split in enumerate(splits):
            asked[number, split.places] = True
        for number, trainer in enumerate(trainers):
            began = time.perf_counter()
            theirs = tried[number] & ~alone
            held = [split.only(theirs[split.places]) for split in splits]
            evaluations.append(_evaluated(trainer, held, seeds, bounds.judged(metric), metric))
            means[number] = split_means(evaluations[-1].values, asked)
            seconds[number] += time.perf_counter() - began
        baseline = split_means(panel_baselines(splits, seeds, spec, metric), asked)
        badness = np.where(tried, -means if metric.higher_is_better else means, np.inf)
        complete = ~np.isnan(badness).any(axis=0) & ~alone
        chosen = np.where(complete, np.where(complete, badness, 0.0).argmin(axis=0), -1)
        if incumbents is not None:
            each = np.arange(keys)
            theirs = np.flatnonzero((incumbents >= 0) & complete & tried[incumbents, each])
            kept = theirs[stays(badness[incumbents, each][theirs], badness[chosen, each][theirs], min_gain)]
            chosen[kept] = incumbents[kept]
        for number, found in enumerate(evaluations):
            chosen[(chosen == number) & bounds.panel_unsure(found, keys)] = -1
    chosen = np.where(alone, -1, chosen)
    refit = bounds.refitted(judged=bool(evaluations))
    winners = []
    for number, trainer in enumerate(trainers):
        won = np.flatnonzero(chosen == number)
        if len(won) == 0 or trainer is None:
            continue
        began = time.perf_counter()
        fit = trainer.fit_batch(panel.take(won), seeds[won], refit)
        seconds[number] += time.perf_counter() - began
        if len(fit.places):
            places = won[fit.places]
            columns = fit.columns
            if evaluations:
                columns = bounds.panel_around(columns, places, evaluations[number], keys)
            winners.append(Winners(number, places, columns))
    for number, found in enumerate(evaluations if evaluation.keep != "none" else ()):
        wanted = (chosen == number) | (evaluation.keep == "all")
        evaluations[number] = bounds.panel_kept(found, wanted)
    return PanelChoice(tuple(winners), tried, means, baseline, tuple(evaluations), seconds / max(keys, 1))


def _evaluated(
    trainer: BatchedTrainer | None, splits: Sequence[PanelSplit], seeds: Ints, spec: FitSpec, metric: Metric
) -> PanelEvaluation:
    if trainer is None:
        return PanelEvaluation(np.full((len(splits), len(seeds)), np.nan), (None,) * len(splits))
    return evaluate_panel(trainer, splits, seeds, spec, metric)


def split_means(values: Floats, asked: npt.NDArray[np.bool_]) -> Floats:
    """The mean over each key's splits; NaN where one has no value, or there is none. Shape (keys,).

    Args:
        values: Of a metric. Shape (splits, keys).
        asked: Which keys have which split.
    """
    usable = asked.any(axis=0) & ~(asked & np.isnan(values)).any(axis=0)
    found = np.full(asked.shape[1], np.nan)
    sums, counts = np.where(asked, values, 0.0).sum(axis=0), asked.sum(axis=0)
    found[usable] = sums[usable] / counts[usable]
    return found
