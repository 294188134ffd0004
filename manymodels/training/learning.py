"""What a run learns before most of its keys are tried: from earlier runs, and from its own pilot.

The pilot is a seeded sample of the keys, on which everything is tried, in the run's first batches. Once all of it is done, what
it and earlier runs know becomes the run's lessons (``runs/<run>/lessons.json``), and the other keys are tried in the order that
these suggest. So a result depends on the seed and on which runs were published before this one began, never on who finishes
first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from manymodels.exceptions import ManyModelsError, NotFoundError
from manymodels.job.job import Job
from manymodels.job.resolve import Resolved
from manymodels.job.settings import load_settings
from manymodels.models.spec import CandidateSpec
from manymodels.registry import Registry, RunRecord
from manymodels.selection.lessons import Lessons
from manymodels.selection.traits import TRAITS
from manymodels.storage import Storage
from manymodels.training.incumbents import setting_of
from manymodels.training.outcome_table import parquet_bytes, read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "earlier_runs",
    "known_lessons",
    "learn",
    "pilot",
    "tried_all",
    "write_experience",
]

_RUNS = 3  # earlier runs that are asked
_KEYS = 300  # whose results travel with every batch
_LEAST, _SHARE, _MOST = 20, 0.05, 200  # keys of the pilot


def pilot(
    manifest: pa.Table,
    training: npt.NDArray[np.int64],
    job: Job,
    *,
    scouts: npt.NDArray[np.int64],
    known: int,
) -> npt.NDArray[np.int64] | None:
    """The keys on which everything is tried, beside the scouts.

    Args:
        manifest: Of the partition store.
        training: Its rows that are to be tried.
        job: That learns.
        scouts: Places in ``training`` that are in the pilot anyhow.
        known: Keys on which earlier runs tried everything.

    Returns:
        Places in ``training``, ascending; None where earlier runs know enough, and nobody needs to try everything.
    """
    asked = job.selection.pilot
    if isinstance(asked, int):
        size = asked
    elif asked is not None:
        size = round(asked * len(training))
    else:
        size = min(max(_LEAST, round(_SHARE * len(training))), _MOST)
    if known >= size:
        return None
    rest = np.setdiff1d(np.arange(len(training)), scouts)
    key_ids = manifest.column("key_id").take(training[rest]).to_pylist()
    size = max(size - known - len(scouts), 0)
    return np.sort(rest[_drawn(key_ids, "pilot", job.training.seed)[:size]])


def earlier_runs(registry: Registry, job: Job, resolved: Resolved) -> pa.Table:
    """What the newest finished runs of a model set tell of today's configurations.

    Returns:
        One row a key: ``traits`` and ``badness``, as ``_experience`` makes them; the keys on which most was tried first.
    """
    import pyarrow as pa

    now = {setting_of(candidate): place for place, candidate in enumerate(resolved.candidates)}
    found: list[pa.Table] = []
    try:
        runs = registry.runs(job.name, limit=None)
    except NotFoundError:
        runs = []
    for record in [run for run in runs if run.state == "completed" and run.published][:_RUNS]:
        table = _told_by(registry, record, resolved, now)
        if table is not None:
            found.append(table)
    whole = pa.concat_tables(found) if found else _nothing()
    key_ids = whole.column("key_id").to_pylist()
    tried = np.array([_tried(line) for line in whole.column("badness").to_pylist()], dtype=np.int64)
    drawn = _drawn(key_ids, "lesson", job.training.seed)
    return whole.take(drawn[np.argsort(-tried[drawn], kind="stable")][:_KEYS])


def write_experience(storage: Storage, run_id: str, earlier: pa.Table) -> None:
    """Keep what earlier runs told, so that a resumed run hears the same."""
    storage.write(f"runs/{run_id}/earlier.parquet", parquet_bytes(earlier))


def learn(
    storage: Storage,
    run_id: str,
    candidates: Sequence[CandidateSpec],
    outcomes: Iterable[pa.Table],
    *,
    trials: int,
    higher_is_better: bool,
) -> Lessons:
    """The run's lessons, from what earlier runs told and the pilot's outcomes; they are kept with the run.

    Args:
        storage: The store.
        run_id: The run.
        candidates: What is tried.
        outcomes: Of the pilot's batches.
        trials: That the other keys have.
        higher_is_better: Of the metric.
    """
    import pyarrow as pa

    places = {candidate.name: place for place, candidate in enumerate(candidates)}
    parts = [read_parquet(storage.read(f"runs/{run_id}/earlier.parquet"))]
    parts += [_experience(table, places, higher_is_better=higher_is_better) for table in outcomes]
    # In the order of the keys, not of the batches.
    whole = pa.concat_tables(parts).sort_by("key_id")
    lessons = Lessons.learn(
        np.array(whole.column("traits").to_pylist(), dtype=np.float64).reshape(-1, len(TRAITS)),
        np.array(whole.column("badness").to_pylist(), dtype=np.float64).reshape(-1, len(candidates)),
        trials,
    )
    storage.write(_path(run_id), json.dumps(lessons.to_plain()).encode())
    return lessons


def known_lessons(storage: Storage, run_id: str) -> Lessons | None:
    """A run's lessons; None while it has none."""
    try:
        return Lessons.from_plain(json.loads(storage.read(_path(run_id))))
    except NotFoundError:
        return None


