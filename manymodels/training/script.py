"""A run's script: what was decided when it started, written down so that any process can carry it out.

``runs/<run>/plan.parquet`` says for every key which batch trains it, or what state it has without training;
``runs/<run>/settings.json`` (``job.settings``) holds what the fits need; ``runs/<run>/code/<hash>.zip`` the user's own modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.artifacts.code import code_path
from manymodels.artifacts.trust import Trust
from manymodels.exceptions import TrustError
from manymodels.job.code import snapshot
from manymodels.job.fingerprints import job_json
from manymodels.job.job import Job
from manymodels.job.resolve import blended_levels
from manymodels.job.settings import (
    CodeSnapshot,
    FitSettings,
    RowLimit,
    RunSettings,
    load_settings,
    write_settings,
)
from manymodels.job.sums import SumLevel, sum_spec
from manymodels.partitioning.listing import registered_keys
from manymodels.partitioning.store import PartitionStore
from manymodels.records import BatchTask, Key
from manymodels.registry import RunRecord
from manymodels.storage import Storage
from manymodels.training.batch import INCUMBENT, SECONDS
from manymodels.training.layout import Layout, workers_of
from manymodels.training.learning import write_experience
from manymodels.training.outcome_table import parquet_bytes, read_parquet
from manymodels.training.prepare import Prepared
from manymodels.training.rungs import RungTask, rung_tasks
from manymodels.training.worker import WorkSettings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunScript", "load_script", "write_script"]

_SETTLED = {"reuse": "reused", "fallback": "fallback", "skip": "skipped"}


@dataclass(frozen=True)
class RunScript:
    """What a run does.

    Attributes:
        run_id: The run.
        settings: What its fits need.
        plan: ``key_id``, ``state`` and ``reason`` (settled keys), ``batch`` (null for settled keys), and where they matter
            ``incumbent`` (the candidate that the key's champion is of) and ``seconds`` (that it is estimated to take), in the
            manifest's order.
        work: What workers need.
        rungs: The ladder's models to fit, after the keys; empty when none is due.
    """

    run_id: str
    settings: RunSettings
    plan: Any
    work: WorkSettings
    rungs: tuple[RungTask, ...]

    @property
    def job(self) -> Job:
        """As it was when the run started."""
        return self.settings.job

    @property
    def key_batches(self) -> int:
        """Batches that fit keys: 0 to ``key_batches - 1``; the rungs' follow."""
        return self.settings.key_batches

    @property
    def dataset(self) -> str:
        """Fingerprint of the dataset."""
        return self.settings.store.fingerprint

    @property
    def batches(self) -> int:
        """Batches, those of the rungs and the sums included."""
        sums = len(self.settings.sums) if self.settings.fit_sums else 0
        return self.key_batches + len(self.rungs) + sums

    @property
    def planned(self) -> int:
        """Keys to try."""
        return int(self.plan.num_rows - self.plan.column("batch").null_count)

    def settled(self) -> pa.Table:
        """Keys that the plan settled without training: ``key_id``, ``level``, ``state``, ``reason``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rest = self.plan.filter(pc.is_null(self.plan.column("batch")))
        return rest.select(["key_id", "state", "reason"]).append_column(
            "level", pa.array([""] * rest.num_rows, pa.string())
        )

    def keys(self, places: npt.NDArray[np.int64]) -> pa.Table:
        """Some keys as batches have them: rows of the manifest, with ``INCUMBENT`` and ``SECONDS`` where they matter."""
        found = self.settings.store.manifest.take(places)
        for name in {INCUMBENT, SECONDS}.intersection(self.plan.column_names):
            found = found.append_column(name, self.plan.column(name).take(places))
        return found.combine_chunks()

    def in_pilot(self, place: int) -> bool:
        """Whether a key, by its place in the manifest, is one of the pilot."""
        batch = self.plan.column("batch")[place].as_py()
        return batch is not None and batch < self.settings.pilot_batches

    @cached_property
    def _members(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows of the plan that train, by batch and ascending, and where each batch's begin (with the last's end)."""
        batch = self.plan.column("batch").to_numpy(zero_copy_only=False)
        training = np.flatnonzero(~np.isnan(batch))
        numbers = batch[training].astype(np.int64)
        order = np.argsort(numbers, kind="stable")
        return training[order], np.searchsorted(numbers[order], np.arange(self.key_batches + 1))

    def order(self) -> list[int]:
        """All batches in the order in which they should be done.

        The scouts, then longest first as packed. The rungs of the ladder take a while too: they come when the longest keys are
        under way, lest they begin when everybody else is done.
        """
        first = min(self.key_batches, workers_of(self.job.compute))
        return [*range(first), *range(self.key_batches, self.batches), *range(first, self.key_batches)]

    def size(self, batch: int) -> int:
        """Keys of a batch; none for a rung's."""
        _, bounds = self._members
        return int(bounds[batch + 1] - bounds[batch]) if batch < self.key_batches else 0

    def is_parent(self, batch: int) -> bool:
        """Whether a batch fits a level that keys are blended with: it must be done before theirs."""
        place = batch - self.key_batches
        return 0 <= place < len(self.rungs) and self.rungs[place].rung.parent

    def tasks(self, batches: Iterable[int]) -> Iterator[BatchTask]:
        """Some batches, each made when it is asked for.

        Args:
            batches: Their numbers.
        """
        members, bounds = self._members
        for number in batches:
            place = number - self.key_batches
            if place < 0:
                keys = self.keys(members[bounds[number] : bounds[number + 1]])
                yield BatchTask(self.run_id, number, keys, self.work)
            elif place < len(self.rungs):
                yield self._rung_task(number, self.rungs[place])
            else:
                yield self._sum_task(number, self.settings.sums[place - len(self.rungs)])

    def _rung_task(self, batch: int, task: RungTask) -> BatchTask:
        work = replace(self.work, rung=task.rung)
        if task.rung.parent and self.job.hierarchy is not None:
            work = replace(work, timeout=self.job.hierarchy.timeout)
        return BatchTask(self.run_id, batch, task.keys, work)

    def _sum_task(self, batch: int, level: SumLevel) -> BatchTask:
        """The batch that fits the sums of a level, as keys are fitted."""
        fit = self.work.fit
        of_level = replace(
            fit,
            dataset=level.store.fingerprint,
            columns=tuple(level.store.details.columns),
            spec=sum_spec(fit.spec, self.settings.store, level),
            # What is held out of them is how much they are trusted.
            evaluation=fit.evaluation.model_copy(update={"keep": "winner"}),
        )
        work = replace(self.work, fit=of_level, sums=level.name, batched=False)
        return BatchTask(self.run_id, batch, level.manifest(), work)


def write_script(prepared: Prepared, layout: Layout) -> RunScript:
    """Register a run and write down what it does.

    Args:
        prepared: The job, its data and the plan.
        layout: Its batches.

    Raises:
        StoreError: The store could not be written.
        RegistryError: The registry could not be used.
    """
    import pyarrow as pa

    from manymodels.evaluation.metrics import resolve_metric
    from manymodels.job.resolve import importable

    job, resolved, registry = prepared.job, prepared.resolved, prepared.registry
    plan = prepared.plan
    training = plan.training
    batch = np.full(len(plan.table), -1, dtype=np.int64)
    for number, places in enumerate(layout.batches):
        batch[training[places]] = number
    action = plan.table["action"].cat
    states = pa.array([_SETTLED.get(name) for name in action.categories], pa.string())
    table = pa.table(
        {
            "key_id": pa.array(plan.table["key_id"], pa.string()),
            "state": states.take(pa.array(action.codes)),
            "reason": pa.array(plan.table["reason"]),
            "batch": pa.array(batch, pa.int64(), mask=batch < 0),
        }
    )
    if prepared.incumbents is not None:
        table = table.append_column(INCUMBENT, prepared.incumbents.names)
    if job.selection.max_seconds is not None:
        table = table.append_column(SECONDS, pa.array(plan.table["seconds"].to_numpy()))
    rungs, sums = layout.rungs, layout.sums
    code, archive = (None, None) if not resolved.modules else snapshot(resolved.modules, job.folder)
    with importable(job.folder):
        higher = resolved.metric is not None and resolve_metric(resolved.metric, job.task).higher_is_better
    settings = RunSettings(
        job=job,
        store=resolved.store,
        fit=FitSettings(
            storage_root=registry.storage.root,
            dataset=resolved.store.fingerprint,
            columns=tuple(resolved.roles.columns),
            spec=resolved.spec,
            candidates=resolved.candidates,
            evaluation=job.evaluation,
            metric=resolved.metric,
            seed=job.training.seed,
            max_rows=RowLimit.of(job),
            min_gain=job.promotion.min_gain,
            selection=job.selection,
            champions=() if prepared.incumbents is None else prepared.incumbents.others,
            parent=None if job.hierarchy is None else job.hierarchy.parent,
        ),
        isolated=prepared.isolated,
        higher_is_better=higher,
        key_batches=len(layout.batches),
        rungs=bool(rungs),
        pilot_batches=layout.pilot_batches,
        sums=sums,
        fit_sums=layout.fit_sums,
    )

    def with_code(run_id: str) -> RunSettings:
        if code is None:
            return settings
        return replace(settings, fit=replace(settings.fit, code=CodeSnapshot(code_path(run_id, code), code)))

    def write(run_id: str) -> None:
        storage = registry.storage
        # Side by side: most of it is waiting for the disk, or for the object store.
        with ThreadPoolExecutor() as pool:
            writing = [
                pool.submit(storage.write, f"runs/{run_id}/plan.parquet", parquet_bytes(table)),
                pool.submit(write_settings, storage, run_id, with_code(run_id)),
            ]
            if code is not None and archive is not None:
                writing.append(pool.submit(storage.write, code_path(run_id, code), archive))
            if prepared.earlier is not None:
                writing.append(pool.submit(write_experience, storage, run_id, prepared.earlier))
            for one in writing:
                one.result()

    record = registry.start_run(
        model_set=job.name,
        task=job.task,
        job=job_json(job),
        job_hash=resolved.job_hash,
        code_hash=resolved.code_hash,
        libraries=resolved.libraries,
        dataset=resolved.store.fingerprint,
        keys=_registered_keys(resolved.store, plan.unknown, rungs, sums if layout.fit_sums else ()),
        batches=len(layout.batches) + len(rungs) + (len(sums) if layout.fit_sums else 0),
        archive=code or "",
        write=write,
    )
    return _script(record, with_code(record.id), table)


def load_script(storage: Storage, record: RunRecord, trust: Trust) -> RunScript:
    """Read back what a run does.

    Raises:
        TrustError: The run has modules of its own, and the reader does not trust them.
        StoreError: The run's files are damaged, or of a newer format.
    """
    settings = load_settings(storage, record, trust)
    if record.archive and settings.fit.code is None:
        raise TrustError(
            f"run {record.id} needs its own modules, and trust is `{trust.policy}`: no code from a store is imported; "
            "trust `hashes` or `signed` runs it",
            run=record.id,
        )
    table = read_parquet(storage.read(f"runs/{record.id}/plan.parquet"))
    return _script(record, settings, table)


def _script(record: RunRecord, settings: RunSettings, plan: pa.Table) -> RunScript:
    training = settings.job.training
    work = WorkSettings(
        fit=settings.fit,
        model_set=record.model_set,
        version=record.number,
        job_hash=record.job_hash,
        code_hash=record.code_hash,
        libraries=dict(record.libraries),
        timeout=training.timeout,
        memory=training.memory,
        retries=training.retries,
        isolated=settings.isolated,
        # Blends are made key by key.
        batched=training.isolation != "process" and not blended_levels(settings.job),
        ladder=bool(settings.job.fallback),
    )
    rungs = tuple(rung_tasks(settings.job, settings.store.manifest)) if settings.rungs else ()
    return RunScript(record.id, settings, plan, work, rungs)


def _registered_keys(
    store: PartitionStore,
    unknown: npt.NDArray[np.int64],
    rungs: tuple[RungTask, ...],
    sums: tuple[SumLevel, ...],
) -> pa.Table:
    """Keys that may be new, as the registry wants them: ``key_id``, ``canonical``, ``display``, ``level``."""
    import pyarrow as pa

    keys = registered_keys(store, unknown)
    above = [*(task.key for task in rungs), *(key for level in sums for key in level.nodes())]
    levels = pa.table(
        {
            "key_id": [key.key_id for key in above],
            "canonical": pa.array([key.canonical for key in above], pa.binary()),
            "display": [_level_display(key) for key in above],
            "level": [key.level for key in above],
        },
        schema=keys.schema,
    )
    return pa.concat_tables([keys, levels])


def _level_display(key: Key) -> str:
    values = ", ".join(str(value) for value in key.values)
    return f"{key.level}({values})" if values else key.level
