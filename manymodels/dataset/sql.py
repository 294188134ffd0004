"""SQL for DuckDB: quoting, casts that lose nothing, and the check of the job's ``where``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.columntypes import plain_name
from manymodels.dataset.files import nearest
from manymodels.exceptions import DataError

__all__ = [
    "COMPLAINT",
    "cast",
    "check_where",
    "duck_type",
    "identifier",
    "is_missing",
    "literal",
    "text_as",
    "year_first",
]

COMPLAINT = "manymodels: "
"""How a message begins that our own SQL raises, with ``error(…)``, about a value."""

MISSING_WORDS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""What stands for a missing value in a CSV column of numbers, dates or booleans; in a column of strings it is text."""

# The only kinds of expression in which nothing but the row itself can be read.
_ROW_EXPRESSIONS = {
    "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA",
    "LAMBDA_REF", "OPERATOR", "TYPE",
}  # fmt: skip


def identifier(name: str) -> str:
    """A column or table name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string, quoted."""
    return "'" + text.replace("'", "''") + "'"


def cast(
    column: str, raw: pa.DataType, to: pa.DataType, *, declared: bool = False, file: str | None = None
) -> str | None:
    """An expression for a column of one type as another; None when there is no way that keeps the values.

    A value that does not fit raises in DuckDB, with a message that begins with ``COMPLAINT``.

    Args:
        column: The column's name.
        raw: Its type in the file or frame.
        to: The type in which it leaves.
        declared: Whether ``data.types`` asked for it: then text such as ``007`` is a number, numbers may become text, and
            integers such as 20240131 dates.
        file: The column that has the row's file, for messages.
    """
    x = identifier(column)
    if pt.is_dictionary(raw):
        raw = raw.value_type
    if pt.is_null(raw):
        return f"CAST(NULL AS {duck_type(to)})"
    if raw.equals(to):
        return x
    if _is_text(raw):
        return x if pt.is_string(to) else text_as(column, to, declared=declared, file=file)
    plain = f"CAST({x} AS {duck_type(to)})"
    if pt.is_int64(to):
        if pt.is_floating(raw) or (pt.is_decimal(raw) and declared):
            whole = f"CASE WHEN {x} = trunc({x}) THEN TRY_CAST({x} AS BIGINT) END"
            missing = f"isnan({x})" if pt.is_floating(raw) else "false"
            return _or_complaint(column, to, whole, missing, file)
        return plain if pt.is_integer(raw) or (pt.is_boolean(raw) and declared) else None
    if pt.is_float64(to):
        is_number = pt.is_integer(raw) or pt.is_floating(raw) or pt.is_decimal(raw)
        return plain if is_number or (pt.is_boolean(raw) and declared) else None
    if pt.is_boolean(to):
        bit = f"CASE {x} WHEN 0 THEN false WHEN 1 THEN true END"
        return _or_complaint(column, to, bit, "false", file) if declared and pt.is_integer(raw) else None
    if pt.is_date(to):
        if pt.is_timestamp(raw) and declared:
            moment = _moment(x, raw, pa.timestamp("us"))
            midnight = f"CASE WHEN {moment} = date_trunc('day', {moment}) THEN CAST({moment} AS DATE) END"
            return _or_complaint(column, to, midnight, "false", file)
        if pt.is_integer(raw) and declared:
            parsed = f"CAST(TRY_STRPTIME(CAST({x} AS VARCHAR), '%Y%m%d') AS DATE)"
            written = f"CASE WHEN {x} BETWEEN 10000000 AND 99999999 THEN {parsed} END"
            return _or_complaint(column, to, written, "false", file)
        return plain if pt.is_date(raw) else None
    if pt.is_timestamp(to):
        if pt.is_timestamp(raw):
            return _moment(x, raw, to)
        return plain if pt.is_date(raw) else None
    if pt.is_string(to):
        return plain if declared and not pt.is_nested(raw) and not pt.is_binary(raw) else None
    if pt.is_decimal(to):
        return plain if pt.is_decimal(raw) else None
    if pt.is_binary(to):
        return x
    return None


