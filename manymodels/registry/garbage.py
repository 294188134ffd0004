"""Garbage collection: give up the models that nothing keeps, and remove the files that nothing refers to.

A model is given up in one transaction: its segment is marked as retired, and nothing is served from it any more. The file
stays for the grace period, since somebody may have been told of it just before. Anything else that nothing refers to is removed
when it is older than the grace period: a file belongs to nobody for a moment between being written and being registered.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa

from manymodels.exceptions import NotFoundError, RegistryError, StoreError
from manymodels.partitioning.store import MANIFEST, folder_of
from manymodels.registry.connected import micros_now
from manymodels.registry.events import FOLDER, Events
from manymodels.registry.keeping import usage
from manymodels.registry.records import GcReport
from manymodels.registry.references import References, read_references
from manymodels.registry.schema import alias_events, model_sets, runs, segments
from manymodels.registry.scores import CLAIM, ONE_FILE, OUTPUT_MANIFEST, staging_of
from manymodels.registry.settings import Retention, read_settings
from manymodels.storage import Storage, StoredFile

__all__ = ["GarbageCollection"]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp|registry\.db\.new-[0-9a-f]{8}(-wal|-shm)?").fullmatch
_SCORE_ID = re.compile(r"[^/\\\0]+-score-[0-9]{6,}").fullmatch


@dataclass(frozen=True)
class _Garbage:
    """Files that go together.

    Attributes:
        kind: See ``GcReport``.
        files: Them.
        folder: Holds nothing else, when set.
    """

    kind: str
    files: tuple[StoredFile, ...]
    folder: str = ""


class GarbageCollection(Events):
    """Giving up models and removing files."""

    def gc(self, *, apply: bool = False, grace: float | None = None) -> GcReport:
        """Find what nothing needs any more, and remove it.

        Args:
            apply: Do it; else only say what would be done.
            grace: Seconds that files stay after they fell out of use; the store's ``retention.grace`` when None. 0 is for
                a store that nobody else uses.

        Raises:
            UsageError: The store's ``settings.yaml`` cannot be used.
            StoreError: A file could not be listed or removed.
            RegistryError: The registry is older than the store's files, or could not be used.
        """
        retention = read_settings(self.storage).retention
        seconds = retention.grace if grace is None else grace
        self._refuse_old_registry()
        now = micros_now()

        def work(connection: sa.Connection) -> tuple[dict[str, int], References]:
            retired = self._retire(connection, retention, now, apply=apply)
            return retired, read_references(connection, retention, seconds, now)

        retired, found = self._db.write(work) if apply else self._db.read(work)
        if apply:
            self._write_all_events()
        listed = self.storage.files()
        removed: list[_Garbage] = []
        waiting: list[_Garbage] = []
        for garbage in (*_sorted_out(listed, found), *self._stale_notes(listed, found)):
            due = max(_since(file, found) for file in garbage.files) <= found.horizon
            (removed if due else waiting).append(garbage)
        outside = [staged for output, score_id in found.scores for staged in _staged(output, score_id)]
        if apply:
            for garbage in removed:
                self._remove(garbage, retention, seconds)
            for place, files in outside:
                for file in files:
                    place.delete(file.path)
                if place.is_local:
                    place.delete("")
        counts: dict[str, dict[str, int]] = defaultdict(lambda: {"files": 0, "bytes": 0})
        everything = [*removed, *(_Garbage("scores", tuple(files)) for _, files in outside)]
        for garbage in everything:
            _add(counts[garbage.kind], garbage.files)
        late = {"files": 0, "bytes": 0}
        for garbage in waiting:
            _add(late, garbage.files)
        return GcReport(
            applied=apply,
            grace=seconds,
            retired=retired,
            removed={kind: count for kind, count in sorted(counts.items()) if count["files"]},
            waiting=late,
            paths=tuple(
                [file.path for garbage in removed for file in garbage.files]
                + [place.absolute(file.path) for place, files in outside for file in files]
            ),
        )

    def _refuse_old_registry(self) -> None:
        """Refuse to take for garbage what a registry does not know because it was restored from a backup."""
        numbers = [PurePosixPath(path).stem for path in self.storage.listing(FOLDER)]
        written = max((int(number) for number in numbers if number.isdecimal()), default=0)
        newest = sa.select(sa.func.max(alias_events.c.id))
        known = self._db.read(lambda connection: connection.execute(newest).scalar()) or 0
        if written > known:
            raise RegistryError(
                f"the registry of {self.storage.root} is older than the store's files: it knows alias event {known}, "
                f"and {FOLDER}/ has {written}; `manymodels store rebuild` makes it again"
            )

    def _write_all_events(self) -> None:
        """Bring the store's files up to what the registry says, before a file goes that they speak of."""
        self.write_events()
        pending = sa.select(alias_events.c.id).where(~alias_events.c.written).limit(1)
        if self._db.read(lambda connection: connection.execute(pending).first()) is not None:
            raise StoreError(f"the files in {FOLDER}/ could not be written; no file was removed")

    def _stale_notes(self, files: Sequence[StoredFile], found: References) -> Iterator[_Garbage]:
        """The notes of inputs whose rows are not in the store any more."""
        there = {PurePosixPath(file.path).parts[1] for file in files if file.path.endswith(f"/{MANIFEST}")}
        for file in files:
            if file.path.startswith("datasets/sources/") and file.modified <= found.horizon:
                try:
                    fingerprint = json.loads(self.storage.read(file.path))["fingerprint"]
                except (NotFoundError, ValueError, KeyError, TypeError):
                    fingerprint = None
                if fingerprint not in there:
                    yield _Garbage("datasets", (file,))

    def _retire(
        self, connection: sa.Connection, retention: Retention, now: int, *, apply: bool
    ) -> dict[str, int]:
        """Give up the segments of which no model stays; how much that is."""
        if apply:  # nobody moves an alias meanwhile
            connection.execute(sa.select(model_sets.c.id).order_by(model_sets.c.id).with_for_update()).all()
        in_use = sa.select(segments.c.id, segments.c.run, segments.c.rows, segments.c.bytes).where(
            segments.c.retired.is_(None)
        )
        used = usage(connection, retention, now)
        abandoned = read_references(connection, retention, 0.0, now).abandoned
        dead = set(connection.execute(sa.select(runs.c.id).where(runs.c.run_id.in_(abandoned))).scalars())
        lines = [line for line in connection.execute(in_use) if line.id not in used or line.run in dead]
        if apply and lines:
            retire_segments(connection, [line.id for line in lines], now)
        return {
            "segments": len(lines),
            "models": sum(line.rows for line in lines),
            "bytes": sum(line.bytes for line in lines),
        }

    def _remove(self, garbage: _Garbage, retention: Retention, grace: float) -> None:
        if garbage.kind == "datasets" and garbage.folder:
            if not self._is_unused(garbage.folder, retention, grace):
                return
            # Without its manifest it is not there: nobody finds it half removed.
            self.storage.delete(f"{garbage.folder}/{MANIFEST}")
        for path in [garbage.folder] if garbage.folder else [file.path for file in garbage.files]:
            self.storage.delete(path)

    def _is_unused(self, folder: str, retention: Retention, grace: float) -> bool:
        """Whether rows that are about to be removed are still out of use: a run may have found them just now."""

        def work(connection: sa.Connection) -> References:
            return read_references(connection, retention, grace, micros_now())

        found = self._db.read(work)
        used_last = max((file.modified for file in self.storage.files(folder)), default=0)
        return PurePosixPath(folder).name not in found.datasets and used_last <= found.horizon


