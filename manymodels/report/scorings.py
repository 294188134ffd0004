"""A scoring, read from its output, and the tables of its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from manymodels.exceptions import NotFoundError, StoreError, UsageError
from manymodels.job.settings import RunSettings, load_settings
from manymodels.models.contract import interval_columns
from manymodels.partitioning.keys import display
from manymodels.partitioning.listing import chosen_key
from manymodels.registry import Registry
from manymodels.registry.records import ScoreRecord
from manymodels.report.points import earlier_rows, histogram, thinned
from manymodels.report.wording import unnumbered
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ScoreFacts", "read_scoring", "score_tables"]

_MANIFEST = "_manifest.json"
_SHOWN = 6
_REASONS = 20
_SERVED = ("model_version", "model_source", "status", "reason")


@dataclass(frozen=True, eq=False)
class ScoreFacts:
    """A scoring, all told.

    Attributes:
        record: What the registry says of it.
        settings: Of the run that served, or of the newest run before it.
        rows: The output: the key columns, the time of forecasts, what was predicted, and who served it.
        previous: The finished scoring before it, of the same model set.
    """

    record: ScoreRecord
    settings: RunSettings
    rows: pa.Table
    previous: ScoreRecord | None

    @property
    def main(self) -> str:
        """The column that is predicted."""
        return "score" if self.settings.job.task == "anomaly" else "prediction"


def read_scoring(registry: Registry, record: ScoreRecord) -> ScoreFacts:
    """All there is to say of a scoring.

    Raises:
        NotFoundError: Its output is gone.
        UsageError: It has not ended well, or its output holds another one.
    """
    if record.state not in ("completed", "failed_gate"):
        raise UsageError(f"scoring {record.id} is {record.state}: it has no output to report on")
    run_id = record.run_id or next(
        run.id
        for run in registry.runs(record.model_set, limit=None)
        if run.published and run.started <= record.started
    )
    settings = load_settings(registry.storage, registry.run(run_id), registry.trust)
    before = [
        each
        for each in registry.scores(record.model_set, limit=None)
        if each.number < record.number and each.state in ("completed", "failed_gate")
    ]
    return ScoreFacts(record, settings, _output(record, settings), before[0] if before else None)


def _output(record: ScoreRecord, settings: RunSettings) -> pa.Table:
    import pyarrow as pa
    import pyarrow.dataset

    spec = settings.fit.spec
    suffix = Path(record.output).suffix.lower()
    place = Storage.at(record.output)
    if not place.exists("" if suffix in (".parquet", ".csv") else _MANIFEST):
        raise NotFoundError(
            f"the scores of {record.id} are not at {record.output} any more (from here); score again, or work in the folder "
            "where they were made (`-C DIR`)"
        )
    filesystem, root = place.locate("")
    paths: Any = root.rstrip("/")
    if suffix not in (".parquet", ".csv"):
        manifest = json.loads(place.read(_MANIFEST))
        if manifest["score_id"] != record.id:
            raise UsageError(
                f"{record.output} holds the scores of {manifest['score_id']} by now, not of {record.id}"
            )
        paths = [place.locate(part)[1] for part in manifest["parts"]]
    try:
        found = pyarrow.dataset.dataset(
            paths, format="csv" if suffix == ".csv" else "parquet", filesystem=filesystem
        )
        bounds = [name for level in spec.levels for name in interval_columns(level)]
        times = [spec.time] if spec.task == "forecast" else []
        wanted = [*spec.partition_by, *times, "prediction", "score", "is_anomaly", *bounds, *_SERVED]
        return found.to_table(columns=[name for name in wanted if name in found.schema.names])
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"could not read the scores at {record.output}: {error}") from error


def score_tables(facts: ScoreFacts) -> dict[str, pd.DataFrame]:
    """Every table of the report by its name; those that a scoring has nothing for are empty.

    ``summary``, ``states``, ``sources``, ``versions``, ``reasons``, ``predictions``, ``classes``, ``by_time``, ``largest``,
    ``examples`` and ``keys``.
    """
    keys = _keys(facts)
    numeric = facts.settings.job.task != "classification"
    values = facts.rows.column(facts.main)
    by_value = pd.DataFrame()
    if not numeric:
        by_value = values.to_pandas().value_counts(dropna=False).rename_axis("class").reset_index(name="rows")
        by_value["class"] = by_value["class"].astype(str)
    reasons = keys[keys["reason"].notna()]
    largest = keys.nlargest(_SHOWN, "total") if facts.settings.job.task == "forecast" else keys.head(0)
    tables = {
        "summary": _summary(facts, keys),
        "states": _states(facts.record),
        "sources": _counted(keys, "model_source"),
        "versions": _counted(keys, "model_version"),
        "reasons": _counted(reasons.assign(reason=unnumbered(reasons["reason"])), "reason").head(_REASONS),
        "predictions": histogram(values.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan))
        if numeric
        else histogram(np.empty(0)),
        "classes": by_value,
        "by_time": _by_time(facts),
        "largest": largest,
        "examples": _examples(facts, largest),
        "keys": keys,
    }
    return {name: table.reset_index(drop=True) for name, table in tables.items()}


def _keys(facts: ScoreFacts) -> pd.DataFrame:
    """One row per key: its name, rows, what was predicted in total, and who served it."""
    names = list(facts.settings.job.data.partition_by)
    main = facts.main
    numeric = facts.settings.job.task != "classification"
    aggregates: list[Any] = [(main, "count"), ([], "count_all"), *((name, "max") for name in _SERVED)]
    if numeric:
        aggregates += [(main, "sum"), (main, "mean")]
    found = facts.rows.group_by(names, use_threads=False).aggregate(aggregates).to_pandas()
    columns = {f"{name}_max": name for name in _SERVED}
    columns |= {
        "count_all": "rows",
        f"{main}_count": "predicted",
        f"{main}_sum": "total",
        f"{main}_mean": "mean",
    }
    found = found.rename(columns=columns).drop(columns="status")
    shown = [display(values, names) for values in found[names].itertuples(index=False, name=None)]
    found.insert(0, "key", shown)
    return found


def _summary(facts: ScoreFacts, keys: pd.DataFrame) -> pd.DataFrame:
    record, previous = facts.record, facts.previous
    counts = {name: record.counts.get(name, 0) for name in ("keys", "scored", "fallback", "failed", "rows")}
    line: dict[str, Any] = {
        "score_id": record.id,
        "model_set": record.model_set,
        "task": facts.settings.job.task,
        "state": record.state,
        "started": record.started,
        "ended": record.ended,
        **counts,
        "served_by": record.run_id or record.alias,
        "output": record.output,
        "seconds": record.seconds,
        "null_predictions": int(keys["rows"].sum() - keys["predicted"].sum()),
        "previous": None if previous is None else previous.id,
    }
    for name in counts:
        line[f"previous_{name}"] = None if previous is None else previous.counts.get(name, 0)
    if "is_anomaly" in facts.rows.column_names:
        line["anomalies"] = int(pd.Series(facts.rows.column("is_anomaly").to_pandas()).fillna(False).sum())
    return pd.DataFrame([line])


def _states(record: ScoreRecord) -> pd.DataFrame:
    states = ("scored", "fallback", "failed")
    counts = [record.counts.get(state, 0) for state in states]
    return pd.DataFrame({"state": states, "keys": counts, "share": np.array(counts) / max(sum(counts), 1)})


def _counted(keys: pd.DataFrame, name: str) -> pd.DataFrame:
    grouped = keys.groupby(name, dropna=False)
    table = pd.DataFrame({"keys": grouped.size(), "rows": grouped["rows"].sum()}).reset_index()
    return table.sort_values("keys", ascending=False, kind="stable")


def _by_time(facts: ScoreFacts) -> pd.DataFrame:
    """Forecasts: the sum over all keys of each period."""
    time = facts.settings.fit.spec.time
    if facts.settings.job.task != "forecast" or time is None:
        return pd.DataFrame()
    found = (
        facts.rows.group_by(time).aggregate([("prediction", "sum"), ("prediction", "count")]).sort_by(time)
    )
    return found.to_pandas().rename(
        columns={time: "time", "prediction_sum": "total", "prediction_count": "keys"}
    )


def _examples(facts: ScoreFacts, largest: pd.DataFrame) -> pd.DataFrame:
    """The forecasts of a few keys, and what happened before."""
    import pyarrow as pa
    import pyarrow.compute as pc

    spec, store = facts.settings.fit.spec, facts.settings.store
    names = list(spec.partition_by)
    rows = facts.rows
    for name in names:  # few rows are left to look through key by key
        wanted = pa.array(largest[name], rows.schema.field(name).type, from_pandas=True)
        rows = rows.filter(pc.is_in(rows.column(name), wanted))
    frame = rows.to_pandas().rename(columns={str(spec.time): "time"})
    parts = []
    for values in largest[names].itertuples(index=False, name=None):
        theirs = np.ones(len(frame), dtype=bool)
        for name, value in zip(names, values, strict=True):
            theirs &= (frame[name].isna() if pd.isna(value) else frame[name] == value).to_numpy()
        ahead = thinned(frame[theirs].sort_values("time")).assign(key=display(values, names), window=0)
        key_id = chosen_key(dict(zip(names, values, strict=True)), store.details.key_kinds)
        past = earlier_rows(facts.settings, key_id, None, len(ahead)).assign(key=display(values, names))
        parts += [past, ahead.drop(columns=names)]
    return pd.concat([part for part in parts if len(part)], ignore_index=True) if parts else pd.DataFrame()
