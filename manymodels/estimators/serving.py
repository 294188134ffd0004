"""Who serves which key after a fit: the keys' own models, then the rungs of the ladder."""

from __future__ import annotations

import warnings
from dataclasses import replace

from manymodels.exceptions import ModelError, RunError
from manymodels.job.job import Job
from manymodels.job.resolve import level_name
from manymodels.models.contract import FittedModel
from manymodels.partitioning.listing import displays
from manymodels.records import Rows
from manymodels.scoring.in_memory import MemoryLadder, MemoryRung
from manymodels.training.in_memory import MemoryRun

__all__ = ["check_failures", "ladder_of"]


def check_failures(run: MemoryRun, job: Job) -> None:
    """Refuse a run in which too much failed, and warn of rungs that could not be fitted.

    Raises:
        RunError: More keys failed than ``training.max_failed`` allows, or there is no model at all.
    """
    failed = [place for place, fitted in enumerate(run.keys) if fitted.outcome.state == "failed"]
    trained = sum(fitted.model is not None for fitted in run.keys)
    limit = job.training.max_failed
    if len(failed) > (limit if isinstance(limit, int) else limit * (trained + len(failed))):
        first = displays(run.rows, failed[:1])[0]
        raise RunError(
            f"{len(failed):,} of {trained + len(failed):,} keys failed, more than `max_failed` of `training` allows "
            f"({limit}); first {first}: {run.keys[failed[0]].outcome.reason}",
            key=first,
        )
    lost = [rung for rung in run.rungs if rung.model is None]
    if not trained and len(lost) == len(run.rungs):
        reasons = [rung.outcome.reason for rung in lost] or [run.keys[0].outcome.reason]
        raise RunError(f"none of {len(run.keys):,} keys has a model: {'; '.join(reasons)}")
    for rung in lost:
        warnings.warn(f"the fallback {rung.source} has no model: {rung.outcome.reason}", stacklevel=3)


def ladder_of(run: MemoryRun, job: Job) -> MemoryLadder:
    """Who serves which key. A forecast's rungs go on from the history of the keys that they serve."""
    ids = run.rows.manifest.column("key_id").to_pylist()
    own = {
        key_id: ("key", fitted.model)
        for key_id, fitted in zip(ids, run.keys, strict=True)
        if fitted.model is not None
    }
    rungs = []
    for entry in job.fallback:
        columns = () if isinstance(entry, str) else tuple(entry.level)
        source = entry if isinstance(entry, str) else level_name(entry.level)
        models = {
            rung.key_id: rung.model for rung in run.rungs if rung.source == source and rung.model is not None
        }
        rungs.append(MemoryRung(source, columns, models))
    forecast = job.task == "forecast"
    ladder = MemoryLadder(run.rows.details.key_kinds, own, tuple(rungs), always=not forecast)
    return replace(ladder, models={**own, **_continued(run, ladder)}) if forecast else ladder


def _continued(run: MemoryRun, ladder: MemoryLadder) -> dict[str, tuple[str, FittedModel]]:
    """The rungs' models of the keys without one of their own, continued over each key's history."""
    idle = [place for place, fitted in enumerate(run.keys) if fitted.model is None]
    if not idle:
        return {}
    keys = run.rows.manifest.take(idle)
    levels = list(run.rows.details.levels)
    lines = keys.select(["key_id", *(f"level:{name}" for name in levels)])
    frame, offsets = run.rows.read(keys)
    whole = Rows(frame)
    found: dict[str, tuple[str, FittedModel]] = {}
    for number, line in enumerate(lines.rename_columns(["key_id", *levels]).to_pylist()):
        history = whole.part(int(offsets[number]), int(offsets[number + 1]))
        for source, model in ladder.servers(line["key_id"], line):
            try:
                found[line["key_id"]] = source, model.extend(history)
                break
            except ModelError:
                continue
    return found
