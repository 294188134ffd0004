"""A scoring batch on a worker: the child predicts, the parent watches, blames, and writes the part."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.job.runner import runner_for
from manymodels.job.supervise import supervise
from manymodels.models.contract import FitSpec, interval_columns
from manymodels.records import BatchTask
from manymodels.scoring.batch import OWN_MODEL, KeyScores, ScorePayload, ScoreSettings
from manymodels.scoring.sinks import write_part
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OUR_COLUMNS", "ScoreReceipt", "ScoreWork", "prediction_fields", "run_score_batch"]

OUR_COLUMNS = ("model_version", "model_source", "status", "reason")
"""Columns that every output ends with."""


@dataclass(frozen=True)
class ScoreWork:
    """What a worker needs besides what the predictions need.

    Attributes:
        score: What the predictions need.
        staging: Where parts are written.
        key_fields: ``(column, Arrow type)`` of the key columns.
        input_columns: Columns of the input that stand in the output beside the key columns.
        class_type: Arrow type of the classes; None where there are none.
        timeout: Seconds per key and model.
        memory: Bytes of the child's resident size.
        retries: Further tries after a crash, a timeout or a memory hog.
        isolated: Whether models run in the child.
    """

    score: ScoreSettings
    staging: str
    key_fields: tuple[tuple[str, Any], ...]
    input_columns: tuple[str, ...]
    class_type: Any
    timeout: float
    memory: int
    retries: int
    isolated: bool


@dataclass(frozen=True)
class ScoreReceipt:
    """A worker's proof that a batch of keys is scored.

    Attributes:
        batch: The batch's number.
        part: The file's name in the staging folder.
        rows: In the file.
        counts: ``scored``, ``fallback`` and ``failed`` keys.
        seconds: Wall time on the worker.
        reasons: Reason to keys, for those that did not get their own model's predictions; the first few.
    """

    batch: int
    part: str
    rows: int
    counts: Mapping[str, int]
    seconds: float
    reasons: Mapping[str, int]


def run_score_batch(task: BatchTask) -> ScoreReceipt:
    """Score a batch and write its part.

    Raises:
        ComputeError: The child died again and again before it used any model.
        StoreError: A file could not be read or written.
    """
    began = time.perf_counter()
    work: ScoreWork = task.settings
    scores = _predict(task, work)
    ordered = [scores[key_id] for key_id in task.keys.column("key_id").to_pylist()]
    table, counts = _assemble(task, work, ordered)
    part = f"part-{task.batch:06d}.parquet"
    write_part(work.staging, part, table)
    reasons: dict[str, int] = {}
    for key in ordered:
        if key.source != OWN_MODEL:
            reasons[key.reason] = reasons.get(key.reason, 0) + 1
    return ScoreReceipt(
        batch=task.batch,
        part=part,
        rows=table.num_rows,
        counts=counts,
        seconds=time.perf_counter() - began,
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])[:20]),
    )


def _predict(task: BatchTask, work: ScoreWork) -> dict[str, KeyScores]:
    score = work.score
    return supervise(
        runner_for(
            Storage.at(score.storage_root), score.code, isolated=work.isolated, threads=score.spec.threads
        ),
        "manymodels.scoring.batch:score_batch",
        task.keys,
        lambda units, blame: ScorePayload(score, units, blame),
        result=KeyScores,
        timeout=work.timeout,
        memory=work.memory,
        retries=work.retries,
    )


def prediction_fields(spec: FitSpec, class_type: Any) -> list[tuple[str, Any]]:
    """Names and Arrow types of the columns that a task's models fill."""
    import pyarrow as pa

    if spec.task == "anomaly":
        return [("score", pa.float64()), ("is_anomaly", pa.bool_())]
    if spec.task == "classification":
        probabilities = [(f"probability_{value}", pa.float64()) for value in spec.classes]
        return [("prediction", class_type), *probabilities]
    fields = [("prediction", pa.float64())]
    for level in spec.levels:
        fields += [(name, pa.float64()) for name in interval_columns(level)]
    if spec.task == "ranking":
        fields.append(("rank", pa.int64()))
    return fields


