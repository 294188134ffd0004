"""The levels' models that keys are blended with: where they lie, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from manymodels.job.job import Job
from manymodels.job.resolve import blended_levels, level_name
from manymodels.partitioning.keys import make_key

if TYPE_CHECKING:
    import pyarrow as pa

    from manymodels.models.blended import Parent

__all__ = ["ParentLevel", "parent_levels", "parents_of"]


@dataclass(frozen=True)
class ParentLevel:
    """The models of one level of the job's hierarchy.

    Attributes:
        source: ``pooled`` or ``level:region``.
        columns: Of the level.
        models: key_id of a level's value to segment, SHA-256 and row of its model.
    """

    source: str
    columns: tuple[str, ...]
    models: Mapping[str, tuple[str, str, int]]


def parent_levels(job: Job, outcomes: Iterable[pa.Table], sums: Mapping[str, str]) -> tuple[ParentLevel, ...]:
    """The levels that a job's keys are blended with, as far as their models could be fitted.

    Args:
        job: The job.
        outcomes: What became of them, and maybe of others (``OUTCOME_COLUMNS``).
        sums: Segment to its SHA-256.
    """
    import pyarrow.compute as pc

    models: dict[str, dict[str, tuple[str, str, int]]] = {}
    for table in outcomes:
        theirs = table.filter(pc.not_equal(table.column("level"), ""))
        for line in theirs.select(["key_id", "level", "state", "segment", "segment_row"]).to_pylist():
            if line["state"] == "trained":
                at = line["segment"], sums[line["segment"]], line["segment_row"]
                models.setdefault(line["level"], {})[line["key_id"]] = at
    named = [(level_name(columns), tuple(columns)) for columns in blended_levels(job)]
    return tuple(
        ParentLevel(source, columns, models[source]) for source, columns in named if source in models
    )


def parents_of(levels: Sequence[ParentLevel], keys: pa.Table, storage_root: str) -> list[dict[str, Parent]]:
    """The level models of each key, the nearest first.

    Args:
        levels: Of the run, in the job's order.
        keys: Rows of the manifest.
        storage_root: Root of the store.

    Raises:
        StoreError: A model could not be read.
    """
    found: list[dict[str, Parent]] = [{} for _ in range(keys.num_rows)]
    for level in levels:
        columns = [keys.column(f"level:{name}").to_pylist() for name in level.columns]
        ids: dict[tuple[Any, ...], str] = {}
        for place, mine in enumerate(found):
            values = tuple(column[place] for column in columns)
            if values not in ids:
                ids[values] = make_key(values, level=level.source).key_id
            at = level.models.get(ids[values])
            if at is not None:
                mine[level.source] = _loaded(storage_root, *at)
    return found


@lru_cache(maxsize=32)
def _loaded(storage_root: str, segment: str, sha256: str, row: int) -> Parent:
    """A level's model; a worker asks for the same ones with every batch."""
    from manymodels.artifacts.reader import SegmentReader
    from manymodels.artifacts.trust import Trust
    from manymodels.storage import Storage

    # This run wrote it: its checksum is what is to be trusted, whoever reads the store later.
    model: Any = SegmentReader(Storage.at(storage_root), Trust()).load(segment, sha256, row)
    return model  # type: ignore[no-any-return]
