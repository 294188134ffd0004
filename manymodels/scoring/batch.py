"""Scoring a batch of keys: rows and models in, predictions out. Runs in the sandbox's child, or in process.

Every key's rows go to its own model; when that cannot serve, down the ladder; when nobody can, the key is failed, with every
reason, and keeps its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.artifacts.trust import Trust
from manymodels.compute.sandbox import Started
from manymodels.compute.threads import blas_threads
from manymodels.exceptions import ManyModelsError, ModelError
from manymodels.job.settings import CodeSnapshot
from manymodels.models.blended import blend_of, completed, for_key
from manymodels.models.contract import FitSpec, FittedModel, Predictions
from manymodels.models.fixed import FixedModel
from manymodels.models.rungs import naive_family
from manymodels.records import AttemptFailure, Rows
from manymodels.scoring.unreadable import blanked, read_numbers

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "OWN_MODEL",
    "SLICE",
    "STALE",
    "KeyScores",
    "ModelRef",
    "RungRef",
    "ScorePayload",
    "ScoreSettings",
    "read_slices",
    "score_batch",
]

SLICE = ("file", "row_group", "row_offset", "rows")
"""Where a unit's rows are in a partition store, as in its manifest."""

STALE = "stale: training failed in "
"""Why a key's own model, which served, is not what it should be; the run's id follows."""

OWN_MODEL = "key"
"""``model_source`` of rows that the key's own model served."""


@dataclass(frozen=True)
class ModelRef:
    """Where a model lies.

    Attributes:
        segment: Path in the store.
        sha256: Of the segment.
        row: In the segment.
        version: The model's version.
    """

    segment: str
    sha256: str
    row: int
    version: int


@dataclass(frozen=True)
class RungRef:
    """A rung of the ladder.

    Attributes:
        source: ``pooled``, ``naive`` or ``level:region``: what ``model_source`` says.
        models: The rung's models by their key_id; one for ``pooled`` and ``naive``, one per value for a level.
        serves: Whether it is in the ladder; else keys are only blended with it.
    """

    source: str
    models: Mapping[str, ModelRef]
    serves: bool = True


@dataclass(frozen=True)
class ScoreSettings:
    """What a worker needs to score any batch; the same for every batch.

    Attributes:
        storage_root: Root of the store.
        spec: Of the run whose models score.
        input: Fingerprint of the partition store with the rows to score; None when a forecast makes its own.
        history: Fingerprint of the partition store with newer history; None when there is none.
        training: Fingerprint of the partition store that the models were trained on; None when it is gone.
        columns: Columns of the input that models read.
        history_columns: Columns of the history that models read.
        horizon: Periods ahead, for forecasts.
        ladder: The rungs, in order; after them the levels that keys are only blended with.
        top: Rows to keep per key, for rankings; None keeps all.
        code: The user's own modules; None when there are none.
        trust: What the reader of the models trusts.
        turned_text: Columns of the input that were numbers in training and are text now.
        blends: Whether keys' models may be blended with their levels'.
    """

    storage_root: str
    spec: FitSpec
    input: str | None
    history: str | None
    training: str | None
    columns: tuple[str, ...]
    history_columns: tuple[str, ...]
    horizon: int
    ladder: tuple[RungRef, ...]
    top: int | None
    code: CodeSnapshot | None
    trust: Trust
    turned_text: tuple[str, ...] = ()
    blends: bool = False


@dataclass(frozen=True)
class ScorePayload:
    """What ``score_batch`` takes.

    Attributes:
        settings: Of the scoring.
        units: One row per key (``scoring.units``).
        blamed: key_id to source to what it did: models that killed or stalled the child before.
    """

    settings: ScoreSettings
    units: Any
    blamed: Mapping[str, Mapping[str, AttemptFailure]] = field(default_factory=dict)


