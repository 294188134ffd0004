"""The partition store: a dataset's rows by key, immutable, with a manifest that says where every key is."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from manymodels.exceptions import DamagedError, DataError, NotFoundError, StoreFormatError
from manymodels.partitioning.keys import column_kind
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DETAILS",
    "FORMAT",
    "MANIFEST",
    "MANIFEST_COLUMNS",
    "USED",
    "Details",
    "PartitionStore",
    "Partitions",
    "cut_rows",
    "folder_of",
]

_PIECE = 10_000  # rows: shorter pieces are copied together

FORMAT = 1
"""Of the files of a partition store; a store of a newer format is refused."""

MANIFEST = "manifest.parquet"
DETAILS = "details.json"
USED = "used"
"""An empty file, written again whenever somebody is about to use the rows: its time says when that was."""

MANIFEST_COLUMNS: dict[str, pa.DataType] = {
    "key_id": pa.string(),
    "file": pa.string(),
    "row_group": pa.int32(),
    "row_offset": pa.int64(),
    "rows": pa.int64(),
    "first_time": pa.int64(),
    "last_time": pa.int64(),
    "content": pa.binary(16),
    "duplicate_times": pa.int64(),
    "null_targets": pa.int64(),
    "infinite_targets": pa.int64(),
}
"""Columns of every manifest, followed by ``key:<name>`` per key column and ``level:<name>`` per level column.

