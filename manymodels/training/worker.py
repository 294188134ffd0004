"""A batch on a worker: the child fits, the parent watches, blames, and writes what is done where it lasts."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from manymodels.compute.handover import give_way
from manymodels.job.runner import runner_for
from manymodels.job.settings import FitSettings
from manymodels.job.supervise import Blame, supervise
from manymodels.job.warming import warm_up
from manymodels.partitioning.store import PartitionStore
from manymodels.records import BatchReceipt, BatchTask, KeyOutcome, SegmentInfo
from manymodels.storage import Storage
from manymodels.training.backtest_table import KeptBacktest, backtest_table
from manymodels.training.batch import BatchPayload, Rung
from manymodels.training.outcome_table import outcome_table, panel_table, parquet_bytes
from manymodels.training.oversized import oversized, untried
from manymodels.training.parents import ParentLevel

if TYPE_CHECKING:
    import pyarrow as pa

    from manymodels.artifacts.segments import SegmentMeta

__all__ = ["BATCH_MODULES", "WorkSettings", "run_batch", "task_name", "warm_worker"]

BATCH_MODULES = ("manymodels.artifacts.segments", "manymodels.training.panel", "pandas", "threadpoolctl")
"""What batches import beside the candidates' own libraries."""

_NOBODY: Blame = MappingProxyType({})
_LARGE = 10_000  # bytes of a model that is let go once it is in the segment; for smaller ones that costs more than it saves


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
        batched: Whether all candidates have a batched trainer, and may use it.
        ladder: Whether a rung will serve keys that cannot be tried.
        rung: Set when the batch fits a rung of the ladder instead of keys.
        parents: The levels that the keys' models are blended with.
        sums: The level whose sums the batch fits instead of keys; empty otherwise.
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
    batched: bool
    ladder: bool
    rung: Rung | None = None
    parents: tuple[ParentLevel, ...] = ()
    sums: str = ""

    @property
    def level(self) -> str:
        """The level of what is fitted; empty for keys."""
        return self.sums if self.rung is None else self.rung.level


def task_name(task: BatchTask) -> str:
    """The task's name in the executor: unique in a cluster that other runs share."""
    return f"{task.run_id}-{task.batch}"


def warm_worker(settings: WorkSettings) -> None:
    """Import what batches need, and start the child where they need it."""
    fit = settings.fit
    warm_up(
        fit.candidates,
        fit.spec.task,
        BATCH_MODULES,
        root=fit.storage_root,
        code=fit.code,
        threads=fit.spec.threads,
        isolated=settings.isolated,
        batched=settings.batched,
    )
    if settings.batched:
        from manymodels.training.panel import trainers_of

        trainers_of(fit)


