"""A Dask frame as files: its partitions are computed and written by the workers, and sorted like any other input."""

from __future__ import annotations

from pathlib import Path

from manymodels.dataset.pieces import to_dask
from manymodels.dataset.sources import Source, open_source
from manymodels.dataset.spec import DataSpec

__all__ = ["spilled"]


def spilled(source: Source, columns: list[str], keys: list[str], folder: Path) -> Source:
    """The rows of a source in Parquet files, one per partition, with the same columns and types.

    Args:
        source: A Dask frame; it is computed on the current Dask client, or Dask's default scheduler.
        columns: The columns wanted.
        keys: The key columns.
        folder: Where the files go; workers must reach it at the same place.

    Raises:
        DataError: Values that cannot be read.
    """
    to_dask(source, columns).to_parquet(str(folder), write_index=False)
    return open_source(DataSpec(path=str(folder), partition_by=keys))
