"""Ranking: a regression scores a key's candidate rows, and its order is the rank."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from manymodels.models.contract import Floats

__all__ = ["rank_panel", "rank_rows"]


def rank_rows(predictions: Floats, top: int | None = None) -> npt.NDArray[np.int64]:
    """The rank of each of a key's rows: 1 is the highest prediction, ties go by row order.

    Args:
        predictions: One a row; rows without one (NaN) come last.
        top: Rows to rank; 0 is the rank of all others. None ranks all.
    """
    order = np.argsort(-predictions, kind="stable")
    ranks = np.zeros(len(predictions), dtype=np.int64)
    ranks[order[:top]] = np.arange(1, len(order[:top]) + 1)
    return ranks


def rank_panel(
    predictions: Floats, lengths: npt.NDArray[np.int64], top: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ranks of many keys' rows, and the rows of the best ``top`` of each key, best first.

    Args:
        predictions: One a row, those of one key after those of another.
        lengths: Rows of each key.
        top: Rows to keep of each key; None keeps all.
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-predictions, owner))
    place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = place + 1
    return ranks, order if top is None else order[place < top]
