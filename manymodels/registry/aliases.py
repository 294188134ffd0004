"""Moving aliases by hand: a whole fleet, or some of its keys, in one transaction of a few statements."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from manymodels.exceptions import NotFoundError, UsageError
from manymodels.registry.connected import whoami
from manymodels.registry.events import Events, event_record, event_select
from manymodels.registry.fleets import as_of, pointed_at
from manymodels.registry.publishing import apply_moves, count_moves
from manymodels.registry.records import LATEST, AliasEvent
from manymodels.registry.runs import make_aliases
from manymodels.registry.schema import alias_events, alias_moves, aliases, keys, runs, segments, versions
from manymodels.registry.staging import undoing, wanted

__all__ = ["Aliases", "undo"]


class Aliases(Events):
    """Promotion and rollback by hand."""

    def promote(
        self,
        model_set: str,
        *,
        alias: str = "champion",
        run: str | None = None,
        version: int | None = None,
        from_alias: str | None = None,
        key_ids: Iterable[str] | None = None,
        every: bool = True,
        by: str | None = None,
        why: str = "",
        filter: str = "",
    ) -> AliasEvent:
        """Point an alias at other versions.

        Args:
            model_set: Name of the model set.
            alias: The alias that moves; made when it is new.
            run: Every key's newest version as of this run: what scoring with the run would use.
            version: This version, for the keys that have it.
            from_alias: What another alias points at.
            key_ids: Only these keys; the whole fleet, rungs included, when None.
            every: Whether each of ``key_ids`` must have such a version; else those that do are promoted.
            by: Who; the user when None.
            why: Why.
            filter: How ``key_ids`` were chosen, for the record.

        Raises:
            UsageError: Not exactly one of ``run``, ``version`` and ``from_alias``, or an alias that cannot move.
            NotFoundError: The model set, run, version, alias or one of the keys is not there.
            RegistryError: The database could not be used.
        """
        if sum(choice is not None for choice in (run, version, from_alias)) != 1:
            raise UsageError("promote takes exactly one of a run, a version, or another alias")
        if alias == LATEST:
            raise UsageError(f"the alias {LATEST!r} moves by itself; promote another one")
        if alias == from_alias:
            raise UsageError(f"the alias {alias!r} points there already")
        token = uuid.uuid4().hex

        def work(connection: sa.Connection) -> AliasEvent:
            mine = connection.execute(event_select.where(alias_events.c.token == token)).first()
            if mine is not None:
                return event_record(mine)
            owner = self._model_set(connection, model_set, lock=True)
            make_aliases(connection, owner, (alias,))
            moving = self._alias(connection, owner, alias)
            asked = self._target(connection, owner, run, version, from_alias)
            if key_ids is None:
                target = asked.subquery()
                if connection.execute(sa.select(target.c.key).limit(1)).first() is None:
                    raise NotFoundError(
                        f"no models of {model_set!r} to promote: no key has what was asked for"
                    )
            else:
                target = self._chosen(connection, asked, owner, key_ids, every=every).subquery()
            event = self._add_event(
                connection,
                kind="promote",
                model_set=owner,
                alias=moving,
                by=by or whoami(),
                why=why,
                selection=filter,
                token=token,
            )
            current = aliases.alias("current")
            moves = (
                sa.select(sa.literal(event), target.c.key, current.c.run, target.c.run)
                .select_from(
                    target.outerjoin(
                        current, sa.and_(current.c.alias == moving, current.c.key == target.c.key)
                    )
                )
                .where(target.c.run.is_distinct_from(current.c.run))
            )
            connection.execute(sa.insert(alias_moves).from_select(["event", "key", "before", "after"], moves))
            _refuse_given_up(connection, event)
            apply_moves(self._db, connection, event, moving)
            count_moves(connection, event)
            return event_record(connection.execute(event_select.where(alias_events.c.id == event)).one())

        done = self._db.write(work)
        self.write_events()
        return done

    def rollback(
        self,
        model_set: str,
        *,
        alias: str = "champion",
        key_ids: Iterable[str] | None = None,
        steps: int = 1,
        by: str | None = None,
        why: str = "",
        filter: str = "",
    ) -> AliasEvent:
        """Undo the last changes of an alias: it points again where it pointed before them.

        Args:
            model_set: Name of the model set.
            alias: The alias.
            key_ids: Only these keys, each by its own last moves; when None, the last changes of the alias as a
                whole are undone, for the keys that they moved.
            steps: How many changes to undo.
            by: Who; the user when None.
            why: Why.
            filter: How ``key_ids`` were chosen, for the record.

        Raises:
            UsageError: ``steps`` is less than 1.
            NotFoundError: The model set, the alias or one of the keys is not there, or nothing is left to undo.
            RegistryError: The database could not be used.
        """
        if steps < 1:
            raise UsageError(f"rollback takes at least 1 step, found {steps}")
        token = uuid.uuid4().hex

        def work(connection: sa.Connection) -> AliasEvent:
            mine = connection.execute(event_select.where(alias_events.c.token == token)).first()
            if mine is not None:
                return event_record(mine)
            owner = self._model_set(connection, model_set, lock=True)
            moving = self._alias(connection, owner, alias)
            standing = (
                sa.select(alias_moves.c.event, alias_moves.c.key, alias_moves.c.before)
                .join(alias_events, alias_events.c.id == alias_moves.c.event)
                .where(
                    alias_events.c.alias == moving,
                    alias_events.c.kind != "rollback",
                    alias_moves.c.undone.is_(None),
                )
            )
            if key_ids is None:
                last = self._last_events(connection, moving, steps)
                chosen = standing.where(alias_events.c.id.in_(last))
            else:
                chosen = self._last_moves(connection, standing, owner, key_ids, steps)
            self._db.fill(connection, undoing, [[], [], []])
            connection.execute(sa.insert(undoing).from_select(["event", "key", "before"], chosen))
            if connection.execute(sa.select(undoing.c.key).limit(1)).first() is None:
                raise NotFoundError(
                    f"nothing to roll back: no change of alias {alias!r} of {model_set!r} is left"
                )
            event = self._add_event(
                connection,
                kind="rollback",
                model_set=owner,
                alias=moving,
                by=by or whoami(),
                why=why,
                selection=filter,
                token=token,
            )
            place = sa.func.row_number().over(partition_by=undoing.c.key, order_by=undoing.c.event)
            ranked = sa.select(undoing, place.label("place")).subquery()
            current = aliases.alias("current")
            moves = (
                sa.select(sa.literal(event), ranked.c.key, current.c.run, ranked.c.before, ranked.c.event)
                .select_from(
                    ranked.join(current, sa.and_(current.c.alias == moving, current.c.key == ranked.c.key))
                )
                .where(ranked.c.place == 1)  # where the alias pointed before all that is undone
            )
            connection.execute(
                sa.insert(alias_moves).from_select(["event", "key", "before", "after", "undoes"], moves)
            )
            undo(connection, event)
            _refuse_given_up(connection, event)
            apply_moves(self._db, connection, event, moving)
            count_moves(connection, event)
            return event_record(connection.execute(event_select.where(alias_events.c.id == event)).one())

        done = self._db.write(work)
        self.write_events()
        return done

    def _target(
        self,
        connection: sa.Connection,
        model_set: int,
        run: str | None,
        version: int | None,
        from_alias: str | None,
    ) -> sa.Select[Any]:
        """Key and run of what is to be promoted."""
        if run is not None:
            return as_of(self._published(connection, run, model_set))
        if version is not None:
            found = connection.execute(
                sa.select(runs.c.id).where(
                    runs.c.model_set == model_set, runs.c.number == version, runs.c.published
                )
            ).scalar()
            if found is None:
                raise NotFoundError(
                    f"no version {version} is published; `manymodels runs list` lists the runs"
                )
            return sa.select(versions.c.key, versions.c.run).where(versions.c.run == found)
        return pointed_at(self._alias(connection, model_set, str(from_alias)))

    def _chosen(
        self,
        connection: sa.Connection,
        asked: sa.Select[Any],
        model_set: int,
        key_ids: Iterable[str],
        *,
        every: bool,
    ) -> sa.Select[Any]:
        """Those of the models asked for whose keys are wanted: all of them must be there, or at least one.

        The keys are found first, and the models by them: of one key, nobody looks at the others.
        """
        expected = self._want(connection, key_ids)
        chosen = asked.where(asked.selected_columns.key.in_(_wanted_keys(model_set)))
        found = connection.execute(sa.select(sa.func.count()).select_from(chosen.subquery())).scalar_one()
        if found < (expected if every else 1):
            raise NotFoundError(
                f"{expected - found:,} of {expected:,} keys have no such model; nothing was promoted; "
                "`manymodels models list` shows what there is"
            )
        return chosen

    def _last_events(self, connection: sa.Connection, alias: int, steps: int) -> list[int]:
        """The last events of an alias of which something is left to undo."""
        left = sa.exists().where(alias_moves.c.event == alias_events.c.id, alias_moves.c.undone.is_(None))
        statement = (
            sa.select(alias_events.c.id)
            .where(alias_events.c.alias == alias, alias_events.c.kind != "rollback", left)
            .order_by(alias_events.c.id.desc())
            .limit(steps)
        )
        return list(connection.execute(statement).scalars())

    def _last_moves(
        self,
        connection: sa.Connection,
        standing: sa.Select[Any],
        model_set: int,
        key_ids: Iterable[str],
        steps: int,
    ) -> sa.Select[Any]:
        """The last moves of every wanted key."""
        expected = self._want(connection, key_ids)
        known = _wanted_keys(model_set)
        found = connection.execute(sa.select(sa.func.count()).select_from(known.subquery())).scalar_one()
        if found != expected:
            raise NotFoundError(f"{expected - found:,} of {expected:,} keys are not in this model set")
        place = sa.func.row_number().over(partition_by=alias_moves.c.key, order_by=alias_moves.c.event.desc())
        ranked = standing.add_columns(place.label("place")).where(alias_moves.c.key.in_(known)).subquery()
        return sa.select(ranked.c.event, ranked.c.key, ranked.c.before).where(ranked.c.place <= steps)


def _wanted_keys(model_set: int) -> sa.Select[Any]:
    """The registry's own ids of the keys in the table ``wanted``, each found by its key id."""
    return sa.select(keys.c.id).where(
        keys.c.model_set == model_set, keys.c.level == "", keys.c.key_id.in_(sa.select(wanted.c.key_id))
    )


def _refuse_given_up(connection: sa.Connection, event: int) -> None:
    """Refuse an event that would point an alias at a model that garbage collection has given up."""
    lost = (
        sa.select(sa.func.count())
        .select_from(
            alias_moves.join(
                versions,
                sa.and_(versions.c.key == alias_moves.c.key, versions.c.run == alias_moves.c.after),
            ).join(segments, segments.c.id == versions.c.segment)
        )
        .where(alias_moves.c.event == event, segments.c.retired.is_not(None))
    )
    count = connection.execute(lost).scalar_one()
    if count:
        raise NotFoundError(
            f"the alias would point at {count:,} models that `manymodels store gc` has given up; nothing was moved; "
            "`manymodels models history` shows what there is"
        )


def undo(connection: sa.Connection, event: int) -> None:
    """Mark the moves listed in the table ``undoing`` as undone by a rollback."""
    connection.execute(
        sa.update(alias_moves)
        .where(alias_moves.c.event == undoing.c.event, alias_moves.c.key == undoing.c.key)
        .values(undone=event)
    )