def _moment(x: str, raw: pa.DataType, to: pa.DataType) -> str:
    """A timestamp as one without a zone, in UTC.

    Nanoseconds are cut off: DuckDB would round them, up to the next day; and it casts none that have a zone.
    """
    if raw.unit != "ns":
        return f"CAST({x} AS {duck_type(to)})"
    if to.unit == "ns":
        return f"make_timestamp_ns(epoch_ns({x}))"
    return f"make_timestamp((epoch_ns({x}) - (epoch_ns({x}) % 1000 + 1000) % 1000) // 1000)"


def text_as(
    column: str,
    to: pa.DataType,
    *,
    declared: bool = False,
    decimal: str = ".",
    missing: bool = False,
    file: str | None = None,
) -> str | None:
    """An expression for a column of text as a type; None when text cannot become that type.

    Args:
        column: The column's name.
        to: The type.
        declared: Whether the type was asked for: then whole numbers may be written as ``007`` or ``7.0``.
        decimal: The decimal mark.
        missing: Whether ``MISSING_WORDS`` and blanks are nulls.
        file: The column that has the row's file, for messages.
    """
    x = identifier(column)
    n = f"trim({x})"
    if decimal != ".":
        n = f"replace({n}, {literal(decimal)}, '.')"
    if pt.is_int64(to):
        # 7.0 is the integer 7 without loss; 007 only when the job says that the column has integers.
        digits = "[+-]?[0-9]+([.]0*)?" if declared else "-?(0|[1-9][0-9]*)[.]0*"
        parsed = f"WHEN TRY_CAST({n} AS BIGINT)::VARCHAR = {n} THEN TRY_CAST({n} AS BIGINT)"
        parsed += f" WHEN regexp_full_match({n}, '{digits}') THEN TRY_CAST(split_part({n}, '.', 1) AS BIGINT)"
    elif pt.is_float64(to):
        parsed = f"WHEN NOT contains({n}, '_') THEN TRY_CAST({n} AS DOUBLE)"
    elif pt.is_boolean(to):
        parsed = f"WHEN true THEN TRY_CAST({n} AS BOOLEAN)"
    elif pt.is_date(to):
        # A longer text has a time of day, which a date would lose.
        parsed = f"WHEN {year_first(n)} AND length({n}) <= 10 THEN TRY_CAST({n} AS DATE)" + _short_dates(
            n, "DATE"
        )
    elif pt.is_timestamp(to):
        # Texts with an offset, whichever, become UTC; those without are taken as UTC (the connection's time zone).
        parsed = f"WHEN {year_first(n)} AND length({n}) > 7 THEN TRY_CAST({n} AS TIMESTAMPTZ)::TIMESTAMP"
        parsed += _short_dates(n, "TIMESTAMP")
    else:
        return None
    return _or_complaint(column, to, f"CASE {parsed} END", is_missing(n) if missing else "false", file)


def is_missing(text: str) -> str:
    """Whether an expression of trimmed text stands for a missing value where a number, date or boolean is expected."""
    words = ", ".join(literal(word) for word in ("", *MISSING_WORDS))
    return f"{text} IN ({words})"


def year_first(text: str) -> str:
    """Whether it begins as ISO 8601 does: DuckDB would take ``12-11-10`` for the year 12."""
    return f"substr({text}, 5, 1) IN ('-', '/')"


def _short_dates(text: str, duck: str) -> str:
    return f" WHEN length({text}) IN (7, 8) AND {text} < ':' THEN CAST(TRY_STRPTIME({text}, ['%Y-%m', '%Y%m%d']) AS {duck})"


def _or_complaint(column: str, to: pa.DataType, value: str, missing: str, file: str | None) -> str:
    """The value where there is one, null where the column is null or missing, else an error with what the column has."""
    x = identifier(column)
    start = literal(f"{COMPLAINT}column {column!r} should be {plain_name(to)}, found ")
    where = f" || ' in ' || {identifier(file)}" if file else ""
    cure = literal(f"; correct it or set `data.types`: {{{column}: …}}")
    if pt.is_temporal(to):
        cure = literal("; write it as ISO 8601 does, 2024-01-31 or 2024-01-31T12:00:00Z")
    complaint = f"error({start} || chr(39) || left(CAST({x} AS VARCHAR), 60) || chr(39){where} || {cure})"
    return f"COALESCE({value}, CASE WHEN {x} IS NOT NULL AND NOT ({missing}) THEN {complaint} END)"


