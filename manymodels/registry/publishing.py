"""Publication: one transaction that makes a run's versions visible and moves aliases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from manymodels.exceptions import ConflictError, RegistryError
from manymodels.registry.columns import digest_column, storable
from manymodels.registry.connected import micros_now, whoami
from manymodels.registry.database import Database
from manymodels.registry.events import Events
from manymodels.registry.records import LATEST, Promotion, RunState
from manymodels.registry.runs import make_aliases
from manymodels.registry.schema import alias_events, alias_moves, aliases, keys, runs, versions
from manymodels.registry.staging import caller_decisions

__all__ = ["Publishing", "apply_moves", "count_moves", "settle", "show_versions"]


class Publishing(Events):
    """Making runs visible."""

    def publish_run(
        self,
        run_id: str,
        *,
        state: RunState,
        counts: Mapping[str, int],
        seconds: float,
        startup_seconds: float,
        outcomes_path: str,
        promotion: Promotion | None = None,
        decisions: pa.Table | None = None,
        by: str | None = None,
        why: str = "published",
        reason: str = "",
    ) -> int:
        """Make a run's versions visible, and move the alias where promotion says so, all in one transaction.

        Promotion looks at every key's newest version that it has not decided on yet. Without a champion it becomes
        one; with rule ``better`` it must beat the champion; when they cannot be compared, because one has no metric
        or the job's evaluation changed, the newest wins. Rungs of the ladder do not compete: the newest is promoted.
        A run as of a date (``Promotion.as_of``) replaces nothing that was trained on later rows, be it key or rung.

        Args:
            run_id: The run.
            state: ``completed``, or ``failed_gate`` when too many keys failed: then nothing is promoted.
            counts: State to keys.
            seconds: Wall time without start-up.
            startup_seconds: Cluster start and imports.
            outcomes_path: The outcomes of all keys, relative to the store's root.
            promotion: What to promote; None is nothing.
            decisions: ``key_id`` and ``promote`` (boolean): decided by the caller instead of the rule.
            by: Who; the user when None.
            why: Recorded with the change of aliases.
            reason: Why the gate was not passed.

        Returns:
            Keys whose alias moved (rungs are not counted). A run that is published already stays as it is.

        Raises:
            NotFoundError: There is no such run.
            ConflictError: The run does not run any more.
            RegistryError: The database could not be used.
        """
        if state not in ("completed", "failed_gate"):
            raise RegistryError(f"a run is published as completed or failed_gate, found {state!r}")
        promotes = state == "completed" and promotion is not None and promotion.rule != "never"
        now = micros_now()
        values = {
            "state": state,
            "published": True,
            "reason": storable(reason),
            "counts": json.dumps(dict(counts)),
            "seconds": seconds,
            "startup_seconds": startup_seconds,
            "outcomes_path": outcomes_path,
            "ended": now,
            "heartbeat": now,
        }

        def work(connection: sa.Connection) -> int:
            owner = self._model_set(connection, self._run(connection, run_id).name, lock=True)
            run = self._run(connection, run_id, lock=True)
            if run.published:
                return int(run.promoted)
            if run.state != "running":
                raise ConflictError(
                    f"run {run_id} cannot be published, its state is {run.state}; `manymodels runs resume` continues it",
                    run=run_id,
                )
            connection.execute(sa.update(runs).where(runs.c.id == run.id).values(values))
            latest = self._alias(connection, owner, LATEST)
            show_versions(self._db, connection, latest, run.id)
            alias = None
            if promotes and promotion is not None:
                make_aliases(connection, owner, (promotion.alias,))
                alias = self._alias(connection, owner, promotion.alias)
            event = self._add_event(
                connection,
                kind="publish",
                model_set=owner,
                alias=alias,
                run=run.id,
                by=by or whoami(),
                why=why,
            )
            promoted = 0
            if alias is not None and promotion is not None:
                if decisions is not None:
                    self._fill_decisions(connection, decisions)
                moves = _moves(event, latest, alias, promotion, decided_by_caller=decisions is not None)
                connection.execute(
                    sa.insert(alias_moves).from_select(["event", "key", "before", "after"], moves)
                )
                settle(self._db, connection, event, latest, alias)
                promoted = count_moves(connection, event)
                connection.execute(sa.update(runs).where(runs.c.id == run.id).values(promoted=promoted))
            return promoted

        promoted = self._db.write(work)
        self.write_events()
        return promoted

    def overtaken(self, run_id: str) -> dict[str, int]:
        """Newer runs that were published before this one, and how many of its keys they have newer versions of.

        This run's versions of those keys were never the newest, so promotion has not looked at them.

        Raises:
            NotFoundError: There is no such run.
        """
        mine, theirs = versions.alias("mine"), versions.alias("theirs")
        this, earlier = alias_events.alias("this"), alias_events.alias("earlier")

        def work(connection: sa.Connection) -> dict[str, int]:
            run = self._run(connection, run_id)
            first = (
                sa.select(runs.c.id, runs.c.run_id)
                .join(earlier, sa.and_(earlier.c.run == runs.c.id, earlier.c.kind == "publish"))
                .join(this, sa.and_(this.c.run == run.id, this.c.kind == "publish", this.c.id > earlier.c.id))
                .where(runs.c.model_set == run.model_set, runs.c.id > run.id)
            )
            names = {line.id: line.run_id for line in connection.execute(first)}
            newest = (
                sa.select(mine.c.key, sa.func.max(theirs.c.run).label("run"))
                .join(theirs, theirs.c.key == mine.c.key)
                .join(keys, keys.c.id == mine.c.key)
                .where(mine.c.run == run.id, theirs.c.run.in_(list(names)), keys.c.level == "")
                .group_by(mine.c.key)
                .subquery()
            )
            counted = sa.select(newest.c.run, sa.func.count()).group_by(newest.c.run)
            return {names[line[0]]: line[1] for line in connection.execute(counted)} if names else {}

        return self._db.read(work)

    def _fill_decisions(self, connection: sa.Connection, table: pa.Table) -> None:
        columns = [digest_column(table.column("key_id")), table.column("promote")]
        self._db.fill(connection, caller_decisions, columns)


def _moves(
    event: int, latest: int, alias: int, promotion: Promotion, *, decided_by_caller: bool
) -> sa.Select[Any]:
    """Event, key, run before and run after, of every key whose alias is to move."""
    newest, current = aliases.alias("newest"), aliases.alias("current")
    new, old = versions.alias("new"), versions.alias("old")
    new_run, old_run = runs.alias("new_run"), runs.alias("old_run")
    wins: sa.ColumnElement[bool] = sa.true()
    if promotion.rule == "better":
        gain = new.c.metric - old.c.metric if promotion.higher_is_better else old.c.metric - new.c.metric
        beats = gain > 0
        if promotion.min_gain:
            beats = sa.and_(beats, gain >= promotion.min_gain * sa.func.abs(old.c.metric))
        wins = sa.or_(
            current.c.run.is_(None),
            new.c.metric.is_(None),
            old.c.metric.is_(None),
            new_run.c.evaluation != old_run.c.evaluation,
            beats,
        )
    # What has the alias comes first: it tells which keys are decided on, whose versions need no look.
    joined = (
        newest.outerjoin(current, sa.and_(current.c.alias == alias, current.c.key == newest.c.key))
        .join(keys, keys.c.id == newest.c.key)
        .join(new, sa.and_(new.c.run == newest.c.run, new.c.key == newest.c.key))
        .join(new_run, new_run.c.id == newest.c.run)
        .outerjoin(old, sa.and_(old.c.run == current.c.run, old.c.key == current.c.key))
        .outerjoin(old_run, old_run.c.id == current.c.run)
    )
    if decided_by_caller:
        joined = joined.outerjoin(
            caller_decisions, sa.and_(caller_decisions.c.key_id == keys.c.key_id, keys.c.level == "")
        )
        # The same value on the same rows for the same job is a tie; a champion fitted again is no rival of itself.
        tied = sa.and_(
            current.c.run.is_not(None),
            new.c.metric == old.c.metric,
            new.c.content == old.c.content,
            new.c.candidate != old.c.candidate,
            new_run.c.job_hash == old_run.c.job_hash,
        )
        decided = sa.and_(caller_decisions.c.promote, sa.not_(sa.func.coalesce(tied, sa.false())))
        wins = sa.case((caller_decisions.c.promote.is_(None), wins), else_=decided)
    wins = sa.or_(keys.c.level != "", wins)
    if promotion.as_of is not None:
        wins = sa.and_(wins, _no_older(current, old, alias, promotion.as_of))
    return (
        sa.select(sa.literal(event), newest.c.key, current.c.run, newest.c.run)
        .select_from(joined)
        .where(
            newest.c.alias == latest,
            sa.or_(current.c.decided.is_(None), current.c.decided < newest.c.run),
            newest.c.run.is_distinct_from(current.c.run),
            wins,
        )
    )


def _no_older(current: sa.FromClause, old: sa.FromClause, alias: int, as_of: int) -> sa.ColumnElement[bool]:
    """Whether what has the alias saw no row after a moment. A rung has no cutoff of its own: its run's keys tell."""
    serving = (
        sa.select(aliases.c.run)
        .join(keys, keys.c.id == aliases.c.key)
        .where(aliases.c.alias == alias, keys.c.level != "")
    )
    later = sa.select(versions.c.run).where(versions.c.run.in_(serving), versions.c.cutoff > as_of)
    return sa.or_(
        current.c.run.is_(None),
        sa.and_(keys.c.level == "", sa.or_(old.c.cutoff.is_(None), old.c.cutoff <= as_of)),
        sa.and_(keys.c.level != "", current.c.run.not_in(later)),
    )