def retire_segments(connection: sa.Connection, ids: Sequence[int], now: int) -> None:
    """Mark segments as out of use, and have their runs' publications written to the store's files again."""
    for start in range(0, len(ids), 10_000):
        part = list(ids[start : start + 10_000])
        connection.execute(sa.update(segments).where(segments.c.id.in_(part)).values(retired=now))
        concerned = sa.select(segments.c.run).where(segments.c.id.in_(part))
        connection.execute(
            sa.update(alias_events).where(alias_events.c.run.in_(concerned)).values(written=False)
        )


def _sorted_out(files: Iterable[StoredFile], found: References) -> Iterator[_Garbage]:
    """The files that nothing refers to."""
    groups: dict[tuple[str, str], list[StoredFile]] = defaultdict(list)
    kept_runs: set[str] = set()
    for file in files:
        parts = PurePosixPath(file.path).parts
        if _TEMPORARY(parts[-1]):
            yield _Garbage("temporary", (file,))
        elif parts[0] == "tmp" and len(parts) > 2:
            groups["temporary", f"tmp/{parts[1]}"].append(file)
        elif parts[0] == "datasets" and len(parts) == 3 and parts[1] != "sources":
            if parts[1] not in found.datasets:
                groups["datasets", folder_of(parts[1])].append(file)
        elif parts[0] == "runs" and len(parts) > 2:
            kind = _kind_in_run(file, parts, found)
            if kind == "runs":
                groups["runs", f"runs/{parts[1]}"].append(file)
            elif kind is not None:
                yield _Garbage(kind, (file,))
            if kind != "runs":
                kept_runs.add(parts[1])
    for (kind, folder), members in groups.items():
        whole = kind != "runs" or PurePosixPath(folder).name not in kept_runs
        yield _Garbage(kind, tuple(members), folder if whole else "")


def _kind_in_run(file: StoredFile, parts: Sequence[str], found: References) -> str | None:
    """What a file of a run is, as garbage; None when it stays."""
    use = found.runs.get(parts[1])
    if use in (None, "abandoned"):
        return "runs"
    if parts[2] == "segments":
        if file.path in found.segments:
            return None if found.segments[file.path] is None else "segments"
        return None if use == "driven" else "attempts"
    if parts[2] == "outcomes" and use != "driven":
        return None if file.path in found.outcomes else "attempts"
    return None


def _since(file: StoredFile, found: References) -> int:
    """Since when a file is out of use, as far as can be told."""
    return found.segments.get(file.path) or file.modified


def _staged(output: str, score_id: str) -> Iterator[tuple[Storage, list[StoredFile]]]:
    """What a scoring left that died: where, and which files."""
    place = Storage.at(staging_of(output, score_id))
    if not _SCORE_ID(score_id) or (place.is_local and Path(place.root).is_symlink()):
        return
    files = place.files()
    if not place.is_local:
        # A place in an output at a URL has one name, whoever makes the output.
        if not files or _read_json(place, CLAIM).get("score_id") != score_id:
            return
        target = Storage.at(output)
        if not output.lower().endswith(ONE_FILE):
            shown = _read_json(target, OUTPUT_MANIFEST).get("parts", [])
            parts = [file for file in target.files() if file.path.startswith("part-")]
            yield target, [file for file in parts if file.path not in shown]
    yield place, files


def _read_json(place: Storage, path: str) -> dict[str, Any]:
    try:
        found = json.loads(place.read(path))
    except (NotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _add(count: dict[str, int], files: Iterable[StoredFile]) -> None:
    for file in files:
        count["files"] += 1
        count["bytes"] += file.bytes
