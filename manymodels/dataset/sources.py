"""The rows of a job: what they are, and how they leave for the split, the same from every format and engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.as_of import AsOf
from manymodels.dataset.columntypes import check_names, declared_type, departing_type, final_type, plain_name
from manymodels.dataset.csvfiles import CsvOptions
from manymodels.dataset.files import Format, Listing, SourceFile, find_files
from manymodels.dataset.frames import as_table, is_dask, meta_schema
from manymodels.dataset.layouts import Layout, common_columns, folder_types, read_layouts
from manymodels.dataset.scans import explained, fresh_name, register, scan
from manymodels.dataset.spec import DataSpec
from manymodels.dataset.sql import cast, check_where, identifier, text_as
from manymodels.exceptions import DataError

__all__ = ["Source", "open_source"]

_REVISION = 1  # Part of every identity; raised when the same input is read in another way.
_SAMPLED_TIMES = 1000
_PIECE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Source:
    """A dataset that has been looked at but not read; it pickles small unless it is a frame in memory.

    Its rows leave, by ``relation``, ``read`` or ``to_dask``, after ``data.where`` and with the types of ``columns``:

    * dictionaries are their values; integers are int64 (a key may be uint64), floats and decimals float64 (a decimal key
      stays one); timestamps are in microseconds (a key in nanoseconds stays so), UTC without a zone;
    * a time column of strings is parsed as ISO 8601; a text without an offset is taken as UTC;
    * a value that cannot be cast without loss is a ``DataError`` with the value and its file.

    Attributes:
        kind: ``files``, ``table`` (pandas or Arrow) or ``dask``.
        format: ``parquet``, ``csv`` or ``arrow`` for files, else the kind.
        files: The files, sorted by path.
        columns: Column to type, as rows leave; columns in folder names last.
        hive: The columns in folder names; ``SourceFile.folders`` has their values.
        index: Columns that pandas wrote as an index: no features unless the job lists them.
        left_out: Ignored columns that some files lack or that have drifted apart; they are not in ``columns``.
        categories: Columns that are stored as dictionaries (pandas categories).
        rows: Rows before ``where``, where the format says so without reading them, else None.
        identity: Hash of the files' paths, sizes and versions and of everything that decides how they are read; for a
            frame of its content; None for Dask, whose content is not known.
        where: ``data.where``.
        as_of: ``data.as_of``: rows after it do not leave.
        csv: The options of the CSV reader; ``scans.explained`` wants them.
        layouts: The files by their stored columns; one without files for a frame.
        declared: Columns whose type the job says.
        keys: The key columns.
        read_by_where: Columns that ``where`` and ``as_of`` read.
        frame: The Arrow table or Dask DataFrame.
    """

    kind: Literal["files", "table", "dask"]
    format: Format | Literal["table", "dask"]
    files: tuple[SourceFile, ...]
    columns: dict[str, pa.DataType]
    hive: tuple[str, ...]
    index: frozenset[str]
    left_out: tuple[str, ...]
    categories: frozenset[str]
    rows: int | None
    identity: str | None
    where: str | None
    as_of: AsOf | None
    csv: CsvOptions = field(repr=False)
    layouts: tuple[Layout, ...] = field(repr=False)
    declared: frozenset[str] = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)
    read_by_where: tuple[str, ...] = field(repr=False)
    frame: Any = field(repr=False)

    @property
    def name(self) -> str:
        """What it is, for messages: its files or the kind of frame."""
        if not self.files:
            return "the DataFrame" if self.kind == "dask" else "the table"
        return (
            self.files[0].path
            if len(self.files) == 1
            else f"{len(self.files):,} files such as {self.files[0].path}"
        )

    @property
    def schema(self) -> pa.Schema:
        """``columns`` as an Arrow schema."""
        return pa.schema(list(self.columns.items()))

    def relation(self, connection: duckdb.DuckDBPyConnection, columns: Sequence[str] | None = None) -> str:
        """A name that stands in SQL on this connection for the rows, read and cast as they are used.

        The connection's time zone becomes UTC, on which texts without an offset depend. Run what uses the name inside
        ``scans.explained``, so that errors in the data are explained.

        Args:
            connection: Where the rows are wanted; it keeps a view (and a frame) until it is closed.
            columns: The columns wanted, in this order; all when None.

        Raises:
            DataError: The source is a Dask frame, or its files cannot be opened any more.
        """
        if self.kind == "dask":
            raise DataError("a Dask DataFrame is split by Dask, not by DuckDB")
        wanted = list(self.columns) if columns is None else list(columns)
        needed = self.needed(wanted)
        with explained(self.csv, self.name):
            connection.execute("SET TimeZone = 'UTC'")
            rows = " UNION ALL ".join(self._cast_rows(connection, layout, needed) for layout in self.layouts)
            conditions = [self.where] if self.where else []
            if self.as_of is not None:
                conditions.append(self.as_of.condition)
            filters = " AND ".join(f"(\n{condition}\n)" for condition in conditions)
            kept = f" WHERE {filters}" if conditions else ""
            view = identifier(fresh_name())
            listed = ", ".join(identifier(name) for name in wanted)
            connection.execute(
                f"CREATE TEMP VIEW {view} AS SELECT {listed} FROM ({rows}) AS rows{kept}"  # noqa: S608 - quoted, where checked
            )
        return view

    def needed(self, columns: Sequence[str]) -> list[str]:
        """The columns and those that the filters read, in the source's order."""
        return [name for name in self.columns if name in columns or name in self.read_by_where]

    def _cast_rows(self, connection: duckdb.DuckDBPyConnection, layout: Layout, names: Sequence[str]) -> str:
        file: str | None = None
        if self.format == "table" or self.format == "dask":
            table = register(connection, self.frame)
        else:
            table, file = scan(
                connection, self.format, layout.files, self.hive, header=layout.header, options=self.csv
            )
        casts = (f"{self._cast(name, layout, file)} AS {identifier(name)}" for name in names)
        return f"SELECT {', '.join(casts)} FROM {table}"  # noqa: S608 - names are quoted

    def _cast(self, name: str, layout: Layout, file: str | None = None) -> str:
        to = self.columns[name]
        declared = name in self.declared
        if name in self.hive or layout.header is not None:
            if pt.is_string(to):
                return identifier(name)
            folder = name in self.hive
            found = text_as(
                name,
                to,
                declared=declared or folder,
                decimal="." if folder else self.csv.decimal,
                missing=not folder and name not in self.keys,
                file=file,
            )
            raw = pa.string()
        else:
            raw = layout.raw[name]
            found = cast(name, raw, to, declared=declared, file=file)
        if found is None:
            where = f" in {layout.files[0].path}" if layout.files else ""
            raise DataError(
                f"column {name!r} is {plain_name(raw)}{where} and cannot be read as {plain_name(to)}"
            )
        return found

    def read(
        self, columns: Sequence[str] | None = None, *, limit: int | None = None, threads: int | None = None
    ) -> pa.Table:
        """The rows, or the first of them, in memory; in no particular order.

        Raises:
            DataError: They cannot be read.
        """
        with (
            duckdb.connect(config={"threads": threads} if threads else {}) as connection,
            explained(self.csv, self.name),
        ):
            rows = self.relation(connection, columns)
            first = "" if limit is None else f" LIMIT {limit}"
            return connection.sql(f"SELECT * FROM {rows}{first}").to_arrow_table()  # noqa: S608 - a view of ours

    def part(self, files: Sequence[SourceFile]) -> Source:
        """The same source with some of its files only; it has no identity of its own."""
        kept = {file.path for file in files}
        layouts = (
            replace(layout, files=tuple(file for file in layout.files if file.path in kept))
            for layout in self.layouts
        )
        return replace(
            self,
            files=tuple(file for file in self.files if file.path in kept),
            rows=None,
            identity=None,
            layouts=tuple(layout for layout in layouts if layout.files),
        )

    def over(self, table: pa.Table) -> Source:
        """A source whose rows are a table's, to be cast and filtered as this one's; columns it does not have are ignored."""
        return replace(
            self,
            kind="table",
            format="table",
            files=(),
            hive=(),
            rows=None,
            identity=None,
            layouts=(Layout((), dict(zip(table.schema.names, table.schema.types, strict=True))),),
            frame=table,
        )

    def slices(self, size: int) -> list[Source]:
        """A table in memory, cut by rows into sources of about a size in bytes."""
        rows = max(1, size * self.frame.num_rows // max(1, self.frame.nbytes))
        return [self.over(self.frame.slice(start, rows)) for start in range(0, self.frame.num_rows, rows)]

    def check_unchanged(self) -> None:
        """Check that the files are still those that were found.

        Raises:
            DataError: A file has changed or vanished since; it is named.
        """
        found = self.changed()
        if found is not None:
            path, what = found
            cure = "the data is complete" if what == "vanished" else "nothing writes to the data"
            raise DataError(f"{path} {what} while it was read; run again when {cure}")

    def changed(self) -> tuple[str, Literal["changed", "vanished"]] | None:
        """The first file that is not what it was when the source was opened, and what became of it."""
        for file in self.files:
            try:
                now = file.current_version()
            except OSError:
                return file.path, "vanished"
            if now != (file.size, file.version):
                return file.path, "changed"
        return None


def open_source(data: DataSpec, frame: object | None = None) -> Source:
    """Look at a job's data: its files, its columns and their types. Rows are not read, but for the first of a CSV.

    Args:
        data: The job file's ``data`` section; columns that it names need not be there (``roles`` looks for them).
        frame: A pandas or Dask DataFrame or an Arrow table, in place of ``data.path``.

    Raises:
        DataError: No file, an unknown or damaged one, files that do not go together, no row, a time that cannot be parsed,
            or a ``where`` that is no expression over the columns.
    """
    # A source can be opened before anybody knows its key columns.
    keys = tuple(getattr(data, "partition_by", ()))
    declared = {name: declared_type(name, type) for name, type in data.types.items()}
    options = CsvOptions.parse(data.csv)
    if frame is not None:
        source = _open_frame(frame, declared, keys, data, options)
    elif data.path is not None:
        source = _open_files(find_files(data.path), declared, keys, data, options)
    else:
        raise DataError("`data.path` is missing; give a file, folder, glob or URL, or pass a DataFrame")
    _check_casts(source)
    if source.where is not None:
        source = replace(source, read_by_where=check_where(source.where, source.columns))
    if data.as_of is not None and data.time is not None and data.time in source.columns:
        as_of = AsOf.of(data.as_of, data.time, source.columns[data.time])
        source = replace(source, as_of=as_of, read_by_where=(*source.read_by_where, data.time))
    _check_times(source, data.time)
    return source


def _open_files(
    listing: Listing,
    declared: dict[str, pa.DataType],
    keys: tuple[str, ...],
    data: DataSpec,
    options: CsvOptions,
) -> Source:
    layouts = read_layouts(listing, keys=keys, declared=declared, options=options)
    if layouts.is_empty:
        raise DataError(f"the data has no rows: {_counted(listing.files)} without any")
    common = common_columns(
        layouts, keys=keys, ignore=data.ignore, declared=declared, text=listing.format == "csv"
    )
    for name, type in folder_types(listing).items():
        common.setdefault(name, declared.get(name, type))
    check_names(list(common), f"{listing.files[0].path} with its folders")
    columns = _final(common, keys, data.time)
    dictionaries = {
        name for group in layouts.groups for name, type in group.raw.items() if pt.is_dictionary(type)
    }
    facts = [[file.path, file.size, file.version] for file in listing.files]
    return Source(
        kind="files",
        format=listing.format,
        files=listing.files,
        columns=columns,
        hive=listing.hive,
        index=layouts.index & columns.keys(),
        left_out=tuple(sorted({name for group in layouts.groups for name in group.raw} - common.keys())),
        categories=frozenset(dictionaries & columns.keys()),
        rows=layouts.rows,
        identity=_identity(facts, columns, data, options),
        where=data.where,
        as_of=None,
        csv=options,
        layouts=layouts.groups,
        declared=frozenset(declared),
        keys=keys,
        read_by_where=(),
        frame=None,
    )


def _open_frame(
    frame: Any, declared: dict[str, pa.DataType], keys: tuple[str, ...], data: DataSpec, options: CsvOptions
) -> Source:
    if is_dask(frame):
        raw, index = meta_schema(frame)
        rows = None
    else:
        frame, index = as_table(frame)
        raw = dict(zip(frame.schema.names, frame.schema.types, strict=True))
        rows = frame.num_rows
        if not rows:
            raise DataError("the data has no rows: the table is empty")
    common = {
        name: declared.get(name) or departing_type(type, key=name in keys) for name, type in raw.items()
    }
    columns = _final(common, keys, data.time)
    kind: Literal["table", "dask"] = "dask" if rows is None else "table"
    return Source(
        kind=kind,
        format=kind,
        files=(),
        columns=columns,
        hive=(),
        index=index & columns.keys(),
        left_out=(),
        categories=frozenset(name for name, type in raw.items() if pt.is_dictionary(type)),
        rows=rows,
        identity=None if rows is None else _identity(_content_hash(frame), columns, data, options),
        where=data.where,
        as_of=None,
        csv=options,
        layouts=(Layout((), raw),),
        declared=frozenset(declared),
        keys=keys,
        read_by_where=(),
        frame=frame,
    )


def _final(common: dict[str, pa.DataType], keys: tuple[str, ...], time: str | None) -> dict[str, pa.DataType]:
    return {name: final_type(type, key=name in keys, time=name == time) for name, type in common.items()}


def _counted(files: Sequence[SourceFile]) -> str:
    return files[0].path if len(files) == 1 else f"{len(files):,} files such as {files[0].path}"


def _identity(facts: Any, columns: dict[str, pa.DataType], data: DataSpec, options: CsvOptions) -> str:
    types = [[name, str(type)] for name, type in columns.items()]
    said = [_REVISION, facts, types, sorted(data.types.items()), repr(options), data.where]
    if data.as_of is not None:  # else the identities of before would be others
        said.append(data.as_of)
    return hashlib.blake2b(json.dumps(said).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class _HashingSink:
    """A file that keeps only the hash of what is written to it."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        self.closed = False

    def write(self, content: Any) -> int:
        self.hash.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def _content_hash(table: pa.Table) -> str:
    sink = _HashingSink()
    with pa.PythonFile(sink, "w") as file, pa.ipc.new_stream(file, table.schema.remove_metadata()) as stream:
        stream.write_table(table.replace_schema_metadata(None).combine_chunks())
    return sink.hash.hexdigest()


def _check_casts(source: Source) -> None:
    """Refuse at once what no value could survive, such as ``types: {store: timestamp}`` for integers."""
    for layout in source.layouts:
        for name in source.columns:
            source._cast(name, layout)


def _check_times(source: Source, time: str | None) -> None:
    """Parse the first times of a column of strings, so that a wrong format is found before everything is read."""
    if source.kind == "dask" or time is None or not pt.is_timestamp(source.columns.get(time, pa.null())):
        return
    if source.format == "csv" or any(
        pt.is_string(departing_type(layout.raw[time], key=False)) for layout in source.layouts
    ):
        source.read([time], limit=_SAMPLED_TIMES, threads=1)