def run_batch(task: BatchTask) -> BatchReceipt:
    """Fit a batch, write its segments and outcomes, and return the receipt.

    Raises:
        ComputeError: The child died again and again before it started any key.
        StoreError: A file could not be read or written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    began = time.perf_counter()
    settings: WorkSettings = task.settings
    batch = _Batch(task, settings)
    if settings.rung is not None:
        batch.fit_singly(task.keys, [settings.rung.key_id])
    else:
        blame = oversized(task.keys, settings.fit, settings.memory)
        large = pc.is_in(task.keys.column("key_id"), pa.array(list(blame), pa.string()))
        rest = task.keys.filter(pc.invert(large))
        if settings.batched and rest.num_rows:
            rest = batch.fit_at_once(rest)
        rest = pa.concat_tables([rest, task.keys.filter(large)])
        if rest.num_rows:
            batch.fit_singly(rest, rest.column("key_id").to_pylist(), blame)
    table = batch.outcomes()
    path = f"runs/{task.run_id}/outcomes/{task.batch:06d}-{uuid.uuid4().hex[:8]}.parquet"
    batch.storage.write(path, parquet_bytes(table))
    return BatchReceipt(
        run_id=task.run_id,
        batch=task.batch,
        attempt=1,
        segments=tuple(batch.segments),
        outcomes=table,
        outcomes_path=path,
        seconds=time.perf_counter() - began,
        worker=f"{os.uname().nodename}:{os.getpid()}",
    )


class _Batch:
    """A batch at work: what it wrote so far."""

    def __init__(self, task: BatchTask, settings: WorkSettings) -> None:
        self.task, self.settings = task, settings
        self.storage = Storage.at(settings.fit.storage_root)
        self.segments: list[SegmentInfo] = []
        self._tables: list[pa.Table] = []
        self._backtests: list[KeptBacktest] = []

    def outcomes(self) -> pa.Table:
        """The outcomes of all keys, once their backtests are written."""
        import pyarrow as pa

        table = pa.concat_tables(self._tables).combine_chunks()
        if not self._backtests:
            return table
        path = f"runs/{self.task.run_id}/backtests/{self.task.batch:06d}-{uuid.uuid4().hex}.parquet"
        fit = self.settings.fit
        details = PartitionStore.open(self.storage, fit.dataset).details
        kept = backtest_table(self._backtests, fit.spec, details.time_kind)
        self.storage.write(path, parquet_bytes(kept))
        theirs = {key_id for key_ids, _ in self._backtests for key_id in key_ids}
        paths = [path if key_id in theirs else None for key_id in table.column("key_id").to_pylist()]
        place = table.column_names.index("backtests")
        return table.set_column(place, "backtests", pa.array(paths, pa.string()))

    def fit_at_once(self, keys: pa.Table) -> pa.Table:
        """Fit keys with the batched trainers; those that they leave."""
        import pyarrow as pa

        from manymodels.artifacts.columns import CODEC, to_table
        from manymodels.artifacts.segments import write_models
        from manymodels.training.panel import judged_alone, train_panel, trainers_of

        fit = self.settings.fit
        trainers = trainers_of(fit)
        if trainers is None:
            return keys
        whole = keys
        alone = judged_alone(fit, keys)
        keys = whole.filter(pa.array(~alone))
        try:
            fitted = train_panel(fit, keys, trainers)
        except Exception:  # one key may have caused it: fitted alone, each says what is wrong with it
            return whole
        for models in fitted.models:
            columns = models.columns
            theirs = keys.take(pa.array(models.places))
            facts = models.facts.drop_columns(
                ["scores", "baseline", "skill", "champion_metric", "reason", "traits"]
            )
            facts = facts.append_column("codec", pa.repeat(CODEC, len(columns)))
            fields = to_table(columns)
            for name in fields.column_names:
                facts = facts.append_column(name, fields.column(name))
            meta = replace(self._meta(), schema=columns.schema, shared=columns.shared)
            info = write_models(self.storage, self._path(), facts, theirs, meta)
            self.segments.append(info)
            self._tables.append(panel_table(theirs, models.facts, info.path, level=self.settings.level))
            key_ids = keys.column("key_id").combine_chunks()
            for places, backtest in models.backtests:
                self._backtests.append((key_ids.take(pa.array(places)).to_pylist(), backtest))
        return pa.concat_tables([keys.take(pa.array(fitted.rest)), whole.filter(pa.array(alone))])

    def fit_singly(self, keys: pa.Table, key_ids: list[str], blame: Blame = _NOBODY) -> None:
        """Fit one by one, in the sandbox; a rung is one model over all the keys' rows.

        Args:
            keys: Rows of the manifest.
            key_ids: Theirs, or the rung's.
            blame: Candidates that are not to be tried.
        """
        from manymodels.artifacts.segments import SegmentWriter

        settings, rung = self.settings, self.settings.rung
        writers: dict[str, SegmentWriter] = {}
        places: dict[str, tuple[str, int]] = {}

        def keep(outcome: KeyOutcome) -> KeyOutcome:
            """Put a model into the segment at once: a batch of large ones would not fit into memory."""
            if outcome.state != "trained":
                return outcome
            writer = writers.get(outcome.codec)
            if writer is None:
                theirs = None if rung is not None else keys
                writer = SegmentWriter(self.storage, self._path(), theirs, self._meta())
                writers[outcome.codec] = writer
            places[outcome.key_id] = writer.path, writer.add(outcome)
            return outcome if len(outcome.artifact) < _LARGE else replace(outcome, artifact=b"")

        found = _fit(self.task.run_id, keys, settings, blame, keep)
        give_way()  # the child has the next batch while this one is synced to the disk
        self.segments += [writers[codec].close() for codec in sorted(writers)]
        done = [found[key_id] for key_id in key_ids]
        self._backtests += [([outcome.key_id], test) for outcome in done for test in outcome.backtests]
        self._tables.append(outcome_table(keys, done, places, level=settings.level, ladder=settings.ladder))

    def _path(self) -> str:
        return f"runs/{self.task.run_id}/segments/{self.task.batch:06d}-{uuid.uuid4().hex}.parquet"

    def _meta(self) -> SegmentMeta:
        from manymodels.artifacts.segments import SegmentMeta

        settings = self.settings
        return SegmentMeta(
            model_set=settings.model_set,
            run_id=self.task.run_id,
            version=settings.version,
            level=settings.level,
            job_hash=settings.job_hash,
            code_hash=settings.code_hash,
            libraries=settings.libraries,
        )


def _fit(
    run_id: str,
    keys: pa.Table,
    settings: WorkSettings,
    blame: Blame,
    keep: Callable[[KeyOutcome], KeyOutcome],
) -> dict[str, KeyOutcome]:
    fit, rung = settings.fit, settings.rung
    done = {key: untried(key, blame[key], fit) for key in blame if len(blame[key]) == len(fit.candidates)}
    tried = [key_id not in done for key_id in keys.column("key_id").to_pylist()]
    if not any(tried):
        return done
    keys = keys.filter(tried)

    ours = rung is not None and rung.is_ours

    def payload(left: pa.Table, blame: Blame) -> BatchPayload:
        # A rung is one model over all the rows of its sample, whoever's they are.
        if rung is not None:
            return BatchPayload(fit, keys, rung, blame)
        return BatchPayload(fit, left, blamed=blame, parents=settings.parents)

    return done | supervise(
        runner_for(
            Storage.at(fit.storage_root),
            None if ours else fit.code,
            isolated=settings.isolated and not ours,
            threads=fit.spec.threads,
        ),
        "manymodels.training.batch:train_batch",
        keys,
        payload,
        run_id=run_id,
        result=KeyOutcome,
        timeout=settings.timeout,
        memory=settings.memory,
        retries=settings.retries,
        blame=blame,
        keep=keep,
    )
