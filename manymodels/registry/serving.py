"""Reading whole fleets: what planning compares with, what scoring reads, and one key's fitted model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from manymodels.artifacts.code import ensure_code, import_from, trusted_code
from manymodels.exceptions import DamagedError, NotFoundError, UsageError
from manymodels.registry.columns import digests, hex_ids, looked_up, repeated
from manymodels.registry.connected import CHAMPION
from manymodels.registry.fleets import as_of, failed_since, pointed_at, read_fleet, run_facts, stale_since
from manymodels.registry.key_columns import KeyColumns
from manymodels.registry.records import LATEST
from manymodels.registry.schema import alias_names, aliases, keys, model_sets, runs, segments, versions
from manymodels.registry.versions import other_versions

if TYPE_CHECKING:
    from manymodels.artifacts.reader import SegmentReader
    from manymodels.models.contract import FittedModel

__all__ = ["Serving"]

_SERVED = (
    "key_id", "level", "canonical", "display", "version", "run_id", "candidate", "metric", "cutoff", "segment", "sha256",
    "segment_row", "stale_since",
)  # fmt: skip
_FOR_PEOPLE = ("canonical", "display", "metric")
_SHARED = pa.dictionary(pa.int32(), pa.string())
_HISTORY = pa.schema(
    [
        ("key_id", pa.string()),
        ("level", pa.string()),
        ("version", pa.int64()),
        ("content", pa.binary(16)),
        ("job_hash", _SHARED),
        ("code_hash", _SHARED),
        ("candidate", _SHARED),
        ("metric", pa.float64()),
        ("seconds", pa.float64()),
        ("cutoff", pa.int64()),
        ("failed_last", pa.bool_()),
    ]
)
_FAILED = pa.schema([("key", pa.int64()), ("key_id", pa.binary()), ("level", pa.string())])


_PLACE = (
    sa.select(
        segments,
        versions.c.segment_row,
        runs.c.run_id,
        runs.c.libraries,
        runs.c.archive,
        runs.c.archive_signature,
    )
    .select_from(
        keys.join(model_sets, model_sets.c.id == keys.c.model_set)
        .join(versions, versions.c.key == keys.c.id)
        .join(segments, segments.c.id == versions.c.segment)
        .join(runs, runs.c.id == versions.c.run)
    )
    .where(
        model_sets.c.name == sa.bindparam("name"),
        keys.c.level == "",
        keys.c.key_id == sa.bindparam("digest"),
    )
)
"""Where a model of one key is: one statement, made once, for what is asked a thousand times a second."""

_NUMBERED = _PLACE.where(
    runs.c.model_set == model_sets.c.id, runs.c.number == sa.bindparam("version"), runs.c.published
)
_POINTED_AT = (
    _PLACE.join(aliases, sa.and_(aliases.c.key == keys.c.id, aliases.c.run == versions.c.run))
    .join(alias_names, alias_names.c.id == aliases.c.alias)
    .where(alias_names.c.model_set == model_sets.c.id, alias_names.c.name == sa.bindparam("alias"))
)


class Serving(KeyColumns):
    """Fleets and models."""

    def history(self, model_set: str) -> pa.Table:
        """What is known of every key that was ever trained or failed.

        Returns:
            ``key_id``, ``level``, and of the newest published version ``version``, ``content``, ``job_hash``,
            ``code_hash``, ``candidate``, ``metric``, ``seconds``, ``cutoff`` (null without a version); and
            ``failed_last``: whether the key's last attempt, in a run that is over, failed. Empty for a new model set. What many
            keys share is dictionary-encoded.

        Raises:
            RegistryError: The database could not be used.
        """

        def work(connection: sa.Connection) -> pa.Table:
            try:
                owner = self._model_set(connection, model_set)
            except NotFoundError:
                return _HISTORY.empty_table()
            latest = self._alias(connection, owner, LATEST)
            newest = read_fleet(
                self._db,
                connection,
                pointed_at(latest),
                ("key", "key_id", "level", "run", "content", "candidate", "metric", "seconds", "cutoff"),
            )
            since = failed_since(owner, latest).subquery()
            statement = sa.select(keys.c.id, keys.c.key_id, keys.c.level).join(
                since, since.c.key == keys.c.id
            )
            failed = self._db.fetch(connection, statement, _FAILED)
            return _with_failures(
                newest, failed, run_facts(connection, owner, "number", "job_hash", "code_hash")
            )

        return self._db.read(work)

    def champions(self, model_set: str, alias: str = CHAMPION) -> pa.Table:
        """What an alias points at, key by key, and no more than tells what those models are of.

        Args:
            model_set: Name of the model set.
            alias: The alias to follow.

        Returns:
            ``key_id``, ``run_id`` and ``candidate`` (dictionary-encoded), ``cutoff``; rungs are not among them.

        Raises:
            NotFoundError: The model set or alias is not there.
            RegistryError: The database could not be used.
        """

        def work(connection: sa.Connection) -> pa.Table:
            owner = self._model_set(connection, model_set)
            chosen = pointed_at(self._alias(connection, owner, alias))
            fleet = read_fleet(
                self._db, connection, chosen, ("key_id", "run", "candidate", "cutoff"), level=""
            )
            names = run_facts(connection, owner, "run_id")["run_id"]
            return fleet.set_column(1, "run_id", repeated(fleet.column("run"), names))

        return self._db.read(work)

    def served(
        self, model_set: str, alias: str | None = None, *, run_id: str | None = None, brief: bool = False
    ) -> pa.Table:
        """Where every key's live model is; the rungs of the ladder are among them.

        Args:
            model_set: Name of the model set.
            alias: The alias to follow; ``champion`` when neither is given.
            run_id: Instead: every key's newest version as of this run.
            brief: Without ``canonical``, ``display`` and ``metric``: enough to score.

        Returns:
            ``key_id``, ``level``, ``canonical``, ``display``, ``version``, ``run_id``, ``candidate``, ``metric``,
            ``cutoff``, ``segment``, ``sha256``, ``segment_row``, ``stale_since``: the run in which the key failed last,
            where no newer version came after it. What many keys share is dictionary-encoded.

        Raises:
            UsageError: Both an alias and a run.
            NotFoundError: The model set, alias or run is not there.
            TrustError: A segment must be signed, and is not.
            RegistryError: The database could not be used.
        """
        if alias is not None and run_id is not None:
            raise UsageError("give an alias or a run, not both")

        def work(connection: sa.Connection) -> pa.Table:
            owner = self._model_set(connection, model_set)
            if run_id is not None:
                chosen = as_of(self._published(connection, run_id, owner))
            else:
                chosen = pointed_at(self._alias(connection, owner, alias or CHAMPION))
            same = ("key_id", "level", *(() if brief else _FOR_PEOPLE), "candidate", "cutoff", "segment_row")
            fleet = read_fleet(self._db, connection, chosen, (*same, "key", "run", "segment"))
            facts = run_facts(connection, owner, "number", "run_id")
            files = sa.select(segments).join(runs, runs.c.id == segments.c.run)
            in_use = files.where(runs.c.model_set == owner, segments.c.retired.is_(None))
            paths, sums = {}, {}
            wanted = set(fleet.column("segment").unique().to_pylist())
            for line in connection.execute(in_use):
                if line.id in wanted:
                    self._check_signed(line)
                    paths[line.id], sums[line.id] = line.path, line.sha256.hex()
            files_of = repeated(fleet.column("segment"), paths)
            gone = files_of.null_count
            if gone:
                raise NotFoundError(
                    f"{gone:,} of the {len(fleet):,} models that run {run_id} stands for were given up by "
                    "`manymodels store gc`; choose a later run, or an alias",
                    run=run_id,
                )
            whole = {
                **{name: fleet.column(name) for name in same},
                "version": looked_up(fleet.column("run"), facts["number"], pa.int64()),
                "run_id": repeated(fleet.column("run"), facts["run_id"]),
                "segment": files_of,
                "sha256": repeated(fleet.column("segment"), sums),
                "stale_since": stale_since(
                    connection, owner, self._alias(connection, owner, LATEST), fleet.column("key")
                ),
            }
            return pa.table({name: whole[name] for name in _SERVED if name in whole})

        return self._db.read(work)

    def load(
        self,
        model_set: str,
        *,
        alias: str = CHAMPION,
        version: int | None = None,
        key_id: str | None = None,
        **key: Any,
    ) -> FittedModel:
        """One key's fitted model.

        Args:
            model_set: Name of the model set.
            alias: The alias to follow.
            version: Instead: this version.
            key_id: The key, by its id.
            key: The key, by the values of its columns: ``store=17``.

        Raises:
            UsageError: The key is not given by all of its columns.
            NotFoundError: The model set, alias, key or version is not there.
            DamagedError: The file that holds it is not what was recorded.
            TrustError: The reader does not trust it.
            RegistryError: The database could not be used.
        """
        from manymodels.partitioning.keys import make_key

        if key_id is None:
            columns = self._columns.get(model_set, ())
            if not key or set(key) != set(columns):  # unknown yet, or not today's
                columns = self._columns[model_set] = self.key_columns(model_set)
            if set(key) != set(columns):
                raise UsageError(
                    f"a key of {model_set!r} is given by {', '.join(columns)}; found {', '.join(key) or 'none'}"
                )
            key_id = make_key([key[column] for column in columns]).key_id
        elif key:
            raise UsageError("a key is given by its id or by its columns, not both")
        shown = ", ".join(f"{column}={value!r}" for column, value in key.items()) or key_id
        found = self._found(model_set, key_id, shown, alias, version)
        if found.run_id not in self._codes:
            self._codes[found.run_id] = self._code_of(found)
            for line in other_versions(found.run_id, json.loads(found.libraries)):
                warnings.warn(line, stacklevel=2)
        code = self._codes[found.run_id]
        if code is not None:
            # A model of the user's own class needs the module that it was trained with, whatever is imported already.
            import_from(code)
        try:
            return self._segments.load(found.path, found.sha256.hex(), found.segment_row)
        except DamagedError as error:
            raise DamagedError(f"the model of {shown}: {error.message}", key=shown) from error

    def parameters(self, model_set: str, *, key_id: str, version: int) -> Mapping[str, Any]:
        """The parameters of the candidate that a version is of, drawn ones among them.

        Raises:
            NotFoundError: The model set, key or version is not there.
            DamagedError: The file that holds it is not what was recorded.
            TrustError: The reader does not trust it.
        """
        found = self._found(model_set, key_id, key_id, CHAMPION, version)
        table = self._segments.read_table(
            found.path, ["params"], sha256=found.sha256.hex(), rows=[found.segment_row]
        )
        params: Mapping[str, Any] = json.loads(table.column("params")[0].as_py())
        return params

    def _found(self, model_set: str, key_id: str, shown: str, alias: str, version: int | None) -> Any:
        """Where one key's model is: its segment, row and run, once the reader may know."""
        digest = digests([key_id])[0]
        asked = {"name": model_set, "digest": digest, "alias": alias, "version": version}

        def work(connection: sa.Connection) -> Any:
            found = connection.execute(_POINTED_AT if version is None else _NUMBERED, asked).first()
            if found is None:  # what of it is not there?
                owner = self._model_set(connection, model_set)
                if version is None:
                    self._alias(connection, owner, alias)
            return found

        found = self._db.read(work)
        if found is None:
            what = f"version {version}" if version is not None else alias
            kinds = ", ".join(f"{column} ({kind})" for column, kind in self.key_kinds(model_set).items())
            raise NotFoundError(
                f"no {what} of {model_set!r} for this key; its key columns are {kinds}; "
                "`manymodels models history` shows what there is",
                key=shown,
            )
        if found.retired is not None:
            raise NotFoundError(
                f"the model of run {found.run_id} for this key was given up by `manymodels store gc`; "
                "`manymodels models history` shows what there is",
                key=shown,
            )
        self._check_signed(found)
        return found

    @cached_property
    def _columns(self) -> dict[str, tuple[str, ...]]:
        """Model set to its key columns, as far as models of it were loaded."""
        return {}

    @cached_property
    def _codes(self) -> dict[str, Path | None]:
        """Run to the folder of its own modules, for the runs whose models were loaded."""
        return {}

    def _code_of(self, found: sa.Row[*tuple[Any, ...]]) -> Path | None:
        """The folder of a run's own modules; None without any, and when the reader lets no code run."""
        code = trusted_code(found.run_id, found.archive, found.archive_signature, self.trust)
        return None if code is None else ensure_code(self.storage, code, found.archive)

    def _check_signed(self, segment: sa.Row[*tuple[Any, ...]]) -> None:
        """Let a segment's checksum out only when the reader trusts it: nothing is loaded without.

        Raises:
            TrustError: It must be signed, and is not.
        """
        self.trust.check_signature(f"segment {segment.path}", segment.sha256.hex(), segment.signature)

    @cached_property
    def _segments(self) -> SegmentReader:
        """Kept, with its open files: a second model of a segment costs less than the first."""
        from manymodels.artifacts.reader import SegmentReader

        return SegmentReader(self.storage, self.trust)


def _with_failures(newest: pa.Table, failed: pa.Table, facts: dict[str, dict[int, Any]]) -> pa.Table:
    """Every key's newest version, whether it failed since, and the keys that only ever failed."""
    same = {name: newest.column(name) for name in newest.column_names if name not in ("key", "run")}
    kinds = {field.name: field.type for field in _HISTORY}
    seen = pa.table(
        {
            **same,
            "version": looked_up(newest.column("run"), facts["number"], kinds["version"]),
            "job_hash": repeated(newest.column("run"), facts["job_hash"]),
            "code_hash": repeated(newest.column("run"), facts["code_hash"]),
            "failed_last": pc.is_in(newest.column("key"), failed.column("key").combine_chunks()),
        }
    )
    never = failed.filter(pc.invert(pc.is_in(failed.column("key"), newest.column("key").combine_chunks())))
    only_failed = pa.table(
        {
            "key_id": hex_ids(never.column("key_id")),
            "level": never.column("level"),
            "failed_last": pa.array([True] * never.num_rows, pa.bool_()),
        }
    )
    both = pa.concat_tables([seen, only_failed], promote_options="default")
    return both.select(_HISTORY.names).cast(_HISTORY)