@dataclass(frozen=True)
class KeyScores:
    """The predictions of one key.

    Attributes:
        key_id: The key.
        rows: Rows predicted, before ``kept``.
        values: Output column to values of ``rows`` length; empty when the key failed.
        times: The periods of a forecast that made its own rows: microseconds since 1970, or positions; None when the
            rows came from the input.
        kept: Positions of the rows to keep, in output order (rankings); None keeps all.
        version: Of the model that served; None when nobody did.
        source: ``key``, a rung, or empty when nobody served.
        reason: Why the key's own model did not serve, or why nobody did; or that it is stale.
    """

    key_id: str
    rows: int
    values: Predictions
    times: npt.NDArray[np.int64] | None = None
    kept: npt.NDArray[np.int64] | None = None
    version: int | None = None
    source: str = ""
    reason: str = ""


def score_batch(payload: ScorePayload) -> Iterator[Started | KeyScores]:
    """Score every key of a batch, one after the other.

    Yields:
        ``Started((key_id, source))`` before a model is used, and each key's ``KeyScores``.
    """
    with blas_threads(payload.settings.spec.threads):
        yield from _Batch(payload).run()


class _Batch:
    """One batch at work: open stores, models read so far."""

    def __init__(self, payload: ScorePayload) -> None:
        from manymodels.artifacts.reader import SegmentReader
        from manymodels.storage import Storage

        self.payload = payload
        self.settings = payload.settings
        self.storage = Storage.at(self.settings.storage_root)
        self.segments = SegmentReader(self.storage, self.settings.trust)
        self._rungs: dict[str, FittedModel] = {}
        self.units = payload.units.to_pylist()
        self._bad: dict[
            str, npt.NDArray[np.bool_]
        ] = {}  # key to its rows with a number that could not be read
        self.inputs = self._slices("input", self.settings.input, self.settings.columns)
        self.newer = self._slices("history", self.settings.history, self.settings.history_columns)

    def run(self) -> Iterator[Started | KeyScores]:
        # In the order in which the models lie in their segments, so that each row group is read once.
        order = sorted(
            range(len(self.units)),
            key=lambda n: (self.units[n]["segment"] or "", self.units[n]["segment_row"] or 0),
        )
        for number in order:
            unit = self.units[number]
            blamed = self.payload.blamed.get(unit["key_id"], {})
            reasons: list[str] = []
            scores: KeyScores | None = None
            for source in self._sources(unit, reasons):
                if source in blamed:
                    reasons.append(f"{source}: {blamed[source].message or blamed[source].error}")
                    continue
                yield Started((unit["key_id"], source))
                try:
                    scores = self._score(unit, source, reasons)
                    break
                except (Exception, SystemExit) as error:
                    # Failure is data: one bad model or row never costs another key's rows.
                    text = (
                        str(error)
                        if isinstance(error, ManyModelsError)
                        else f"{type(error).__name__}: {error}"
                    )
                    reasons.append(f"{source}: {text}")
            if scores is not None and scores.source == OWN_MODEL and unit["stale_since"]:
                reasons.append(STALE + unit["stale_since"])
            reason = "; ".join(reasons)
            if scores is None:
                times = self._times(unit)
                rows = len(times) if times is not None else unit["input_rows"] or 0
                scores = KeyScores(
                    unit["key_id"], rows, {}, times=times, reason=reason or "no model serves this key"
                )
            yield replace(scores, reason=reason) if scores.source else scores

    def _sources(self, unit: dict[str, Any], reasons: list[str]) -> Iterator[str]:
        if unit["segment"] is not None:
            yield OWN_MODEL
        else:
            reasons.append(unit["why_none"])
        for rung in self.settings.ladder:
            if rung.serves:
                yield rung.source

    def _score(self, unit: dict[str, Any], source: str, reasons: list[str]) -> KeyScores:
        settings = self.settings
        if source == OWN_MODEL:
            model: FittedModel = self.segments.load(unit["segment"], unit["sha256"], unit["segment_row"])
            version = unit["version"]
            if unit["key_id"] in self.newer:
                model = model.extend(self.newer[unit["key_id"]])
        else:
            model, version = self._rung(unit, source)
        times = self._times(unit)
        rows = self._future[unit["key_id"]] if times is not None else self.inputs[unit["key_id"]]
        values = dict(self._predicted(unit, model, rows, reasons))
        _check_length(values, len(rows))
        if unit["key_id"] in self._bad:
            values = dict(blanked(values, self._bad[unit["key_id"]]))
        kept = None
        if settings.spec.task == "ranking":
            from manymodels.models.ranking import rank_rows

            ranks = rank_rows(values["prediction"], None)
            values["rank"] = ranks
            kept = np.argsort(ranks, kind="stable")
            if settings.top is not None:
                kept = kept[: settings.top]
        return KeyScores(
            unit["key_id"], len(rows), values, times=times, kept=kept, version=version, source=source
        )

    def _rung(self, unit: dict[str, Any], source: str) -> tuple[FittedModel, int]:
        """The rung's model, bound to the key's history where it has one."""
        ref = self._ref(unit, source)
        history = self._history(unit)
        if source == "naive" and history is not None:
            # The key's own rows say more than the fleet's.
            own = naive_family(self.settings.spec.task).fit_pooled([history], self.settings.spec)
            version = ref.version if ref is not None else unit["run_version"]
            return (own.extend(history) if self.settings.spec.task == "forecast" else own), version
        model = self._rung_model(ref)
        if history is not None and not isinstance(model, FixedModel):
            model = model.extend(history)
        return model, ref.version if ref is not None else 0

    def _predicted(
        self, unit: dict[str, Any], model: FittedModel, rows: Rows, reasons: list[str]
    ) -> Predictions:
        """A model's predictions; of a blend whose level cannot serve, those of the key's own part."""
        blend = blend_of(model)
        if blend is None:
            return model.predict(rows)
        try:
            parent = self._rung_model(self._ref(unit, blend.level))
            if self.settings.training is not None and unit["training_rows"] is not None:
                parent = for_key(parent, self._seen(unit))
            if unit["key_id"] in self.newer:
                parent = for_key(parent, self.newer[unit["key_id"]])
            return completed(model, parent).predict(rows)
        except ManyModelsError as error:
            reasons.append(f"not blended with {blend.level}: {error}")
            return completed(model, None).predict(rows)

    def _ref(self, unit: dict[str, Any], source: str) -> ModelRef | None:
        """Where the model of a rung is that may serve a key."""
        for place, rung in enumerate(self.settings.ladder):
            if rung.source == source:
                return rung.models.get(unit[f"rung_{place}"])
        return None

    def _rung_model(self, ref: ModelRef | None) -> FittedModel:
        if ref is None:
            raise ModelError("this rung has no model for the key")
        if ref.segment + str(ref.row) not in self._rungs:
            self._rungs[ref.segment + str(ref.row)] = self.segments.load(ref.segment, ref.sha256, ref.row)
        return self._rungs[ref.segment + str(ref.row)]

    def _history(self, unit: dict[str, Any]) -> Rows | None:
        """The key's newest known rows with targets: from the newer history, else from the training data."""
        if unit["key_id"] in self.newer:
            return self.newer[unit["key_id"]]
        if self.settings.training is None or unit["training_rows"] is None:
            return None
        rows = self._seen(unit)
        target = self.settings.spec.target
        if target is not None and not np.isfinite(_as_floats(rows, target)).any():
            return None
        return rows

    @cached_property
    def _trained_on(self) -> dict[str, Rows]:
        """The training rows of keys that a rung may serve, read at once: a read for each key takes its whole row group."""
        blends = self.settings.blends
        return self._training_rows([unit for unit in self.units if blends or unit["segment"] is None])

    def _seen(self, unit: dict[str, Any]) -> Rows:
        """The key's training rows."""
        return self._trained_on.get(unit["key_id"]) or self._training_rows([unit])[unit["key_id"]]

    def _training_rows(self, units: list[dict[str, Any]]) -> dict[str, Rows]:
        seen = [unit for unit in units if unit["training_rows"] is not None]
        return self._read(str(self.settings.training), "training", seen, self.settings.history_columns)

    def _times(self, unit: dict[str, Any]) -> npt.NDArray[np.int64] | None:
        """The periods that a forecast makes for itself; None when the input has the rows."""
        if self.settings.input is not None:
            return None
        from manymodels.models.forecast.frequency import future_times

        cutoff = unit["history_last"] if unit["history_last"] is not None else unit["cutoff"]
        if cutoff is None:
            return np.empty(0, dtype=np.int64)
        times = future_times(int(cutoff), str(self.settings.spec.frequency), self.settings.horizon)
        return times if times.dtype == np.int64 else times.astype("datetime64[us]").astype(np.int64)

    @cached_property
    def _future(self) -> dict[str, Rows]:
        """The rows of the periods that a forecast makes for itself: one frame for all keys, since a frame costs 0.1 ms."""
        import pandas as pd

        found = [times for unit in self.units if (times := self._times(unit)) is not None]
        whole: Any = np.concatenate(found)
        values = whole if self.settings.spec.frequency == "step" else whole.astype("datetime64[us]")
        rows = Rows(pd.DataFrame({self.settings.spec.time: values}))
        stops = np.cumsum([len(times) for times in found]).tolist()
        return {
            unit["key_id"]: rows.part(stop - len(times), stop)
            for unit, times, stop in zip(self.units, found, stops, strict=True)
        }

    def _slices(self, prefix: str, fingerprint: str | None, columns: tuple[str, ...]) -> dict[str, Rows]:
        if fingerprint is None:
            return {}
        having = [unit for unit in self.units if unit[f"{prefix}_rows"] is not None]
        return self._read(fingerprint, prefix, having, columns)

    def _read(
        self, fingerprint: str, prefix: str, units: list[dict[str, Any]], columns: tuple[str, ...]
    ) -> dict[str, Rows]:
        import pyarrow as pa

        if not units:
            return {}
        names = ["key_id", *(f"{prefix}_{name}" for name in SLICE)]
        slices = pa.Table.from_pylist([{name: unit[name] for name in names} for unit in units])
        frame, offsets = read_slices(self.settings.storage_root, fingerprint, prefix, slices, columns)
        bad = read_numbers(frame, self.settings.turned_text) if prefix == "input" else None
        if bad is not None:
            self._bad = {unit["key_id"]: bad[offsets[n] : offsets[n + 1]] for n, unit in enumerate(units)}
        whole = Rows(frame)
        return {
            unit["key_id"]: whole.part(int(offsets[n]), int(offsets[n + 1])) for n, unit in enumerate(units)
        }


def read_slices(
    storage_root: str, fingerprint: str, prefix: str, units: pa.Table, columns: Sequence[str]
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The rows that some units have in a partition store; see ``PartitionStore.read``.

    Args:
        storage_root: Root of the store.
        fingerprint: Of the partition store.
        prefix: ``input``, ``history`` or ``training``.
        units: With the slices ``<prefix>_*``, none null.
        columns: The columns wanted.
    """
    from manymodels.partitioning.store import PartitionStore
    from manymodels.storage import Storage

    slices = units.select([f"{prefix}_{name}" for name in SLICE]).rename_columns(list(SLICE))
    return PartitionStore.open(Storage.at(storage_root), fingerprint).read(slices, list(columns))


def _check_length(values: Mapping[str, npt.NDArray[Any]], rows: int) -> None:
    for column, array in values.items():
        if len(array) != rows:
            raise ModelError(f"the model gave {len(array)} values in `{column}` for {rows} rows")


def _as_floats(rows: Rows, column: str) -> npt.NDArray[np.float64]:
    try:
        return rows.numbers(column)
    except (TypeError, ValueError):  # classes have no number; all of them count as known
        return np.zeros(len(rows))
