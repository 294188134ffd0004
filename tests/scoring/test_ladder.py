"""Whatever is missing or fails, every key is served once, by the first of its models that works, and says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manymodels.artifacts.codecs import encode
from manymodels.artifacts.segments import SegmentMeta, write_segment
from manymodels.artifacts.trust import Trust
from manymodels.compute.sandbox import Started
from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.models.contract import FitSpec
from manymodels.partitioning.keys import make_key
from manymodels.partitioning.split import split
from manymodels.partitioning.store import PartitionStore
from manymodels.records import AttemptFailure, KeyOutcome, Rows, SegmentInfo
from manymodels.scoring.batch import KeyScores, ScorePayload, ScoreSettings, score_batch
from manymodels.scoring.units import ladder_refs, plain, scoring_units
from manymodels.storage import Storage

KEYS = ("a", "b", "c", "d")
REGIONS = {"a": "N", "b": "N", "c": "S", "d": "S"}
ROWS = 3
ABSENT, *STATES = ("absent", "works", "raises", "short", "gone", "blamed")
LADDERS = (["pooled", "naive"], ["level:region", "pooled"], ["naive", "level:region", "pooled"], [])


@dataclass(frozen=True)
class Odd:
    """A model that works, or does not."""

    state: str

    def predict(self, rows: Rows) -> dict[str, Any]:
        if self.state == "raises":
            raise ValueError("this model is odd")
        return {"prediction": np.ones(1 if self.state == "short" else len(rows))}


@dataclass(frozen=True)
class Fleet:
    """A store with rows of every key, and a segment with a model of every state."""

    storage: Storage
    rows: PartitionStore
    segment: SegmentInfo

    def entry(self, key_id: str, level: str, state: str, version: int) -> dict[str, Any]:
        """A line of ``Registry.served``."""
        return {
            "key_id": key_id,
            "level": level,
            "segment": self.segment.path,
            "sha256": "0" * 64 if state == "gone" else self.segment.sha256,
            "segment_row": STATES.index(state),
            "version": version,
            "cutoff": None,
            "stale_since": None,
        }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    storage = Storage.at(tmp_path_factory.mktemp("ladder"))
    frame = pd.DataFrame({"key": np.repeat(KEYS, ROWS), "x": 1.0, "y": 2.0})
    frame["region"] = frame["key"].map(REGIONS)
    data = DataSpec(partition_by=["key"], target="y")
    source = open_source(data, frame)
    rows = split(source, data, resolve_roles(source, data, "regression", levels=["region"]), storage)
    outcomes = []
    for state in STATES:
        codec, artifact = encode(Odd(state))
        outcomes.append(KeyOutcome(make_key([state]).key_id, "trained", codec=codec, artifact=artifact))
    meta = SegmentMeta("odd", "odd-000001", 1)
    return Fleet(storage, rows, write_segment(storage, "odd.parquet", outcomes, None, meta))


states = st.sampled_from([ABSENT, *STATES])
fleets = st.fixed_dictionaries(
    {
        "own": st.fixed_dictionaries(dict.fromkeys(KEYS, states)),
        "level:region": st.fixed_dictionaries({"N": states, "S": states}),
        "pooled": states,
        "naive": states,
    }
)


def served_lines(fleet: Fleet, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, state in given["own"].items():
        if state != ABSENT:
            yield fleet.entry(make_key([key]).key_id, "", state, 1)
    for region, state in given["level:region"].items():
        if state != ABSENT:
            yield fleet.entry(make_key([region], "level:region").key_id, "level:region", state, 2)
    for number, rung in enumerate(("pooled", "naive"), start=3):
        if given[rung] != ABSENT:
            yield fleet.entry(make_key([], rung).key_id, rung, given[rung], number)


def expected(given: Mapping[str, Any], ladder: list[str], key: str) -> tuple[str, list[str]]:
    """Who serves a key, and who was tried or missed before."""
    before = []
    for source in ("key", *ladder):
        held = given["own" if source == "key" else source]
        state = held if isinstance(held, str) else held[key if source == "key" else REGIONS[key]]
        if state == "works":
            return source, before
        before.append(source)
    return "", before


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fleets, st.sampled_from(LADDERS))
def test_a_key_is_served_by_the_first_that_works(
    fleet: Fleet, given: dict[str, Any], ladder: list[str]
) -> None:
    kinds = pa.schema(
        [("key_id", pa.string()), ("level", pa.string()), ("segment", pa.string()), ("sha256", pa.string()),
         ("segment_row", pa.int64()), ("version", pa.int64()), ("cutoff", pa.int64()), ("stale_since", pa.string())]
    )  # fmt: skip
    served = pa.Table.from_pylist(list(served_lines(fleet, given)), kinds)
    refs = ladder_refs(served, ladder)
    units = scoring_units(
        served,
        input_store=fleet.rows,
        history_store=None,
        training_store=fleet.rows,
        partition_by=["key"],
        levels=[["region"] if rung == "level:region" else [] for rung in ladder],
        ladder=refs,
        reasons=pa.table({"key_id": pa.array([], pa.string()), "reason": pa.array([], pa.string())}),
        version=1,
    )
    spec = FitSpec(task="regression", partition_by=("key",), target="y", features=("x",))
    batch = ScoreSettings(
        storage_root=fleet.storage.root,
        spec=spec,
        input=fleet.rows.fingerprint,
        history=None,
        training=None,  # else the naive rung would take the key's own rows
        columns=("x",),
        history_columns=(),
        horizon=1,
        ladder=refs,
        top=None,
        code=None,
        trust=Trust(),
    )
    killed = AttemptFailure("crash", "signal 11", "it crashed before")
    blamed = {
        make_key([key]).key_id: {
            source: killed
            for source in ("key", *ladder)
            if (held := given["own" if source == "key" else source]) == "blamed"
            or (not isinstance(held, str) and held[key if source == "key" else REGIONS[key]] == "blamed")
        }
        for key in KEYS
    }
    results = [
        r for r in score_batch(ScorePayload(batch, plain(units), blamed)) if not isinstance(r, Started)
    ]
    assert sorted(result.key_id for result in results) == sorted(make_key([key]).key_id for key in KEYS)
    by_key: dict[str, KeyScores] = {result.key_id: result for result in results}
    for key in KEYS:
        result = by_key[make_key([key]).key_id]
        source, before = expected(given, ladder, key)
        assert (result.source, result.rows) == (source, ROWS)
        assert result.version == {"key": 1, "level:region": 2, "pooled": 3, "naive": 4}.get(source)
        assert len(result.values.get("prediction", ())) == (ROWS if source else 0)
        # Each that did not serve has its reason, in order; who serves at once needs none.
        assert [part.partition(": ")[0] for part in result.reason.split("; ") if part] == [
            "no model of this key" if passed == "key" and given["own"][key] == ABSENT else passed
            for passed in before
        ] or "is damaged" in result.reason
        assert bool(result.reason) == bool(before)