``row_offset`` counts in the row group. Times are microseconds since 1970 UTC, or positions where time is an
integer; null without a time column. ``duplicate_times`` counts the rows whose time is the previous row's,
``null_targets`` those without a target (null or NaN). Rows are in the order of the key values, nulls first.
"""


@dataclass(frozen=True)
class Details:
    """What a partition store holds.

    Attributes:
        format: ``FORMAT`` of the version that wrote it.
        rows: Rows of all keys.
        keys: Keys.
        key_kinds: Key column to kind, in the order of ``partition_by``.
        time: Time column.
        time_kind: Its kind: ``timestamp``, ``date`` or ``int``.
        target: Target column.
        levels: Columns that are constant within a key.
        columns: Column to kind, in the order of the stored rows.
        with_nulls: Columns with a null somewhere.
        classes: Distinct values of the target, sorted; None when there are too many to be classes.
        dropped_null_keys: Rows that were dropped for a null in a key column.
        sources: The files that the rows came from.
        sorted_by: What put the rows in order: ``numpy`` (in memory), ``duckdb``, ``dask``, ``input order`` or ``hive``.
        warnings: What a user should know of these keys.
    """

    format: int
    rows: int
    keys: int
    key_kinds: Mapping[str, str]
    time: str | None
    time_kind: str | None
    target: str | None
    levels: tuple[str, ...]
    columns: Mapping[str, str]
    with_nulls: tuple[str, ...]
    classes: tuple[bool | int | float | str, ...] | None
    dropped_null_keys: int
    sources: tuple[str, ...]
    sorted_by: str
    warnings: tuple[str, ...]

    def to_json(self) -> bytes:
        """As kept in ``details.json``."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes, *, path: str) -> Details:
        """Read ``details.json``.

        Raises:
            StoreFormatError: It is of a newer format.
            DamagedError: It is no such file.
        """
        try:
            found = json.loads(content)
            version = found["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"expected details of a partition store in {path}, found {error!r}") from None
        if not isinstance(version, int) or version > FORMAT:
            raise StoreFormatError(
                f"{path} is of format {version!r}, and this version knows formats up to {FORMAT}; "
                "use the version of manymodels that wrote it, or a newer one"
            )
        try:
            values = {field.name: found[field.name] for field in fields(cls)}
        except KeyError as error:
            raise DamagedError(
                f"expected {error} in {path}; `manymodels store verify` checks the store"
            ) from None
        for name in ("levels", "with_nulls", "classes", "sources", "warnings"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)


class Partitions(ABC):
    """A dataset's rows by key, wherever they are.

    Attributes:
        details: What they are.
        manifest: One row per key, ``MANIFEST_COLUMNS``, in the order of the keys.
    """

    details: Details
    manifest: pa.Table

    @property
    def classes(self) -> tuple[bool | int | float | str, ...]:
        """Distinct values of the target, sorted.

        Raises:
            DataError: There are too many for classes.
        """
        if self.details.classes is None:
            raise DataError(
                f"expected at most 1,000 classes in the target {self.details.target!r}, found more; "
                "use task `regression`, or another target"
            )
        return self.details.classes

    def read(
        self, slices: pa.Table, columns: Sequence[str] | None = None
    ) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
        """The rows of some keys, each needed row group read once.

        Args:
            slices: Rows of the manifest, in any order.
            columns: The columns wanted; all when None.

        Returns:
            The rows of all slices, one after the other, index 0..n-1, and n+1 offsets: rows ``offsets[i]`` to
            ``offsets[i+1]`` are those of slice i. Numbers and times are NumPy columns: missing values are NaN
            or NaT, dates are midnights. The type of a column depends on the dataset, never on the slices.

        Raises:
            DamagedError: A file is missing, cannot be read, or has fewer rows than the manifest says.
        """
        rows = slices.column("rows").to_numpy()
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(rows, out=offsets[1:])
        names = list(self.details.columns) if columns is None else list(columns)
        return self._frame(self.read_table(slices, names)), offsets

    @abstractmethod
    def read_table(self, slices: pa.Table, columns: Sequence[str]) -> pa.Table:
        """The rows of some keys as they are kept; else like ``read``."""

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        for index, field in enumerate(table.schema):
            wanted = self._pandas_type(field)
            if wanted != field.type:
                table = table.set_column(index, field.name, table.column(index).cast(wanted, safe=False))
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
        for name in self.details.with_nulls:
            if name in frame.columns and self.details.columns[name] == "bool":
                frame[name] = frame[name].astype(object)
        return frame

    def _pandas_type(self, field: pa.Field) -> pa.DataType:
        """The type whose conversion gives the same NumPy type for every slice of the dataset."""
        kind = column_kind(field.type)
        if kind == "date":
            return pa.timestamp("us")
        if kind in ("null", "decimal") and field.name not in self.details.key_kinds:
            return pa.float64()
        if kind == "int" and field.name in self.details.with_nulls:
            return pa.float64()
        return field.type


@dataclass(frozen=True)
class PartitionStore(Partitions):
    """A dataset, split by key.

    Pickles small: a worker reads the manifest only when it asks for it.

    Attributes:
        storage: The store it is in.
        fingerprint: Of the dataset.
        details: What it holds.
    """

    storage: Storage
    fingerprint: str
    details: Details

    @classmethod
    def open(cls, storage: Storage, fingerprint: str) -> PartitionStore:
        """The partition store of a dataset.

        Raises:
            NotFoundError: It is not there.
            StoreFormatError: It is of a newer format.
            DamagedError: Its details cannot be read.
        """
        path = f"{folder_of(fingerprint)}/{DETAILS}"
        return cls(storage, fingerprint, Details.from_json(storage.read(path), path=storage.absolute(path)))

    def __repr__(self) -> str:
        details = self.details
        return f"<PartitionStore {self.fingerprint}: {details.keys:,} keys, {details.rows:,} rows>"

    def __reduce__(self) -> tuple[object, ...]:
        return PartitionStore, (self.storage, self.fingerprint, self.details)

    @cached_property
    def manifest(self) -> pa.Table:
        """One row per key, ``MANIFEST_COLUMNS``, in the order of the keys.

        Raises:
            DamagedError: It is missing or cannot be read.
        """
        path = f"{folder_of(self.fingerprint)}/{MANIFEST}"
        filesystem, full = self.storage.locate(path)
        try:
            return self.storage.patiently(
                lambda: pq.read_table(full, filesystem=filesystem, page_checksum_verification=True)
            )
        except (OSError, pa.ArrowException) as error:
            raise _damaged(self.storage, path, error) from error

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the stored rows.

        Raises:
            DamagedError: A file is missing or cannot be read.
        """
        first = self.manifest.column("file")[0].as_py()
        return _part(self.storage, f"{folder_of(self.fingerprint)}/{first}").schema.to_arrow_schema()

    def read_table(self, slices: pa.Table, columns: Sequence[str]) -> pa.Table:
        """The rows of some keys as they are stored, in the types of ``schema``; else like ``read``.

        Raises:
            DamagedError: A file is missing, cannot be read, or has fewer rows than the manifest says.
        """
        names = list(columns)
        rows = slices.column("rows").to_numpy()
        files = slices.column("file").combine_chunks().dictionary_encode()
        if isinstance(files, pa.ChunkedArray):
            files = files.combine_chunks()
        number = files.indices.to_numpy().astype(np.int64)
        groups = slices.column("row_group").to_numpy()
        begins = slices.column("row_offset").to_numpy()
        order = np.lexsort((begins, groups, number))
        changes = np.diff(number[order]).astype(bool) | np.diff(groups[order]).astype(bool)
        pieces = []
        for members in np.split(order, np.flatnonzero(changes) + 1):
            if not len(members):
                continue
            path = f"{folder_of(self.fingerprint)}/{files.dictionary[int(number[members[0]])].as_py()}"
            group = _row_group(self.storage, path, int(groups[members[0]]), names)
            pieces.append(cut_rows(group, begins[members], rows[members], self.storage.absolute(path)))
        if not pieces:
            return self.schema.empty_table().select(names)
        table = pa.concat_tables(pieces)
        if (np.diff(order) == 1).all():
            return table
        # Where each slice's rows are now, and from there the rows in the order asked for.
        found = np.empty(len(rows), np.int64)
        found[order] = np.cumsum(rows[order]) - rows[order]
        return table.take(pa.array(_ranges(found, rows)))


def folder_of(fingerprint: str) -> str:
    """Where a dataset is, relative to the store's root."""
    return f"datasets/{fingerprint}"


def cut_rows(
    group: pa.Table, begins: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], path: str
) -> pa.Table:
    """The rows of slices of one row group, in the order of the file."""
    ends = begins + rows
    if len(ends) and int(ends.max()) > group.num_rows:
        raise DamagedError(
            f"expected at least {int(ends.max()):,} rows in a row group of {path}, found {group.num_rows:,}; "
            "delete its folder and run again, to split anew"
        )
    gaps = np.flatnonzero(begins[1:] != ends[:-1])
    if len(gaps) > group.num_rows // _PIECE:
        return group.take(pa.array(_ranges(begins, rows)))
    firsts, lasts = begins[np.append(0, gaps + 1)], ends[np.append(gaps, -1)]
    pieces = [group.slice(a, b - a) for a, b in zip(firsts.tolist(), lasts.tolist(), strict=True)]
    return pa.concat_tables(pieces)  # copies nothing


