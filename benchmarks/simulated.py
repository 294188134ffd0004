"""How many workers one driver keeps busy: the real driver, workers that sleep instead of fitting.

    python benchmarks/simulated.py [--workers 8,16,32,64,128] [--seconds 1.0] [--batches 20] [--keys 200] [--apart]

Workers are threads of this process (Dask's LocalCluster, processes=False, with the settings of our own workers), so that the
scheduler's and the workers' own work is on the driver's bill too: a cluster elsewhere leaves it more room. A batch sleeps, and
returns the receipt of a batch of keys, which the driver takes through the executor and journals in a registry as a run does.
Busy is the time slept, shared by workers x wall, from the moment at which all workers have begun to the moment at which the
first finds nothing to do. A batch costs the driver's thread the making and pickling of its task, the result and the journal;
the process's share beyond it is the event loop (scheduler and communication) and the workers' own, unless they are apart.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dask
import numpy as np
import psutil
import pyarrow as pa
from distributed import LocalCluster

from manymodels.compute import dask as driver
from manymodels.compute import worker
from manymodels.compute.executor import open_executor, together
from manymodels.compute.spec import ComputeSpec
from manymodels.partitioning.keys import canonical_array, key_ids
from manymodels.records import BatchReceipt, BatchTask, SegmentInfo
from manymodels.registry import Registry
from manymodels.training.outcome_table import outcome_schema

NAME = "simulated"
_ELSEWHERE = {
    # Every worker looks at its event loop fifty times a second, and at its memory, disks and network twice. A worker elsewhere
    # does so at its own expense; 128 of them here took more of the interpreter than the driver.
    "distributed.admin.tick.interval": "10s",
    "distributed.admin.system-monitor.interval": "10s",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default="8,16,32,64,128")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a batch sleeps")
    parser.add_argument("--batches", type=int, default=20, help="a worker")
    parser.add_argument("--keys", type=int, default=200, help="a batch")
    parser.add_argument(
        "--registry", help="URL of an empty PostgreSQL database; SQLite in a temporary folder by default"
    )
    parser.add_argument(
        "--apart", action="store_true", help="scheduler and workers in a process beside the driver's"
    )
    asked = parser.parse_args()
    for workers in map(int, asked.workers.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found = simulate(
                workers,
                asked.seconds,
                asked.batches * workers,
                asked.keys,
                Path(folder),
                asked.registry,
                apart=asked.apart,
            )
        print(
            f"{workers:4d} workers: busy {found.busy:6.1%}; {found.rate:6.1f} batches/s; processor time a batch: driver "
            f"{found.driver * 1e3:.2f} ms, process {found.process * 1e3:.2f} ms; wall time of its journal "
            f"{found.journal * 1e3:.2f} ms; {found.shared:.1f} batches a commit",
            flush=True,
        )


@dataclass(frozen=True)
class Found:
    """How it went.

    Attributes:
        busy: Share of the workers' time that they slept.
        rate: Batches a second.
        driver: Processor seconds a batch of the driver's own thread.
        journal: Wall seconds a batch in the registry.
        shared: Batches a commit.
        process: Processor seconds a batch of the whole process: the driver, the event loop, the workers' threads.
    """

    busy: float
    rate: float
    driver: float
    journal: float
    shared: float
    process: float


def simulate(
    workers: int, seconds: float, batches: int, keys: int, folder: Path, url: str | None, *, apart: bool
) -> Found:
    """Drive sleeping workers."""
    fleet = _keys(batches * keys)
    spans: list[tuple[float, float]] = []
    with (
        (_cluster_apart if apart else _cluster)(workers) as address,
        open_executor(ComputeSpec(target="dask", address=address)) as executor,
        Registry.open(_Place(str(folder / "store"), url), create=True) as registry,
    ):
        run = registry.start_run(
            model_set=f"{NAME}-{uuid.uuid4().hex[:6]}", task="regression", job=json.dumps({"evaluation": {}}), job_hash="",
            code_hash="", libraries={}, dataset="", keys=fleet, batches=batches,
        )  # fmt: skip
        process = psutil.Process()
        thread, whole = time.thread_time(), sum(process.cpu_times()[:2])
        journal, commits = 0.0, 0
        for completions in together(executor.run(_Sleep(seconds), _tasks(run.id, fleet, batches, keys))):
            receipts = []
            for completion in completions:
                if completion.value is None:
                    raise completion.error or RuntimeError("no receipt")
                receipts.append(completion.value)
            began = time.perf_counter()
            registry.journal(*receipts)
            journal += time.perf_counter() - began
            commits += 1
            spans += [(float(one.worker), float(one.worker) + one.seconds) for one in receipts]
        thread = time.thread_time() - thread
        whole = sum(process.cpu_times()[:2]) - whole
    spans.sort()
    # Steady state: all have begun, and nobody is out of work yet.
    first = spans[workers - 1][0]
    last = spans[-workers][0]
    slept = sum(max(0.0, min(end, last) - max(begin, first)) for begin, end in spans)
    return Found(
        busy=slept / (workers * (last - first)),
        rate=sum(first <= begin < last for begin, _ in spans) / (last - first),
        driver=thread / batches,
        journal=journal / batches,
        shared=batches / commits,
        process=whole / batches,
    )


@contextmanager
def _cluster(workers: int, protocol: str | None = None) -> Iterator[str]:
    """A scheduler and workers, threads of this process; their address."""
    with (
        dask.config.set({**driver._SCHEDULER_CONFIG, **worker._CONFIG, **_ELSEWHERE}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=False,
            protocol=protocol,
            host="127.0.0.1" if protocol else None,
            memory_limit=0,  # each would measure this process, which is everybody's
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@contextmanager
def _cluster_apart(workers: int) -> Iterator[str]:
    """The same in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(workers, there))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("enough")
        process.join()


