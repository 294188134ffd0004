"""What publications decided on a key, told from what is kept anyway: its versions, and the moves of its aliases.

A publication that promotes decides on every key whose newest version is newer than at the alias's last such publication;
where it made no move, the champion was kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from manymodels.registry.connected import moment
from manymodels.registry.fleets import run_facts
from manymodels.registry.records import AliasDecision
from manymodels.registry.schema import alias_events, alias_moves, alias_names, runs, versions

__all__ = ["decisions_of"]


Judged = Callable[[str], float | None]
"""From the path of a run's outcomes to what the champion's configuration had on the run's windows."""


def decisions_of(connection: sa.Connection, model_set: int, key: int, judged: Judged) -> list[AliasDecision]:
    """The decisions on a key, newest first.

    Args:
        connection: In a transaction.
        model_set: The registry's own id of the model set.
        key: The registry's own id of the key.
        judged: Looks into a run's outcomes for the key.
    """
    # By run first, as the table is kept: it would be read whole for the key alone.
    mine = (
        sa.select(versions.c.run, versions.c.metric)
        .join(runs, runs.c.id == versions.c.run)
        .where(runs.c.model_set == model_set, versions.c.key == key)
    )
    metrics = {line.run: line.metric for line in connection.execute(mine)}
    moves = (
        sa.select(alias_events.c.alias, alias_moves.c.event, alias_moves.c.after)
        .join(alias_events, alias_events.c.id == alias_moves.c.event)
        .where(alias_events.c.model_set == model_set, alias_moves.c.key == key)
    )
    moved = {(line.alias, line.event): line.after for line in connection.execute(moves)}
    events = connection.execute(
        sa.select(
            alias_events.c.id,
            alias_events.c.kind,
            alias_events.c.at,
            alias_events.c.alias,
            alias_events.c.run,
            alias_names.c.name,
            runs.c.job,
            runs.c.outcomes_path,
        )
        .select_from(
            alias_events.outerjoin(alias_names, alias_names.c.id == alias_events.c.alias).outerjoin(
                runs, runs.c.id == alias_events.c.run
            )
        )
        .where(alias_events.c.model_set == model_set)
        .order_by(alias_events.c.id)
    )
    numbers = run_facts(connection, model_set, "number")["number"]
    return list(_decisions(events, metrics, moved, numbers, judged))[::-1]


def _decisions(
    events: Any,
    metrics: dict[int, float | None],
    moved: dict[tuple[int, int], int],
    numbers: dict[int, int],
    judged: Judged,
) -> Iterator[AliasDecision]:
    newest: int | None = None  # of the key's versions published so far, by run
    decided: dict[int, int] = {}  # by alias
    champions: dict[int, int | None] = {}
    for event in events:
        if event.kind == "publish" and event.run in metrics:
            newest = event.run if newest is None else max(newest, event.run)
        if event.alias is None:
            continue
        champion = champions.get(event.alias)
        taken = (event.alias, event.id) in moved
        if taken:
            champions[event.alias] = moved[event.alias, event.id]
        if event.kind != "publish" or newest is None or decided.get(event.alias, -1) >= newest:
            continue
        decided[event.alias] = newest
        if newest == champion:  # somebody had promoted it by hand
            continue
        job = json.loads(event.job)
        promotion = job.get("promotion", {})
        there = judged(event.outcomes_path) if champion is not None and event.run == newest else None
        yield AliasDecision(
            event=event.id,
            alias=event.name,
            at=moment(event.at),
            challenger=numbers[newest],
            champion=None if champion is None else numbers[champion],
            challenger_metric=metrics[newest],
            champion_metric=None if champion is None else metrics.get(champion) if there is None else there,
            promoted=taken,
            rule=promotion.get("rule", "better"),
            min_gain=promotion.get("min_gain", 0.0),
            as_of=job.get("data", {}).get("as_of"),
        )
