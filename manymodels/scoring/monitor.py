"""How past predictions did: accuracy and coverage over time, drift, and the keys that should train again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from manymodels.evaluation.metrics import Metric, resolve_metric
from manymodels.exceptions import ModelError, NotFoundError, UsageError
from manymodels.job.job import Job
from manymodels.job.resolve import importable
from manymodels.job.settings import RunSettings, load_settings
from manymodels.models.contract import FitSpec, Floats
from manymodels.monitoring.drift import stability_index
from manymodels.monitoring.judge import CAUSES, KeyRows, judge_features, judge_key, measure
from manymodels.monitoring.reports import KEYS, write_report
from manymodels.records import Rows
from manymodels.registry import Registry, RunRecord, ScoreRecord
from manymodels.scoring.assemble import prediction_fields
from manymodels.scoring.batch import OWN_MODEL
from manymodels.scoring.came_true import CameTrue, came_true
from manymodels.scoring.sinks import is_finished

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Monitored", "monitor"]

_CHUNK_ROWS = 1_000_000  # training rows in memory at a time
_SAMPLE = 200_000  # training rows that the fleet's stability index looks at


@dataclass(frozen=True)
class Monitored:
    """What monitoring found.

    Attributes:
        summary: The same object as ``manymodels monitor --json`` prints.
        keys: One row per key with predictions that came true: ``key_id``, ``key`` (as people write it), the key columns as
            ``key:<name>``, ``rows``, ``version``, ``metric``, ``evaluated`` (the metric of its evaluation), ``bias``,
            ``coverage_<level>``, ``cusum``, ``shifted`` (the scoring in which the residuals shifted), ``feature`` and ``ks``
            (the feature farthest from its training rows), ``retrain``, ``causes``.
        periods: One row per key and scoring: ``key_id``, ``key``, ``scoring``, ``rows``, ``metric``, ``bias``,
            ``coverage_<level>``.
        features: One row per feature: ``feature``, ``psi``, ``drifted``, ``keys`` (in how many it drifted).
    """

    summary: dict[str, Any]
    keys: pd.DataFrame
    periods: pd.DataFrame
    features: pd.DataFrame


def monitor(job: Job, actuals: Any) -> Monitored:
    """Compare what was predicted with what happened, and list the keys to train again.

    Args:
        job: The job.
        actuals: A path or a table with the key columns, the target, and the time (or the columns of ``monitor.match``);
            features beside them are compared with the training rows.

    Raises:
        UsageError: Nothing was scored, or nothing tells rows apart.
        DataError: The actuals do not fit.
        StoreError: The store could not be read or written.
    """
    import pyarrow as pa

    if job.task == "anomaly" and job.evaluation.label is None:
        raise UsageError(
            "an anomaly detection is judged by `evaluation.label`, a column with the truth; the job names none"
        )
    registry = Registry.open(job.store, create=False)
    records, lost = _scorings(registry, job)
    runs = {run.number: run for run in registry.runs(job.name, limit=None) if run.published}
    settings = load_settings(registry.storage, runs[max(runs)], registry.trust)
    spec = settings.fit.spec
    found = came_true(job, spec, settings.store.details.key_kinds, actuals, records)
    with importable(job.folder):
        metric = None if settings.fit.metric is None else resolve_metric(settings.fit.metric, job.task)
    judging = _Judging(registry, job, settings, runs, metric, found)
    keys, periods, features = judging.tables()
    folder = write_report(
        registry.storage,
        job.name,
        {
            "periods.parquet": pa.Table.from_pandas(periods, preserve_index=False),
            "features.parquet": pa.Table.from_pandas(features, preserve_index=False),
            KEYS: pa.Table.from_pandas(keys, preserve_index=False),
        },
    )
    summary = {
        "model_set": job.name,
        "scorings": [record.id for record in records],
        "without_output": lost,
        "keys": len(keys),
        "rows": len(found.newest),
        "actuals": found.actuals,
        "unmatched": found.unmatched,
        "metric": None if metric is None else metric.name,
        "median_metric": _median(keys["metric"]),
        "median_evaluated": _median(keys["evaluated"]),
        "coverage": {f"{level:g}": _mean(keys[f"coverage_{level:g}"], keys["rows"]) for level in spec.levels},
        "drifted_features": features.loc[features["drifted"], "feature"].tolist(),
        "retrain": int(keys["retrain"].sum()),
        "retrain_on": list(job.monitor.retrain_on),
        "causes": {
            cause: int(keys["causes"].map(lambda causes, c=cause: c in causes).sum()) for cause in CAUSES
        },
        "output": registry.storage.absolute(folder),
    }
    return Monitored(summary, keys, periods, features)


def _scorings(registry: Registry, job: Job) -> tuple[list[ScoreRecord], list[str]]:
    """The newest scorings whose output is there, oldest first, and the ids of those whose output is not any more."""
    records: list[ScoreRecord] = []
    lost: list[str] = []
    for record in registry.scores(job.name, limit=None):
        if record.state not in ("completed", "failed_gate"):
            continue
        # A newer scoring may have replaced the output.
        if is_finished(record.output) and record.output not in [newer.output for newer in records]:
            records.append(record)
        else:
            lost.append(record.id)
        if len(records) == job.monitor.scorings:
            break
    if not records:
        gone = f": the outputs of {len(lost):,} scorings are gone" if lost else ""
        raise NotFoundError(f"no scores of {job.name!r} to compare with{gone}; `manymodels score` makes some")
    return records[::-1], lost


class _Judging:
    """The keys of a monitoring, judged chunk by chunk as training rows are read."""

    def __init__(
        self,
        registry: Registry,
        job: Job,
        settings: RunSettings,
        runs: Mapping[int, RunRecord],
        metric: Metric | None,
        found: CameTrue,
    ) -> None:
        self.job, self.settings, self.metric, self.found = job, settings, metric, found
        self.spec: FitSpec = settings.fit.spec
        self.evaluated = _Evaluated(registry, job, runs)
        self.predictions = [name for name, _ in prediction_fields(self.spec, None)]
        features = found.features
        self.numeric = () if features is None else features.numeric
        rows = found.rows
        self.bounds = _bounds(rows["key_id"].to_numpy())
        self.columns = {name: rows[name].to_numpy() for name in rows.columns}
        self.is_newest = np.zeros(len(rows), dtype=bool)
        self.is_newest[found.newest] = True
        if features is not None:
            sorted_rows = features.rows.sort_values("key_id", kind="stable")
            self.after_bounds = _bounds(sorted_rows["key_id"].to_numpy())
            self.after = {
                name: sorted_rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in self.numeric
            }

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Keys, periods and features."""
        import pandas as pd

        keys: list[dict[str, Any]] = []
        periods: list[dict[str, Any]] = []
        drifted: dict[str, int] = {}
        sample: list[pd.DataFrame] = []
        for key_id, rows in self._with_training(sample):
            keys.append(self._key(key_id, rows, drifted))
            periods += self._periods(key_id, rows)
        names = self.job.data.partition_by
        columns = ["key_id", "key", *(f"key:{name}" for name in names)]
        table = pd.DataFrame(keys)
        return (
            table[[*columns, *(name for name in table.columns if name not in columns)]],
            pd.DataFrame(periods),
            self._features(sample, drifted),
        )

    def _with_training(self, sample: list[pd.DataFrame]) -> Iterator[tuple[str, Rows | None]]:
        """Every key, with the rows that training saw; a sample of them is kept."""
        import pyarrow as pa

        store = self.settings.store
        manifest = store.manifest
        place = {key_id: number for number, key_id in enumerate(manifest.column("key_id").to_pylist())}
        known = np.array(sorted(place[key_id] for key_id in self.bounds if key_id in place), dtype=np.int64)
        counts = manifest.column("rows").to_numpy()[known]
        features = [] if self.found.features is None else list(self.found.features.rows.columns[1:])
        wanted = [name for name in (self.spec.time, self.spec.target, self.spec.label) if name is not None]
        columns = list(
            dict.fromkeys([*wanted, *(name for name in features if name in store.details.columns)])
        )
        stride = max(1, int(counts.sum()) // _SAMPLE)
        chunk = np.cumsum(counts) // _CHUNK_ROWS
        for places in np.split(known, np.flatnonzero(np.diff(chunk)) + 1):
            if not len(places):
                continue
            slices = manifest.take(pa.array(places))
            frame, offsets = store.read(slices, columns)
            sample.append(frame[features].iloc[::stride])
            whole = Rows(frame)
            ids = slices.column("key_id").to_pylist()
            for key_id, (start, stop) in zip(ids, pairwise(offsets.tolist()), strict=True):
                yield key_id, whole.part(start, stop)
        yield from ((key_id, None) for key_id in self.bounds if key_id not in place)

    def _key(self, key_id: str, training: Rows | None, drifted: dict[str, int]) -> dict[str, Any]:
        start, stop = self.bounds[key_id]
        mine = np.flatnonzero(self.is_newest[start:stop]) + start
        own = mine[self.columns["model_source"][mine] == OWN_MODEL]
        version = None if not len(own) else int(self.columns["model_version"][own].max())
        # An older version's misses are no reason to train again.
        judged = mine if version is None else own[self.columns["model_version"][own] == version]
        evaluated = None if version is None else self.evaluated.of(version, key_id)
        result = judge_key(self._rows(judged, training), evaluated, self.metric, self.spec, self.job.monitor)
        farthest, distance, strange = self._key_features(key_id, training)
        for name in strange:
            drifted[name] = drifted.get(name, 0) + 1
        causes = () if version is None else (*result.causes, *(["features"] if strange else []))
        return {
            **self._named(key_id),
            "rows": result.rows,
            "version": version,
            "metric": result.metric,
            "evaluated": evaluated,
            "bias": result.bias,
            **{f"coverage_{level:g}": result.coverage.get(level) for level in self.spec.levels},
            "cusum": result.cusum,
            "shifted": result.shifted,
            "feature": farthest,
            "ks": distance,
            "retrain": not set(causes).isdisjoint(self.job.monitor.retrain_on),
            "causes": list(causes),
        }

    def _periods(self, key_id: str, training: Rows | None) -> Iterator[dict[str, Any]]:
        start, stop = self.bounds[key_id]
        for scoring, (first, last) in _bounds(self.columns["scoring"][start:stop]).items():
            result = measure(
                self._rows(np.arange(start + first, start + last), training), self.metric, self.spec
            )
            yield {
                "key_id": key_id,
                "key": self.found.display(key_id, self.job.data.partition_by),
                "scoring": int(scoring),
                "rows": result.rows,
                "metric": result.metric,
                "bias": result.bias,
                **{f"coverage_{level:g}": result.coverage.get(level) for level in self.spec.levels},
            }

    def _rows(self, places: Any, training: Rows | None) -> KeyRows:
        return KeyRows(
            actual=self.columns["actual"][places],
            predictions={
                name: self.columns[name][places] for name in self.predictions if name in self.columns
            },
            scoring=self.columns["scoring"][places],
            training=_series(training, self.spec),
        )

    def _named(self, key_id: str) -> dict[str, Any]:
        names = self.job.data.partition_by
        values = zip(names, self.found.keys[key_id], strict=True)
        return {
            "key_id": key_id,
            "key": self.found.display(key_id, names),
            **{f"key:{name}": value for name, value in values},
        }

    def _key_features(self, key_id: str, training: Rows | None) -> tuple[str, float, tuple[str, ...]]:
        if training is None or self.found.features is None or key_id not in self.after_bounds:
            return "", 0.0, ()
        start, stop = self.after_bounds[key_id]
        names = [name for name in self.numeric if name in training.columns]
        before = {name: training.numbers(name) for name in names}
        after = {name: self.after[name][start:stop] for name in names}
        return judge_features(before, after, self.job.monitor)

    def _features(self, sample: list[pd.DataFrame], drifted: Mapping[str, int]) -> pd.DataFrame:
        """The fleet's features: how far the new rows are from those of training."""
        import pandas as pd

        lines = []
        features = self.found.features
        if features is not None and sample:
            before = pd.concat(sample, ignore_index=True)
            limit = self.job.monitor.psi
            for name in before.columns:
                kind = np.float64 if name in features.numeric else object
                old, new = (_values(frame[name], kind) for frame in (before, features.rows))
                index = stability_index(old, new)
                lines.append(
                    {
                        "feature": name,
                        "psi": index,
                        "drifted": limit is not None and index is not None and index > limit,
                        "keys": drifted.get(name, 0),
                    }
                )
        return pd.DataFrame(lines, columns=["feature", "psi", "drifted", "keys"])


class _Evaluated:
    """The metric that each version had in its evaluation, read run by run as it is asked for."""

    def __init__(self, registry: Registry, job: Job, runs: Mapping[int, RunRecord]) -> None:
        self._registry, self._runs = registry, runs
        self._metric = job.evaluation.metric
        self._known: dict[int, dict[str, float | None]] = {}

    def of(self, version: int, key_id: str) -> float | None:
        """None where it had none, or was evaluated by another metric."""
        if version not in self._known:
            self._known[version] = self._read(self._runs[version])
        return self._known[version].get(key_id)

    def _read(self, run: RunRecord) -> dict[str, float | None]:
        import io

        import pyarrow.parquet as pq

        if json.loads(run.job)["evaluation"]["metric"] != self._metric:
            return {}
        content = self._registry.storage.read(run.outcomes_path)
        table = pq.read_table(io.BytesIO(content), columns=["key_id", "metric"])
        return dict(zip(table.column("key_id").to_pylist(), table.column("metric").to_pylist(), strict=True))


def _series(training: Rows | None, spec: FitSpec) -> Floats:
    """The target that the model was trained on, by period; empty for other tasks than forecasts."""
    if training is None or spec.task != "forecast":
        return np.empty(0)
    from manymodels.models.forecast.series import Basis, Series

    try:
        return Series.read(training, Basis.of(spec)).target
    except ModelError:
        return np.empty(0)


def _bounds(values: Any) -> dict[Any, tuple[int, int]]:
    """Value to its first place and one past its last, of an array in which equal values are together."""
    if not len(values):
        return {}
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    stops = np.append(starts[1:], len(values))
    return {values[start]: (int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)}


def _values(column: pd.Series, kind: Any) -> Any:
    if kind is object:
        return column.astype(object).where(column.notna(), None).to_numpy()
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _median(column: pd.Series) -> float | None:
    known = column.dropna()
    return float(known.median()) if len(known) else None


def _mean(column: pd.Series, weights: pd.Series) -> float | None:
    known = column.notna()
    return float(np.average(column[known], weights=weights[known])) if known.any() else None
