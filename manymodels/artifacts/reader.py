"""Reading models from segments: verify first, construct after."""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from manymodels.artifacts.codecs import decode, encode
from manymodels.artifacts.columns import CODEC, from_table, model_of
from manymodels.artifacts.segments import UNREADABLE, SegmentMeta, parse_metadata
from manymodels.artifacts.trust import Trust
from manymodels.exceptions import DamagedError, NotFoundError, StoreError
from manymodels.partitioning.keys import display
from manymodels.records import SegmentInfo
from manymodels.storage import Storage

if TYPE_CHECKING:
    from manymodels.models.batched.contract import ModelColumns
    from manymodels.models.contract import FittedModel

__all__ = ["SegmentReader"]

_OPEN_FILES = 64
_HELD_BYTES = 2**28  # of remote segments
_KEPT_BYTES = 2**23  # of a row group
_NAMED_KEYS = 5

_Stamp = tuple[int, ...]
_VERIFIED: dict[str, tuple[_Stamp, str]] = {}  # local file to what it was when hashed, and the SHA-256


class SegmentReader:
    """Reads models from a store's segments; threads may share one.

    A file is hashed whole once per process, and known again by size, time and inode; a remote file is fetched
    whole and kept. The files used last stay open, each with the row group read last.

    Args:
        storage: The store.
        trust: What the reader trusts; asked of the environment and the user's settings when None.
    """

    def __init__(self, storage: Storage, trust: Trust | None = None) -> None:
        self._storage = storage
        self._trust = trust or Trust.of_reader()
        self._open: OrderedDict[str, _Segment] = OrderedDict()
        self._refused: dict[tuple[str, str], tuple[_Stamp, str]] = {}
        self._lock = threading.Lock()

    def load(self, path: str, sha256: str, row: int) -> FittedModel:
        """One model.

        Args:
            path: The segment's.
            sha256: That the segment must have.
            row: The model's, counted from the segment's first.

        Raises:
            DamagedError: The segment is missing, is not the one recorded, ends before the row, or the model
                cannot be made from its bytes.
            TrustError: Loading it would run code, which the reader does not trust.
            StoreFormatError: The segment or the model is in a format of a newer version.
        """
        with self._lock:
            segment = self._verified(path, sha256)
            self._trust.check_codec(segment.codec)
            found = segment.row_of(row)
        if segment.codec == CODEC:
            return model_of(from_table(found, segment.meta))
        try:
            return decode(segment.codec, found.column("artifact")[0].as_py())
        except StoreError as error:
            raise type(error)(f"segment {path}, row {row}: {error.message}") from error.__cause__

    def artifact(self, path: str, sha256: str, row: int) -> tuple[str, bytes]:
        """The codec and the bytes of one model, verified and not decoded; one kept as columns is pickled for it.

        Raises:
            DamagedError: The segment is missing, is not the one recorded, or ends before the row.
            StoreFormatError: The segment is in a format of a newer version.
        """
        with self._lock:
            segment = self._verified(path, sha256)
            found = segment.row_of(row)
        if segment.codec == CODEC:
            return encode(model_of(from_table(found, segment.meta)))
        return segment.codec, found.column("artifact")[0].as_py()

    def models(self, path: str, sha256: str, rows: Sequence[int] | npt.NDArray[Any]) -> ModelColumns:
        """Models that are kept as columns, in the order of ``rows``.

        Raises:
            DamagedError: The segment is missing, is not the one recorded, ends before a row, or holds no such columns.
            StoreFormatError: The segment or its models are in a format of a newer version.
        """
        with self._lock:
            segment = self._verified(path, sha256)
            return from_table(segment.rows_of(rows), segment.meta)

    def codec(self, path: str, sha256: str) -> str:
        """How the models of a segment are encoded.

        Raises:
            DamagedError: The segment is missing or is not the one recorded.
            StoreFormatError: It is in a format of a newer version.
        """
        with self._lock:
            return self._verified(path, sha256).codec

    def read_table(
        self,
        path: str,
        columns: Sequence[str] | None = None,
        *,
        sha256: str,
        rows: Sequence[int] | None = None,
    ) -> pa.Table:
        """Columns of a segment's models: every column, the models too, when none are named; all rows, or some in their order.

        Raises:
            DamagedError: The segment is missing, is not the one recorded, or ends before a row.
            StoreFormatError: It is in a format of a newer version.
        """
        with self._lock:
            segment = self._verified(path, sha256)
            table = segment.table(columns)
            return table if rows is None else table.take(pa.array(segment.checked(rows)))

    def meta(self, path: str, sha256: str) -> SegmentMeta:
        """What the models of a segment have in common.

        Raises:
            DamagedError: The segment is missing or is not the one recorded.
            StoreFormatError: It is in a format of a newer version.
        """
        with self._lock:
            return self._verified(path, sha256).meta

    def verify(self, path: str, sha256: str) -> None:
        """Hash the file again, whatever was found before.

        Raises:
            DamagedError: The segment is missing or is not the one recorded; with its keys, where they can be
                read.
        """
        with self._lock:
            self._open.pop(path, None)
            self._refused.pop((path, sha256), None)
            _VERIFIED.pop(self._storage.absolute(path), None)
            self._verified(path, sha256)

    def describe(self, path: str) -> tuple[SegmentInfo, SegmentMeta]:
        """What a segment says of itself, with the SHA-256 that it has now.

        Raises:
            DamagedError: It is missing or cannot be read.
            StoreFormatError: It is no segment, or one of a newer format.
        """
        content = self._content(path)
        digest = hashlib.sha256(content).hexdigest()
        segment = _Segment(path, pa.BufferReader(content), digest)
        return SegmentInfo(path, digest, segment.rows, len(content), segment.codec), segment.meta

    def _verified(self, path: str, expected: str) -> _Segment:
        segment = self._open.get(path)
        full = self._storage.absolute(path) if segment is None else segment.full
        stamp = self._stamp(path, full)
        if segment is not None and segment.stamp == stamp and segment.digest == expected:
            self._open.move_to_end(path)
            return segment
        known_bad, complaint = self._refused.get((path, expected), (None, ""))
        if known_bad == stamp:
            raise DamagedError(complaint)
        source, digest = self._hashed(path, full, stamp)
        if digest != expected:
            complaint = _complaint(path, source, digest, expected)
            self._refused[path, expected] = stamp, complaint
            raise DamagedError(complaint)
        segment = self._open[path] = _Segment(path, source, digest, stamp, full)
        while len(self._open) > 1 and (
            len(self._open) > _OPEN_FILES or sum(s.held for s in self._open.values()) > _HELD_BYTES
        ):
            self._open.popitem(last=False)
        return segment

    def _stamp(self, path: str, full: str) -> _Stamp:
        """What tells a local file from a later one of its name; remote ones are kept as fetched."""
        if not self._storage.is_local:
            return ()
        try:
            found = os.stat(full)  # noqa: PTH116 - for every model that is loaded: a third of Path's time
        except FileNotFoundError:
            raise _missing(path) from None
        except OSError as error:
            raise StoreError(f"segment {path} could not be read: {error}") from error
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _hashed(self, path: str, full: str, stamp: _Stamp) -> tuple[pa.NativeFile, str]:
        if not self._storage.is_local:
            content = self._content(path)
            return pa.BufferReader(content), hashlib.sha256(content).hexdigest()
        known, digest = _VERIFIED.get(full, ((), ""))
        try:
            if known != stamp:
                with Path(full).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                _VERIFIED[full] = stamp, digest
            return pa.OSFile(full), digest
        except OSError as error:
            raise StoreError(f"segment {path} could not be read: {error}") from error

    def _content(self, path: str) -> bytes:
        try:
            return self._storage.read(path)
        except NotFoundError:
            raise _missing(path) from None


