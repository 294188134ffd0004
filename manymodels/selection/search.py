"""The search of one key: what the job asks for, in the order that other keys taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from manymodels.evaluation.metrics import Metric
from manymodels.evaluation.splits import Split
from manymodels.models.contract import FitSpec
from manymodels.selection.lessons import Lessons
from manymodels.selection.spec import SelectionSpec
from manymodels.selection.strategies import Ask, Halving, InOrder, Limits, Search, rungs_of

__all__ = ["asked_of", "search_of", "trial_order"]


def search_of(
    selection: SelectionSpec,
    metric: Metric,
    names: Sequence[str],
    splits: Sequence[Split],
    *,
    places: Sequence[int],
    apart: bool,
    incumbent: str | None,
    lessons: Lessons | None,
    traits: Sequence[float],
    seconds: float | None,
) -> Search:
    """The search that a job asks for, on one key.

    Where the job learns and there are no lessons yet, the key is one of the pilot: everything is tried in full, and only limits
    in seconds hold.

    Args:
        selection: The job's.
        metric: What is compared.
        names: Of the configurations that are for the key.
        splits: The key's, at least one.
        places: Of these configurations among all of the run, which the lessons are about.
        apart: Whether each split can be judged without the others.
        incumbent: The configuration of the key's champion; it is tried first.
        lessons: What other keys taught.
        traits: The key's, where there are lessons.
        seconds: The key's share of ``max_seconds``.
    """
    limits = [
        (value, f"stopped early by `selection.{name}`")
        for value, name in ((selection.max_seconds_per_key, "max_seconds_per_key"), (seconds, "max_seconds"))
        if value is not None
    ]
    shortest = min(limits, default=None)
    if selection.learn and lessons is None:
        return InOrder(range(len(names)), len(splits), Limits(seconds=shortest))
    target = selection.target_score
    limit = Limits(
        trials=selection.max_trials,
        patience=selection.patience,
        target=None if target is None else metric.badness(target),
        seconds=shortest,
    )
    order = trial_order(names, places, incumbent, lessons, traits, selection.max_trials)
    if selection.search == "random":
        return InOrder(order, len(splits), limit)
    champion = names.index(incumbent) if incumbent in names else None
    rungs = rungs_of(len(order[: limit.trials]), len(splits), len(splits[0].train), apart=apart)
    return Halving(order, rungs, limit, champion)


def trial_order(
    names: Sequence[str],
    places: Sequence[int],
    incumbent: str | None,
    lessons: Lessons | None,
    traits: Sequence[float],
    most: int | None,
) -> list[int]:
    """The order in which a key's configurations are tried, as places in ``names``.

    Args:
        names: Of the configurations that are for the key.
        places: Theirs among all of the run.
        incumbent: The one of the key's champion, which comes first.
        lessons: What other keys taught; None to take them as listed.
        traits: The key's, where there are lessons.
        most: How many will be tried.
    """
    order = list(range(len(names))) if lessons is None else lessons.order(traits, places, most)
    if incumbent in names:
        first = names.index(incumbent)
        order = [first, *(place for place in order if place != first)]
    return order


def asked_of(asked: Ask, splits: Sequence[Split], spec: FitSpec) -> list[Split]:
    """The splits that a configuration is to be judged on, with the training rows that it may have.

    Args:
        asked: What the search asks for.
        splits: The key's.
        spec: With the key's seed.
    """
    wanted = list(splits[asked.start : asked.stop])
    return wanted if asked.share == 1.0 else [_shortened(split, asked.share, spec) for split in wanted]


def _shortened(split: Split, share: float, spec: FitSpec) -> Split:
    """A split with a part of its training rows: the newest where there is a time, else a seeded part."""
    count = len(split.train)
    kept = max(round(count * share), 1)
    if spec.time is not None:
        return replace(split, train=split.train.part(count - kept, count))
    some = np.random.default_rng(spec.seed).permutation(count)[:kept]
    return replace(split, train=split.train.take(np.sort(some)))
