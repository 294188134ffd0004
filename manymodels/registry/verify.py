"""Checking a store: is every segment still what was recorded?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from manymodels.exceptions import StoreError
from manymodels.registry.connected import Connected
from manymodels.registry.records import DamagedSegment, VerifyReport
from manymodels.registry.schema import keys, runs, segments, versions

__all__ = ["Verification"]


class Verification(Connected):
    """Checks of the store's files against the registry."""

    def verify(self) -> VerifyReport:
        """Read every segment of every published run and compare its checksum.

        Raises:
            RegistryError: The database could not be used.
        """
        from manymodels.artifacts.segments import SegmentReader

        reader = SegmentReader(self.storage)
        statement = (
            sa.select(segments)
            .join(runs, runs.c.id == segments.c.run)
            .where(runs.c.published)
            .order_by(segments.c.id)
        )
        files = self._db.read(lambda connection: connection.execute(statement).all())
        damaged = []
        for file in files:
            try:
                reader.verify(file.path, file.sha256.hex())
            except StoreError as error:
                damaged.append(self._damaged(file, error.message))
        return VerifyReport(len(files), sum(file.bytes for file in files), tuple(damaged))

    def _damaged(self, file: sa.Row[*tuple[Any, ...]], problem: str) -> DamagedSegment:
        concerned = (
            sa.select(keys.c.display, keys.c.key_id)
            .join(versions, versions.c.key == keys.c.id)
            .where(versions.c.run == file.run, versions.c.segment == file.id)
            .order_by(versions.c.segment_row)
        )
        lines = self._db.read(lambda connection: connection.execute(concerned).all())
        return DamagedSegment(
            path=file.path,
            problem=problem,
            models=len(lines),
            keys=tuple(line.display for line in lines),
            key_ids=tuple(line.key_id.hex() for line in lines),
        )
