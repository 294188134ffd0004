"""A registry of many keys and versions: publishing, look-ups, listing, promotion and rollback of the whole fleet.

    python benchmarks/registry.py [--keys 1000000] [--versions 10] [--registry postgresql://…] [--folder STORE]

Every version of a key is published as a run does it: the run's start with all its keys, a receipt per batch of 5,000 keys with
a real segment (seasonal naive, codec `columns`), publication with promotion by metric. Only the fits are left out: all batches
have the same models. SQLite in the store unless a PostgreSQL database, which must be empty, is named. A folder is kept: another
time the versions that are there are looked at, and only what is missing of them is published.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from manymodels.artifacts.columns import CODEC, to_table
from manymodels.artifacts.segments import SegmentMeta, write_models
from manymodels.models.batched.contract import ModelColumns, Panel
from manymodels.models.batched.trainers import trainer_of
from manymodels.models.contract import FitSpec
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec
from manymodels.partitioning.keys import canonical_array, key_ids
from manymodels.records import BatchReceipt, Rows
from manymodels.registry import Promotion, Registry, RunRecord
from manymodels.training.outcome_table import panel_table, parquet_bytes

NAME = "fleet"
BATCH = 5_000
_REGIONS = pa.array(["N", "E", "S", "W"])


@dataclass
class Fleet:
    """Publishes versions of many keys, and keeps what that took."""

    registry: Registry
    keys: pa.Table
    models: ModelColumns
    times: dict[str, list[float]] = field(default_factory=dict)

    def publish(self, version: int) -> RunRecord:
        """Publish a version of every key."""
        job = {"data": {"partition_by": ["store", "region"]}, "evaluation": {"metric": "mase"}}
        count = self.keys.num_rows
        with self._timed("start of a run" if version > 1 else "start of the first run"):
            run = self.registry.start_run(
                model_set=NAME, task="forecast", job=json.dumps(job), job_hash="job", code_hash="code",
                libraries={}, dataset="d" * 32, batches=-(-count // BATCH),
                keys=self.keys.select(["key_id", "canonical", "display", "level"]),
            )  # fmt: skip
        metric = np.random.default_rng(version).normal(1.0, 0.1, count)
        for batch, first in enumerate(range(0, count, BATCH)):
            receipt = self._receipt(run, batch, first, metric)
            with self._timed("a receipt of 5,000 models"):
                self.registry.journal(receipt)
        with self._timed("publication"):
            self.registry.publish_run(
                run.id, state="completed", counts={"trained": count}, seconds=1.0, startup_seconds=0.0,
                outcomes_path=f"runs/{run.id}/outcomes.parquet", promotion=Promotion("champion", "better"),
            )  # fmt: skip
        return run

    def _receipt(self, run: RunRecord, batch: int, first: int, metric: Any) -> BatchReceipt:
        keys = self.keys.slice(first, BATCH)
        count = keys.num_rows
        models = self.models.take(np.arange(count))
        facts = pa.table(
            {
                "candidate": pa.repeat("seasonal_naive", count),
                "params": pa.repeat("{}", count),
                "metric": metric[first : first + count],
                "rows": pa.repeat(14, count),
                "cutoff": pa.repeat(1_700_000_000_000_000, count),
                "seed": models.seeds,
                "fit_seconds": pa.repeat(1e-5, count),
                "seconds": pa.repeat(1e-4, count),
                "codec": pa.repeat(CODEC, count),
            }
        )
        fields = to_table(models)
        whole = facts
        for name in fields.column_names:
            whole = whole.append_column(name, fields.column(name))
        meta = SegmentMeta(NAME, run.id, run.number, schema=models.schema, shared=models.shared)
        path = f"runs/{run.id}/segments/{batch:06d}-{uuid.uuid4().hex}.parquet"
        segment = write_models(self.registry.storage, path, whole, keys, meta)
        outcomes_path = f"runs/{run.id}/outcomes/{batch:06d}.parquet"
        outcomes = panel_table(keys, facts, path)
        self.registry.storage.write(outcomes_path, parquet_bytes(outcomes))
        return BatchReceipt(run.id, batch, 1, (segment,), outcomes, outcomes_path, 1.0, "benchmark")

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times.setdefault(name, []).append(time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--registry", help="URL of an empty PostgreSQL database")
    parser.add_argument("--looks", type=int, default=1_000)
    parser.add_argument("--folder", type=Path, help="a store to keep; by default it goes")
    asked = parser.parse_args()
    with nullcontext(asked.folder) if asked.folder else tempfile.TemporaryDirectory() as folder:
        place = _Place(str(folder), asked.registry)
        with Registry.open(place, create=True) as registry:
            fleet = Fleet(registry, _keys(asked.keys), _models())
            runs = registry.runs()[::-1]
            runs += [fleet.publish(version) for version in range(len(runs) + 1, asked.versions + 1)]
            if not fleet.times:  # what was moved another time is where it was
                registry.promote(NAME, run=runs[-1].id)
            kind = "SQLite" if asked.registry is None else "PostgreSQL"
            print(f"{kind}, {asked.keys:,} keys x {asked.versions} versions")
            for name, seconds in fleet.times.items():
                _print(name, seconds)
            size = Path(folder, "registry.db")
            if size.exists():
                print(f"  database: {size.stat().st_size / asked.keys / asked.versions:.0f} bytes a version")
            look(registry, fleet.keys, runs, asked.looks)
            move(registry, runs)
    print(f"  highest resident size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def look(registry: Registry, keys: pa.Table, runs: list[RunRecord], looks: int) -> None:
    """Look-ups of single keys, pages of listings, and what planning and scoring read."""
    rng = np.random.default_rng(0)
    names = ["key_id", "key:store", "key:region"]
    chosen = keys.select(names).take(rng.integers(0, keys.num_rows, looks)).to_pylist()
    versions = rng.integers(1, len(runs) + 1, looks).tolist()

    def champion(line: dict[str, Any]) -> None:
        registry.load(NAME, store=line["key:store"], region=line["key:region"])

    for line in chosen:  # verifies each file
        champion(line)
    _each("load one key's champion (warm)", champion, chosen)
    _each(
        "load one key's version n",
        lambda both: registry.load(NAME, key_id=both[0]["key_id"], version=both[1]),
        list(zip(chosen, versions, strict=True)),
    )
    _each(
        "history of one key", lambda line: registry.model_history(NAME, line["key_id"]), chosen[: looks // 5]
    )
    pages: dict[str, dict[str, Any]] = {
        "list: the first page of 100": {},
        "list: the last page of 100": {"offset": keys.num_rows - 100},
        "list: the newest versions": {"alias": "latest"},
        "list: a page by key": {"where": "region = 'N'", "offset": 1_000},
        "list: a page by metric": {"where": "metric < 0.7 AND candidate = 'seasonal_naive'"},
    }
    for name, asked in pages.items():
        _timed(name, lambda asked=asked: registry.models(NAME, **asked))
    _timed("model sets at a glance", registry.model_sets)
    _timed("what planning reads: every key's past", lambda: registry.history(NAME))
    _timed("what scoring reads: every key's model", lambda: registry.served(NAME))
    _timed("the same as of the run before", lambda: registry.served(NAME, run_id=runs[-2].id))
    _timed("two runs side by side", lambda: registry.compare(runs[-2].id, runs[-1].id))


def move(registry: Registry, runs: list[RunRecord]) -> None:
    """Promotions and rollbacks of the whole fleet, of a quarter of it, and of one key."""
    first = runs[0].id
    _timed("promote the fleet to a run", lambda: registry.promote(NAME, run=first))
    _timed("roll the fleet back", lambda: registry.rollback(NAME))
    chosen = registry.models(NAME, where="region = 'N'", limit=None).column("key_id").to_pylist()
    _timed("promote a quarter", lambda: registry.promote(NAME, run=first, key_ids=chosen))
    _timed("roll a quarter back", lambda: registry.rollback(NAME, key_ids=chosen))
    _timed("promote one key", lambda: registry.promote(NAME, run=first, key_ids=chosen[-1:]))
    _timed("roll one key back", lambda: registry.rollback(NAME, key_ids=chosen[-1:]))


@dataclass(frozen=True)
class _Place:
    path: str
    registry: str | None


def _keys(count: int) -> pa.Table:
    store = pa.array(np.arange(count))
    region = _REGIONS.take(pa.array(np.arange(count) % len(_REGIONS)))
    named = pa.table({"store": store, "region": region})
    return pa.table(
        {
            "key_id": key_ids(named, named.column_names),
            "canonical": canonical_array(named, named.column_names).cast(pa.binary()),
            "display": [
                f"store={n}, region={r}" for n, r in zip(store.to_pylist(), region.to_pylist(), strict=True)
            ],
            "level": pa.repeat("", count),
            "key:store": store,
            "key:region": region,
            "content": pa.array([b"c" * 16] * count, pa.binary(16)),
        }
    )


def _models() -> ModelColumns:
    """A batch of real models."""
    days = np.arange("2025-01-01", "2025-01-15", dtype="datetime64[D]").astype("datetime64[us]")
    frame = pd.DataFrame(
        {"date": np.tile(days, BATCH), "sales": np.random.default_rng(0).normal(100, 5, BATCH * len(days))}
    )
    spec = FitSpec(
        task="forecast", partition_by=("store",), target="sales", time="date", frequency="D", season_length=7, horizon=7
    )  # fmt: skip
    trainer = trainer_of(build(CandidateSpec(family="seasonal_naive", name="seasonal_naive"), "forecast"))
    if trainer is None:
        raise RuntimeError("seasonal_naive has no batched trainer")
    starts = np.arange(BATCH) * len(days)
    fit = trainer.fit_batch(Panel(Rows(frame), starts, starts + len(days)), np.arange(BATCH), spec)
    return fit.columns


def _timed(name: str, work: Callable[[], Any]) -> None:
    _each(name, lambda _: work(), [None])


def _each(name: str, work: Callable[[Any], Any], arguments: list[Any]) -> None:
    seconds = []
    for argument in arguments:
        began = time.perf_counter()
        work(argument)
        seconds.append(time.perf_counter() - began)
    _print(name, seconds)


def _print(name: str, seconds: list[float]) -> None:
    p50, p99 = np.percentile(seconds, [50, 99])
    if len(seconds) < 5:
        print(f"  {name:<42} {p50:9.3f} s", flush=True)
    else:
        print(f"  {name:<42} {p50 * 1e3:9.2f} ms (50th percentile) {p99 * 1e3:9.2f} ms (99th)", flush=True)


if __name__ == "__main__":
    main()