def _ranges(begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``begins[0]``, ``begins[0] + 1`` … ``begins[1]`` …: the row numbers of all slices."""
    shifts = begins - (np.cumsum(lengths) - lengths)
    numbers: npt.NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(shifts, lengths)
    return numbers


def _row_group(storage: Storage, path: str, group: int, names: list[str]) -> pa.Table:
    metadata = _part(storage, path)

    def read() -> pa.Table:
        with _opened(storage, path, metadata) as file:
            return file.read_row_group(group, columns=names, use_threads=False)

    try:
        return storage.patiently(read)
    except (OSError, pa.ArrowException, IndexError) as error:
        raise _damaged(storage, path, error) from error


def _part(storage: Storage, path: str) -> Any:
    try:
        return _metadata(storage, path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(storage, path, error) from error


@lru_cache(maxsize=256)
def _metadata(storage: Storage, path: str) -> Any:
    """A part's footer; parts are immutable and named by content, so it stays true."""

    def read() -> Any:
        with _opened(storage, path, None) as file:
            return file.metadata

    return storage.patiently(read)


def _opened(storage: Storage, path: str, metadata: Any) -> pq.ParquetFile:
    filesystem, full = storage.locate(path)
    return pq.ParquetFile(
        full,
        filesystem=filesystem,
        metadata=metadata,
        memory_map=storage.is_local,
        pre_buffer=not storage.is_local,
        page_checksum_verification=True,
    )


def _damaged(storage: Storage, path: str, error: BaseException) -> DamagedError:
    reason = (
        "it is missing" if isinstance(error, FileNotFoundError | NotFoundError) else str(error).split("\n")[0]
    )
    return DamagedError(
        f"could not read {storage.absolute(path)}: {reason}; delete its folder and run again, to split anew"
    )
