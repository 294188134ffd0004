"""Models that leave the store: one in a file, or a fleet in a folder that loads without the registry.

A fleet's folder holds ``index.parquet`` (a row per model: its key, ``file``, ``sha256``, ``row``, and
whatever else the registry says of it), ``models/*.parquet`` (segments) and ``README.txt``. The index is
written last.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manymodels.artifacts.reader import SegmentReader
from manymodels.artifacts.repack import repack
from manymodels.artifacts.segments import SegmentMeta, write_table
from manymodels.exceptions import NotFoundError, UsageError
from manymodels.partitioning.keys import display, make_key
from manymodels.storage import Storage

if TYPE_CHECKING:
    from manymodels.models.contract import FittedModel

__all__ = ["export_fleet", "export_model", "load_exported"]

_INDEX = "index.parquet"

_README = """\
{count:,} models of {model_sets}, exported by manymodels.

index.parquet   one row per model: its key, and where it lies (file, sha256, row)
models/         the models: Parquet files, one row per model

Load one in Python, with manymodels installed; its file is checked against the index before anything is
unpickled:

    from manymodels.artifacts.export import load_exported
    model = load_exported({folder!r}{example})

Loading runs code: load only what you trust. The models were trained with Python {pythons} and
{libraries}.
Models of your own code need your modules importable.
"""


def export_model(storage: Storage, segment: str, sha256: str, row: int, file: Path) -> None:
    """Write one model to a file that ``pickle.load`` reads.

    Args:
        storage: The store.
        segment: Path of the model's segment.
        sha256: That the segment must have.
        row: The model's row in it.
        file: Replaced when it is there.

    Raises:
        DamagedError: The segment is not the one recorded.
        StoreError: The file could not be written.
    """
    _, artifact = SegmentReader(storage).artifact(segment, sha256, row)
    Storage.at(file.parent).write(file.name, artifact)


def export_fleet(storage: Storage, refs: pa.Table, folder: str | os.PathLike[str]) -> int:
    """Write many models to a folder that ``load_exported`` reads without the registry.

    Args:
        storage: The store.
        refs: One row per model: where it is (``segment``, ``sha256``, ``row``), what it is found by
            (``key_id``, ``level``, and the ``key:<name>`` columns in the order of ``partition_by``); the
            index takes any others too.
        folder: A new or empty folder, or a URL.

    Returns:
        The number of models.

    Raises:
        UsageError: The folder is not empty, or there is nothing to export.
        DamagedError: A segment is not the one recorded.
        StoreError: A file could not be written.
    """
    target = Storage.at(folder)
    if refs.num_rows == 0:
        raise UsageError("no models to export")
    if target.listing(""):
        raise UsageError(f"expected a new or empty folder, found files in {target.root}; choose another one")
    files: list[str] = [""] * refs.num_rows
    hashes: list[str] = [""] * refs.num_rows
    rows: list[int] = [0] * refs.num_rows
    metas: list[SegmentMeta] = []
    models = zip(*(refs.column(name).to_pylist() for name in ("segment", "sha256", "row")), strict=True)
    for number, (meta, table, places) in enumerate(repack(SegmentReader(storage), list(models))):
        info = write_table(target, f"models/{number:05d}.parquet", table, meta)
        for row, place in enumerate(places):
            files[place], hashes[place], rows[place] = info.path, info.sha256, row
        metas.append(meta)
    index = refs.drop_columns(["segment", "sha256", "row"])
    index = index.append_column("file", pa.array(files, pa.string()))
    index = index.append_column("sha256", pa.array(hashes, pa.string()))
    index = index.append_column("row", pa.array(rows, pa.int32()))
    target.write("README.txt", _readme(target.root, index, metas).encode())
    sink = pa.BufferOutputStream()
    pq.write_table(index, sink, compression="zstd")
    target.write(_INDEX, sink.getvalue().to_pybytes())
    return len(files)


def load_exported(folder: str | os.PathLike[str], level: str = "", /, **key: Any) -> FittedModel:
    """One model of an exported fleet.

    Args:
        folder: What ``export_fleet`` wrote.
        level: Empty for a key's model; else a rung of the ladder: ``load_exported(folder, "pooled")``.
        key: A value for each key column: ``load_exported(folder, store=17)``.

    Raises:
        NotFoundError: There is no export, or no such model in it.
        UsageError: The key columns are others.
        DamagedError: The model's file is not the one exported.
    """
    storage = Storage.at(folder)
    if not storage.exists(_INDEX):
        raise NotFoundError(f"no exported models in {storage.root}: it has no {_INDEX}")
    index, reader = _opened(storage, storage.size(_INDEX))
    columns = _key_columns(index)
    if not level and key.keys() != set(columns):
        expected = ", ".join(f"{name}=…" for name in columns)
        raise UsageError(
            f"the models in {storage.root} are found by {expected}; found {', '.join(key) or 'no key'}"
        )
    mask = pc.equal(index.column("level"), level)
    if key:
        wanted = make_key([key[name] for name in (key if level else columns)], level)
        mask = pc.and_(mask, pc.equal(index.column("key_id"), wanted.key_id))
    found = index.filter(mask).select(["file", "sha256", "row"]).to_pylist()
    if len(found) != 1:
        asked = ", ".join([level] * bool(level) + [display(key.values(), list(key))] * bool(key))
        raise NotFoundError(f"expected one exported model for {asked} in {storage.root}, found {len(found)}")
    return reader.load(found[0]["file"], found[0]["sha256"], found[0]["row"])


@lru_cache(maxsize=8)
def _opened(storage: Storage, size: int) -> tuple[pa.Table, SegmentReader]:
    return pq.read_table(pa.BufferReader(storage.read(_INDEX))), SegmentReader(storage)


def _key_columns(index: pa.Table) -> list[str]:
    return [name.removeprefix("key:") for name in index.column_names if name.startswith("key:")]


def _readme(folder: str, index: pa.Table, metas: list[SegmentMeta]) -> str:
    keys = index.filter(pc.equal(index.column("level"), "")).slice(0, 1).to_pylist()
    example = f", {index.column('level')[0].as_py()!r}"
    if keys:
        example = "".join(f", {name}={keys[0][f'key:{name}']!r}" for name in _key_columns(index))
    libraries = sorted({f"{name} {version}" for meta in metas for name, version in meta.libraries.items()})
    return _README.format(
        count=index.num_rows,
        model_sets=", ".join(sorted({meta.model_set for meta in metas})),
        folder=folder,
        example=example,
        pythons=", ".join(sorted({meta.python for meta in metas})),
        libraries=", ".join(libraries) or "libraries that their run lists",
    )
