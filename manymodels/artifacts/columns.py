"""Models as columns: how those of a batched trainer lie in a segment.

Codec ``columns``: one typed Parquet column ``model:<name>`` for each column of ``ModelColumns.table``, in place of
``artifact``; ``schema`` and ``shared`` stand in the file's metadata. Nothing is unpickled, so reading runs no code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from manymodels.exceptions import DamagedError, ManyModelsError

if TYPE_CHECKING:
    from manymodels.artifacts.segments import SegmentMeta
    from manymodels.models.batched.contract import ModelColumns
    from manymodels.models.contract import FittedModel

__all__ = ["CODEC", "from_table", "model_of", "to_table"]

CODEC = "columns"
_PREFIX = "model:"


def to_table(columns: ModelColumns) -> pa.Table:
    """The columns of a segment that hold the models."""
    return columns.table.rename_columns([_PREFIX + name for name in columns.table.column_names])


def from_table(table: pa.Table, meta: SegmentMeta) -> ModelColumns:
    """The models of rows of a segment.

    Raises:
        StoreFormatError: This version does not know the schema.
        DamagedError: The columns are not those of the schema.
    """
    from manymodels.models.batched.trainers import columns_of

    with _damage_told():
        names = [name for name in table.column_names if name.startswith(_PREFIX)]
        models = table.select(names).rename_columns([name.removeprefix(_PREFIX) for name in names])
        return columns_of(meta.schema, models, meta.shared, table.column("seed").to_numpy())


def model_of(columns: ModelColumns) -> FittedModel:
    """The only model of some columns.

    Raises:
        DamagedError: It cannot be made from them.
    """
    with _damage_told():
        return columns.model(0)


@contextmanager
def _damage_told() -> Iterator[None]:
    """Whatever damaged columns lead to is an error of the store."""
    try:
        yield
    except ManyModelsError:
        raise
    except Exception as error:
        raise DamagedError(
            f"a model could not be made from its columns: {type(error).__name__}: {error}; train the key again"
        ) from error
