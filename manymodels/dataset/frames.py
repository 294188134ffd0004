"""Rows that are already in memory (pandas, Arrow) or in a Dask DataFrame, as Arrow tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.columntypes import check_names
from manymodels.exceptions import DataError

__all__ = ["as_table", "index_columns", "is_dask", "meta_schema"]


def is_dask(frame: object) -> bool:
    """Whether it is a Dask DataFrame; Dask is not imported to find out."""
    return type(frame).__module__.partition(".")[0] in ("dask", "dask_expr") and hasattr(
        frame, "map_partitions"
    )


def as_table(frame: object) -> tuple[pa.Table, frozenset[str]]:
    """A pandas DataFrame or Arrow table as an Arrow table that DuckDB can scan, and its index columns.

    Levels of a pandas index that have a name become columns; an index without a name is dropped.

    Raises:
        DataError: Another kind of object, duplicate names, or values that Arrow cannot hold (with the column).
    """
    import pandas as pd

    if isinstance(frame, pa.Table):
        check_names(frame.schema.names, "the data")
        return _scannable(frame), index_columns(frame.schema)
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"data is a pandas or Dask DataFrame, an Arrow table, or `data.path`; found {type(frame).__name__}"
        )
    if frame.columns.nlevels > 1:
        raise DataError(
            "a DataFrame with several levels of column names cannot be read; join them into one name each"
        )
    named = [str(name) for name in frame.index.names if name is not None and name not in frame.columns]
    columns = {
        str(name): frame.index.get_level_values(name) for name in frame.index.names if str(name) in named
    }
    names = [*columns, *(str(name) for name in frame.columns)]
    arrays = [*columns.values(), *(frame.iloc[:, position] for position in range(frame.shape[1]))]
    check_names(names, "the data")
    arrow = [_as_array(name, values) for name, values in zip(names, arrays, strict=True)]
    return _scannable(pa.table(arrow, names=names)), frozenset(named)


def _as_array(name: str, values: Any) -> Any:
    try:
        return pa.array(values, from_pandas=True)
    except UnicodeEncodeError:
        raise DataError(
            f"column {name!r} has text with a lone surrogate, which is no Unicode; clean it first"
        ) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise DataError(
            f"column {name!r} has values of several types or of a type that cannot be read: {str(error).splitlines()[0]}"
        ) from None


def _scannable(table: pa.Table) -> pa.Table:
    """The same rows in types that DuckDB reads: half floats and decimals of 256 bits are widened and narrowed."""
    for position, column in enumerate(table.schema):
        wanted = column.type
        if pt.is_float16(wanted):
            wanted = pa.float32()
        elif pt.is_decimal256(wanted):
            wanted = pa.decimal128(38, wanted.scale)
        if wanted is not column.type:
            try:
                table = table.set_column(position, column.name, table.column(position).cast(wanted))
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"column {column.name!r} has decimals of more than 38 digits: {error}"
                ) from None
    return table


def index_columns(schema: pa.Schema) -> frozenset[str]:
    """The columns that pandas wrote as an index, by the schema's metadata."""
    metadata = schema.pandas_metadata or {}
    listed = {name for name in metadata.get("index_columns", []) if isinstance(name, str)}
    return frozenset(listed | {name for name in schema.names if name.startswith("__index_level_")})


def meta_schema(frame: Any) -> tuple[dict[str, pa.DataType], frozenset[str]]:
    """The columns of a Dask DataFrame by what it promises of its partitions, and its index columns."""
    table, named = as_table(frame._meta)
    # Objects may be anything; Dask and pandas take them for strings too.
    objects = {str(name) for name, dtype in frame._meta.dtypes.items() if str(dtype) == "object"}
    types: dict[str, pa.DataType] = {}
    for column in table.schema:
        empty_categories = pt.is_dictionary(column.type) and pt.is_null(column.type.value_type)
        type = pa.dictionary(pa.int32(), pa.string()) if empty_categories else column.type
        types[column.name] = pa.string() if column.name in objects else type
    return types, named
