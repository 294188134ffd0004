"""Fitting a batch of keys in a few calls, where every candidate has a batched trainer: no child, no loop over keys.

The product's own trainers run in the worker itself. What they leave out (a key in which anything is special) goes on to
``train_batch``, one by one; the models are the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.compute.threads import blas_threads
from manymodels.evaluation.backtests import panel_backtest, row_times
from manymodels.evaluation.metrics import skill_scores
from manymodels.evaluation.splits import NOTHING_HELD_OUT, holds_out
from manymodels.job.settings import FitSettings
from manymodels.models.batched.contract import BatchedTrainer, Ints, ModelColumns, Panel
from manymodels.models.contract import Floats
from manymodels.models.loops import load_loops
from manymodels.records import Backtest
from manymodels.selection.applicability import panel_applicable
from manymodels.selection.panels import PanelChoice, Winners, fit_panel
from manymodels.selection.search import trial_order
from manymodels.selection.traits import traits_of
from manymodels.training.batch import incumbents_of, key_seed, read_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from manymodels.evaluation.metrics import Metric
    from manymodels.partitioning.store import Partitions

__all__ = ["FittedPanel", "PanelModels", "train_panel", "trainers_of"]

_ROWS_OF_A_KEY = 100  # as many rows take as long as what a key takes whatever its rows


@dataclass(frozen=True, eq=False)
class PanelModels:
    """Models of one candidate.

    Attributes:
        places: Rows of the batch's keys.
        facts: ``pyarrow.Table``: ``candidate``, ``params``, ``metric``, ``baseline``, ``skill``, ``champion_metric``,
            ``scores``, ``reason``, ``rows``, ``cutoff``, ``seed``, ``fit_seconds``, ``seconds`` and ``traits`` of each.
        columns: The models.
        backtests: Rows of the batch's keys, and what was predicted of them, as ``evaluation.keep`` asks.
    """

    places: Ints
    facts: Any
    columns: ModelColumns
    backtests: tuple[tuple[Ints, Backtest], ...]


@dataclass(frozen=True, eq=False)
class FittedPanel:
    """What became of a batch.

    Attributes:
        models: By candidate.
        rest: Rows of the batch's keys that are to be fitted one by one, ascending.
    """

    models: tuple[PanelModels, ...]
    rest: Ints


def trainers_of(settings: FitSettings) -> tuple[BatchedTrainer | None, ...] | None:
    """The candidates' batched trainers; None when no key could be fitted with them, or models of a key may be combined.

    A candidate without one is in the way of the keys that it is tried on.
    """
    from manymodels.models.batched.trainers import trainer_module, trainer_of
    from manymodels.models.families import build

    selection = settings.selection
    # The user's own modules can be imported in the child only.
    if settings.code is not None or selection.ensemble is not None or selection.stepwise:
        return None
    task = settings.spec.task
    if any(each.when is None and trainer_module(each, task) is None for each in settings.candidates):
        return None
    found = [(candidate, trainer_of(build(candidate, task))) for candidate in settings.candidates]
    if any(trainer is None and candidate.when is None for candidate, trainer in found):
        return None
    return tuple(trainer for _, trainer in found)


def judged_alone(settings: FitSettings, keys: pa.Table) -> npt.NDArray[np.bool_]:
    """The keys whose champion is of a configuration that cannot be judged for many keys at once."""
    from manymodels.models.batched.trainers import trainer_of
    from manymodels.models.families import build

    task = settings.spec.task
    names = incumbents_of(keys)
    theirs = [other for other in settings.champions if other.name in set(names)]
    alone = {other.name for other in theirs if trainer_of(build(other, task)) is None}
    return np.array([name in alone for name in names], dtype=bool)


def train_panel(
    settings: FitSettings,
    keys: pa.Table,
    trainers: Sequence[BatchedTrainer | None],
    partitions: Partitions | None = None,
) -> FittedPanel:
    """Fit a batch's keys all at once.

    Args:
        settings: Of the run.
        keys: Rows of the manifest.
        trainers: The candidates', in the job's order.
        partitions: Has the rows; None when they are in the settings' store.

    Raises:
        StoreError: The rows could not be read.
    """
    import pyarrow as pa

    from manymodels.evaluation.metrics import resolve_metric

    load_loops(settings.candidates, at_once=True)
    began = time.perf_counter()
    rows, offsets = read_rows(settings, keys, partitions)
    panel = Panel(rows, offsets[:-1], offsets[1:])
    seeds = np.array([key_seed(settings.seed, key_id) for key_id in keys.column("key_id").to_pylist()])
    metric = None if settings.metric is None else resolve_metric(settings.metric, settings.spec.task)
    incumbents = _incumbents(settings, keys)
    tried = panel_applicable(panel, settings.candidates, settings.spec)
    traits = _traits(settings, panel)
    if settings.lessons is not None:
        tried &= _suggested(settings, keys, tried, traits)
    with blas_threads(settings.spec.threads):
        choice = fit_panel(
            panel,
            seeds,
            trainers,
            settings.spec,
            settings.evaluation,
            metric,
            applicable=tried,
            incumbents=incumbents,
            min_gain=settings.min_gain,
        )
        champions = _champions(settings, keys, panel, seeds, metric)
    each = np.flatnonzero(incumbents >= 0)
    champions[each] = choice.metric[incumbents[each], each]
    judged = holds_out(settings.spec, settings.evaluation)
    left = np.ones(len(panel), dtype=bool)
    parts = _parts(panel)
    models = []
    for won in choice.winners:
        places, count = won.places, len(won.places)
        left[places] = False
        candidate = settings.candidates[won.candidate]
        cutoffs, known = _cutoffs(panel, settings.spec.time, places)
        values, baselines = choice.metric[won.candidate, places], choice.baseline[places]
        perfect = None if metric is None else metric.perfect
        facts = {
            "candidate": pa.repeat(candidate.name, count),
            "params": pa.repeat(json.dumps(candidate.params, default=str), count),
            "metric": pa.array(values, from_pandas=True),
            "baseline": pa.array(baselines, from_pandas=True),
            "skill": pa.array(skill_scores(values, baselines, perfect), from_pandas=True),
            "champion_metric": pa.array(champions[places], from_pandas=True),
            "scores": _leaderboards(settings, choice, places, metric, parts[places]),
            "reason": pa.repeat("" if metric is None or judged else NOTHING_HELD_OUT, count),
            "rows": panel.lengths[places],
            "cutoff": pa.array(cutoffs, mask=~known),
            "seed": seeds[places],
            "fit_seconds": choice.seconds.sum() * parts[places],
            "seconds": (time.perf_counter() - began) / len(panel) * parts[places],
            "traits": pa.array([traits[place] for place in places.tolist()], pa.list_(pa.float64())),
        }
        backtests = tuple(_kept(settings, choice, won, panel))
        models.append(PanelModels(places, pa.table(facts), won.columns, backtests))
    return FittedPanel(tuple(models), np.flatnonzero(left))


def _incumbents(settings: FitSettings, keys: pa.Table) -> Ints:
    """The place among the candidates of the one that each key's champion is of; -1 where none is."""
    places = {candidate.name: place for place, candidate in enumerate(settings.candidates)}
    return np.array([places.get(name or "", -1) for name in incumbents_of(keys)], dtype=np.int64)


