"""Files grouped by what they look like inside, and what the groups have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from manymodels.dataset.columntypes import check_names, common_type, departing_type, plain_name
from manymodels.dataset.csvfiles import UNNAMED, CsvHeader, CsvOptions, FoundKinds, type_of_kinds
from manymodels.dataset.files import Listing, SourceFile, nearest
from manymodels.dataset.frames import index_columns
from manymodels.dataset.scans import explained, scan
from manymodels.exceptions import DataError

__all__ = ["Layout", "Layouts", "common_columns", "folder_types", "read_layouts"]

_Found = TypeVar("_Found")

_THREADS = 8
_CSV_WHOLE_BYTES = 8 * 2**20  # Files of so many bytes together are looked at whole for types; of others,
_CSV_ROWS = 100_000  # so many rows in all files together,
_CSV_ROWS_PER_FILE = 100  # at least so many in each file,
_CSV_FILES = 256  # and in so many files, spread over all.


@dataclass(frozen=True)
class Layout:
    """Files with the same columns of the same types.

    Attributes:
        files: The files.
        raw: Column to type as stored; strings throughout for CSV.
        header: For CSV.
    """

    files: tuple[SourceFile, ...]
    raw: Mapping[str, pa.DataType]
    header: CsvHeader | None = None


@dataclass(frozen=True)
class Layouts:
    """All files of a dataset.

    Attributes:
        groups: The files by layout.
        seen: A file and the types found in it, once for every combination of types.
        index: Columns that pandas wrote as an index.
        rows: Rows in all files where the format says so without reading them, else None.
        is_empty: Whether there is no row.
    """

    groups: tuple[Layout, ...]
    seen: tuple[tuple[str, Mapping[str, pa.DataType]], ...]
    index: frozenset[str]
    rows: int | None
    is_empty: bool


def read_layouts(
    listing: Listing, *, keys: Sequence[str], declared: Iterable[str], options: CsvOptions
) -> Layouts:
    """Look at every file's schema, and for CSV at the first rows.

    Raises:
        DataError: A file cannot be read, or has two columns of one name.
    """
    if listing.format == "csv":
        return _csv_layouts(listing, keys, frozenset(declared), options)
    read = _parquet_schema if listing.format == "parquet" else _arrow_schema
    schemas: dict[tuple[tuple[str, ...], tuple[pa.DataType, ...]], list[SourceFile]] = {}
    index: set[str] = set()
    rows: int | None = 0
    is_empty = True
    for file, (schema, count, some) in zip(listing.files, _of_each(read, listing.files), strict=True):
        files = schemas.setdefault((tuple(schema.names), tuple(schema.types)), [])
        if not files:
            check_names(schema.names, file.path)
            index |= index_columns(schema)
        files.append(file)
        rows = None if rows is None or count is None else rows + count
        is_empty = is_empty and not some
    groups = tuple(
        Layout(tuple(files), dict(zip(names, types, strict=True)))
        for (names, types), files in schemas.items()
    )
    seen = tuple((group.files[0].path, group.raw) for group in groups)
    return Layouts(groups, seen, frozenset(index), rows, is_empty)


def _of_each(read: Callable[[SourceFile], _Found], files: Sequence[SourceFile]) -> Iterator[_Found]:
    """What a function finds in each file, in order; many files at once, which hides the latency of object stores."""
    size = max(1, min(64, len(files) // (4 * _THREADS)))
    batches = [files[start : start + size] for start in range(0, len(files), size)]
    with ThreadPoolExecutor(_THREADS) as threads:
        for found in threads.map(lambda batch: [read(file) for file in batch], batches):
            yield from found


def _parquet_schema(file: SourceFile) -> tuple[pa.Schema, int | None, bool]:
    import pyarrow.parquet as pq

    def read(content: Any) -> tuple[pa.Schema, int | None, bool]:
        metadata = pq.read_metadata(content)
        return metadata.schema.to_arrow_schema(), metadata.num_rows, metadata.num_rows > 0

    return _read_footer(file, read, "Parquet")


def _arrow_schema(file: SourceFile) -> tuple[pa.Schema, int | None, bool]:
    def read(content: Any) -> tuple[pa.Schema, int | None, bool]:
        with pa.ipc.open_file(content) as reader:
            batches = range(reader.num_record_batches)
            return reader.schema, None, any(reader.get_batch(i).num_rows for i in batches)

    return _read_footer(file, read, "Arrow IPC (Feather version 2)")


def _read_footer(
    file: SourceFile, read: Callable[[Any], tuple[pa.Schema, int | None, bool]], what: str
) -> tuple[pa.Schema, int | None, bool]:
    try:
        # Arrow's own files are read without Python's lock.
        with pa.OSFile(file.location) if file.is_local else file.open() as content:
            return read(content)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file.path} is damaged, cut short or no {what} file: {str(error).splitlines()[0]}"
        ) from error


def _csv_layouts(
    listing: Listing, keys: Sequence[str], declared: frozenset[str], options: CsvOptions
) -> Layouts:
    grouped: dict[CsvHeader, list[SourceFile]] = {}
    headers = _of_each(lambda file: CsvHeader.read(file, options), listing.files)
    for file, header in zip(listing.files, headers, strict=True):
        check_names(header.names, file.path)
        grouped.setdefault(header, []).append(file)
    groups = tuple(
        Layout(tuple(files), dict.fromkeys(header.names, pa.string()), header)
        for header, files in grouped.items()
    )
    step = -(-len(listing.files) // _CSV_FILES)
    rows = max(_CSV_ROWS_PER_FILE, _CSV_ROWS // len(listing.files))
    seen: dict[tuple[tuple[str, pa.DataType], ...], str] = {}
    is_empty = True
    with duckdb.connect() as connection, explained(options):
        connection.execute("SET TimeZone = 'UTC'")
        for group in groups:
            columns = [name for name in group.raw if name not in declared]
            kinds = FoundKinds(columns, keys, options.decimal)
            sampled = group.files[::step]
            # Many small files are looked at whole and at once, which is faster than one after the other.
            is_small = options.encoding == "utf-8" and sum(f.size for f in sampled) < _CSV_WHOLE_BYTES
            for files in [sampled] if is_small else [(file,) for file in sampled]:
                table, file_column = scan(connection, "csv", files, (), header=group.header, options=options)
                for path, found in kinds.look(
                    connection, table, file=file_column, rows=None if is_small else rows
                ):
                    types = (
                        type_of_kinds(bits, key=name in keys)
                        for bits, name in zip(found, columns, strict=True)
                    )
                    seen.setdefault(tuple(zip(columns, types, strict=True)), path or files[0].path)
                    is_empty = False
    index = frozenset({UNNAMED} & {name for group in groups for name in group.raw})
    return Layouts(groups, tuple((path, dict(types)) for types, path in seen.items()), index, None, is_empty)


def common_columns(
    layouts: Layouts,
    *,
    keys: Sequence[str],
    ignore: Sequence[str],
    declared: Mapping[str, pa.DataType],
    text: bool,
) -> dict[str, pa.DataType]:
    """The columns that every file has, with the type that holds the values of all; a zone is still part of it.

    Ignored columns that some file lacks, or that have drifted, are left out.

    Args:
        layouts: The files.
        keys: Key columns.
        ignore: Columns that the job does not use.
        declared: Column to type, where the job says it.
        text: Whether the columns are text (CSV): key columns of different looks are then strings.

    Raises:
        DataError: A column that some file lacks, or whose types in two files have nothing in common.
    """
    columns: dict[str, pa.DataType] = {}
    for name in _shared_names(layouts.groups, ignore):
        if name in declared:
            columns[name] = declared[name]
            continue
        try:
            columns[name] = _met(
                name, [(path, types[name]) for path, types in layouts.seen], name in keys, text
            )
        except DataError:
            if name not in ignore:
                raise
    return columns


def _met(name: str, found: Sequence[tuple[str, pa.DataType]], key: bool, text: bool) -> pa.DataType:
    common = departing_type(found[0][1], key=key)
    for path, raw in found[1:]:
        met = common_type(common, departing_type(raw, key=key), key=key)
        if met is None and text and key:
            met = pa.string()
        if met is None:
            raise _drift(name, found, path, raw, key=key)
        common = met
    return common


def _shared_names(groups: Sequence[Layout], ignore: Sequence[str]) -> list[str]:
    names = list(groups[0].raw)
    for group in groups[1:]:
        for name, has, lacks in [
            *((n, groups[0], group) for n in groups[0].raw if n not in group.raw),
            *((n, group, groups[0]) for n in group.raw if n not in groups[0].raw),
        ]:
            if name not in ignore:
                raise DataError(
                    f"column {name!r} is missing from {lacks.files[0].path}, but {has.files[0].path} has it"
                    f"{nearest(name, lacks.raw)}; add it there, or list it in `data.ignore`"
                )
        names = [name for name in names if name in group.raw]
    return names


def _drift(
    name: str, found: Sequence[tuple[str, pa.DataType]], path: str, raw: pa.DataType, *, key: bool
) -> DataError:
    """The error that names the file at hand and the first file whose type of the column it cannot meet."""
    own = departing_type(raw, key=key)
    apart = [(p, t) for p, t in found if common_type(departing_type(t, key=key), own, key=key) is None]
    other_path, other = (apart or found)[0]
    return DataError(
        f"column {name!r} is {plain_name(other)} in {other_path} and {plain_name(raw)} in {path}; rewrite one of them, "
        f"set `data.types`: {{{name}: …}}, or list it in `data.ignore`"
    )


def folder_types(listing: Listing) -> dict[str, pa.DataType]:
    """The types of the columns that stand in folder names: int64 or date where every value is one, else string.

    ``007`` is not an integer: its zeros would be lost.
    """
    types: dict[str, pa.DataType] = {}
    for position, name in enumerate(listing.hive):
        values = {file.folders[position] for file in listing.files} - {None}
        if values and all(_is_integer(value) for value in values if value is not None):
            types[name] = pa.int64()
        elif values and all(_DATE.fullmatch(value) for value in values if value is not None):
            types[name] = pa.date32()
        else:
            types[name] = pa.string()
    return types


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,18}", text, re.ASCII) is not None and str(int(text)) == text