def _assemble(task: BatchTask, work: ScoreWork, scores: list[KeyScores]) -> tuple[pa.Table, dict[str, int]]:
    """The output table of a batch, and the keys by status."""
    import pyarrow as pa

    spec = work.score.spec
    lengths = np.array([key.rows for key in scores], dtype=np.int64)
    owner = np.repeat(np.arange(len(scores)), lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns: dict[str, Any] = {}
    for name, kind in work.key_fields:
        values = task.keys.column(f"key:{name}").combine_chunks().cast(kind)
        columns[name] = values.take(pa.array(owner))
    if work.score.input is None:
        columns[str(spec.time)] = _times(scores, spec)
    elif work.input_columns:
        columns.update(_input_columns(task, work))
    primary = "score" if spec.task == "anomaly" else "prediction"
    missing = np.ones(len(owner), dtype=bool)
    for name, kind in prediction_fields(spec, work.class_type):
        columns[name], absent = _prediction_column(scores, lengths, offsets, name, kind)
        if name == primary:
            missing = absent
    columns["model_version"] = pa.array([key.version for key in scores], pa.int64()).take(pa.array(owner))
    columns["model_source"] = pa.array([key.source or None for key in scores], pa.string()).take(
        pa.array(owner)
    )
    served = np.array([key.source == OWN_MODEL for key in scores], dtype=bool)[owner]
    status = np.where(missing, "failed", np.where(served, "ok", "fallback"))
    columns["status"] = pa.array(status, pa.string())
    reason = np.array([key.reason or None for key in scores], dtype=object)[owner]
    if len(reason):
        reason[missing & (reason == None)] = "no value for this row: a feature that it needs is missing"  # noqa: E711
    columns["reason"] = pa.array(reason, pa.string())
    counts = {"scored": 0, "fallback": 0, "failed": 0}
    for place, key in enumerate(scores):
        lost = missing[offsets[place] : offsets[place + 1]]
        state = (
            "failed"
            if not key.source or (len(lost) and lost.all())
            else "scored"
            if key.source == OWN_MODEL
            else "fallback"
        )
        counts[state] += 1
    table = pa.table(columns)
    if any(key.kept is not None for key in scores):
        table = table.take(pa.array(_kept_rows(scores, offsets)))
    return table, counts


def _times(scores: list[KeyScores], spec: FitSpec) -> pa.Array:
    import pyarrow as pa

    parts = [key.times for key in scores if key.times is not None]
    values = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    return pa.array(values) if spec.frequency == "step" else pa.array(values.astype("datetime64[us]"))


def _input_columns(task: BatchTask, work: ScoreWork) -> dict[str, Any]:

    from manymodels.partitioning.store import PartitionStore

    names = ["file", "row_group", "row_offset", "rows"]
    slices = task.keys.select([f"input_{name}" for name in names]).rename_columns(names)
    store = PartitionStore.open(Storage.at(work.score.storage_root), str(work.score.input))
    table: pa.Table = store.read_table(slices, list(work.input_columns))
    return {name: table.column(name) for name in work.input_columns}


def _prediction_column(
    scores: list[KeyScores],
    lengths: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    name: str,
    kind: Any,
) -> tuple[Any, npt.NDArray[np.bool_]]:
    """One output column, null where a key failed or a value is missing; and where it is null."""
    import pyarrow as pa

    total = int(offsets[-1])
    if pa.types.is_floating(kind):
        numbers = np.full(total, np.nan)
        for place, key in enumerate(scores):
            if name in key.values:
                numbers[offsets[place] : offsets[place + 1]] = key.values[name]
        absent = ~np.isfinite(numbers)
        return pa.array(numbers, kind, mask=absent), absent
    values = np.full(total, None, dtype=object)
    for place, key in enumerate(scores):
        if name in key.values:
            values[offsets[place] : offsets[place + 1]] = key.values[name]
    column = pa.array(values.tolist(), kind, from_pandas=True)
    return column, np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)


def _kept_rows(scores: list[KeyScores], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    kept = [
        offsets[place] + (np.arange(key.rows) if key.kept is None else key.kept)
        for place, key in enumerate(scores)
    ]
    return np.concatenate(kept).astype(np.int64)
