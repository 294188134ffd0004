"""What the fits of a run need, as kept in its folder: ``runs/<run>/settings.json``.

Training writes it when a run starts; resume, replay and scoring read it, so that all of them see the same job, rows and code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from manymodels.artifacts.code import trusted_code
from manymodels.artifacts.trust import Trust
from manymodels.evaluation.spec import EvaluationSpec
from manymodels.exceptions import DamagedError, NotFoundError, StoreFormatError
from manymodels.job.job import Job
from manymodels.job.sums import SumLevel, sum_levels, sum_name
from manymodels.models.contract import FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.partitioning.store import PartitionStore
from manymodels.registry import RunRecord
from manymodels.selection.lessons import Lessons
from manymodels.selection.spec import SelectionSpec
from manymodels.storage import Storage

__all__ = [
    "CodeSnapshot",
    "FitSettings",
    "RowLimit",
    "RunSettings",
    "load_settings",
    "write_settings",
]

_FORMAT = 1
_BEFORE = {"intervals": "model"}
"""What settings mean that were written before there was a choice."""


@dataclass(frozen=True)
class CodeSnapshot:
    """The user's own modules, as kept with the run.

    Attributes:
        path: Of the archive, relative to the store's root.
        sha256: Of its content.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class RowLimit:
    """How many rows of a key are fitted, and which.

    Attributes:
        rows: At most so many.
        keep: ``last`` or ``sample``.
    """

    rows: int
    keep: str

    @classmethod
    def of(cls, job: Job) -> RowLimit | None:
        """The job's; None where all rows are fitted."""
        spec = job.training.max_rows
        return None if spec is None else cls(spec.rows, spec.keep or ("last" if job.data.time else "sample"))


@dataclass(frozen=True)
class FitSettings:
    """What a worker needs to fit any batch of a run; the same for every batch.

    Attributes:
        storage_root: Root of the store.
        dataset: Fingerprint of the partition store.
        columns: Columns that fits read.
        spec: What a fit needs to know, but for the key's seed.
        candidates: What is tried on a key, in this order.
        evaluation: How candidates are compared.
        metric: Name of the metric they compete on; None where there is none.
        seed: The run's.
        code: The user's own modules; None when the job needs none.
        max_rows: How many rows of a key are fitted; None is all.
        min_gain: By how much a candidate must beat the one that the key's champion is of, where that is known.
        selection: How a key's model is searched for, and what else may become it.
        champions: What champions are of that is no candidate any more: judged beside the winner, never chosen.
        lessons: What other keys taught; None where nothing is learned, and in the pilot.
        parent: What the levels' models are that keys are blended with; None is the task's default.
    """

    storage_root: str
    dataset: str
    columns: tuple[str, ...]
    spec: FitSpec
    candidates: tuple[CandidateSpec, ...]
    evaluation: EvaluationSpec
    metric: str | None
    seed: int
    code: CodeSnapshot | None = None
    max_rows: RowLimit | None = None
    min_gain: float = 0.0
    selection: SelectionSpec = field(default_factory=SelectionSpec)
    champions: tuple[CandidateSpec, ...] = ()
    lessons: Lessons | None = None
    parent: CandidateSpec | None = None


@dataclass(frozen=True)
class RunSettings:
    """A run's settings.

    Attributes:
        job: As it was when the run started.
        store: The rows.
        fit: What the fits need.
        isolated: Whether model code runs in the child process.
        higher_is_better: Of the metric.
        key_batches: Batches that fit keys.
        rungs: Whether the ladder's models are fitted too.
        pilot_batches: The first so many batches are the pilot's, from which the others learn.
        sums: The levels whose sums are forecast too.
        fit_sums: Whether the run fits them; else those of an earlier run serve.
    """

    job: Job
    store: PartitionStore
    fit: FitSettings
    isolated: bool
    higher_is_better: bool
    key_batches: int
    rungs: bool
    pilot_batches: int = 0
    sums: tuple[SumLevel, ...] = ()
    fit_sums: bool = False


