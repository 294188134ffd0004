"""The rows of a scoring: new rows, newer history and the periods to forecast, split by key like the training data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from manymodels.dataset.roles import Roles, scoring_roles
from manymodels.dataset.sources import open_source
from manymodels.exceptions import DataError
from manymodels.job.job import Job
from manymodels.job.resolve import level_columns
from manymodels.job.settings import RunSettings
from manymodels.job.splitting import split_rows
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage

__all__ = ["ScoreInputs", "open_inputs"]


@dataclass(frozen=True)
class ScoreInputs:
    """What is scored.

    Attributes:
        rows: The rows to score; None when a forecast makes its own.
        history: Newer history of a forecast; None when there is none.
        model_columns: Columns of ``rows`` that models read.
        output_columns: Columns of ``rows`` that stand in the output beside the key columns.
        fingerprint: Of all of it.
    """

    rows: PartitionStore | None
    history: PartitionStore | None
    model_columns: tuple[str, ...]
    output_columns: tuple[str, ...]
    fingerprint: str


def open_inputs(job: Job, run: RunSettings, data: Any, future: Any, storage: Storage) -> ScoreInputs:
    """Open and split what is scored.

    Args:
        job: The job.
        run: Whose models score.
        data: New rows (a path or a table), or a forecast's newer history.
        future: The periods to forecast (a path or a table).
        storage: Where partition stores go.

    Raises:
        DataError: A column that models need is not there.
    """
    spec = run.fit.spec
    if spec.task != "forecast":
        if future is not None:
            raise DataError(f"--future is for forecasts; give the rows of a {spec.task} with --data")
        source = job.data.path if data is None else data
        # A detector that was given a target watches it like the features.
        watched = (spec.target,) if spec.task == "anomaly" and spec.target is not None else ()
        read = (*spec.features, *watched)
        rows, roles = _split(job, source, storage, features=read, every_column=True)
        output = tuple(column for column in roles.columns if column not in job.data.partition_by)
        # Without features there would be no column, and so no rows, to hand to a model.
        columns = _readable(roles, read, spec.time) or tuple(job.data.partition_by)
        return ScoreInputs(rows, None, columns, output, rows.fingerprint)

    if future is None and spec.known_future:
        raise DataError(
            f"the models use {', '.join(spec.known_future)}, known ahead: give the periods to forecast with those columns "
            "as --future"
        )
    history: PartitionStore | None = None
    made_rows: PartitionStore | None = None
    if data is not None:
        history, _ = _split(
            job, data, storage, features=spec.features, target=spec.target, every_column=False
        )
    if future is not None:
        made_rows, _ = _split(job, future, storage, features=spec.known_future, every_column=False)
    made = [store.fingerprint for store in (made_rows, history) if store is not None]
    return ScoreInputs(
        made_rows,
        history,
        (*([spec.time] if spec.time else []), *spec.known_future),
        (spec.time,) if spec.time else (),
        "+".join(made) or run.store.fingerprint,
    )


def _split(
    job: Job,
    data: Any,
    storage: Storage,
    *,
    features: tuple[str, ...],
    every_column: bool,
    target: str | None = None,
) -> tuple[PartitionStore, Roles]:
    path, frame = (data, None) if isinstance(data, str | list) else (None, data)
    # The job's row filter is about training data: every row to score is accounted for.
    spec = job.data.of_other_rows(path)
    source = open_source(spec, frame)
    roles = scoring_roles(
        source,
        spec,
        job.task,
        features=features,
        target=target,
        every_column=every_column,
        levels=level_columns(job),
    )
    return split_rows(job, source, spec, roles, storage), roles


def _readable(roles: Roles, features: tuple[str, ...], time: str | None) -> tuple[str, ...]:
    wanted = {*features, *([time] if time else [])}
    return tuple(column for column in roles.columns if column in wanted)