def _serve(workers: int, pipe: Connection) -> None:
    with _cluster(workers, "tcp") as address:
        pipe.send(address)
        pipe.recv()


@dataclass(frozen=True)
class _Place:
    path: str
    registry: str | None


@dataclass(frozen=True)
class _Sleep:
    """A batch that sleeps, and the receipt that a fit would give: its ``worker`` says when it began."""

    seconds: float

    def __call__(self, task: BatchTask) -> BatchReceipt:
        began = time.perf_counter()
        receipt = _receipt(task)
        time.sleep(max(0.0, self.seconds - (time.perf_counter() - began)))
        return replace(receipt, worker=str(began), seconds=time.perf_counter() - began)


def _tasks(run_id: str, fleet: pa.Table, batches: int, keys: int) -> Iterator[tuple[str, BatchTask]]:
    for batch in range(batches):
        # Taken, not sliced: a slice would travel with the whole fleet.
        part = fleet.select(["key_id"]).take(np.arange(batch * keys, (batch + 1) * keys)).combine_chunks()
        yield f"{run_id}-{batch}", BatchTask(run_id, batch, part, None)


def _receipt(task: BatchTask) -> BatchReceipt:
    count = task.keys.num_rows
    path = f"runs/{task.run_id}/segments/{task.batch:06d}-{uuid.uuid4().hex}.parquet"
    known: dict[str, Any] = {
        "key_id": task.keys.column("key_id"),
        "level": pa.repeat("", count),
        "state": pa.repeat("trained", count),
        "candidate": pa.repeat("ridge", count),
        "metric": np.ones(count),
        "rows": pa.repeat(365, count),
        "segment": pa.repeat(path, count),
        "segment_row": pa.array(range(count), pa.int32()),
        "seconds": np.full(count, 0.005),
    }
    columns = [
        pa.array(known[field.name], field.type)
        if isinstance(known.get(field.name), np.ndarray)
        else known[field.name].cast(field.type)
        if field.name in known
        else pa.nulls(count, field.type)
        for field in outcome_schema()
    ]
    table = pa.table(columns, schema=outcome_schema())
    segment = SegmentInfo(path, uuid.uuid4().hex * 2, count, 250 * count, "columns")
    outcomes = f"runs/{task.run_id}/outcomes/{task.batch:06d}.parquet"
    return BatchReceipt(task.run_id, task.batch, 1, (segment,), table, outcomes, 1.0, "")


def _keys(count: int) -> pa.Table:
    named = pa.table({"store": np.arange(count)})
    return pa.table(
        {
            "key_id": pa.chunked_array([key_ids(named, ["store"])]),
            "canonical": canonical_array(named, ["store"]).cast(pa.binary()),
            "display": [f"store={number}" for number in range(count)],
            "level": pa.repeat("", count),
        }
    )


if __name__ == "__main__":
    main()