class _Segment:
    """An open segment."""

    def __init__(
        self, path: str, source: pa.NativeFile, digest: str, stamp: _Stamp = (), full: str = ""
    ) -> None:
        self.digest, self.stamp, self.full, self._path = digest, stamp, full, path
        self.held = source.size() if isinstance(source, pa.BufferReader) else 0
        try:
            self._file = pq.ParquetFile(source, page_checksum_verification=True)
            footer, names = self._file.metadata, self._file.schema_arrow.names
            metadata = footer.metadata
            groups = range(footer.num_row_groups)
            self._ends = list(accumulate(footer.row_group(n).num_rows for n in groups))
        except UNREADABLE as error:
            raise DamagedError(f"segment {path} is no readable Parquet file: {_line(error)}") from error
        self.meta, self.codec, self.written_to = parse_metadata(path, metadata)
        self.rows: int = footer.num_rows
        self._models = (
            ["artifact"] if self.codec != CODEC else ["seed", *(n for n in names if n.startswith("model:"))]
        )
        self._kept: tuple[int, pa.Table] | None = None

    def row_of(self, row: int) -> pa.Table:
        """The model of one row; a view of its row group, which is kept."""
        if not 0 <= row < self.rows:
            raise self._beyond(row)
        group = bisect_right(self._ends, row)
        return self._group(group).slice(row - (self._ends[group - 1] if group else 0), 1)

    def rows_of(self, rows: Sequence[int] | npt.NDArray[Any]) -> pa.Table:
        """The models of some rows, in this order: each row group is read once, the last one is kept."""
        wanted = self.checked(rows)
        groups = np.searchsorted(self._ends, wanted, side="right")
        read = np.unique(groups)
        tables = [self._group(int(group)) for group in read]
        begins = np.cumsum([0, *(table.num_rows for table in tables)])[np.searchsorted(read, groups)]
        firsts = np.concatenate([[0], self._ends])[groups]
        whole = tables[0] if len(tables) == 1 else pa.concat_tables(tables)
        return whole.take(pa.array(wanted - firsts + begins))

    def checked(self, rows: Sequence[int] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Rows that the segment has."""
        wanted = np.asarray(rows, dtype=np.int64)
        beyond = wanted[(wanted < 0) | (wanted >= self.rows)]
        if len(beyond):
            raise self._beyond(int(beyond[0]))
        return wanted

    def _beyond(self, row: int) -> DamagedError:
        return DamagedError(
            f"segment {self._path} has {self.rows} models, row {row} was asked for; the registry is damaged, "
            "`manymodels store rebuild` makes it anew from the segments"
        )

    def _group(self, group: int) -> pa.Table:
        if self._kept is not None and self._kept[0] == group:
            return self._kept[1]
        table = self._read(lambda: self._file.read_row_group(group, columns=self._models, use_threads=False))
        self._kept = (group, table) if table.nbytes <= _KEPT_BYTES else None
        return table

    def table(self, columns: Sequence[str] | None) -> pa.Table:
        return self._read(lambda: self._file.read(columns=None if columns is None else list(columns)))

    def keys(self) -> Iterator[str]:
        """The keys as users write them, those of unreadable row groups left out."""
        names = [name for name in self._file.schema_arrow.names if name.startswith("key:")]
        for group in range(len(self._ends)):
            try:
                table = self._file.read_row_group(group, columns=names or ["level"])
                columns = [name.removeprefix("key:") for name in table.column_names]
                found = [display(row.values(), columns) for row in table.to_pylist()]
            except UNREADABLE:
                continue
            yield from found

    def _read(self, read: Callable[[], pa.Table]) -> pa.Table:
        try:
            return read()
        except UNREADABLE as error:
            raise DamagedError(
                f"segment {self._path} changed after it was verified: {_line(error)}"
            ) from error


def _complaint(path: str, source: pa.NativeFile, digest: str, expected: str) -> str:
    """Why a file is refused, with the keys that this concerns as far as they can be read."""
    complaint = f"segment {path} is damaged: its SHA-256 is {digest[:16]}…, recorded was {expected[:16]}…"
    remedy = "restore the file from a backup, or train these keys again"
    try:
        segment = _Segment(path, source, digest)
    except StoreError:
        return f"{complaint}; its keys cannot be read; {remedy}"
    if segment.written_to != path:
        return f"{complaint}; it has the content of {segment.written_to}; put both back in their places"
    keys = list(segment.keys())
    named = "; ".join(keys[:_NAMED_KEYS])
    more = f" and {segment.rows - _NAMED_KEYS:,} more" if segment.rows > _NAMED_KEYS else ""
    return f"{complaint}; refused are the models of {named or 'unreadable keys'}{more}; {remedy}"


def _line(error: BaseException) -> str:
    """What an error of Arrow says first."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _missing(path: str) -> DamagedError:
    return DamagedError(f"segment {path} is missing; restore it from a backup, or train its keys again")
