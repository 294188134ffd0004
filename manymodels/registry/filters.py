"""``--where``: an SQL expression over a table of models and the columns of their keys, evaluated by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from manymodels.exceptions import UsageError
from manymodels.partitioning.keys import decode

__all__ = ["matching"]

_PLACE = "place of the row"


def matching(table: pa.Table, canonical: pa.ChunkedArray, key_columns: Sequence[str], where: str) -> pa.Table:
    """The rows for which an expression is true.

    Args:
        table: Models.
        canonical: The canonical form of every row's key.
        key_columns: Names of the key's columns; one that is also a column of the table hides it.
        where: The expression; it can reach nothing but the row.

    Raises:
        UsageError: It is no expression over these columns.
    """
    keys = [decode(encoded) for encoded in canonical.to_pylist()]
    shown = {name: table.column(name) for name in table.column_names}
    for position, name in enumerate(key_columns):
        # A rung has the values of its level's columns, or none.
        shown[name] = pa.array([key[position] if len(key) == len(key_columns) else None for key in keys])
    shown[_PLACE] = pa.array(np.arange(table.num_rows))
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        try:
            found = connection.from_arrow(pa.table(shown)).filter(where).select(f'"{_PLACE}"').fetchnumpy()
        except duckdb.Error as error:
            said = str(error).strip().splitlines()[0]
            columns = ", ".join(name for name in shown if name != _PLACE)
            raise UsageError(
                f"{where!r} is no filter over models: {said}; the columns are {columns}"
            ) from None
    return table.take(np.sort(found[_PLACE]))
