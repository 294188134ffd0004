"""One key of a run again: in this process, with the same rows, seed and code."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np

from manymodels.compute.sandbox import Raised
from manymodels.exceptions import NotFoundError, TrustError, UsageError
from manymodels.job.resolve import blended_levels
from manymodels.job.runner import reraise, runner_for
from manymodels.partitioning.listing import chosen_key, parse_pairs
from manymodels.records import KeyOutcome
from manymodels.registry import Registry, RunRecord
from manymodels.training.batch import SECONDS, BatchPayload
from manymodels.training.learning import known_lessons
from manymodels.training.outcome_table import read_parquet
from manymodels.training.outcomes import RunOutcomes
from manymodels.training.parents import ParentLevel, parent_levels
from manymodels.training.script import RunScript, load_script

__all__ = ["replay_key"]


def replay_key(registry: Registry, record: RunRecord, *, key: str | None, key_id: str | None) -> KeyOutcome:
    """Fit one key as the run did; an exception of the model is in the outcome's ``failure``, with its traceback.

    Args:
        registry: That knows the run.
        record: The run.
        key: As users write it (``store=17``); or
        key_id: the key's id.

    Raises:
        UsageError: Neither or both of ``key`` and ``key_id``.
        TrustError: The store was made elsewhere and not adopted, or the run's modules are not trusted.
        NotFoundError: The run's dataset has no such key.
    """
    import pyarrow.compute as pc

    if (key is None) == (key_id is None):
        raise UsageError("name the key with --key column=value, or with --key-id")
    if registry.storage.read_only:
        raise TrustError(
            f"replay runs the code that run {record.id} names, and the store was made elsewhere; "
            "`manymodels store adopt` it first",
            run=record.id,
        )
    script = load_script(registry.storage, record, registry.trust)
    store = script.settings.store
    if key_id is None:
        key_id = chosen_key(parse_pairs(str(key)), store.details.key_kinds)
    place = pc.index(store.manifest.column("key_id"), key_id).as_py()
    if place < 0:
        raise NotFoundError(f"run {record.id} has no key {key or key_id}", run=record.id)
    keys = script.keys(np.array([place]))
    if SECONDS in keys.column_names:  # a replay has all the time
        keys = keys.drop_columns([SECONDS])
    fit = script.settings.fit
    if script.job.selection.learn and not script.in_pilot(place):
        fit = replace(fit, lessons=known_lessons(registry.storage, record.id))
    runner = runner_for(registry.storage, fit.code, isolated=False, threads=fit.spec.threads)
    payload = BatchPayload(settings=fit, keys=keys, parents=_parents(registry, record, script))
    for message in runner.run(
        "manymodels.training.batch:train_batch", payload, timeout=math.inf, memory=sys.maxsize
    ):
        if isinstance(message, KeyOutcome):
            return message
        if isinstance(message, Raised):
            raise reraise(message)
    raise NotFoundError(f"run {record.id} gave no outcome for {key or key_id}", run=record.id)


def _parents(registry: Registry, record: RunRecord, script: RunScript) -> tuple[ParentLevel, ...]:
    """The levels that the run blended its keys with."""
    if not blended_levels(script.job):
        return ()
    sums = registry.segment_sums(record.id)
    if record.outcomes_path:
        return parent_levels(script.job, [read_parquet(registry.storage.read(record.outcomes_path))], sums)
    outcomes = RunOutcomes(registry.storage, script)
    outcomes.load(registry.journalled(record.id))
    return outcomes.parents(sums)