def tried_all(earlier: pa.Table, configurations: int) -> int:
    """Keys on which everything was tried."""
    return sum(_tried(line) == configurations for line in earlier.column("badness").to_pylist())


def _path(run_id: str) -> str:
    return f"runs/{run_id}/lessons.json"


def _drawn(key_ids: Sequence[str], purpose: str, seed: int) -> npt.NDArray[np.int64]:
    """Places of keys in a seeded order."""
    lots = [blake2b(f"{purpose} {seed}:{key_id}".encode(), digest_size=8).digest() for key_id in key_ids]
    return np.array(sorted(range(len(lots)), key=lots.__getitem__), dtype=np.int64)


def _tried(badness: Sequence[float]) -> int:
    return sum(value == value for value in badness)


def _told_by(
    registry: Registry, record: RunRecord, resolved: Resolved, now: dict[str, int]
) -> pa.Table | None:
    """What one run tells of today's configurations; None where it cannot."""
    import pyarrow.compute as pc

    try:
        settings = load_settings(registry.storage, record, registry.trust)
        outcomes = read_parquet(registry.storage.read(record.outcomes_path))
    except ManyModelsError:  # garbage collection, or a version before
        return None
    if settings.fit.metric != resolved.metric or "traits" not in outcomes.column_names:
        return None
    as_of = resolved.source.as_of
    if as_of is not None:  # what nobody knew then stays out of it
        outcomes = outcomes.filter(pc.less_equal(outcomes.column("cutoff"), as_of.last))
    places = {
        candidate.name: now[setting_of(candidate)]
        for candidate in settings.fit.candidates
        if setting_of(candidate) in now
    }
    return _experience(
        outcomes, places, width=len(resolved.candidates), higher_is_better=settings.higher_is_better
    )


def _experience(
    outcomes: pa.Table, places: dict[str, int], *, width: int | None = None, higher_is_better: bool
) -> pa.Table:
    """What keys with traits tell, one row each: ``key_id``, ``traits``, and the ``badness`` of each configuration.

    That is infinite where it failed, and NaN where it was not tried.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    width = len(places) if width is None else width
    keys = outcomes.select(["key_id", "traits", "scores"]).filter(pc.is_valid(outcomes.column("traits")))
    badness = np.full((keys.num_rows, width), np.nan)
    for row, scores in enumerate(keys.column("scores").to_pylist()):
        for score in scores or ():
            place = places.get(score["candidate"])
            if place is not None and score["error"]:
                badness[row, place] = np.inf
            elif place is not None and score["metric"] is not None:
                badness[row, place] = -score["metric"] if higher_is_better else score["metric"]
    numbers = pa.list_(pa.float64())
    table = pa.table(
        [keys.column("key_id"), keys.column("traits").cast(numbers), pa.array(list(badness), numbers)],
        schema=_nothing().schema,
    )
    return table.filter(pc.equal(pc.list_value_length(table.column("traits")), len(TRAITS)))


def _nothing() -> pa.Table:
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    return pa.schema([("key_id", pa.string()), ("traits", numbers), ("badness", numbers)]).empty_table()
