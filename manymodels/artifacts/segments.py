"""Segments: immutable Parquet files of many models, one row per key.

Format 2. Columns, in this order: ``model_set``, ``run``, ``version``, ``level``, one ``key:<name>`` per key
column, ``key_id``, ``candidate``, ``params`` (JSON), ``metric``, ``rows``, ``cutoff``, ``seed``, ``content``,
``fit_seconds``, ``seconds``, ``codec``, and ``artifact`` or, with the codec ``columns``, ``model:<name>`` columns
(``artifacts.columns``). zstd (not for artifacts that are compressed already, codec ``packed``), page checksums, row groups of
at most 256 rows or about 1 MiB of artifacts (2 MiB of ``packed`` ones), so that one model is read in about a millisecond. The
file's metadata holds, under ``manymodels.segment``, JSON: ``format``, ``path``, ``codec``, and the fields of ``SegmentMeta``.

Format 1 had no codec ``columns``; files without it are still written as 1, so that older versions read them.

The SHA-256 of the whole file is recorded elsewhere (the registry, an export's index) and checked before
anything in the file is constructed.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manymodels.artifacts.codecs import PACKED
from manymodels.artifacts.columns import CODEC
from manymodels.exceptions import DamagedError, StoreFormatError
from manymodels.records import KeyOutcome, SegmentInfo
from manymodels.storage import Storage

__all__ = [
    "FORMAT",
    "UNREADABLE",
    "SegmentMeta",
    "SegmentWriter",
    "parse_metadata",
    "write_models",
    "write_segment",
    "write_table",
]

FORMAT = 2
"""The newest format; all from 1 on are read."""

_METADATA = b"manymodels.segment"
_GROUP_ROWS = 256
_GROUP_BYTES = 2**20

UNREADABLE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError)
"""What pyarrow raises over damaged bytes: its own, names that are no UTF-8, columns that are not where they should be."""

_FACTS: dict[str, pa.DataType] = {
    "candidate": pa.string(),
    "params": pa.string(),
    "metric": pa.float64(),
    "rows": pa.int64(),
    "cutoff": pa.int64(),
    "seed": pa.int64(),
}
# Seconds are noise beyond the sixth digit, and noise does not compress.
_TIMINGS: dict[str, pa.DataType] = {"fit_seconds": pa.float32(), "seconds": pa.float32()}
_REPETITIVE = ["model_set", "run", "version", "level", "candidate", "params", "rows", "cutoff", "codec"]


@dataclass(frozen=True)
class SegmentMeta:
    """What all models of a segment have in common.

    Attributes:
        model_set: Name of the model set.
        run_id: The run that trained them.
        version: The run's number.
        level: Empty for keys; else the rung of the ladder.
        job_hash: Fingerprint of the job.
        code_hash: Fingerprint of code and libraries.
        libraries: Library to version.
        python: Version of Python.
        schema: Codec ``columns``: which class reads them.
        shared: Codec ``columns``: what all the models have in common (``ModelColumns.shared``).
    """

    model_set: str
    run_id: str
    version: int
    level: str = ""
    job_hash: str = ""
    code_hash: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    python: str = field(default_factory=platform.python_version)
    schema: str = ""
    shared: Mapping[str, Any] = field(default_factory=dict)


class SegmentWriter:
    """A segment of models that come one by one: what came is compressed and let go while others are being fitted.

    Args:
        storage: The store.
        path: Where, relative to the store's root.
        keys: Rows of a manifest (``key_id``, ``key:<name>`` and ``content``), those of the models among them; None where there
            are none (rungs of the ladder).
        meta: What the models have in common.

    Attributes:
        path: As given.
        rows: Models that came.
    """

    def __init__(self, storage: Storage, path: str, keys: pa.Table | None, meta: SegmentMeta) -> None:
        self.path, self.rows = path, 0
        self._storage, self._keys, self._meta = storage, keys, meta
        key_ids = [] if keys is None else keys.column("key_id").to_pylist()
        self._place_of = {key_id: place for place, key_id in enumerate(key_ids)}
        self._waiting: list[KeyOutcome] = []
        self._size = 0
        self._sink = pa.BufferOutputStream()
        self._writer: Any = None
        self._codec = ""

    def add(self, outcome: KeyOutcome) -> int:
        """Take a trained key's model; its row in the segment.

        Raises:
            ValueError: It has another codec than those before.
        """
        if self._codec not in ("", outcome.codec):
            raise ValueError(f"a segment has one codec, found {[self._codec, outcome.codec]} for {self.path}")
        self._codec = outcome.codec
        size = len(outcome.artifact)
        if self._waiting and (
            len(self._waiting) == _GROUP_ROWS or self._size + size > _group_bytes(self._codec)
        ):
            self._write()
        self._waiting.append(outcome)
        self._size += size
        self.rows += 1
        return self.rows - 1

    def close(self) -> SegmentInfo:
        """Write the file, with at least one model.

        Raises:
            StoreError: It could not be written.
        """
        self._write()
        self._writer.close()
        return _stored(self._storage, self.path, self._sink, self.rows, self._codec)

    def _write(self) -> None:
        """The models that wait, as a row group."""
        outcomes, self._waiting, self._size = self._waiting, [], 0
        names = [*_FACTS, *_TIMINGS, "codec", "artifact"]
        facts = pa.table(
            {name: [getattr(outcome, name) for outcome in outcomes] for name in names}, schema=_schema(names)
        )
        key_ids = [outcome.key_id for outcome in outcomes]
        if self._keys is None:
            keys = pa.table({"key_id": pa.array(key_ids, pa.string())})
        else:
            keys = self._keys.take(pa.array([self._place_of[key_id] for key_id in key_ids]))
        table = _columns(facts, keys, self._meta)
        if self._writer is None:
            self._writer = _parquet_writer(self._sink, table.schema, self.path, self._codec, self._meta)
        self._writer.write_table(table, row_group_size=table.num_rows)


def write_segment(
    storage: Storage, path: str, outcomes: Sequence[KeyOutcome], keys: pa.Table | None, meta: SegmentMeta
) -> SegmentInfo:
    """Write the models of trained keys, all of one codec.

    Args:
        storage: The store.
        path: Where, relative to the store's root.
        outcomes: The trained keys, at least one; row n of the segment is outcome n.
        keys: Row n has the ``key:<name>`` columns and ``content`` of outcome n (a manifest's columns); None
            where there are none (rungs of the ladder).
        meta: What they have in common.

    Raises:
        StoreError: The file could not be written.
        ValueError: The outcomes have several codecs, or ``keys`` has other keys.
    """
    key_ids = [outcome.key_id for outcome in outcomes]
    if keys is not None and keys.column("key_id").to_pylist() != key_ids:
        raise ValueError(f"the keys of segment {path} are not those of its models")
    writer = SegmentWriter(storage, path, keys, meta)
    for outcome in outcomes:
        writer.add(outcome)
    return writer.close()


def write_models(
    storage: Storage, path: str, facts: pa.Table, keys: pa.Table, meta: SegmentMeta
) -> SegmentInfo:
    """Write models that are columns already.

    Args:
        storage: The store.
        path: Where, relative to the store's root.
        facts: ``candidate``, ``params``, ``metric``, ``rows``, ``cutoff``, ``seed``, ``fit_seconds``, ``seconds``,
            ``codec``, and the models: ``artifact``, or ``model:<name>`` columns. One row a model, at least one.
        keys: ``key_id``, and where there are any the ``key:<name>`` columns and ``content``, of the same models.
        meta: What they have in common.

    Raises:
        StoreError: The file could not be written.
        ValueError: The models have several codecs.
    """
    return write_table(storage, path, _columns(facts, keys, meta), meta)


def _columns(facts: pa.Table, keys: pa.Table, meta: SegmentMeta) -> pa.Table:
    """A segment's columns, in their order."""
    count = facts.num_rows
    columns: dict[str, Any] = {
        "model_set": _repeat(meta.model_set, count),
        "run": _repeat(meta.run_id, count),
        "version": _repeat(meta.version, count),
        "level": _repeat(meta.level, count),
    }
    columns |= {name: keys.column(name) for name in keys.column_names if name.startswith("key:")}
    columns["key_id"] = keys.column("key_id")
    columns |= {name: facts.column(name).cast(kind) for name, kind in _FACTS.items()}
    content = pa.binary(16)
    known = "content" in keys.column_names
    columns["content"] = keys.column("content").cast(content) if known else pa.nulls(count, content)
    columns |= {name: facts.column(name).cast(kind) for name, kind in _TIMINGS.items()}
    columns["codec"] = facts.column("codec")
    models = facts.drop_columns([*_FACTS, *_TIMINGS, "codec"])
    columns |= {name: models.column(name) for name in models.column_names}
    return pa.table(columns)


def write_table(storage: Storage, path: str, table: pa.Table, meta: SegmentMeta) -> SegmentInfo:
    """Write a table that has a segment's columns.

    Raises:
        StoreError: The file could not be written.
        ValueError: The models have several codecs.
    """
    codecs = table.column("codec").unique().to_pylist()
    if len(codecs) != 1:
        raise ValueError(f"a segment has one codec, found {codecs} for {path}")
    sink = pa.BufferOutputStream()
    with _parquet_writer(sink, table.schema, path, codecs[0], meta) as writer:
        for start, stop in _groups(table, _group_bytes(codecs[0])):
            writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
    return _stored(storage, path, sink, table.num_rows, codecs[0])


def _parquet_writer(
    sink: pa.BufferOutputStream, schema: pa.Schema, path: str, codec: str, meta: SegmentMeta
) -> pq.ParquetWriter:
    entry = {"format": FORMAT if codec == CODEC else 1, "path": path, "codec": codec, **asdict(meta)}
    return pq.ParquetWriter(
        sink,
        schema.with_metadata({_METADATA: json.dumps(entry).encode()}),
        compression={
            name: "none" if (name, codec) == ("artifact", PACKED) else "zstd" for name in schema.names
        },
        use_dictionary=_REPETITIVE,
        write_statistics=False,
        write_page_checksum=True,
    )


def _stored(storage: Storage, path: str, sink: pa.BufferOutputStream, rows: int, codec: str) -> SegmentInfo:
    content = sink.getvalue().to_pybytes()
    storage.write(path, content)
    return SegmentInfo(path, hashlib.sha256(content).hexdigest(), rows, len(content), codec)


def parse_metadata(path: str, metadata: Mapping[bytes, bytes] | None) -> tuple[SegmentMeta, str, str]:
    """What a segment says of itself: what its models share, their codec, and the path it was written to.

    Raises:
        StoreFormatError: It is no segment, or one of a newer format.
        DamagedError: It cannot be understood.
    """
    entry = (metadata or {}).get(_METADATA)
    if entry is None:
        raise StoreFormatError(f"{path} is a Parquet file but no segment of models")
    try:
        fields = json.loads(entry)
        found, codec, written = fields.pop("format"), fields.pop("codec"), fields.pop("path")
        if found <= FORMAT:
            meta = SegmentMeta(**fields)
            texts = (
                codec,
                written,
                meta.model_set,
                meta.run_id,
                meta.level,
                meta.job_hash,
                meta.code_hash,
                meta.python,
            )
            if not (all(isinstance(text, str) for text in texts) and isinstance(meta.version, int)):
                raise TypeError("a field of another type")
            return meta, codec, written
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(
            f"segment {path} is damaged: what it says of itself cannot be understood ({type(error).__name__})"
        ) from error
    raise StoreFormatError(
        f"segment {path} has format {found}, this version of manymodels reads up to {FORMAT}; upgrade it"
    )


def _repeat(value: str | int, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.int32() if isinstance(value, int) else pa.string()), count)


def _group_bytes(codec: str) -> int:
    """Bytes of artifacts in a row group: those that need not be decompressed to reach one of them may be twice as many."""
    return 2 * _GROUP_BYTES if codec == PACKED else _GROUP_BYTES


def _groups(table: pa.Table, room: int) -> list[tuple[int, int]]:
    """Where row groups start and stop."""
    import pyarrow.compute as pc

    if "artifact" not in table.column_names:
        return [(n, min(n + _GROUP_ROWS, table.num_rows)) for n in range(0, table.num_rows, _GROUP_ROWS)]
    ends = np.cumsum(pc.binary_length(table.column("artifact")).to_numpy(), dtype=np.int64)
    groups: list[tuple[int, int]] = []
    start = 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        full = int(np.searchsorted(ends, before + room, side="right"))
        stop = min(max(full, start + 1), start + _GROUP_ROWS, len(ends))
        groups.append((start, stop))
        start = stop
    return groups


def _schema(names: Sequence[str]) -> pa.Schema:
    kinds = {**_FACTS, **_TIMINGS, "codec": pa.string(), "artifact": pa.binary()}
    return pa.schema([(name, kinds[name]) for name in names])
