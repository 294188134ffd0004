"""``data.window``: only the newest rows of each key, counted back from the key's own last time.

The key's own, not the data set's: a key that ended long ago keeps its rows, and one that goes on does not change another's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from manymodels.spans import Span

__all__ = ["newest_rows"]

Integers = npt.NDArray[np.int64]


def newest_rows(
    times: Integers,
    starts: Integers,
    counts: Integers,
    window: Span,
    micros: Callable[[Integers], Integers] = lambda times: times,
) -> npt.NDArray[np.bool_]:
    """Which rows lie in their key's window.

    A number of periods counts the times at which the key has a row, whatever the distance between them.

    Args:
        times: Of all rows, in any order within a key. Shape (rows,).
        starts: First row of each key.
        counts: Rows of each key, at least one.
        window: How far back.
        micros: Turns the times into microseconds since 1970.
    """
    keys = np.repeat(np.arange(len(starts)), counts)
    if window.unit != "periods":
        moments = micros(times)
        return moments > window.before(np.maximum.reduceat(moments, starts))[keys]
    order = np.lexsort((times, keys))
    ordered = times[order]
    begins = np.zeros(len(times), dtype=bool)
    begins[starts] = True
    begins[1:] |= ordered[1:] != ordered[:-1]
    number = np.cumsum(begins)  # of the time, counted through all keys
    last = number[starts + counts - 1]
    kept = np.empty(len(times), dtype=bool)
    kept[order] = number > (last - window.count)[keys]
    return kept
