"""Models as columns: how those of a batched trainer lie in a segment.

Codec ``columns``: one typed Parquet column ``model:<name>`` for each column of ``ModelColumns.table``, in place of
``artifact``; ``schema`` and ``shared`` stand in the file's metadata. Nothing is unpickled, so reading runs no code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from manymodels.artifacts.segments import SegmentMeta
    from manymodels.models.batched.contract import ModelColumns

__all__ = ["CODEC", "from_table", "to_table"]

CODEC = "columns"
_PREFIX = "model:"


def to_table(columns: ModelColumns) -> pa.Table:
    """The columns of a segment that hold the models."""
    return columns.table.rename_columns([_PREFIX + name for name in columns.table.column_names])


def from_table(table: pa.Table, meta: SegmentMeta) -> ModelColumns:
    """The models of rows of a segment.

    Raises:
        StoreFormatError: This version does not know the schema.
    """
    from manymodels.models.batched.trainers import columns_of

    names = [name for name in table.column_names if name.startswith(_PREFIX)]
    models = table.select(names).rename_columns([name.removeprefix(_PREFIX) for name in names])
    return columns_of(meta.schema, models, meta.shared, table.column("seed").to_numpy())
