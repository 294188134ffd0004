"""Looking around: model sets, models, one key's past, failures, and two runs side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from manymodels.exceptions import NotFoundError
from manymodels.registry.columns import digests, looked_up
from manymodels.registry.connected import CHAMPION, moment
from manymodels.registry.decisions import decisions_of
from manymodels.registry.fleets import as_of, pointed_at, read_fleet, run_facts, stale_since
from manymodels.registry.key_columns import KeyColumns
from manymodels.registry.records import LATEST, AliasMove, ModelHistory, ModelRow, ModelSetRecord, Signature
from manymodels.registry.schema import (
    alias_events,
    alias_moves,
    alias_names,
    aliases,
    candidates,
    failures,
    keys,
    model_sets,
    runs,
    segments,
    signatures,
    versions,
)
from manymodels.registry.signatures import common_form
from manymodels.storage import Storage

__all__ = ["MANY", "Listing"]

MANY = 10
"""Messages of one error at one place that are shown one by one."""

_EXAMPLES = 5


class Listing(KeyColumns):
    """What the registry holds."""

    def model_sets(self) -> list[ModelSetRecord]:
        """Every model set, by name."""

        def work(connection: sa.Connection) -> list[ModelSetRecord]:
            pointing = (
                sa.select(alias_names.c.model_set, alias_names.c.name, sa.func.count().label("models"))
                .select_from(
                    aliases.join(alias_names, alias_names.c.id == aliases.c.alias).join(
                        keys, keys.c.id == aliases.c.key
                    )
                )
                .where(
                    alias_names.c.name.in_((LATEST, CHAMPION)), aliases.c.run.is_not(None), keys.c.level == ""
                )
                .group_by(alias_names.c.model_set, alias_names.c.name)
            )
            counts = {(line.model_set, line.name): line.models for line in connection.execute(pointing)}
            newest = sa.select(sa.func.max(runs.c.id), sa.func.count()).group_by(runs.c.model_set)
            number = {line[0]: line[1] for line in connection.execute(newest)}
            tasks = sa.select(runs.c.id, runs.c.model_set, runs.c.task).where(runs.c.id.in_(list(number)))
            tasked = {line.model_set: (line.task, number[line.id]) for line in connection.execute(tasks)}
            shown = (
                sa.select(runs.c.model_set, sa.func.max(runs.c.id).label("run"))
                .where(runs.c.published)
                .group_by(runs.c.model_set)
                .subquery()
            )
            named = sa.select(shown.c.model_set, runs.c.run_id).join(runs, runs.c.id == shown.c.run)
            latest = {line.model_set: line.run_id for line in connection.execute(named)}
            return [
                ModelSetRecord(
                    name=line.name,
                    task=tasked[line.id][0],
                    runs=tasked[line.id][1],
                    models=counts.get((line.id, LATEST), 0),
                    champions=counts.get((line.id, CHAMPION), 0),
                    latest_run=latest.get(line.id),
                )
                for line in connection.execute(sa.select(model_sets).order_by(model_sets.c.name))
                if line.id in tasked
            ]

        return self._db.read(work)

    def models(
        self,
        model_set: str,
        *,
        alias: str = CHAMPION,
        where: str | None = None,
        level: str | None = "",
        limit: int | None = 100,
        offset: int = 0,
    ) -> pa.Table:
        """The models that an alias points at, in the order in which their keys were registered.

        Args:
            model_set: Name of the model set.
            alias: The alias to follow; ``latest`` for every key's newest version.
            where: An SQL expression over the table returned and the key columns: ``metric > 1 AND region = 'N'``.
            level: Only this rung; empty for keys; all when None.
            limit: At most so many.
            offset: After so many.

        Returns:
            ``key_id``, ``level``, ``key`` (as people write it), ``version``, ``run_id``, ``candidate``, ``metric``,
            ``cutoff``, ``seconds``, ``stale_since``: the run in which the key failed last, where no newer version came after
            it.

        Raises:
            UsageError: ``where`` is no expression over these columns.
            NotFoundError: The model set or alias is not there.
        """

        def work(connection: sa.Connection) -> Any:
            owner = self._model_set(connection, model_set)
            same = ("key", "key_id", "level", "display", "candidate", "metric", "cutoff", "seconds")
            page = (limit, offset) if where is None else (None, 0)
            fleet = read_fleet(
                self._db,
                connection,
                pointed_at(self._alias(connection, owner, alias)),
                (*same, "run") if where is None else (*same, "run", "canonical"),
                level=level,
                limit=page[0],
                offset=page[1],
            )
            facts = run_facts(connection, owner, "number", "run_id")
            table = pa.table(
                {
                    "key_id": fleet.column("key_id"),
                    "level": fleet.column("level"),
                    "key": fleet.column("display"),
                    "version": looked_up(fleet.column("run"), facts["number"], pa.int64()),
                    "run_id": looked_up(fleet.column("run"), facts["run_id"], pa.string()),
                    "candidate": fleet.column("candidate").cast(pa.string()),
                    **{name: fleet.column(name) for name in ("metric", "cutoff", "seconds")},
                    "stale_since": stale_since(
                        connection, owner, self._alias(connection, owner, LATEST), fleet.column("key")
                    ).cast(pa.string()),
                }
            )
            return table if where is None else (table, fleet.column("canonical"))

        found = self._db.read(work)
        if where is None:
            return found
        from manymodels.registry.filters import matching

        table, canonical = found
        return matching(table, canonical, self.key_columns(model_set), where).slice(offset, limit)

    def model_history(self, model_set: str, key_id: str, *, level: str = "") -> ModelHistory:
        """Every published version of one key, and every move of its aliases.

        Raises:
            NotFoundError: The model set or the key is not there.
        """
        digest = digests([key_id])[0]

        def work(connection: sa.Connection) -> ModelHistory:
            owner = self._model_set(connection, model_set)
            mine = sa.and_(keys.c.model_set == owner, keys.c.level == level, keys.c.key_id == digest)
            key = connection.execute(sa.select(keys.c.id, keys.c.display).where(mine)).first()
            if key is None:
                raise NotFoundError(
                    f"no such key in {model_set!r}; `manymodels models list` lists them", key=key_id
                )
            return ModelHistory(
                key_id=key_id,
                key=key.display,
                level=level,
                stale_since=stale_since(
                    connection, owner, self._alias(connection, owner, LATEST), pa.chunked_array([[key.id]])
                )[0].as_py(),
                versions=tuple(_versions(connection, owner, key.id)),
                moves=tuple(_moves_of(connection, owner, key.id)),
                decisions=tuple(decisions_of(connection, owner, key.id, judged)),
            )

        def judged(outcomes_path: str) -> float | None:
            return _champion_metric(self.storage, outcomes_path, key_id) if level == "" else None

        return self._db.read(work)

    def failures(self, run_id: str) -> list[Signature]:
        """A run's failures, those that look the same together, the most frequent first.

        Where more than ``MANY`` messages of one error at one place differ in words too, they are one failure: its message
        is what they have in common. Rungs of the ladder are no keys, and not among them.

        Raises:
            NotFoundError: There is no such run.
        """

        def work(connection: sa.Connection) -> list[Signature]:
            run = self._run(connection, run_id).id
            of_keys = sa.and_(failures.c.run == run, keys.c.level == "")
            joined = failures.join(keys, keys.c.id == failures.c.key)
            place = sa.func.row_number().over(partition_by=failures.c.signature, order_by=failures.c.key)
            ranked = (
                sa.select(failures.c.signature, failures.c.key, place.label("place"))
                .select_from(joined)
                .where(of_keys)
                .subquery()
            )
            examples: dict[int, list[tuple[str, str]]] = {}
            shown = (
                sa.select(ranked.c.signature, keys.c.display, keys.c.key_id)
                .join(keys, keys.c.id == ranked.c.key)
                .where(ranked.c.place <= _EXAMPLES)
                .order_by(ranked.c.signature, ranked.c.place)
            )
            for signature, display, key_id in connection.execute(shown):
                examples.setdefault(signature, []).append((display, key_id.hex()))
            counted = (
                sa.select(failures.c.signature, sa.func.count().label("count"))
                .select_from(joined)
                .where(of_keys)
                .group_by(failures.c.signature)
                .subquery()
            )
            lines = connection.execute(
                sa.select(signatures, counted.c.count)
                .join(counted, counted.c.signature == signatures.c.id)
                .order_by(counted.c.count.desc(), signatures.c.id)
            )
            return _few(
                Signature(
                    cause=line.cause,
                    error=line.error,
                    message=line.message,
                    frame=line.frame,
                    traceback=line.traceback,
                    count=line[-1],
                    keys=tuple(display for display, _ in examples[line.id]),
                    key_ids=tuple(key_id for _, key_id in examples[line.id]),
                )
                for line in lines
            )

        return self._db.read(work)

    def compare(self, run_a: str, run_b: str, *, higher_is_better: bool = False) -> pa.Table:
        """Every key's newest version as of two runs, side by side.

        Args:
            run_a: A published run.
            run_b: Another one of the same model set.
            higher_is_better: Of the metric.

        Returns:
            ``key_id``, ``key`` (as people write it), ``version_a``, ``version_b``, ``metric_a``, ``metric_b``,
            ``change`` (b minus a) and ``verdict``: ``better``, ``worse``, ``same``, ``unknown`` (a metric is
            missing, or the two were evaluated in different ways), ``new`` or ``gone``.

        Raises:
            NotFoundError: One of the runs is not there or not published, or they are of two model sets.
        """

        def work(connection: sa.Connection) -> tuple[pa.Table, pa.Table]:
            first = self._published(connection, run_a)
            second = self._published(connection, run_b, first.model_set)
            names = ("key", "key_id", "display", "run", "metric")
            evaluations = run_facts(connection, first.model_set, "evaluation")["evaluation"]
            a, b = (read_fleet(self._db, connection, as_of(run), names, level="") for run in (first, second))
            numbers = run_facts(connection, first.model_set, "number")["number"]
            return _versioned(a, numbers, evaluations, "a"), _versioned(b, numbers, evaluations, "b")

        a, b = self._db.read(work)
        both = a.join(b, ["key", "key_id", "display"], join_type="full outer").sort_by("key")
        comparable = pc.equal(both.column("evaluation_a"), both.column("evaluation_b"))
        change = pc.subtract(both.column("metric_b"), both.column("metric_a"))
        change = pc.if_else(comparable, change, pa.scalar(None, pa.float64()))
        gain = change if higher_is_better else pc.negate(change)
        old, new = both.column("version_a"), both.column("version_b")
        cases = {
            "new": pc.is_null(old),
            "gone": pc.is_null(new),
            "same": pc.or_kleene(pc.equal(old, new), pc.equal(change, 0.0)),
            "unknown": pc.is_null(change),
            "better": pc.greater(gain, 0.0),
        }
        conditions = pc.make_struct(
            *(pc.fill_null(case, False) for case in cases.values()), field_names=cases
        )
        shown = both.select(["key_id", "display", "version_a", "version_b", "metric_a", "metric_b"])
        return (
            shown.rename_columns({"display": "key"})
            .append_column("change", change)
            .append_column("verdict", pc.case_when(conditions, *cases, "worse"))
        )


def _few(signatures: Iterable[Signature]) -> list[Signature]:
    """The signatures, with those of one error at one place merged where they are too many to read."""
    places: dict[tuple[str, str, str], list[Signature]] = {}
    for line in signatures:
        places.setdefault((line.cause, line.error, line.frame), []).append(line)
    found: list[Signature] = []
    for lines in places.values():
        if len(lines) > MANY:
            keys = [key for line in lines for key in line.keys][:_EXAMPLES]
            key_ids = [key_id for line in lines for key_id in line.key_ids][:_EXAMPLES]
            lines = [
                replace(
                    lines[0],
                    message=common_form(line.message for line in lines),
                    count=sum(line.count for line in lines),
                    keys=tuple(keys),
                    key_ids=tuple(key_ids),
                )
            ]
        found += lines
    return sorted(found, key=lambda line: -line.count)


def _champion_metric(storage: Storage, path: str, key_id: str) -> float | None:
    """What a run's outcomes say of the configuration of a key's champion; None where they are gone, or say nothing."""
    if not path or not storage.exists(path):
        return None
    file = pq.ParquetFile(pa.BufferReader(storage.read(path)))
    if "champion_metric" not in file.schema_arrow.names:  # of an older version
        return None
    table = file.read(["key_id", "level", "champion_metric"])
    mine = pc.and_(pc.equal(table.column("key_id"), key_id), pc.equal(table.column("level"), ""))
    values: list[float | None] = table.filter(mine).column("champion_metric").to_pylist()
    return values[0] if values else None


def _versioned(fleet: pa.Table, numbers: dict[int, Any], evaluations: dict[int, Any], side: str) -> pa.Table:
    return pa.table(
        {
            **{name: fleet.column(name) for name in ("key", "key_id", "display")},
            f"version_{side}": looked_up(fleet.column("run"), numbers, pa.int64()),
            f"metric_{side}": fleet.column("metric"),
            f"evaluation_{side}": looked_up(fleet.column("run"), evaluations, pa.string()),
        }
    )


def _versions(connection: sa.Connection, model_set: int, key: int) -> Iterable[ModelRow]:
    """The published versions of a key, newest first."""
    pointing = (
        sa.select(aliases.c.run, alias_names.c.name)
        .join(alias_names, alias_names.c.id == aliases.c.alias)
        .where(aliases.c.key == key, alias_names.c.model_set == model_set)
    )
    names: dict[int, list[str]] = {}
    for run, name in connection.execute(pointing):
        names.setdefault(run, []).append(name)
    statement = (
        sa.select(
            versions,
            runs.c.number,
            runs.c.run_id,
            runs.c.ended,
            segments.c.path,
            segments.c.sha256,
            segments.c.retired,
            candidates.c.name.label("candidate_name"),
        )
        .join(runs, runs.c.id == versions.c.run)
        .join(segments, segments.c.id == versions.c.segment)
        .join(candidates, candidates.c.id == versions.c.candidate)
        .where(runs.c.model_set == model_set, runs.c.published, versions.c.key == key)
        .order_by(runs.c.number.desc())
    )
    for line in connection.execute(statement):
        yield ModelRow(
            version=line.number,
            run_id=line.run_id,
            candidate=line.candidate_name,
            metric=line.metric,
            cutoff=line.cutoff,
            seconds=line.seconds,
            content="" if line.content is None else line.content.hex(),
            trained=None if line.ended is None else moment(line.ended),
            segment=line.path,
            segment_row=line.segment_row,
            sha256=line.sha256.hex(),
            retired=None if line.retired is None else moment(line.retired),
            aliases=tuple(sorted(names.get(line.run, ()))),
        )


def _moves_of(connection: sa.Connection, model_set: int, key: int) -> Iterable[AliasMove]:
    """The moves of a key's aliases, newest first."""
    before, after = runs.alias("before_run"), runs.alias("after_run")
    statement = (
        sa.select(
            alias_moves,
            alias_events,
            alias_names.c.name,
            before.c.number.label("version_before"),
            after.c.number.label("version_after"),
        )
        .select_from(
            alias_events.join(alias_moves, alias_moves.c.event == alias_events.c.id)
            .join(alias_names, alias_names.c.id == alias_events.c.alias)
            .outerjoin(before, before.c.id == alias_moves.c.before)
            .outerjoin(after, after.c.id == alias_moves.c.after)
        )
        .where(alias_events.c.model_set == model_set, alias_moves.c.key == key)
        .order_by(alias_events.c.id.desc())
    )
    for line in connection.execute(statement):
        yield AliasMove(
            event=line.event,
            kind=line.kind,
            alias=line.name,
            at=moment(line.at),
            by=line.by,
            why=line.why,
            before=line.version_before,
            after=line.version_after,
            undone=line.undone,
        )
