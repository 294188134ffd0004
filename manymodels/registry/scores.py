"""Scorings: who served what, when, and where the predictions are."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from manymodels.exceptions import NotFoundError, UsageError
from manymodels.redaction import redact
from manymodels.registry.columns import storable
from manymodels.registry.connected import Connected, micros_now, moment
from manymodels.registry.drivers import Driver
from manymodels.registry.records import RunState, ScoreRecord
from manymodels.registry.schema import model_sets, runs, scores
from manymodels.storage import Storage

__all__ = ["CLAIM", "ONE_FILE", "OUTPUT_MANIFEST", "Scores", "staging_of"]

OUTPUT_MANIFEST = "_manifest.json"
"""Written last into an output folder: it lists the parts, and a folder without it is not finished."""

CLAIM = "claim.json"
"""In the folder where an output is in the making: says who makes it."""

ONE_FILE = (".parquet", ".csv")
"""How outputs end that are one file."""


def staging_of(output: str, score_id: str) -> str:
    """The folder where an output is in the making: beside it on a disk, inside it where nothing can be renamed."""
    place = Storage.at(output)
    if place.is_local:
        return f"{place.root}.{score_id}.partial"
    return f"{place.root}.partial" if output.lower().endswith(ONE_FILE) else f"{place.root}/_scoring"


_select = (
    sa.select(*scores.c, model_sets.c.name, runs.c.run_id)
    .join(model_sets, model_sets.c.id == scores.c.model_set)
    .outerjoin(runs, runs.c.id == scores.c.run)
)


class Scores(Connected):
    """The record of scorings."""

    def start_score(
        self,
        *,
        model_set: str,
        input: str,
        output: str,
        alias: str | None = None,
        run_id: str | None = None,
    ) -> ScoreRecord:
        """Record that a scoring begins.

        Args:
            model_set: Name of the model set.
            input: Fingerprint of the input.
            output: Where the predictions will be.
            alias: The alias that serves.
            run_id: Or the run that serves.

        Raises:
            UsageError: Not exactly one of an alias and a run.
            NotFoundError: The model set or the run is not there.
        """
        if (alias is None) == (run_id is None):
            raise UsageError("a scoring is served by an alias or by a run")
        token = uuid.uuid4().hex
        now = micros_now()

        def work(connection: sa.Connection) -> ScoreRecord:
            mine = connection.execute(_select.where(scores.c.token == token)).first()
            if mine is None:
                owner = self._model_set(connection, model_set, lock=True)
                newest = connection.execute(
                    sa.select(sa.func.max(scores.c.number)).where(scores.c.model_set == owner)
                )
                number = (newest.scalar() or 0) + 1
                connection.execute(
                    sa.insert(scores).values(
                        score_id=f"{model_set}-score-{number:06d}",
                        model_set=owner,
                        number=number,
                        token=token,
                        alias=alias,
                        run=None if run_id is None else self._run(connection, run_id).id,
                        input=input,
                        output=storable(redact(output)),
                        state="running",
                        reason="",
                        counts="{}",
                        started=now,
                        driver=Driver.here().to_json(),
                        heartbeat=now,
                    )
                )
                mine = connection.execute(_select.where(scores.c.token == token)).one()
            return _record(mine)

        return self._db.write(work)

    def touch_score(self, score_id: str) -> None:
        """Record that the scoring's driver is alive."""
        statement = sa.update(scores).where(scores.c.score_id == score_id).values(heartbeat=micros_now())
        self._db.write(lambda connection: connection.execute(statement), lasting=False)

    def resume_score(self, score_id: str) -> bool:
        """Record that a scoring goes on that was stopped; False when there is none of this id, or it was finished.

        Raises:
            RegistryError: The database could not be used.
        """
        stopped = ("running", "failed", "interrupted")
        statement = (
            sa.update(scores)
            .where(scores.c.score_id == score_id, scores.c.state.in_(stopped))
            .values(
                state="running", reason="", ended=None, driver=Driver.here().to_json(), heartbeat=micros_now()
            )
        )
        return bool(self._db.write(lambda connection: connection.execute(statement).rowcount))

    def end_score(
        self,
        score_id: str,
        *,
        state: RunState,
        counts: Mapping[str, int],
        seconds: float,
        startup_seconds: float,
        reason: str = "",
    ) -> ScoreRecord:
        """Record how a scoring ended.

        Args:
            score_id: The scoring.
            state: ``completed``, ``failed_gate``, ``failed`` or ``interrupted``.
            counts: What became of the keys and rows.
            seconds: Wall time without start-up.
            startup_seconds: Cluster start and imports.
            reason: Why it failed.

        Raises:
            NotFoundError: There is no such scoring.
        """
        values = {
            "state": state,
            "counts": json.dumps(dict(counts)),
            "seconds": seconds,
            "startup_seconds": startup_seconds,
            "reason": storable(reason),
            "ended": micros_now(),
        }

        def work(connection: sa.Connection) -> ScoreRecord:
            connection.execute(sa.update(scores).where(scores.c.score_id == score_id).values(values))
            row = connection.execute(_select.where(scores.c.score_id == score_id)).first()
            if row is None:
                raise NotFoundError(f"no scoring {score_id!r} in {self.storage.root}")
            return _record(row)

        return self._db.write(work)

    def score(self, score_id: str) -> ScoreRecord:
        """A scoring by its id.

        Raises:
            NotFoundError: There is no such scoring.
        """
        found = self._db.read(
            lambda connection: connection.execute(_select.where(scores.c.score_id == score_id)).first()
        )
        if found is None:
            raise NotFoundError(f"no scoring {score_id!r} in {self.storage.root}")
        return _record(found)

    def scores(self, model_set: str | None = None, *, limit: int | None = 100) -> list[ScoreRecord]:
        """Scorings, newest first.

        Args:
            model_set: Only those of this model set.
            limit: At most so many.

        Raises:
            NotFoundError: There is no such model set.
        """

        def work(connection: sa.Connection) -> list[ScoreRecord]:
            statement = _select.order_by(scores.c.id.desc()).limit(limit)
            if model_set is not None:
                statement = statement.where(scores.c.model_set == self._model_set(connection, model_set))
            return [_record(row) for row in connection.execute(statement)]

        return self._db.read(work)


def _record(row: sa.Row[*tuple[Any, ...]]) -> ScoreRecord:
    return ScoreRecord(
        id=row.score_id,
        model_set=row.name,
        number=row.number,
        alias=row.alias,
        run_id=row.run_id,
        input=row.input,
        output=row.output,
        state=row.state,
        reason=row.reason,
        counts=json.loads(row.counts),
        started=moment(row.started),
        ended=None if row.ended is None else moment(row.ended),
        seconds=row.seconds,
        startup_seconds=row.startup_seconds,
    )
