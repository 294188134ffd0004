"""How DuckDB reads files: table expressions with every column as it is stored, and what its errors mean."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pyarrow.fs

from manymodels.dataset.csvfiles import CsvHeader, CsvOptions, csv_format, wrong_encoding
from manymodels.dataset.files import Format, SourceFile
from manymodels.dataset.sql import COMPLAINT, literal
from manymodels.exceptions import DataError

__all__ = ["FILE_COLUMN", "explained", "fresh_name", "register", "scan"]

FILE_COLUMN = "manymodels: file"
"""The column of a scan that has the row's file."""

_numbers = itertools.count(1)


def register(connection: duckdb.DuckDBPyConnection, rows: Any) -> str:
    """Make an Arrow table or dataset known to a connection, under a name that nothing else has."""
    name = fresh_name()
    connection.register(name, rows)
    return name


def fresh_name() -> str:
    """A name for a view that nothing else has."""
    return f"manymodels_{next(_numbers)}"


def scan(
    connection: duckdb.DuckDBPyConnection,
    data_format: Format,
    files: Sequence[SourceFile],
    hive: Sequence[str],
    *,
    header: CsvHeader | None = None,
    options: CsvOptions | None = None,
) -> tuple[str, str | None]:
    """A table expression over files of one layout, and the name of its file column where it has one.

    The hive columns are VARCHAR.
    """
    filesystem, _ = files[0].filesystem()
    if not files[0].is_local:
        names = [filesystem.protocol] if isinstance(filesystem.protocol, str) else filesystem.protocol
        if not any(connection.filesystem_is_registered(name) for name in names):
            connection.register_filesystem(filesystem)
    if header is not None and options is not None and options.encoding != "utf-8":
        return register(connection, _dataset(files, hive, csv_format(header, options))), None
    if data_format == "arrow":
        return register(connection, _dataset(files, hive, pa_dataset.IpcFileFormat())), None
    paths = ", ".join(literal(_glob_safe(file.location)) for file in files)
    shared = (
        f"filename = {literal(FILE_COLUMN)}, hive_partitioning = {str(bool(hive)).lower()}, "
        "hive_types_autocast = false"
    )
    if header is None or options is None:
        return f"read_parquet([{paths}], {shared})", FILE_COLUMN
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header.names)
    nulls = ", ".join(literal(value) for value in dict.fromkeys(("", *options.null_values)))
    quote = literal(options.quote)
    table = (
        f"read_csv([{paths}], {shared}, columns = {{{columns}}}, header = true, auto_detect = false, "
        f"delim = {literal(header.separator)}, quote = {quote}, escape = {quote}, nullstr = [{nulls}])"
    )
    return table, FILE_COLUMN


def _glob_safe(path: str) -> str:
    """A path that DuckDB does not take for a pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)


def _dataset(files: Sequence[SourceFile], hive: Sequence[str], file_format: Any) -> Any:
    """A ``pyarrow`` dataset over files, with the values of their folders as strings."""
    if files[0].is_local:
        filesystem: Any = pa.fs.LocalFileSystem()
    else:
        filesystem = pa.fs.PyFileSystem(pa.fs.FSSpecHandler(files[0].filesystem()[0]))
    fragments = []
    for file in files:
        known = pa_dataset.scalar(True)
        for name, value in zip(hive, file.folders, strict=True):
            field = pa_dataset.field(name)
            known = known & (field.is_null() if value is None else field == value)
        fragments.append(
            file_format.make_fragment(file.filesystem()[1], filesystem, partition_expression=known)
        )
    schema = fragments[0].physical_schema
    for name in hive:
        position = schema.get_field_index(name)
        schema = schema if position < 0 else schema.remove(position)
        schema = schema.append(pa.field(name, pa.string()))
    return pa_dataset.FileSystemDataset(fragments, schema, file_format, filesystem)


@contextlib.contextmanager
def explained(options: CsvOptions | None = None, what: str = "the data") -> Iterator[None]:
    """Turn what DuckDB and Arrow raise while rows are read into a ``DataError`` that says where and what to do.

    Args:
        options: Of the CSV reader.
        what: Is read, for errors that do not tell the file.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, UnicodeError, OSError) as error:
        raise DataError(_explanation(str(error), options or CsvOptions(), what)) from error


def _explanation(message: str, options: CsvOptions, what: str) -> str:
    _, complained, complaint = message.partition(COMPLAINT)
    if complained:
        return complaint.strip().splitlines()[0]
    file = re.search(r"^\s*file = (.+)$", message, re.MULTILINE)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    counts = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message)
    where = f"{file[1]}, line {line[1]}" if file and line else file[1] if file else what
    if file and "nvalid unicode" in message:
        return wrong_encoding(where, options.encoding)
    if counts:
        return (
            f"{where}: expected {counts[1]} fields as in the header, found {counts[2]}; correct the line, or set "
            "`data.csv.separator` or `data.csv.quote`"
        )
    if file and "unterminated quote" in message:
        return f"{where}: a quote is opened and never closed; correct the line or set `data.csv.quote`"
    return f"could not read {where}: {message.strip().splitlines()[0]}"
