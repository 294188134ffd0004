"""A scoring batch on a worker: the child predicts, the parent watches, blames, and writes the part."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.compute.handover import give_way
from manymodels.job.runner import runner_for
from manymodels.job.settings import FitSettings
from manymodels.job.supervise import supervise
from manymodels.job.warming import warm_up
from manymodels.records import BatchTask
from manymodels.scoring.assemble import Scored, assemble, collect, prediction_fields
from manymodels.scoring.batch import KeyScores, ScorePayload, ScoreSettings
from manymodels.scoring.panel import score_panel
from manymodels.scoring.parts import ScoreReceipt, part_name, write_part
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ScoreWork", "run_score_batch", "warm_worker"]


@dataclass(frozen=True)
class ScoreWork:
    """What a worker needs besides what the predictions need.

    Attributes:
        score: What the predictions need.
        plan: Fingerprint of what decides the content of the output.
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
    plan: str
    staging: str
    key_fields: tuple[tuple[str, Any], ...]
    input_columns: tuple[str, ...]
    class_type: Any
    timeout: float
    memory: int
    retries: int
    isolated: bool


def warm_worker(fit: FitSettings, *, isolated: bool, batched: bool) -> None:
    """Import what batches need, and start the child where they need it."""
    warm_up(
        fit.candidates,
        fit.spec.task,
        ("manymodels.scoring.panel", "pandas", "threadpoolctl"),
        root=fit.storage_root,
        code=fit.code,
        threads=fit.spec.threads,
        isolated=isolated,
        batched=batched,
    )


def run_score_batch(task: BatchTask) -> ScoreReceipt:
    """Score a batch and write its part.

    Raises:
        ComputeError: The child died again and again before it used any model.
        StoreError: A file could not be read or written.
    """
    import pyarrow as pa

    began = time.perf_counter()
    work: ScoreWork = task.settings
    units = task.keys
    at_once = score_panel(work.score, units)
    rest = _rest(at_once, units.num_rows)
    singly: dict[str, KeyScores] = {}
    if len(rest):
        singly = _predict(task.run_id, units.take(pa.array(rest)), work)
        give_way()  # the child has the next batch while this one's part is synced to the disk
    ordered = [singly[key_id] for key_id in units.column("key_id").take(pa.array(rest)).to_pylist()]
    fields = prediction_fields(work.score.spec, work.class_type)
    scored = [*at_once, collect(rest, ordered, fields)] if len(rest) else at_once
    table, counts = _assemble(task, work, scored, fields)
    reasons = Counter(reason for part in scored for reason in part.reasons.drop_null().to_pylist())
    receipt = ScoreReceipt(
        batch=task.batch,
        part=part_name(task.batch, work.plan),
        rows=table.num_rows,
        counts=counts,
        seconds=time.perf_counter() - began,
        reasons=dict(reasons.most_common(20)),
    )
    write_part(work.staging, table, receipt)
    return receipt


def _rest(scored: Sequence[Scored], units: int) -> npt.NDArray[np.int64]:
    """The units that are in none, ascending."""
    left = np.ones(units, dtype=bool)
    for part in scored:
        left[part.places] = False
    return np.flatnonzero(left)


def _predict(run_id: str, units: pa.Table, work: ScoreWork) -> dict[str, KeyScores]:
    score = work.score
    return supervise(
        runner_for(
            Storage.at(score.storage_root), score.code, isolated=work.isolated, threads=score.spec.threads
        ),
        "manymodels.scoring.batch:score_batch",
        units,
        lambda left, blame: ScorePayload(score, left, blame),
        run_id=run_id,
        result=KeyScores,
        timeout=work.timeout,
        memory=work.memory,
        retries=work.retries,
    )


def _assemble(
    task: BatchTask, work: ScoreWork, scored: Sequence[Scored], fields: Sequence[tuple[str, Any]]
) -> tuple[pa.Table, dict[str, int]]:
    spec = work.score.spec
    made = work.score.input is None
    return assemble(
        scored,
        fields,
        keys={
            name: task.keys.column(f"key:{name}").combine_chunks().cast(kind)
            for name, kind in work.key_fields
        },
        rows=_input_columns(task, work) if not made and work.input_columns else {},
        time=(str(spec.time), spec.frequency == "step") if made else None,
        primary="score" if spec.task == "anomaly" else "prediction",
    )


def _input_columns(task: BatchTask, work: ScoreWork) -> dict[str, Any]:
    from manymodels.partitioning.store import PartitionStore

    names = ["file", "row_group", "row_offset", "rows"]
    slices = task.keys.select([f"input_{name}" for name in names]).rename_columns(names)
    store = PartitionStore.open(Storage.at(work.score.storage_root), str(work.score.input))
    table: pa.Table = store.read_table(slices, list(work.input_columns))
    return {name: table.column(name) for name in work.input_columns}
