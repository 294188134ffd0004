"""Which of a key's rows are held out, where the task is no forecast.

With a time column the last part; folds are then each judged by a fit on all that came before (as scikit-learn's
``TimeSeriesSplit``). Without one, a seeded part, or shuffled folds (as its ``KFold``). Rows of one time stay together where
that leaves something on both sides.

Groups (``evaluation.groups``) are whole on one side, always. They follow each other by the time of their first row, those
that begin together in a seeded order; where all of them begin at one time, as engines do that count their own cycles,
time says nothing of their order, and they are drawn like rows without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.evaluation.spec import EvaluationSpec

__all__ = ["LEAST", "Cut", "Places", "cuts"]

Ints = npt.NDArray[np.int64]
Places = slice | npt.NDArray[np.intp]
Cut = tuple[Places, Places]
"""Rows to train on, and rows held out."""

LEAST = 2
"""Rows to train on."""


def cuts(
    count: int,
    evaluation: EvaluationSpec,
    seed: int,
    *,
    times: npt.NDArray[Any] | None = None,
    groups: Ints | None = None,
) -> Iterator[Cut]:
    """The splits of one key's rows, newest first; none where they are too few.

    Args:
        count: Rows of the key, in the order of time where there is one.
        evaluation: What is held out.
        seed: The key's.
        times: Of the rows; None without a time column.
        groups: Of the rows; None without ``evaluation.groups``.
    """
    if groups is not None:
        yield from _grouped(groups, times, evaluation, seed)
        return
    sizes = _sizes(count, evaluation, least=LEAST, most=count // 2)
    if sizes is None:
        return
    held, folds = sizes
    if times is not None:
        edges = [count, *(_edge(times, count - held * (fold + 1)) for fold in range(folds))]
        yield from ((slice(0, cut), slice(cut, stop)) for stop, cut in pairwise(edges) if cut < stop)
        return
    order = np.random.default_rng(seed).permutation(count)
    for part in _parts(order, held, folds):
        is_held = np.zeros(count, dtype=bool)
        is_held[part] = True
        yield np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _sizes(count: int, evaluation: EvaluationSpec, *, least: int, most: int) -> tuple[int, int] | None:
    """Rows or groups to hold out at a time, and how often.

    Args:
        count: How many there are.
        evaluation: What is asked for.
        least: So many must be left to train on, else the answer is None.
        most: Folds that they are enough for.
    """
    if evaluation.folds is None:
        held, folds = max(round(count * evaluation.holdout), 1), 1
    else:
        folds = min(evaluation.folds, most)
        held = count // (folds + 1)
    if count - held * folds < least or (evaluation.folds is not None and folds < 2):
        return None
    return held, folds


def _parts(order: npt.NDArray[np.intp], held: int, folds: int) -> list[npt.NDArray[np.intp]]:
    """What is held out of things that no time orders: a part, or each of the folds in turn."""
    return [order[:held]] if folds == 1 else np.array_split(order, folds)


def _grouped(
    groups: Ints, times: npt.NDArray[Any] | None, evaluation: EvaluationSpec, seed: int
) -> Iterator[Cut]:
    """Whole groups held out."""
    _, first, members = np.unique(groups, return_index=True, return_inverse=True)
    count = len(first)
    begins = None if times is None or (times[first] == times[first[0]]).all() else times[first]
    sizes = _sizes(count, evaluation, least=1, most=count if begins is None else count - 1)
    if sizes is None:
        return
    held, folds = sizes
    order = np.random.default_rng(seed).permutation(count)
    if begins is None:
        parts = [(np.setdiff1d(order, part), part) for part in _parts(order, held, folds)]
    else:
        order = order[np.argsort(begins[order], kind="stable")]
        edges = [count - held * fold for fold in range(folds + 1)]
        parts = [(order[:cut], order[cut:stop]) for stop, cut in pairwise(edges)]
    for trained, out in parts:
        train, test = np.isin(members, trained), np.isin(members, out)
        if np.count_nonzero(train) >= LEAST:
            yield np.flatnonzero(train), np.flatnonzero(test)


def _edge(times: npt.NDArray[Any], cut: int) -> int:
    """The nearest place to a cut, first before it and then after it, where the time changes; else the cut."""
    changes = np.flatnonzero(times[1:] != times[:-1]) + 1
    before, after = changes[changes <= cut], changes[changes > cut]
    if len(before) and before[-1] >= LEAST:
        return int(before[-1])
    return int(after[0]) if len(after) else cut
