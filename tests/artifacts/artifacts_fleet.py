"""Small fleets in segments, for the tests of artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from manymodels.artifacts.codecs import encode
from manymodels.artifacts.segments import SegmentMeta, write_segment
from manymodels.partitioning.keys import make_key
from manymodels.records import KeyOutcome, Rows, SegmentInfo
from manymodels.storage import Storage

META = SegmentMeta(
    "sales", "run-1", 3, job_hash="j", code_hash="c", libraries={"numpy": "2.1"}, python="3.11.7"
)


@dataclass(frozen=True)
class StoreModel:
    """A model that knows whose it is."""

    store: Any
    padding: bytes = b""

    def predict(self, rows: Rows) -> dict[str, Any]:
        return {"prediction": np.zeros(len(rows))}


def outcome(store: Any, padding: bytes = b"", level: str = "") -> KeyOutcome:
    codec, artifact = encode(StoreModel(store, padding))  # type: ignore[arg-type]
    return KeyOutcome(
        key_id=make_key((), level).key_id if level else make_key((store,)).key_id,
        state="trained",
        candidate="ridge",
        params='{"alpha": 1.0}',
        metric=0.1 + (store if isinstance(store, int) else 0),
        codec=codec,
        artifact=artifact,
        rows=40,
        cutoff=1_700_000_000_000_000,
        fit_seconds=0.5,
        seconds=0.75,
        seed=2**32 - 1,
    )


def manifest(stores: Sequence[Any]) -> pa.Table:
    return pa.table(
        {
            "key:store": pa.array(stores),
            "key_id": [make_key((store,)).key_id for store in stores],
            "content": pa.array([bytes([n % 256]) * 16 for n in range(len(stores))], pa.binary(16)),
            "rows": [40] * len(stores),
        }
    )


def write(storage: Storage, path: str, stores: Sequence[Any], meta: SegmentMeta = META) -> SegmentInfo:
    return write_segment(storage, path, [outcome(store) for store in stores], manifest(stores), meta)
