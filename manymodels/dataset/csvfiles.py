"""CSV files: options, headers, and the types of columns that are only text.

Every column is read as text and cast by our own SQL: DuckDB's reader would round 1.5 to 2 in a column that it takes for
integers, and would take ``007`` for 7. An empty field is null, quoted or not. A column of one kind of value in the rows
looked at (all rows of a small dataset, a part of every file otherwise) has that type; a later value that does not fit is
an error that names it. Integers with leading zeros, or too long for 64 bits, make a column of strings.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from manymodels.dataset.files import SourceFile, nearest
from manymodels.dataset.sql import identifier, is_missing, literal, year_first
from manymodels.exceptions import DataError

__all__ = [
    "UNNAMED",
    "CsvHeader",
    "CsvOptions",
    "FoundKinds",
    "csv_format",
    "type_of_kinds",
    "wrong_encoding",
]

UNNAMED = "Unnamed: 0"
"""What a first column without a name is called: pandas writes its index so."""

_SEPARATORS = (",", ";", "\t", "|")
_INT, _FLOAT, _BOOL, _DATE, _TIME, _TEXT, _BLANK = (1 << bit for bit in range(7))


@dataclass(frozen=True)
class CsvOptions:
    """The job file's ``data.csv``.

    Attributes:
        separator: Between fields; found in the header line when None.
        encoding: Python's name of it.
        null_values: Texts that are null in every column; an empty field always is.
        quote: Around fields that contain a separator, a quote (doubled) or a line break.
        decimal: The decimal mark.
    """

    separator: str | None = None
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ()
    quote: str = '"'
    decimal: str = "."

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> CsvOptions:
        """The options as written in the job.

        Raises:
            DataError: An unknown option, or a value that an option cannot have.
        """
        options: dict[str, Any] = {}
        for name, value in given.items():
            if name not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise DataError(
                    f"`data.csv` has no option {name!r}; it has {known}{nearest(name, cls.__dataclass_fields__)}"
                )
            if name == "null_values":
                value = (value,) if isinstance(value, str) else value
                if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                    raise DataError(
                        f"`data.csv.null_values` is a list of texts such as [NA, '-']; found {given[name]!r}"
                    )
                value = tuple(value)
            elif not isinstance(value, str):
                raise DataError(f"`data.csv.{name}` is a text; found {value!r}")
            elif name != "encoding" and len(value) != 1:
                raise DataError(f"`data.csv.{name}` is one character; found {value!r}")
            options[name] = value
        try:
            options["encoding"] = codecs.lookup(options.get("encoding", "utf-8")).name
        except LookupError:
            raise DataError(
                f"`data.csv.encoding` is {options['encoding']!r}, which is no known encoding; common ones are utf-8, "
                "cp1252, latin-1 and utf-16"
            ) from None
        return cls(**options)


@dataclass(frozen=True)
class CsvHeader:
    """The first line of a file.

    Attributes:
        names: The columns.
        separator: Between fields.
    """

    names: tuple[str, ...]
    separator: str

    @classmethod
    def read(cls, file: SourceFile, options: CsvOptions) -> CsvHeader:
        """Read a file's header.

        Raises:
            DataError: The file is empty, cannot be decoded or decompressed, or a column has no name.
        """
        with _decoding(file, options), _opened(file, options) as lines:
            first = next(lines, "")
            separator = options.separator or max(
                _SEPARATORS,
                key=lambda s: len(next(csv.reader([first], delimiter=s, quotechar=options.quote), [])),
            )
            whole = (line for part in ([first], lines) for line in part)
            names = next(csv.reader(whole, delimiter=separator, quotechar=options.quote), [])
        if not names:
            raise DataError(
                f"the file {file.path} is empty; expected a header line with the names of the columns"
            )
        for position, name in enumerate(names):
            if not name and position == 0 and len(names) > 1:
                names[0] = UNNAMED
            elif not name:
                raise DataError(
                    f"column {position + 1} of {file.path} has no name; expected a header line with names"
                )
        return cls(tuple(names), separator)


def csv_format(header: CsvHeader, options: CsvOptions) -> Any:
    """The ``pyarrow.dataset`` format that reads every column as strings, in any encoding (DuckDB knows three)."""
    import pyarrow.csv as pa_csv
    import pyarrow.dataset as pa_dataset

    return pa_dataset.CsvFileFormat(
        parse_options=pa_csv.ParseOptions(
            delimiter=header.separator, quote_char=options.quote, newlines_in_values=True
        ),
        read_options=pa_csv.ReadOptions(
            encoding=options.encoding, column_names=list(header.names), skip_rows=1
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header.names, pa.string()),
            null_values=["", *options.null_values],
            strings_can_be_null=True,
        ),
    )


class FoundKinds:
    """The kinds of values found in each column of text: one bit a kind, so that parts add up by or.

    Args:
        columns: The columns to look at.
        keys: Key columns: there, ``NA`` and blanks are text, since a key is never turned into a null by its look.
    """

    def __init__(self, columns: Sequence[str], keys: Sequence[str], decimal: str) -> None:
        self.columns = tuple(columns)
        self._selected = [_kind(c, key=c in keys, decimal=decimal) for c in columns]

    def look(
        self, connection: duckdb.DuckDBPyConnection, table: str, *, file: str | None, rows: int | None
    ) -> list[tuple[str, tuple[int, ...]]]:
        """The kinds in a table expression, per column; nothing where there is no row.

        Args:
            connection: Of DuckDB.
            table: The table expression.
            file: Its file column: the kinds are told file by file.
            rows: Look at so many rows only.
        """
        name = "''" if file is None else identifier(file)
        some = table if rows is None else f"(SELECT * FROM {table} LIMIT {rows})"  # noqa: S608 - quoted
        query = f"SELECT {', '.join([name, *self._selected])} FROM {some} GROUP BY ALL ORDER BY 1"  # noqa: S608 - quoted
        if not self._selected:
            query = f"SELECT DISTINCT {name} FROM {some}"  # noqa: S608 - quoted
        return [(str(path), tuple(kinds)) for path, *kinds in connection.execute(query).fetchall()]


def type_of_kinds(kinds: int, *, key: bool) -> pa.DataType:
    """The type that holds every kind found; ``null`` when nothing was."""
    found = kinds & ~_BLANK
    if not kinds:
        return pa.null()
    if found == _INT or (key and found == _INT | _FLOAT):
        return pa.int64()
    if found in (_FLOAT, _INT | _FLOAT):
        return pa.float64()
    if found == _BOOL:
        return pa.bool_()
    if found == _DATE:
        return pa.date32()
    if found in (_TIME, _DATE | _TIME):
        return pa.timestamp("us")
    return pa.string()


def _kind(column: str, *, key: bool, decimal: str) -> str:
    x = identifier(column)
    n = f"trim({x})"
    if decimal != ".":
        n = f"replace({n}, {literal(decimal)}, '.')"
    skipped = (
        f"{n} = '' THEN {_TEXT}" if key else f"{is_missing(n)} THEN CASE {n} WHEN '' THEN {_BLANK} ELSE 0 END"
    )
    zeros = f"({n} >= '00' AND {n} < '0:') OR ({n} >= '-00' AND {n} < '-0:')"
    long = f"length({n}) > 17 AND regexp_full_match({n}, '[+-]?[0-9]+')"
    return (
        f"bit_or(CASE WHEN {x} IS NULL THEN 0 WHEN {skipped} "
        f"WHEN TRY_CAST({n} AS BIGINT)::VARCHAR = {n} THEN {_INT} "
        f"WHEN TRY_CAST({n} AS DOUBLE) IS NOT NULL AND NOT (contains({n}, '_') OR {zeros} OR {long}) THEN {_FLOAT} "
        f"WHEN lower({n}) IN ('true', 'false') THEN {_BOOL} "
        f"WHEN NOT {year_first(n)} THEN {_TEXT} "
        f"WHEN length({n}) BETWEEN 8 AND 10 AND TRY_CAST({n} AS DATE) IS NOT NULL THEN {_DATE} "
        f"WHEN length({n}) > 10 AND TRY_CAST({n} AS TIMESTAMPTZ) IS NOT NULL THEN {_TIME} ELSE {_TEXT} END)"
    )


@contextlib.contextmanager
def _decoding(file: SourceFile, options: CsvOptions) -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise DataError(wrong_encoding(file.path, options.encoding)) from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"could not read the CSV file {file.path}: {error}") from error


def wrong_encoding(where: str, encoding: str) -> str:
    """What to say when a file is not in the encoding that the job says."""
    return (
        f"{where}: the text is not {encoding}; set `data.csv.encoding`, for example cp1252, latin-1 or utf-16"
    )


@contextlib.contextmanager
def _opened(file: SourceFile, options: CsvOptions) -> Iterator[Iterator[str]]:
    encoding = "utf-8-sig" if options.encoding == "utf-8" else options.encoding
    with contextlib.ExitStack() as stack:
        content: Any = stack.enter_context(file.open())
        if file.location.lower().endswith(".gz"):
            content = stack.enter_context(gzip.open(content))
        yield iter(stack.enter_context(io.TextIOWrapper(content, encoding=encoding, newline="")))
