"""Whether files already lie by key: sorted, or in a folder per key. Cheap looks; the split verifies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manymodels.dataset.scans import explained
from manymodels.partitioning.keys import key_order

__all__ = ["folders_by_key", "looks_sorted"]

_GROUP_BYTES = 32 * 2**20  # of files that are read together: what fits memory several times
_MOST_FOOTERS = 1000  # beyond this, looking costs more than it can save


def looks_sorted(source: Any, key: str) -> bool:
    """Whether Parquet statistics allow the rows to be in the order of the first key column.

    Args:
        source: A ``dataset.Source``.
        key: The first key column.
    """
    if source.format != "parquet" or key in source.hive or len(source.files) > _MOST_FOOTERS:
        return False
    spans: list[tuple[Any, Any]] = []
    for file in source.files:
        with explained(what=file.path), file.open() as content:
            metadata = pq.read_metadata(content)
        for group in range(metadata.num_row_groups):
            chunks = metadata.row_group(group)
            columns = [chunks.column(i) for i in range(chunks.num_columns)]
            found = [column.statistics for column in columns if column.path_in_schema == key]
            if not found or found[0] is None or not found[0].has_min_max:
                return False
            spans.append((found[0].min, found[0].max))
    try:
        return all(bool(before[1] <= after[0]) for before, after in pairwise(spans))
    except TypeError:  # files whose types differ
        return False


def folders_by_key(source: Any, keys: Sequence[str]) -> list[tuple[list[Any], bool]] | None:
    """Hive files in the order of their keys, in groups that hold all files of their keys.

    Args:
        source: A ``dataset.Source``.
        keys: Key columns.

    Returns:
        Groups of files, and whether a group's files, read in the order of the source, give rows by key; None when
        the folders do not tell the keys.
    """
    if not keys or not set(keys) <= set(source.hive):
        return None
    texts = [[file.folders[source.hive.index(name)] for file in source.files] for name in keys]
    try:
        columns = [
            pa.array(values, pa.string()).cast(source.columns[name])
            for name, values in zip(keys, texts, strict=True)
        ]
    except pa.ArrowException:  # a value that only the reader can make sense of
        return None
    order = key_order(pa.table(columns, list(keys)), keys)
    groups: list[tuple[list[Any], bool]] = []
    members: list[int] = []
    size = 0
    for _, same_key in groupby(order.tolist(), key=lambda row: tuple(column[row] for column in texts)):
        files = list(same_key)
        if members and size + sum(source.files[row].size for row in files) > _GROUP_BYTES:
            groups.append(_group(source, members))
            members, size = [], 0
        members.extend(files)
        size += sum(source.files[row].size for row in files)
    groups.append(_group(source, members))
    return groups


def _group(source: Any, members: list[int]) -> tuple[list[Any], bool]:
    return [source.files[row] for row in members], bool((np.diff(members) > 0).all())
