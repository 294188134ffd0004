"""Predictions beside what happened: the outputs of past scorings joined to actuals, by key and by what tells rows apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.dataset.roles import scoring_roles
from manymodels.dataset.sources import Source, open_source
from manymodels.exceptions import DataError, UsageError
from manymodels.job.job import Job
from manymodels.models.contract import FitSpec
from manymodels.partitioning.keys import cast_keys, display, key_ids
from manymodels.registry import ScoreRecord
from manymodels.scoring.assemble import prediction_fields

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["CameTrue", "Features", "came_true"]

_ROW = "row"  # prefix of what tells a key's rows apart, which may be called as anything else is


@dataclass(frozen=True)
class Features:
    """New values of numeric and other features.

    Attributes:
        rows: ``key_id``, and the features.
        numeric: Names of those that are numbers; the others are categories.
    """

    rows: pd.DataFrame
    numeric: tuple[str, ...]


@dataclass(frozen=True)
class CameTrue:
    """Predictions whose outcome is known.

    Attributes:
        rows: ``key_id``, ``scoring`` (number), ``actual``, the prediction columns, ``model_version``, ``model_source``; in the
            order of key, scoring, and what tells a key's rows apart. An outcome that several scorings predicted is there
            once for each.
        newest: Places in ``rows`` of each outcome's newest prediction.
        keys: key_id to the values of the key columns.
        actuals: Rows of the actuals with a known outcome.
        unmatched: Those of them that no scoring predicted.
        features: New values of features; None when neither actuals nor outputs have any.
    """

    rows: pd.DataFrame
    newest: npt.NDArray[np.intp]
    keys: Mapping[str, tuple[Any, ...]]
    actuals: int
    unmatched: int
    features: Features | None

    def display(self, key_id: str, columns: Sequence[str]) -> str:
        """A key as people write it."""
        return display(self.keys[key_id], columns)


def came_true(
    job: Job, spec: FitSpec, kinds: Mapping[str, str], actuals: Any, records: Sequence[ScoreRecord]
) -> CameTrue:
    """Join actuals to what was predicted.

    Args:
        job: The job.
        spec: Of the run whose models predicted.
        kinds: Key column to the kind that training recorded.
        actuals: A path or a table with the key columns, what tells rows apart, and the target.
        records: The scorings, oldest first; their outputs are there.

    Raises:
        UsageError: Nothing tells a key's rows apart.
        DataError: A column is not there, several rows are the same one, or nothing matches.
    """
    import pandas as pd

    match = list(job.monitor.match or ([job.data.time] if job.data.time else []))
    if not match:
        raise UsageError(
            "nothing tells a key's rows apart: the job has no `data.time`; name columns in `monitor.match`"
        )
    names = [name for name, _ in prediction_fields(spec, None)]
    keys: dict[str, tuple[Any, ...]] = {}
    truth, known = _actuals(job, spec, kinds, actuals, match, keys)
    parts = []
    for record in records:
        source = open_source(_reading(job, record.output))
        _require(source, [*match, *names], f"the scores in {record.output}")
        features = [name for name in spec.features if name in source.columns]
        frame = _rows(
            source, job, spec, kinds, match, [*names, "model_version", "model_source", *features], keys
        )
        frame["scoring"] = record.number
        parts.append(frame)
    predicted = pd.concat(parts, ignore_index=True)
    usable = predicted[predicted[names[0]].notna()]
    on = ["key_id", *(f"{_ROW}:{name}" for name in match)]
    _refuse_twice(usable, [*on, "scoring"], match, "the scores")
    rows = usable.merge(truth[[*on, "actual"]], on=on, how="inner")
    if rows.empty:
        raise DataError(
            f"none of {len(truth):,} actuals has a prediction in {len(records)} scorings; are `{', '.join(match)}` "
            "and the key columns the same in both?"
        )
    rows = rows.sort_values(["key_id", "scoring", *on[1:]], kind="stable", ignore_index=True)
    last = ~rows.duplicated(on, keep="last")
    matched = int(last.sum())
    new = truth if known else predicted
    features = [name for name in spec.features if name in new.columns]
    types = [
        name for name in features if pd.api.types.is_numeric_dtype(new[name]) and name not in spec.categorical
    ]
    return CameTrue(
        rows=rows,
        newest=np.flatnonzero(last.to_numpy()),
        keys=keys,
        actuals=len(truth),
        unmatched=len(truth) - matched,
        features=Features(new[["key_id", *features]], tuple(types)) if features else None,
    )


def _actuals(
    job: Job,
    spec: FitSpec,
    kinds: Mapping[str, str],
    actuals: Any,
    match: list[str],
    keys: dict[str, tuple[Any, ...]],
) -> tuple[pd.DataFrame, bool]:
    """What happened, one row per outcome, and whether features are beside it."""
    path, frame = (actuals, None) if isinstance(actuals, str | list) else (None, actuals)
    data = job.data.of_other_rows(path)
    source = open_source(data, frame)
    target = str(spec.label if spec.task == "anomaly" else spec.target)
    scoring_roles(source, data, job.task, features=(), target=target)
    _require(source, match, "the actuals")
    features = [name for name in spec.features if name in source.columns and name not in match]
    found = _rows(source, job, spec, kinds, match, [target, *features], keys)
    found = found[found[target].notna()].rename(columns={target: "actual"})
    if spec.task == "anomaly":
        found["actual"] = (found["actual"] != 0).astype(np.int64)
    elif spec.task != "classification":
        found["actual"] = found["actual"].astype(np.float64)
    on = ["key_id", *(f"{_ROW}:{name}" for name in match)]
    rule = job.data.on_duplicate_time
    if spec.task == "forecast" and rule != "error":
        found = found.groupby(on, sort=False, as_index=False).agg(
            {name: rule if name == "actual" else "last" for name in found.columns if name not in on}
        )
    _refuse_twice(found, on, match, "the actuals")
    return found, bool(features)


def _reading(job: Job, output: str) -> Any:
    return job.data.of_other_rows(output).model_copy(update={"csv": {}})


def _rows(
    source: Source,
    job: Job,
    spec: FitSpec,
    kinds: Mapping[str, str],
    match: list[str],
    columns: Sequence[str],
    keys: dict[str, tuple[Any, ...]],
) -> pd.DataFrame:
    """Rows with their key_id and what tells them apart in a form that compares; new keys are added to ``keys``."""
    by = job.data.partition_by
    table = source.read(list(dict.fromkeys([*by, *match, *columns])))
    frame = table.select(list(dict.fromkeys(columns))).to_pandas()
    frame["key_id"] = _key_ids(table, by, kinds, keys)
    for name in match:
        values = table.column(name).to_pandas()
        frame[f"{_ROW}:{name}"] = _comparable(values.to_numpy(), name, spec)
    return frame


def _comparable(values: npt.NDArray[Any], name: str, spec: FitSpec) -> npt.NDArray[Any]:
    from manymodels.models.forecast.frequency import period_index, time_values

    if name != spec.time:
        return values
    if spec.task == "forecast":
        return period_index(values, str(spec.frequency))
    return time_values(values)


def _key_ids(
    table: pa.Table, by: Sequence[str], kinds: Mapping[str, str], keys: dict[str, tuple[Any, ...]]
) -> npt.NDArray[Any]:
    """The key_id of every row."""
    import pyarrow as pa

    code = np.zeros(table.num_rows, np.int64)
    for name in by:
        encoded = table.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        code = code * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
        _, code = np.unique(code, return_inverse=True)
    _, first, owner = np.unique(code, return_index=True, return_inverse=True)
    distinct = cast_keys(table.select(list(by)).take(pa.array(first)), list(by), dict(kinds))
    ids = key_ids(distinct, list(by)).to_pylist()
    keys.update(zip(ids, zip(*(column.to_pylist() for column in distinct.columns), strict=True), strict=True))
    return np.array(ids, dtype=object)[owner]


def _require(source: Source, names: Sequence[str], where: str) -> None:
    for name in names:
        if name not in source.columns:
            raise DataError(f"{where} have no column {name!r}; they have {', '.join(source.columns)}")


def _refuse_twice(frame: pd.DataFrame, on: list[str], match: list[str], where: str) -> None:
    twice = int(frame.duplicated(on).sum())
    if twice:
        raise DataError(
            f"{twice:,} rows of {where} have the same {', '.join(match)} as another row of their key; "
            "name the columns that tell them apart in `monitor.match`"
        )
