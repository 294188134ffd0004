"""Shrinkage: how much of its level's model a key's own model is blended with, chosen on held-out rows.

A level's model is fitted once on all rows, and once on what its keys had before each window (or outside each fold), so that
what it predicts of a key's held-out rows is as honest as what the key's own model does. Each key stops at its own cutoff there:
the level's model never saw what it is judged by, and it saw as much of the other keys as it does when it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from manymodels.evaluation.evaluate import Evaluation
from manymodels.evaluation.metrics import HeldOut, Metric
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.evaluation.splits import Split, make_splits
from manymodels.exceptions import ModelError
from manymodels.models.blended import Blended, Parent, for_key, mixed
from manymodels.models.contract import FitSpec, FittedModel, PooledFamily, Predictions
from manymodels.records import Rows

__all__ = ["Shrunk", "fit_parent", "shrink"]

_EQUAL = 0.5
_WEIGHTS = tuple(round(number / 10, 1) for number in range(11))


@dataclass(frozen=True)
class Shrunk:
    """A blend that is better than the key's own model alone, or cannot be told to be worse.

    Attributes:
        model: The blend.
        metric: Its value, over the same splits as the key's own; None where nothing could be held out.
        evaluation: Of the key's own model, with the blend's predictions and values; None likewise.
    """

    model: Blended
    metric: float | None
    evaluation: Evaluation | None


def fit_parent(
    family: PooledFamily,
    keys: Sequence[Rows],
    seeds: Sequence[int],
    spec: FitSpec,
    evaluation: EvaluationSpec,
) -> Parent:
    """Fit a level's model: on all rows, and on what was before each window of the keys' evaluation.

    Args:
        family: What fits.
        keys: The rows of each key.
        seeds: The keys', which shuffled hold-outs depend on.
        spec: With the level's seed.
        evaluation: What is held out.

    Raises:
        ModelError: The rows cannot be fitted, with the reason.
    """
    earlier: dict[int, list[Rows]] = {}
    for rows, seed in zip(keys, seeds, strict=True):
        try:
            splits = make_splits(rows, spec.seeded(seed), evaluation)
        except ModelError:  # too short to be judged, and so of no use to judge others by
            continue
        for split in splits:
            earlier.setdefault(split.number, []).append(split.train)
    model = family.fit_pooled(list(keys), spec)
    before = [
        _fitted(family, earlier.get(number, []), spec) for number in range(max(earlier, default=-1) + 1)
    ]
    return Parent(model, tuple(before))


def _fitted(family: PooledFamily, keys: list[Rows], spec: FitSpec) -> FittedModel | None:
    try:
        return family.fit_pooled(keys, spec) if keys else None
    except ModelError:
        return None


def shrink(
    model: FittedModel,
    evaluation: Evaluation | None,
    splits: Sequence[Split],
    shared: Sequence[int],
    spec: FitSpec,
    metric: Metric | None,
    parents: Mapping[str, Parent],
) -> Shrunk | None:
    """Blend a key's model with the best of its levels' models; None where alone it is clearly better.

    Held-out rows are few, and the weight that does best on them is mostly luck. So of the weights (a tenth's steps) that cannot
    be told from the best one, the nearest to equal is taken: equal weights are hard to beat (Smith and Wallis, A simple
    explanation of the forecast combination puzzle, Oxford Bulletin of Economics and Statistics 71, 2009; Diebold and Pauly, The
    use of prior information in forecast combination, Int. J. Forecasting 6, 1990). They cannot be told from it where their loss
    is within ``1 / sqrt(2 n)`` of its, the relative standard error of a root mean square of n normal errors. The level is the
    one that is best at its best weight. A key with no held-out row is blended with its first level at equal weights.

    Args:
        model: The key's own, fitted on all its rows.
        evaluation: Of its candidate; None where nothing was held out.
        splits: Of the key.
        shared: The places of those that the candidates are compared on; empty: those on which this one has a value.
        spec: With the key's seed.
        metric: What is compared.
        parents: Level to its model, the nearest first.
    """
    if metric is None or evaluation is None or all(value is None for value in evaluation.values):
        level = next(iter(parents), None)
        return None if level is None else Shrunk(Blended(model, level, _EQUAL, spec.classes), None, None)
    places = list(shared) or [place for place, value in enumerate(evaluation.values) if value is not None]
    best: tuple[float, str, float, list[HeldOut]] | None = None
    for level, parent in parents.items():
        blends = _blends(evaluation, [splits[place] for place in places], places, parent, spec)
        losses = {weight: _loss(held, metric) for weight, held in blends.items()}
        known = {weight: loss for weight, loss in losses.items() if loss is not None}
        if not known:
            continue
        least = min(known.values())
        doubt = abs(least) / math.sqrt(2 * sum(len(held.actual) for held in blends[_EQUAL]))
        alike = [weight for weight, loss in known.items() if loss <= least + doubt]
        weight = max(alike, key=lambda weight: (-abs(weight - _EQUAL), weight))
        if best is None or least < best[0]:
            best = least, level, weight, blends[weight]
    if best is None or best[2] == 1.0:
        return None
    _, level, weight, blend = best
    after = _replaced(evaluation, places, blend, metric)
    return Shrunk(
        Blended(model, level, weight, spec.classes), _mean([after.values[place] for place in places]), after
    )


def _blends(
    evaluation: Evaluation, splits: Sequence[Split], places: Sequence[int], parent: Parent, spec: FitSpec
) -> dict[float, list[HeldOut]]:
    """What blends predict of held-out rows, by weight; none where one of the two has no prediction."""
    pairs: list[tuple[HeldOut, Predictions]] = []
    for place, split in zip(places, splits, strict=True):
        ours, theirs = evaluation.held[place], _held_out(parent, split)
        if ours is None or theirs is None:
            return {}
        pairs.append((ours, theirs))
    return {weight: [_mixed(*pair, weight, spec) for pair in pairs] for weight in _WEIGHTS}


def _held_out(parent: Parent, split: Split) -> Predictions | None:
    """What the level's model, as it was then, predicts of the judged rows; None where it cannot."""
    before = parent.before[split.number] if split.number < len(parent.before) else None
    if before is None:
        return None
    try:
        whole = for_key(before, split.train).predict(split.held)
    except Exception:  # a key that the level's model cannot serve keeps its own
        return None
    return {name: np.asarray(values)[split.judged] for name, values in whole.items()}


def _mixed(held: HeldOut, parent: Predictions, weight: float, spec: FitSpec) -> HeldOut:
    return replace(held, predictions=mixed(held.predictions, parent, weight, spec.classes))


def _loss(held: Sequence[HeldOut], metric: Metric) -> float | None:
    """The mean of the metric over splits, turned so that lower is better, from perfect on where that is known."""
    found = [metric.measure(one) for one in held]
    if any(isinstance(value, str) for value in found):
        return None
    value = _mean([value for value in found if not isinstance(value, str)])
    if value is None:
        return None
    perfect = metric.perfect
    return metric.badness(value) if perfect is None else abs(perfect - value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _replaced(
    evaluation: Evaluation, places: Sequence[int], blend: Sequence[HeldOut], metric: Metric
) -> Evaluation:
    """The evaluation with what the blend predicted; a split that it was not judged on stands as it was."""
    held, values = list(evaluation.held), list(evaluation.values)
    for place, one in zip(places, blend, strict=True):
        found = metric.measure(one)
        held[place], values[place] = one, found if not isinstance(found, str) else None
    return replace(evaluation, held=tuple(held), values=tuple(values))