def show_versions(database: Database, connection: sa.Connection, latest: int, run: int) -> None:
    """Point ``latest`` at a run's versions, where they are the newest."""
    found = sa.select(sa.literal(latest), versions.c.key, versions.c.run).where(versions.c.run == run)
    add = database.upsert(aliases).from_select(["alias", "key", "run"], found)
    newer = sa.or_(aliases.c.run.is_(None), aliases.c.run < add.excluded.run)
    connection.execute(
        add.on_conflict_do_update(
            index_elements=["alias", "key"], set_={"run": add.excluded.run}, where=newer
        )
    )


def apply_moves(database: Database, connection: sa.Connection, event: int, alias: int) -> None:
    """Point the alias where an event's moves say."""
    found = sa.select(sa.literal(alias), alias_moves.c.key, alias_moves.c.after).where(
        alias_moves.c.event == event
    )
    add = database.upsert(aliases).from_select(["alias", "key", "run"], found)
    connection.execute(
        add.on_conflict_do_update(index_elements=["alias", "key"], set_={"run": add.excluded.run})
    )


def settle(database: Database, connection: sa.Connection, event: int, latest: int, alias: int) -> None:
    """Point the alias where a publication's moves say, and record that every newest version is decided on."""
    newest, current = aliases.alias("newest"), aliases.alias("current")
    found = (
        sa.select(
            sa.literal(alias),
            newest.c.key,
            sa.func.coalesce(alias_moves.c.after, current.c.run),
            newest.c.run,
        )
        .select_from(
            newest.outerjoin(
                current, sa.and_(current.c.alias == alias, current.c.key == newest.c.key)
            ).outerjoin(alias_moves, sa.and_(alias_moves.c.event == event, alias_moves.c.key == newest.c.key))
        )
        .where(
            newest.c.alias == latest, sa.or_(current.c.decided.is_(None), current.c.decided < newest.c.run)
        )
    )
    add = database.upsert(aliases).from_select(["alias", "key", "run", "decided"], found)
    changed = {"run": add.excluded.run, "decided": add.excluded.decided}
    connection.execute(add.on_conflict_do_update(index_elements=["alias", "key"], set_=changed))


def count_moves(connection: sa.Connection, event: int) -> int:
    """Count an event's moves of keys (not of rungs), and keep the count with the event."""
    statement = (
        sa.select(sa.func.count())
        .select_from(alias_moves.join(keys, keys.c.id == alias_moves.c.key))
        .where(alias_moves.c.event == event, keys.c.level == "")
    )
    moved: int = connection.execute(statement).scalar_one()
    connection.execute(sa.update(alias_events).where(alias_events.c.id == event).values(moved=moved))
    return moved
