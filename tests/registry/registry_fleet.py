"""Fleets that train without fitting anything: the registry's side of a run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from manymodels.artifacts.codecs import encode
from manymodels.artifacts.segments import SegmentMeta, write_segment
from manymodels.partitioning.keys import display, make_key
from manymodels.records import BatchReceipt, KeyOutcome, SegmentInfo
from manymodels.registry import Promotion, Registry, RunRecord
from manymodels.training.outcome_table import outcome_schema, parquet_bytes

CHAMPION = Promotion(alias="champion", rule="better")
JOB = {"data": {"partition_by": ["store"]}, "evaluation": {"metric": "rmse"}}


@dataclass(frozen=True)
class Place:
    """A job's `store` section."""

    path: str
    registry: str | None


@dataclass
class Fleet:
    """Trains whole fleets: the registry's side of it."""

    registry: Registry
    name: str = "store-sales"
    job: Mapping[str, Any] = field(default_factory=lambda: JOB)
    real: bool = False
    """Whether to write the segments that the registry points at."""

    def keys(self, values: Sequence[Any], rungs: Sequence[str] = ()) -> pa.Table:
        made = [make_key((value,)) for value in values] + [make_key((), level=rung) for rung in rungs]
        return pa.table(
            {
                "key_id": [key.key_id for key in made],
                "canonical": pa.array([key.canonical for key in made], pa.binary()),
                "display": [key.level or display(key.values, ["store"]) for key in made],
                "level": [key.level for key in made],
            }
        )

    def start(
        self, values: Sequence[Any], *, rungs: Sequence[str] = (), batches: int = 1, **changes: Any
    ) -> RunRecord:
        facts: dict[str, Any] = {
            "model_set": self.name,
            "task": "regression",
            "job": json.dumps(self.job),
            "job_hash": "job-1",
            "code_hash": "code-1",
            "libraries": {"scikit-learn": "1.9.1"},
            "dataset": "d" * 32,
            "keys": self.keys(values, rungs),
            "batches": batches,
        }
        return self.registry.start_run(**facts | changes)

    def receipt(
        self,
        run: RunRecord,
        trained: Mapping[Any, float | None],
        *,
        failed: Mapping[Any, str] | None = None,
        batch: int = 0,
        level: str = "",
        content: bytes = b"c" * 16,
        attempt: int = 1,
    ) -> BatchReceipt:
        outcomes = [self._outcome(value, metric, level, run.number) for value, metric in trained.items()]
        path = f"runs/{run.id}/segments/{batch:06d}-{uuid.uuid4().hex}.parquet"
        segments = (self._segment(run, path, list(trained), outcomes, level, content),) if outcomes else ()
        lines = [
            {
                "key_id": outcome.key_id,
                "level": level,
                "state": "trained",
                "candidate": outcome.candidate,
                "metric": outcome.metric,
                "rows": 100,
                "cutoff": 1_700_000_000_000_000,
                "content": None if level else content,
                "segment": path,
                "segment_row": row,
                "seconds": 0.25,
            }
            for row, outcome in enumerate(outcomes)
        ] + [
            {
                "key_id": self.key_id(value, level),
                "level": level,
                "state": "failed",
                "cause": "exception",
                "error": "ValueError",
                "message": message,
                "frame": "model.py:fit",
                "traceback": f"Traceback: {message}",
            }
            for value, message in (failed or {}).items()
        ]
        return BatchReceipt(
            run_id=run.id,
            batch=batch,
            attempt=attempt,
            segments=segments,
            outcomes=pa.Table.from_pylist(lines, schema=outcome_schema()),
            outcomes_path=f"runs/{run.id}/outcomes/{batch:06d}-{uuid.uuid4().hex[:8]}.parquet",
            seconds=1.0,
            worker="worker-1",
        )

    def publish(
        self, run: RunRecord, *, promotion: Promotion | None = CHAMPION, state: Any = "completed", **more: Any
    ) -> int:
        return self.registry.publish_run(
            run.id,
            state=state,
            counts={"trained": 1},
            seconds=2.0,
            startup_seconds=0.5,
            outcomes_path=f"runs/{run.id}/outcomes.parquet",
            promotion=promotion,
            **more,
        )

    def train(
        self,
        trained: Mapping[Any, float | None],
        *,
        failed: Mapping[Any, str] | None = None,
        rungs: Sequence[str] = (),
        publish: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> RunRecord:
        """A whole run; the versions that it made are its number."""
        run = self.start([*trained, *(failed or {})], rungs=rungs, **changes)
        receipts = [self.receipt(run, trained, failed=failed)]
        receipts += [
            self.receipt(run, {(): None}, batch=number + 1, level=rung) for number, rung in enumerate(rungs)
        ]
        for receipt in receipts:
            assert self.registry.journal(receipt)
        if self.real:
            whole = pa.concat_tables([receipt.outcomes for receipt in receipts])
            self.registry.storage.write(f"runs/{run.id}/outcomes.parquet", parquet_bytes(whole))
        self.publish(run, **(publish or {}))
        return self.registry.run(run.id)

    def key_id(self, value: Any, level: str = "") -> str:
        return make_key(() if level else (value,), level=level).key_id

    def served(self, alias: str | None = None, **more: Any) -> dict[Any, int]:
        """Key (or rung) to the version that serves it."""
        table = self.registry.served(self.name, alias, **more)
        return dict(zip(_named(table, "display"), table.column("version").to_pylist(), strict=True))

    def _outcome(self, value: Any, metric: float | None, level: str, version: int) -> KeyOutcome:
        return KeyOutcome(
            key_id=self.key_id(value, level),
            state="trained",
            candidate=level or "ridge",
            metric=metric,
            codec="pickle",
            artifact=b"" if not self.real else _artifact(value, version),
            rows=100,
            cutoff=1_700_000_000_000_000,
            seconds=0.25,
        )

    def _segment(
        self,
        run: RunRecord,
        path: str,
        values: list[Any],
        outcomes: list[KeyOutcome],
        level: str,
        content: bytes,
    ) -> SegmentInfo:
        if not self.real:
            return SegmentInfo(path, uuid.uuid4().hex * 2, len(outcomes), 100 * len(outcomes), "pickle")
        keys = pa.table(
            {
                "key_id": [outcome.key_id for outcome in outcomes],
                "key:store": values,
                "content": pa.array([content] * len(values), pa.binary(16)),
            }
        )
        meta = SegmentMeta(model_set=self.name, run_id=run.id, version=run.number, level=level)
        return write_segment(self.registry.storage, path, outcomes, None if level else keys, meta)


class StubModel:
    """A model that remembers its key and version."""

    def __init__(self, value: Any, version: int) -> None:
        self.value = value
        self.version = version

    def predict(self, rows: Any) -> dict[str, Any]:
        return {"prediction": np.zeros(len(rows))}

    def extend(self, rows: Any) -> StubModel:
        return self

    def describe(self) -> dict[str, Any]:
        return {"family": "stub"}


def _artifact(value: Any, version: int) -> bytes:
    return encode(StubModel(value, version))[1]


def _named(table: pa.Table, column: str) -> list[Any]:
    return [text.removeprefix("store=") for text in table.column(column).to_pylist()]