def write_settings(storage: Storage, run_id: str, settings: RunSettings) -> None:
    """Write a run's settings.

    Raises:
        StoreError: They could not be written.
    """
    fit = settings.fit
    spec = asdict(fit.spec)
    del spec["classes"]  # typed; they stand in the dataset's details
    content = {
        "format": _FORMAT,
        "spec": spec,
        "columns": fit.columns,
        "candidates": [candidate.model_dump(mode="json") for candidate in fit.candidates],
        "metric": fit.metric,
        "champions": [champion.model_dump(mode="json") for champion in fit.champions],
        "code": None if fit.code is None else asdict(fit.code),
        "isolated": settings.isolated,
        "higher_is_better": settings.higher_is_better,
        "key_batches": settings.key_batches,
        "rungs": settings.rungs,
        "pilot_batches": settings.pilot_batches,
        "sums": [level.store.fingerprint for level in settings.sums],
        "fit_sums": settings.fit_sums,
    }
    storage.write(f"runs/{run_id}/settings.json", json.dumps(content, indent=1).encode())


def load_settings(storage: Storage, record: RunRecord, trust: Trust) -> RunSettings:
    """Read a run's settings.

    Args:
        storage: The store.
        record: The run.
        trust: What the reader trusts: the settings have no ``code`` where none may run.

    Raises:
        DamagedError: The settings name other modules than the registry.
        TrustError: The run's modules must be signed, and are not.
        NotFoundError: Garbage collection has removed them, or the run's rows.
        StoreFormatError: They were written in a format that this version does not know.
        StoreError: They could not be read.
    """
    try:
        content = json.loads(storage.read(f"runs/{record.id}/settings.json"))
    except NotFoundError:
        raise NotFoundError(
            f"the settings of run {record.id} are not in the store: `manymodels store gc` removes those of runs that "
            "were not finished in time; `manymodels train` starts a new run",
            run=record.id,
        ) from None
    if content.get("format") != _FORMAT:
        raise StoreFormatError(
            f"run {record.id} was written in format {content.get('format')!r}, this version knows {_FORMAT}; "
            "use the version of manymodels that started it",
            run=record.id,
        )
    if (content["code"] or {"sha256": ""})["sha256"] != record.archive:
        raise DamagedError(
            f"the settings of run {record.id} name other modules than the registry; nothing of them is used",
            run=record.id,
        )
    code = trusted_code(record.id, record.archive, record.archive_signature, trust)
    job = Job.from_dict(json.loads(record.job))
    try:
        store = PartitionStore.open(storage, record.dataset)
    except NotFoundError:
        raise NotFoundError(
            f"the rows of run {record.id} are not in the store any more: `manymodels store gc` removes those that "
            "`retention.datasets` does not keep; its models can still be loaded",
            run=record.id,
        ) from None
    spec: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["spec"].items()
    }
    fit = FitSettings(
        storage_root=storage.root,
        dataset=record.dataset,
        columns=tuple(content["columns"]),
        spec=FitSpec(**{**_BEFORE, **spec}, classes=store.classes if job.task == "classification" else ()),
        candidates=tuple(CandidateSpec(**candidate) for candidate in content.get("candidates", ()))
        or tuple(job.models),
        evaluation=job.evaluation,
        metric=content["metric"],
        seed=job.training.seed,
        code=None if code is None else CodeSnapshot(code, record.archive),
        max_rows=RowLimit.of(job),
        min_gain=job.promotion.min_gain,
        selection=job.selection,
        champions=tuple(CandidateSpec.model_validate(fields) for fields in content.get("champions", ())),
        parent=None if job.hierarchy is None else job.hierarchy.parent,
    )
    return RunSettings(
        job=job,
        store=store,
        fit=fit,
        isolated=content["isolated"],
        higher_is_better=content["higher_is_better"],
        key_batches=content["key_batches"],
        rungs=content["rungs"],
        pilot_batches=content.get("pilot_batches", 0),
        sums=tuple(
            SumLevel(sum_name(columns), tuple(columns), PartitionStore.open(storage, fingerprint))
            for columns, fingerprint in zip(sum_levels(job), content.get("sums", ()), strict=False)
        ),
        fit_sums=content.get("fit_sums", False),
    )
