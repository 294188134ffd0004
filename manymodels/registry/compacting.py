"""Compaction: segments in which few models are still kept are written anew without the others."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import sqlalchemy as sa

from manymodels.artifacts.reader import SegmentReader
from manymodels.artifacts.repack import repack
from manymodels.artifacts.segments import write_table
from manymodels.artifacts.trust import sign
from manymodels.exceptions import ConflictError
from manymodels.records import SegmentInfo
from manymodels.registry.connected import micros_now
from manymodels.registry.events import Events
from manymodels.registry.garbage import retire_segments
from manymodels.registry.journal import add_segments
from manymodels.registry.keeping import kept_rows
from manymodels.registry.records import CompactReport
from manymodels.registry.schema import model_sets, runs, segments, versions
from manymodels.registry.settings import Retention, read_settings
from manymodels.registry.staging import moved_versions

__all__ = ["Compaction"]


@dataclass(frozen=True)
class _Sparse:
    """A segment in which few models stay.

    Attributes:
        id: In the registry.
        run: Its run, likewise.
        run_id: That run.
        batch: The batch that wrote it.
        path: Relative to the store's root.
        sha256: Of the file, hex.
        rows: Models in it.
        bytes: Its size.
        kept: Row to key (the registry's id) of the models that stay.
    """

    id: int
    run: int
    run_id: str
    batch: int
    path: str
    sha256: str
    rows: int
    bytes: int
    kept: Mapping[int, int]


class Compaction(Events):
    """Rewriting segments."""

    def compact(self, *, apply: bool = False, below: float = 0.5) -> CompactReport:
        """Rewrite the segments in which fewer models stay than a part of them; the others are given up.

        A run's new segments are registered in one transaction, which retires the old ones: whoever was told of those can
        read them until ``gc`` removes them, a grace period later.

        Args:
            apply: Do it; else only say what would be done.
            below: The part of a segment's models below which it is rewritten.

        Raises:
            UsageError: The store's ``settings.yaml`` cannot be used.
            DamagedError: A segment is not the one recorded; those of other runs are rewritten when it is repaired.
            ConflictError: An alias was moved to a model that was about to be given up.
            StoreError: A file could not be written.
            RegistryError: The database could not be used.
        """
        retention = read_settings(self.storage).retention
        found = self._db.read(lambda connection: _sparse(connection, retention, below))
        written: list[SegmentInfo] = []
        if apply:
            by_run: dict[int, list[_Sparse]] = defaultdict(list)
            for segment in found:
                by_run[segment.run].append(segment)
            for group in by_run.values():
                written += self._rewrite(group, retention)
            self.write_events()
        models = sum(len(segment.kept) for segment in found)
        return CompactReport(
            applied=apply,
            segments=len(found),
            bytes=sum(segment.bytes for segment in found),
            into=len(written) if apply else None,
            into_bytes=sum(info.bytes for info in written)
            if apply
            else sum(segment.bytes * len(segment.kept) // segment.rows for segment in found),
            models=models,
            given_up=sum(segment.rows for segment in found) - models,
        )

    def _rewrite(self, group: Sequence[_Sparse], retention: Retention) -> list[SegmentInfo]:
        """Rewrite the segments of one run, and register what was written instead."""
        run, run_id, batch = group[0].run, group[0].run_id, group[0].batch
        places = [(segment.path, segment.sha256, row) for segment in group for row in segment.kept]
        keys = [key for segment in group for key in segment.kept.values()]
        written: list[SegmentInfo] = []
        moved: list[tuple[int, str, int]] = []
        for meta, table, numbers in repack(SegmentReader(self.storage), places):
            path = f"runs/{run_id}/segments/compact-{uuid.uuid4().hex}.parquet"
            info = write_table(self.storage, path, table, meta)
            written.append(replace(info, signature=sign(info.sha256)))
            moved += [(keys[number], path, row) for row, number in enumerate(numbers)]
        old = [segment.id for segment in group]

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.select(model_sets.c.id).order_by(model_sets.c.id).with_for_update()).all()
            there = segments.c.path.in_([info.path for info in written])
            if connection.execute(sa.select(segments.c.id).where(there).limit(1)).first() is not None:
                return  # ours, from a commit whose answer was lost
            now = micros_now()
            rows = kept_rows(retention, now).where(versions.c.segment.in_(old)).subquery()
            still = set(connection.execute(sa.select(rows.c.key)).scalars())
            alive = sa.select(sa.func.count()).where(segments.c.id.in_(old), segments.c.retired.is_(None))
            if not still <= set(keys) or connection.execute(alive).scalar_one() != len(old):
                raise ConflictError(
                    f"segments of run {run_id} were changed while they were rewritten; nothing was given up, try again",
                    run=run_id,
                )
            paths = add_segments(connection, run, {batch: written})
            key_ids, names, numbers = zip(*moved, strict=True)
            columns = [list(key_ids), list(repeat(run, len(moved))), [paths[name] for name in names], numbers]
            self._db.fill(connection, moved_versions, columns)
            connection.execute(
                sa.update(versions)
                .where(versions.c.run == moved_versions.c.run, versions.c.key == moved_versions.c.key)
                .values(segment=moved_versions.c.segment, segment_row=moved_versions.c.segment_row)
            )
            retire_segments(connection, old, now)

        self._db.write(work)
        return written


def _sparse(connection: sa.Connection, retention: Retention, below: float) -> list[_Sparse]:
    """The segments of published runs in which some models stay, but few."""
    kept: dict[int, dict[int, int]] = defaultdict(dict)
    for segment, row, key, _ in connection.execute(kept_rows(retention, micros_now())):
        kept[segment][row] = key
    statement = (
        sa.select(segments, runs.c.run_id)
        .join(runs, runs.c.id == segments.c.run)
        .where(runs.c.published, segments.c.retired.is_(None))
        .order_by(segments.c.run, segments.c.id)
    )
    return [
        _Sparse(
            id=line.id,
            run=line.run,
            run_id=line.run_id,
            batch=line.batch,
            path=line.path,
            sha256=line.sha256.hex(),
            rows=line.rows,
            bytes=line.bytes,
            kept=kept[line.id],
        )
        for line in connection.execute(statement)
        if line.id in kept and len(kept[line.id]) < below * line.rows
    ]
