"""Checking a store: is every segment still what was recorded, and every model in it to be had?"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from manymodels.artifacts.code import code_path, ensure_code, import_from, trusted_code
from manymodels.exceptions import ManyModelsError, StoreError
from manymodels.registry.connected import Connected
from manymodels.registry.records import DamagedSegment, UnusableModel, VerifyReport
from manymodels.registry.schema import keys, runs, segments, versions

if TYPE_CHECKING:
    from manymodels.artifacts.reader import SegmentReader

__all__ = ["Verification"]


class Verification(Connected):
    """Checks of the store's files against the registry, and against what the reader trusts."""

    def verify(self, *, deep: bool = False) -> VerifyReport:
        """Read every segment, and the archive of modules, of every published run and compare checksums.

        Args:
            deep: Load every model too, one after the other; this runs the code that their pickles name.

        Raises:
            RegistryError: The database could not be used.
        """
        from manymodels.artifacts.reader import SegmentReader

        reader = SegmentReader(self.storage, self.trust)
        statement = (
            sa.select(segments, runs.c.run_id, runs.c.archive, runs.c.archive_signature)
            .join(runs, runs.c.id == segments.c.run)
            .where(runs.c.published, segments.c.retired.is_(None))
            .order_by(segments.c.id)
        )
        files = self._db.read(lambda connection: connection.execute(statement).all())
        damaged, unusable = [], []
        loaded = 0
        for file in files:
            try:
                reader.verify(file.path, file.sha256.hex())
                self.trust.check_signature(f"segment {file.path}", file.sha256.hex(), file.signature)
            except StoreError as error:
                damaged.append(self._damaged(file, error.message))
                continue
            if deep:
                bad = list(self._unusable(reader, file))
                loaded += file.rows - len(bad)
                unusable += bad
        damaged += self._damaged_archives()
        return VerifyReport(
            segments=len(files),
            bytes=sum(file.bytes for file in files),
            damaged=tuple(damaged),
            loaded=loaded if deep else None,
            unusable=tuple(unusable),
        )

    def _damaged_archives(self) -> list[DamagedSegment]:
        """The archives of the user's modules that are not what was recorded."""
        kept = sa.select(runs.c.run_id, runs.c.archive).where(runs.c.published, runs.c.archive != "")
        damaged = []
        for run_id, archive in self._db.read(lambda connection: connection.execute(kept).all()):
            path = code_path(run_id, archive)
            try:
                content = self.storage.read(path)
                problem = "" if sha256(content).hexdigest() == archive else "it is not what the run recorded"
            except ManyModelsError as error:
                problem = error.message
            if problem:
                damaged.append(DamagedSegment(path, problem, 0, (), ()))
        return damaged

    def _unusable(self, reader: SegmentReader, file: sa.Row[*tuple[Any, ...]]) -> Iterator[UnusableModel]:
        """Load every model of a segment; those that cannot be."""
        try:
            code = trusted_code(file.run_id, file.archive, file.archive_signature, self.trust)
            if code is not None:
                import_from(ensure_code(self.storage, code, file.archive))
        except StoreError as error:  # its models may not need it
            yield UnusableModel(file.path, None, "", error.message)
        names = {line.segment_row: line.display for line in self._keys_of(file)}
        for row in range(file.rows):
            try:
                reader.load(file.path, file.sha256.hex(), row)
            except ManyModelsError as error:
                yield UnusableModel(file.path, row, names.get(row, ""), error.message)

    def _damaged(self, file: sa.Row[*tuple[Any, ...]], problem: str) -> DamagedSegment:
        lines = self._keys_of(file)
        return DamagedSegment(
            path=file.path,
            problem=problem,
            models=len(lines),
            keys=tuple(line.display for line in lines),
            key_ids=tuple(line.key_id.hex() for line in lines),
        )

    def _keys_of(self, file: sa.Row[*tuple[Any, ...]]) -> list[sa.Row[*tuple[Any, ...]]]:
        """The keys whose models a segment holds, by row."""
        concerned = (
            sa.select(keys.c.display, keys.c.key_id, versions.c.segment_row)
            .join(versions, versions.c.key == keys.c.id)
            .where(versions.c.run == file.run, versions.c.segment == file.id)
            .order_by(versions.c.segment_row)
        )
        return list(self._db.read(lambda connection: connection.execute(concerned).all()))