def _champions(
    settings: FitSettings, keys: pa.Table, panel: Panel, seeds: Ints, metric: Metric | None
) -> npt.NDArray[np.float64]:
    """What the champions' configurations that are no candidates have; NaN for the other keys. Shape (keys,)."""
    from manymodels.models.batched.trainers import trainer_of
    from manymodels.models.families import build
    from manymodels.selection.champions import champion_metrics

    found = np.full(len(panel), np.nan)
    names = np.array(incumbents_of(keys), dtype=object)
    for other in settings.champions:
        theirs = np.flatnonzero(names == other.name)
        trainer = trainer_of(build(other, settings.spec.task))
        if metric is not None and trainer is not None and len(theirs):
            found[theirs] = champion_metrics(
                trainer, panel.take(theirs), seeds[theirs], settings.spec, settings.evaluation, metric
            )
    return found


def _kept(
    settings: FitSettings, choice: PanelChoice, won: Winners, panel: Panel
) -> Iterator[tuple[Ints, Backtest]]:
    keep = settings.evaluation.keep
    chosen = np.zeros(len(panel), dtype=bool)
    chosen[won.places] = keep != "none"
    for number, evaluation in enumerate(choice.evaluations):
        if keep == "all" or number == won.candidate:
            name = settings.candidates[number].name
            for window, held in enumerate(evaluation.held):
                if held is not None:
                    yield panel_backtest(name, window, held, chosen, panel, settings.spec)


def _traits(settings: FitSettings, panel: Panel) -> list[tuple[float, ...] | None]:
    """What each key is like, where the job learns from it."""
    if not settings.selection.learn:
        return [None] * len(panel)
    return [traits_of(panel.key(place), settings.spec) for place in range(len(panel))]


def _suggested(
    settings: FitSettings,
    keys: pa.Table,
    applicable: npt.NDArray[np.bool_],
    traits: Sequence[tuple[float, ...] | None],
) -> npt.NDArray[np.bool_]:
    """The configurations that each key's search would try. Shape (candidates, keys)."""
    names = [candidate.name for candidate in settings.candidates]
    most = settings.selection.max_trials
    found = np.zeros_like(applicable)
    for key, incumbent in enumerate(incumbents_of(keys)):
        places = np.flatnonzero(applicable[:, key]).tolist()
        theirs = [names[place] for place in places]
        order = trial_order(theirs, places, incumbent, settings.lessons, traits[key] or (), most)
        found[[places[place] for place in order[:most]], key] = True
    return found


def _cutoffs(panel: Panel, time: str | None, places: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The time of each key's last row, and where there is one."""
    values = None if time is None else row_times(panel.rows, time)
    if values is None:
        return np.zeros(len(places), dtype=np.int64), np.zeros(len(places), dtype=bool)
    last = values[panel.stops[places] - 1]
    return last, last != np.iinfo(np.int64).min


def _parts(panel: Panel) -> Floats:
    """What a key has of the panel's time, relative to the average key: by its rows, and something for being a key."""
    weights = panel.lengths + _ROWS_OF_A_KEY
    return np.asarray(weights / weights.mean())


def _leaderboards(
    settings: FitSettings, choice: PanelChoice, places: Ints, metric: Metric | None, parts: Floats
) -> pa.ListArray:
    """Every candidate that was tried on each key, best first, as ``OUTCOME_COLUMNS`` has them."""
    import pyarrow as pa

    values, tried = choice.metric[:, places].T, choice.tried[:, places].T
    badness = -values if metric is not None and metric.higher_is_better else values
    order = np.argsort(badness, axis=1, kind="stable")
    listed = np.take_along_axis(tried, order, axis=1)
    names = pa.array([candidate.name for candidate in settings.candidates])
    lines = pa.StructArray.from_arrays(
        [
            names.take(pa.array(order[listed])),
            pa.array(np.take_along_axis(values, order, axis=1)[listed], from_pandas=True),
            pa.array((choice.seconds[order] * parts[:, None])[listed]),
            pa.repeat("", int(listed.sum())),
        ],
        names=["candidate", "metric", "seconds", "error"],
    )
    ends = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(ends, lines)
