"""A scoring before it begins: what is asked for, which run and ladder serve, and what workers need to know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from importlib import metadata
from typing import TYPE_CHECKING, Any

from manymodels.artifacts.trust import Trust
from manymodels.exceptions import DataError, NotFoundError
from manymodels.job.job import Job
from manymodels.job.resolve import blended_levels, level_name
from manymodels.job.settings import RunSettings
from manymodels.partitioning.store import PartitionStore
from manymodels.registry import Registry, RunRecord
from manymodels.scoring.assemble import OUR_COLUMNS, prediction_fields
from manymodels.scoring.batch import ScoreSettings
from manymodels.scoring.inputs import ScoreInputs
from manymodels.scoring.units import ladder_refs
from manymodels.scoring.unreadable import turned_text
from manymodels.scoring.worker import ScoreWork

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ScoreRequest", "ladder_of", "plan_of", "reasons_of", "serving_run", "work_of"]

_HASHED_ROWS = 65_536


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


def serving_run(registry: Registry, job: Job, request: ScoreRequest) -> RunRecord:
    """The run whose settings and ladder serve: the one asked for, else the newest published."""
    if request.run:
        return registry.run(request.run)
    published = next((run for run in registry.runs(job.name, limit=None) if run.published), None)
    if published is None:
        raise NotFoundError(
            f"no finished run of {job.name!r} in the store {job.store.path}; run `manymodels train` first"
        )
    return published


def ladder_of(job: Job, served: Any) -> tuple[Any, list[list[str]]]:
    """The models of many keys that serve or are blended with keys, by rung, and the columns of their levels."""
    sources, levels = [], []
    for entry in job.fallback:
        columns = [] if isinstance(entry, str) else list(entry.level)
        sources.append(entry if isinstance(entry, str) else level_name(columns))
        levels.append(columns)
    rungs = len(sources)
    for columns in blended_levels(job):
        if level_name(columns) not in sources:
            sources.append(level_name(columns))
            levels.append(columns)
    refs = ladder_refs(served, sources)
    return (*refs[:rungs], *(replace(ref, serves=False) for ref in refs[rungs:])), levels


def reasons_of(registry: Registry, run: RunRecord) -> pa.Table:
    """``key_id`` and ``reason``: why keys of the run have no version of it."""
    import io

    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not run.outcomes_path:
        return pa.table({"key_id": pa.array([], pa.string()), "reason": pa.array([], pa.string())})
    without = (pc.field("level") == "") & pc.field("state").isin(["failed", "fallback", "skipped"])
    table = pq.read_table(
        io.BytesIO(registry.storage.read(run.outcomes_path)),
        columns=["key_id", "state", "reason"],
        filters=without,
    )
    state = table.column("state")
    named = pc.if_else(pc.equal(state, "failed"), "failed in training", state)
    reason = pc.binary_join_element_wise(named, pc.fill_null(table.column("reason"), ""), ": ")
    return pa.table({"key_id": table.column("key_id"), "reason": reason})


def work_of(
    job: Job, request: ScoreRequest, run: RunSettings, inputs: ScoreInputs, ladder: Any, trust: Trust
) -> ScoreWork:
    """What workers need to know of a scoring, but for its plan and where its parts go.

    Raises:
        DataError: The input has a column of the output's.
    """
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
        # Without newer history, older models go on over the rows of the run (``scoring_units``).
        history=(inputs.history or run.store).fingerprint if inputs.rows is None or inputs.history else None,
        training=run.store.fingerprint,
        columns=inputs.model_columns,
        history_columns=tuple(c for c in run.fit.columns if c not in job.data.partition_by),
        horizon=request.horizon or spec.horizon,
        ladder=ladder,
        top=job.ranking.top,
        code=run.fit.code,
        trust=trust,
        blends=bool(blended_levels(job)),
        turned_text=() if inputs.rows is None else turned_text(run.store, inputs.rows, inputs.model_columns),
    )
    lead: PartitionStore = inputs.rows or inputs.history or run.store
    return ScoreWork(
        score=settings,
        plan="",
        staging="",
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


def plan_of(units: pa.Table, work: ScoreWork) -> str:
    """Of everything that decides the content of an output: who is scored, with which rows, by which models."""
    import pandas as pd

    digest = blake2b(digest_size=16)
    for start in range(0, units.num_rows, _HASHED_ROWS):
        part = units.slice(start, _HASHED_ROWS).to_pandas()
        digest.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
    facts = (
        metadata.version("manymodels"), units.column_names, work.score, work.key_fields, work.input_columns, work.class_type
    )  # fmt: skip
    digest.update(repr(facts).encode())
    return digest.hexdigest()
