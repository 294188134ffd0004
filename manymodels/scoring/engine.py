"""Batch inference: split the new rows like the training data, bring each key's rows to its own model, publish once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from manymodels.artifacts.trust import Trust
from manymodels.compute.executor import open_executor
from manymodels.exceptions import DataError, ManyModelsError, NotFoundError, UsageError
from manymodels.job.job import Job
from manymodels.job.resolve import level_name
from manymodels.job.settings import RunSettings, load_settings
from manymodels.job.watch import Watch
from manymodels.partitioning.packing import pack
from manymodels.partitioning.store import PartitionStore
from manymodels.progress import Progress
from manymodels.records import BatchTask
from manymodels.registry import Registry, RunRecord, RunState
from manymodels.scoring.assemble import OUR_COLUMNS, prediction_fields
from manymodels.scoring.batch import ScoreSettings
from manymodels.scoring.inputs import ScoreInputs, open_inputs
from manymodels.scoring.sinks import Sink, check_output
from manymodels.scoring.units import ladder_refs, scoring_units
from manymodels.scoring.worker import ScoreReceipt, ScoreWork, run_score_batch
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ScoreRequest", "ScoreResult", "score"]

_SECONDS_A_KEY = 2e-3
_SECONDS_A_ROW = 2e-6


@dataclass(frozen=True)
class ScoreRequest:
    """What to score, with what, and where it goes.

    Attributes:
        output: Folder, URL, or a file that ends in ``.parquet`` or ``.csv``.
        data: New rows: a path, or a table; for forecasts they extend the history.
        future: Forecasts: the periods to forecast, with the known-future columns: a path, or a table.
        alias: Whose models; the job's ``promotion.alias`` when None.
        run: A past run's models instead.
        horizon: Periods ahead, at most the job's.
        overwrite: Replace an existing output.
        raw: Do not escape texts in CSV output.
        trust: What to trust of the store: ``hashes``, ``signed`` or ``columns-only``; the reader's settings when None.
    """

    output: str
    data: Any = None
    future: Any = None
    alias: str | None = None
    run: str | None = None
    horizon: int | None = None
    overwrite: bool = False
    raw: bool = False
    trust: str | None = None


@dataclass(frozen=True)
class ScoreResult:
    """How a scoring ended; ``keys`` is the sum of ``scored``, ``fallback`` and ``failed``.

    Attributes:
        score_id: The scoring.
        state: ``completed`` or ``failed_gate``.
        keys: Keys scored for.
        scored: Keys that their own models served.
        fallback: Keys that the ladder served.
        failed: Keys with no prediction.
        rows: In the output.
        seconds: Wall time without imports and cluster start.
        startup_seconds: Cluster start and imports.
        output: Where the scores are.
        reasons: Why keys did not get predictions of a good model of their own: reason to keys.
    """

    score_id: str
    state: RunState
    keys: int
    scored: int
    fallback: int
    failed: int
    rows: int
    seconds: float
    startup_seconds: float
    output: str
    reasons: Mapping[str, int]


def score(job: Job, request: ScoreRequest, progress: Progress) -> ScoreResult:
    """Score a job's keys.

    Raises:
        UsageError: The request does not fit the job, its models or the data.
        StoreError: The store or the output could not be read or written.
    """
    began = time.perf_counter()
    registry = Registry.open(job.store, create=False, trust=request.trust)
    if request.horizon is not None and request.horizon > job.forecast.horizon:
        raise UsageError(
            f"--horizon {request.horizon} is above the job's {job.forecast.horizon}; "
            "raise `forecast.horizon` and train again"
        )
    sources = [text for text in (request.data, request.future, job.data.path) if isinstance(text, str)]
    check_output(request.output, sources, overwrite=request.overwrite)
    run = _run_of(registry, job, request)
    settings = load_settings(registry.storage, run, registry.trust)
    alias = None if request.run else request.alias or job.promotion.alias
    inputs = open_inputs(job, settings, request.data, request.future, registry.storage)
    served = registry.served(job.name, alias=alias, run_id=run.id if request.run else None)
    ladder, levels = _ladder(job, served)
    units = scoring_units(
        served,
        input_store=inputs.rows,
        history_store=inputs.history,
        training_store=settings.store,
        partition_by=job.data.partition_by,
        levels=levels,
        ladder=ladder,
        reasons=_reasons(registry, run),
        version=run.number,
    )
    score_id = registry.start_score(
        model_set=job.name,
        alias=alias,
        run_id=run.id if request.run else None,
        input=inputs.fingerprint,
        output=Storage.at(request.output).root,
    ).id
    sink = Sink(request.output, score_id)
    try:
        work = _work(job, request, settings, inputs, ladder, sink, registry.trust)
        receipts, startup = _fan_out(job, score_id, units, work, progress, registry)
        result = _finish(job, request, score_id, units, receipts, sink, began, startup)
    except BaseException as error:
        sink.discard()
        registry.end_score(
            score_id,
            state="failed" if isinstance(error, Exception) else "interrupted",
            counts={},
            seconds=time.perf_counter() - began,
            startup_seconds=0.0,
            reason=str(error),
        )
        raise
    registry.end_score(
        score_id,
        state=result.state,
        counts={
            "keys": result.keys,
            "scored": result.scored,
            "fallback": result.fallback,
            "failed": result.failed,
            "rows": result.rows,
        },
        seconds=result.seconds,
        startup_seconds=result.startup_seconds,
    )
    return result


def _run_of(registry: Registry, job: Job, request: ScoreRequest) -> RunRecord:
    """The run whose settings and ladder serve: the one asked for, else the newest published."""
    if request.run:
        return registry.run(request.run)
    published = next((run for run in registry.runs(job.name, limit=None) if run.published), None)
    if published is None:
        raise NotFoundError(
            f"no finished run of {job.name!r} in the store {job.store.path}; run `manymodels train` first"
        )
    return published


def _ladder(job: Job, served: Any) -> tuple[Any, list[list[str]]]:
    sources, levels = [], []
    for entry in job.fallback:
        columns = [] if isinstance(entry, str) else list(entry.level)
        sources.append(entry if isinstance(entry, str) else level_name(columns))
        levels.append(columns)
    return ladder_refs(served, sources), levels


def _reasons(registry: Registry, run: RunRecord) -> pd.DataFrame:
    """Why keys of the run have no version of it."""
    import pandas as pd

    if not run.outcomes_path:
        return pd.DataFrame({"key_id": pd.Series(dtype=str), "reason": pd.Series(dtype=str)})
    import io

    import pyarrow.parquet as pq

    table = pq.read_table(
        io.BytesIO(registry.storage.read(run.outcomes_path)),
        columns=["key_id", "level", "state", "reason", "message"],
    ).to_pandas()
    table = table[(table["level"] == "") & table["state"].isin(["failed", "fallback", "skipped"])]
    text = (
        table["state"].where(table["state"] != "failed", "failed in training")
        + ": "
        + table["reason"].astype(str)
    )
    return pd.DataFrame({"key_id": table["key_id"], "reason": text})


def _work(
    job: Job,
    request: ScoreRequest,
    run: RunSettings,
    inputs: ScoreInputs,
    ladder: Any,
    sink: Sink,
    trust: Trust,
) -> ScoreWork:
    import pyarrow as pa

    spec = run.fit.spec
    classes = spec.classes
    class_type = pa.array(list(classes)).type if classes else None
    reserved = {name for name, _ in prediction_fields(spec, class_type)} | set(OUR_COLUMNS)
    clashing = sorted(reserved & {*inputs.output_columns, *job.data.partition_by})
    if clashing:
        raise DataError(
            f"the input has a column {clashing[0]!r}, which is a column of the output; rename it, or leave it out"
        )
    settings = ScoreSettings(
        storage_root=run.fit.storage_root,
        spec=spec,
        input=None if inputs.rows is None else inputs.rows.fingerprint,
        history=None if inputs.history is None else inputs.history.fingerprint,
        training=run.store.fingerprint,
        columns=inputs.model_columns,
        history_columns=tuple(c for c in run.fit.columns if c not in job.data.partition_by),
        horizon=request.horizon or spec.horizon,
        ladder=ladder,
        top=job.ranking.top,
        code=run.fit.code,
        trust=trust,
    )
    lead: PartitionStore = inputs.rows or inputs.history or run.store
    return ScoreWork(
        score=settings,
        staging=sink.staging,
        prefix=sink.prefix,
        key_fields=tuple(
            (name, run.store.manifest.schema.field(f"key:{name}").type) for name in job.data.partition_by
        ),
        input_columns=tuple(c for c in inputs.output_columns if c in lead.schema.names),
        class_type=class_type,
        timeout=job.training.timeout,
        memory=job.training.memory,
        retries=job.training.retries,
        isolated=run.isolated,
    )


def _fan_out(
    job: Job, score_id: str, units: pd.DataFrame, work: ScoreWork, progress: Progress, registry: Registry
) -> tuple[list[ScoreReceipt], float]:
    import pyarrow as pa

    table = pa.Table.from_pandas(units, preserve_index=False).replace_schema_metadata(None)
    rows = units["input_rows"].fillna(work.score.horizon).to_numpy(dtype=np.float64)
    with open_executor(
        job.compute, storage_root=registry.storage.root, preload=(run_score_batch.__module__,)
    ) as executor:
        packed = pack(_SECONDS_A_KEY + _SECONDS_A_ROW * rows, workers=executor.workers)
        # Parts are numbered in the order of the keys, so that the output is sorted as a whole.
        packed = sorted((np.sort(places) for places in packed), key=lambda places: int(places[0]))
        progress.begin("scoring", len(units))
        receipts: list[ScoreReceipt] = []
        tasks = (
            (f"{score_id}-{number}", BatchTask(score_id, number, table.take(places).combine_chunks(), work))
            for number, places in enumerate(packed)
        )

        def beat() -> bool:
            registry.touch_score(score_id)
            return False

        with Watch(score_id, executor, progress.say, timeout=job.training.timeout, beat=beat) as watch:
            for completion in executor.run(run_score_batch, tasks, check=watch.check):
                watch.finished()
                if completion.value is None:
                    raise completion.error or ManyModelsError(f"{completion.name} gave no receipt")
                receipt = completion.value
                receipts.append(receipt)
                progress.advance(sum(receipt.counts.values()), receipt.counts["failed"])
        return sorted(receipts, key=lambda receipt: receipt.batch), executor.startup_seconds


def _finish(
    job: Job,
    request: ScoreRequest,
    score_id: str,
    units: pd.DataFrame,
    receipts: list[ScoreReceipt],
    sink: Sink,
    began: float,
    startup: float,
) -> ScoreResult:
    counts = {
        name: sum(receipt.counts[name] for receipt in receipts) for name in ("scored", "fallback", "failed")
    }
    if sum(counts.values()) != len(units):
        raise ManyModelsError(
            f"{len(units):,} keys went in but {sum(counts.values()):,} are accounted for ({counts}); nothing was published"
        )
    limit = job.training.max_failed
    allowed = limit if isinstance(limit, int) else limit * len(units)
    reasons: dict[str, int] = {}
    for receipt in receipts:
        for reason, number in receipt.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + number
    result = ScoreResult(
        score_id=score_id,
        state="failed_gate" if counts["failed"] > allowed else "completed",
        keys=len(units),
        rows=sum(receipt.rows for receipt in receipts),
        seconds=0.0,
        startup_seconds=startup,
        output=request.output,
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        **counts,
    )
    details = {
        "score_id": score_id,
        "state": result.state,
        "keys": result.keys,
        **counts,
        "rows": result.rows,
    }
    sink.publish([receipt.part for receipt in receipts], details, raw=request.raw)
    return replace(result, seconds=time.perf_counter() - began - startup)
