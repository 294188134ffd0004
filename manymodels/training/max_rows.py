"""Cutting long keys down to ``training.max_rows``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from manymodels.records import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["last_rows", "sampled_rows"]


def last_rows(slices: pa.Table, most: int) -> pa.Table:
    """Slices of the manifest, each cut to its last rows; the others are not read into memory."""
    import pyarrow as pa

    rows = slices.column("rows").to_numpy()
    kept = np.minimum(rows, most)
    begins = slices.column("row_offset").to_numpy() + rows - kept
    for name, values in (("rows", kept), ("row_offset", begins)):
        place = slices.column_names.index(name)
        slices = slices.set_column(place, name, pa.array(values, pa.int64()))
    return slices


def sampled_rows(
    rows: Rows, offsets: npt.NDArray[np.int64], most: int, seeds: Sequence[int]
) -> tuple[Rows, npt.NDArray[np.int64]]:
    """A seeded sample of each key's rows, in their order.

    Args:
        rows: Of all keys, one key after the other.
        offsets: Where each key's begin, and the end of the last.
        most: Rows that a key keeps.
        seeds: The keys'.

    Returns:
        The rows that are left, and their offsets.
    """
    if (np.diff(offsets) <= most).all():
        return rows, offsets
    chosen = []
    for (start, stop), seed in zip(pairwise(offsets.tolist()), seeds, strict=True):
        places = np.arange(start, stop)
        if len(places) > most:
            # Not the stream of the hold-out, which begins with the same seed.
            rng = np.random.default_rng((seed, most))
            places = np.sort(rng.choice(places, most, replace=False))
        chosen.append(places)
    lengths = np.array([len(places) for places in chosen], dtype=np.int64)
    # A frame of its own: the others' memory is free again.
    return Rows(rows.take(np.concatenate(chosen)).frame()), np.concatenate([[0], np.cumsum(lengths)])
