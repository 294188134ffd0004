"""Models from many segments in few: what exports and compaction write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa

from manymodels.artifacts.reader import SegmentReader
from manymodels.artifacts.segments import SegmentMeta

__all__ = ["Place", "repack"]

_FILE_BYTES = 2**26  # of models

Place = tuple[str, str, int]
"""Where a model is: its segment's path and SHA-256, and its row."""


def repack(
    reader: SegmentReader, places: Sequence[Place]
) -> Iterator[tuple[SegmentMeta, pa.Table, list[int]]]:
    """The tables of new segments, each with the positions in ``places`` of its models.

    Models stay apart whose segments differ in what they say of them (run, libraries, codec, columns).

    Raises:
        DamagedError: A segment is not the one recorded.
    """
    lines = sorted((*place, number) for number, place in enumerate(places))
    shared: tuple[SegmentMeta, str, pa.Schema] | None = None
    tables: list[pa.Table] = []
    numbers: list[int] = []
    for (segment, sha256), group in groupby(lines, key=lambda line: line[:2]):
        chosen = list(group)
        table = reader.read_table(segment, sha256=sha256, rows=[line[2] for line in chosen])
        common = (
            reader.meta(segment, sha256),
            reader.codec(segment, sha256),
            table.schema.remove_metadata(),
        )
        full = sum(each.nbytes for each in tables) > _FILE_BYTES
        if shared is not None and (shared != common or full):
            yield shared[0], pa.concat_tables(tables), numbers
            tables, numbers = [], []
        shared = common
        tables.append(table)
        numbers.extend(line[3] for line in chosen)
    if shared is not None:
        yield shared[0], pa.concat_tables(tables), numbers
