"""Rows by key in memory: what a partition store would hold, without the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from manymodels.partitioning.store import Details, Partitions, cut_rows

__all__ = ["MemoryRows"]


@dataclass(frozen=True)
class MemoryRows(Partitions):
    """A small dataset, split by key and kept in memory.

    Attributes:
        details: What it holds.
        manifest: As of a partition store; ``row_offset`` counts in ``rows``.
        rows: In the order of the store.
    """

    details: Details
    manifest: pa.Table
    rows: pa.Table

    def read_table(self, slices: pa.Table, columns: Sequence[str]) -> pa.Table:
        """See ``Partitions``."""
        begins, lengths = slices.column("row_offset").to_numpy(), slices.column("rows").to_numpy()
        return cut_rows(self.rows.select(list(columns)), begins, lengths, "memory")

    def only(self, keys: pa.Table) -> MemoryRows:
        """The rows of some keys: what a worker needs of them.

        Args:
            keys: Rows of the manifest.
        """
        lengths = keys.column("rows").to_numpy()
        offsets = pa.array(np.cumsum(lengths) - lengths, pa.int64())
        manifest = keys.set_column(keys.column_names.index("row_offset"), "row_offset", offsets)
        return MemoryRows(self.details, manifest, self.read_table(keys, self.rows.column_names))