def _is_text(type: pa.DataType) -> bool:
    return bool(pt.is_string(type) or pt.is_large_string(type) or pt.is_string_view(type))


def duck_type(type: pa.DataType) -> str:
    """DuckDB's name of a type in which columns leave."""
    if pt.is_decimal(type):
        return f"DECIMAL({type.precision}, {type.scale})"
    return _DUCK[type]


_DUCK: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int64(): "BIGINT",
    pa.uint64(): "UBIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.timestamp("us"): "TIMESTAMP",
    pa.timestamp("ns"): "TIMESTAMP_NS",
}


def check_where(where: str, columns: Mapping[str, pa.DataType]) -> tuple[str, ...]:
    """Check ``data.where`` and tell which columns it reads, in the order of ``columns``.

    It must be one expression over the columns. It can reach nothing else: no other statement, no subquery, no file, and
    no function whose result changes from call to call.

    Raises:
        DataError: It is not, with DuckDB's message and near column names.
    """
    if not where.strip():
        raise DataError("`data.where` is empty; leave it out, or give an SQL expression over the columns")
    statement = f"SELECT 1 FROM rows WHERE (\n{where}\n)"  # noqa: S608 - it is what is checked
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        parsed = json.loads(_first_value(connection, f"SELECT json_serialize_sql({literal(statement)})"))
        if parsed["error"]:
            raise _wrong(where, f"is no SQL expression: {parsed['error_message']}")
        nodes = [s["node"] for s in parsed["statements"]]
        if len(nodes) != 1 or not _is_plain_filter(nodes[0]):
            raise _wrong(where, "must be one expression over the columns")
        volatile = {
            str(name)
            for (name,) in connection.execute(
                "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"
            ).fetchall()
        }
        referenced = []
        for node in _expressions(nodes[0]["where_clause"]):
            if node["class"] not in _ROW_EXPRESSIONS:
                kind = node["class"].replace("_", " ").lower()
                raise _wrong(where, f"may only read the columns of its row, and has a {kind}")
            if node["class"] == "FUNCTION" and node["function_name"].lower() in volatile:
                raise _wrong(
                    where, f"may not call {node['function_name']}(), which differs from call to call"
                )
            if node["class"] == "COLUMN_REF":
                referenced.append({part.lower() for part in node["column_names"]})
        # One row of nulls makes DuckDB evaluate constants, such as a date that is none.
        connection.register("rows", pa.table({name: pa.nulls(1, type) for name, type in columns.items()}))
        try:
            described = f"DESCRIBE SELECT (\n{where}\n) FROM rows"  # noqa: S608 - checked above
            type = connection.execute(described).fetchall()[0][1]
            connection.execute(statement).fetchall()
        except duckdb.Error as error:
            raise _wrong(
                where, f"does not fit the columns: {_first_line(error)}{_near_reference(error, columns)}"
            ) from None
        if type != "BOOLEAN":
            raise _wrong(where, f"must be true or false for each row, and is {type}")
    return tuple(name for name in columns if any(name.lower() in parts for parts in referenced))


def _wrong(where: str, what: str) -> DataError:
    return DataError(f"`data.where` {what} ({' '.join(where.split())!r})")


def _first_value(connection: Any, query: str) -> Any:
    return connection.execute(query).fetchall()[0][0]


def _is_plain_filter(node: dict[str, Any]) -> bool:
    """Whether the parsed statement is still ours: nothing in the expression closed the bracket and went on."""
    extras = ("modifiers", "group_expressions", "having", "sample", "qualify")
    return (
        node["type"] == "SELECT_NODE"
        and not any(node.get(extra) for extra in extras)
        and not node["cte_map"]["map"]
        and node["from_table"].get("type") == "BASE_TABLE"
        and len(node["select_list"]) == 1
        and node["where_clause"] is not None
    )


def _expressions(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for child in tree.values():
            yield from _expressions(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _expressions(child)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip("!")


def _near_reference(error: Exception, columns: Mapping[str, pa.DataType]) -> str:
    quoted = str(error).split('"')
    return nearest(quoted[1], columns) if "not found" in str(error) and len(quoted) > 1 else ""
