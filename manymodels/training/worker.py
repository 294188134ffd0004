"""A batch on a worker: the child fits, the parent watches, blames, and writes what is done where it lasts."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manymodels.job.runner import runner_for
from manymodels.job.settings import FitSettings
from manymodels.job.supervise import Blame, supervise
from manymodels.records import (
    BatchReceipt,
    BatchTask,
    KeyOutcome,
    SegmentInfo,
)
from manymodels.storage import Storage
from manymodels.training.batch import BatchPayload, Rung
from manymodels.training.outcome_table import outcome_table, parquet_bytes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["WorkSettings", "run_batch", "task_name"]


@dataclass(frozen=True)
class WorkSettings:
    """What a worker needs besides what the fits need.

    Attributes:
        fit: What the fits need.
        model_set: Name of the model set.
        version: The run's number.
        job_hash: Fingerprint of the job.
        code_hash: Fingerprint of code and libraries.
        libraries: Library to version.
        timeout: Seconds per key and candidate.
        memory: Bytes of the child's resident size.
        retries: Further tries after a crash, a timeout or a memory hog.
        isolated: Whether fits run in the child.
        ladder: Whether a rung will serve keys that cannot be tried.
        rung: Set when the batch fits a rung of the ladder instead of keys.
    """

    fit: FitSettings
    model_set: str
    version: int
    job_hash: str
    code_hash: str
    libraries: Mapping[str, str]
    timeout: float
    memory: int
    retries: int
    isolated: bool
    ladder: bool
    rung: Rung | None = None


def task_name(task: BatchTask) -> str:
    """The task's name in the executor: unique in a cluster that other runs share."""
    return f"{task.run_id}-{task.batch}"


def run_batch(task: BatchTask) -> BatchReceipt:
    """Fit a batch, write its segments and outcomes, and return the receipt.

    Raises:
        ComputeError: The child died again and again before it started any key.
        StoreError: A file could not be read or written.
    """
    began = time.perf_counter()
    settings: WorkSettings = task.settings
    outcomes = _fit(task, settings)
    rung = settings.rung
    key_ids = [rung.key_id] if rung is not None else task.keys.column("key_id").to_pylist()
    done = [outcomes[key_id] for key_id in key_ids]
    segments, places = _write_segments(task, settings, done)
    level = "" if rung is None else rung.level
    table = outcome_table(task.keys, done, places, level=level, ladder=settings.ladder)
    path = f"runs/{task.run_id}/outcomes/{task.batch:06d}-{uuid.uuid4().hex[:8]}.parquet"
    Storage.at(settings.fit.storage_root).write(path, parquet_bytes(table))
    return BatchReceipt(
        run_id=task.run_id,
        batch=task.batch,
        attempt=1,
        segments=tuple(segments),
        outcomes=table,
        outcomes_path=path,
        seconds=time.perf_counter() - began,
        worker=f"{os.uname().nodename}:{os.getpid()}",
    )


def _fit(task: BatchTask, settings: WorkSettings) -> dict[str, KeyOutcome]:
    fit, rung = settings.fit, settings.rung

    def payload(keys: pa.Table, blame: Blame) -> BatchPayload:
        # A rung is one model over all the rows of its sample, whoever's they are.
        return BatchPayload(fit, keys if rung is None else task.keys, rung, blame)

    return supervise(
        runner_for(
            Storage.at(fit.storage_root), fit.code, isolated=settings.isolated, threads=fit.spec.threads
        ),
        "manymodels.training.batch:train_batch",
        task.keys,
        payload,
        result=KeyOutcome,
        timeout=settings.timeout,
        memory=settings.memory,
        retries=settings.retries,
    )


def _write_segments(
    task: BatchTask, settings: WorkSettings, outcomes: list[KeyOutcome]
) -> tuple[list[SegmentInfo], dict[str, tuple[str, int]]]:
    """One segment per codec; where each key's model went: key_id to (path, row)."""
    from manymodels.artifacts.segments import SegmentMeta, write_segment

    storage = Storage.at(settings.fit.storage_root)
    segments: list[SegmentInfo] = []
    places: dict[str, tuple[str, int]] = {}
    trained = [number for number, outcome in enumerate(outcomes) if outcome.state == "trained"]
    for codec in sorted({outcomes[number].codec for number in trained}):
        rows = [number for number in trained if outcomes[number].codec == codec]
        path = f"runs/{task.run_id}/segments/{task.batch:06d}-{uuid.uuid4().hex}.parquet"
        meta = SegmentMeta(
            model_set=settings.model_set,
            run_id=task.run_id,
            version=settings.version,
            level="" if settings.rung is None else settings.rung.level,
            job_hash=settings.job_hash,
            code_hash=settings.code_hash,
            libraries=settings.libraries,
        )
        keys = None if settings.rung is not None else task.keys.take(rows)
        segments.append(write_segment(storage, path, [outcomes[number] for number in rows], keys, meta))
        for place, number in enumerate(rows):
            places[outcomes[number].key_id] = (path, place)
    return segments, places
