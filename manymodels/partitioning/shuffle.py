"""The split on a Dask cluster: rows move to the range of their key, and every range is written where it is."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.base
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.delayed import delayed

from manymodels.dataset.pieces import to_dask
from manymodels.dataset.sources import Source
from manymodels.exceptions import ComputeError, ManyModelsError
from manymodels.partitioning.chunks import Layout, finish_keys, run_starts
from manymodels.partitioning.content import canonical_columns
from manymodels.partitioning.keys import key_order
from manymodels.partitioning.parts import ROW_GROUP_ROWS, PartWriter, Written, row_width
from manymodels.storage import Storage

if TYPE_CHECKING:
    from manymodels.partitioning.split import Cluster

__all__ = ["shuffle_rows"]

_RANGE_BYTES = 128 * 2**20  # of rows that one worker sorts at once, about; one key may be more
_NUMBER = "manymodels: range"
_COUNT = "manymodels: rows"


def shuffle_rows(
    source: Source,
    layout: Layout,
    storage: Storage,
    folder: Path,
    uploads: str,
    cluster: Cluster | None = None,
) -> list[Written]:
    """Write a source's rows in the order of the store, by Dask.

    The source is read twice: for the number of rows of every key, from which come ranges of keys of about equal size,
    and for the shuffle. Workers write their ranges; only the manifest comes to the caller.

    Args:
        source: Any.
        layout: Of the store.
        storage: The store, which workers reach at the same place.
        folder: Where the parts go in a local store.
        uploads: Where they go in another one, relative to its root.
        cluster: Opens the cluster; Dask's own choice of a scheduler when None.

    Returns:
        What was written, in the order of the keys.

    Raises:
        DataError: The source cannot be read, or does not fit the layout.
        ComputeError: Dask failed.
    """
    with _failures(), (cluster or _anywhere)() as compute:
        keys = to_dask(source, layout.keys)
        counts = compute([delayed(_count)(part, layout) for part in keys.to_delayed()])
        bounds = _bounds(pa.concat_tables(counts), layout)
        frame = to_dask(source, layout.schema.names)
        if bounds.num_rows:
            meta = frame._meta.assign(**{_NUMBER: pd.Series([], dtype="int64")})
            numbered = frame.map_partitions(_numbered, bounds, layout, meta=meta)
            parts = numbered.set_index(_NUMBER, divisions=list(range(bounds.num_rows + 2))).to_delayed()
        else:
            parts = [delayed(pd.concat)(frame.to_delayed())]
        target = str(folder) if storage.is_local else None
        return compute(
            [
                delayed(_write)(part, number, layout, storage, target, uploads)
                for number, part in enumerate(parts)
            ]
        )


@contextlib.contextmanager
def _anywhere() -> Iterator[Callable[[Sequence[Any]], list[Any]]]:
    """Wherever Dask chooses: the current client, or threads."""
    yield lambda collections: list(dask.base.compute(*collections))  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except ManyModelsError:
        raise
    except Exception as error:  # whatever a user's graph or a cluster raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ComputeError(f"Dask could not split the rows: {type(error).__name__}: {reason}") from error


def _keys_of(frame: pd.DataFrame, layout: Layout) -> pa.Table:
    schema = pa.schema([layout.schema.field(name) for name in layout.keys])
    return canonical_columns(pa.Table.from_pandas(frame[list(layout.keys)], preserve_index=False), schema)


def _count(frame: pd.DataFrame, layout: Layout) -> pa.Table:
    """The keys of a partition, each once, and their rows."""
    keys = _keys_of(frame, layout).append_column(_COUNT, pa.array(np.ones(len(frame), np.int64)))
    counted = keys.group_by(list(layout.keys)).aggregate([(_COUNT, "sum")])
    return counted.select([*layout.keys, f"{_COUNT}_sum"]).rename_columns([*layout.keys, _COUNT])


def _bounds(counts: pa.Table, layout: Layout) -> pa.Table:
    """The first keys of all ranges but the first, ascending."""
    counts = counts.take(pa.array(key_order(counts, layout.keys)))
    starts = run_starts(counts, layout.keys)
    if not len(starts):
        return counts.select(list(layout.keys))
    rows = np.add.reduceat(counts.column(_COUNT).to_numpy(), starts)
    size = max(ROW_GROUP_ROWS, _RANGE_BYTES // row_width(layout.schema))
    # The middle of a key decides its range, so that a key with most of the rows is nearly alone.
    number = ((np.cumsum(rows) - rows / 2) / size).astype(np.int64)
    cuts = starts[np.flatnonzero(np.diff(number)) + 1]
    return counts.select(list(layout.keys)).take(pa.array(cuts))


def _numbered(frame: pd.DataFrame, bounds: pa.Table, layout: Layout) -> pd.DataFrame:
    """The partition with the number of the range of every row's key."""
    keys = _keys_of(frame, layout)
    starts = run_starts(keys, layout.keys)
    joined = pa.concat_tables([bounds, keys.take(pa.array(starts))])
    order = key_order(joined, layout.keys)
    numbers = np.empty(joined.num_rows, np.int64)
    # The sort is stable: a bound stands before the keys equal to it, which belong to its range.
    numbers[order] = np.cumsum(order < bounds.num_rows)
    lengths = np.diff(np.append(starts, len(frame)))
    return frame.assign(**{_NUMBER: np.repeat(numbers[bounds.num_rows :], lengths)})


def _write(
    frame: pd.DataFrame, number: int, layout: Layout, storage: Storage, folder: str | None, upload: str
) -> Written:
    """Sort, finish and write a range of keys; a second attempt writes other files."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = canonical_columns(table, layout.schema)
    chunk = finish_keys(table.take(pa.array(key_order(table, layout.keys))), layout)
    prefix = f"part-{number:05d}-{uuid.uuid4().hex[:8]}"
    if folder is not None:
        with PartWriter(Path(folder), prefix, layout) as writer:
            return writer.write(chunk)
    with tempfile.TemporaryDirectory(prefix="manymodels-") as scratch:
        local = Path(scratch) / "parts"
        local.mkdir()
        with PartWriter(local, prefix, layout) as writer:
            written = writer.write(chunk)
        for path in local.iterdir():
            storage.write(f"{upload}/{path.name}", path.read_bytes())
    return written
