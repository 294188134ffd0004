"""Where each microsecond of a key goes, on the batched path and one by one.

    python benchmarks/profile.py [--work ridge] [--keys 10000] [--rows 365]

A job is trained in this process (``compute: serial``) with a clock around each stage; stages that are inside of another are
indented. For the path one by one, the child's work and what it costs to talk to it are timed apart, on one batch, in CPU time.
For a profile by function: ``py-spy record -s -o profile.svg -- python benchmarks/profile.py``.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from sales import write_sales

import manymodels as mm
from manymodels.compute.sandbox import Started
from manymodels.records import BatchTask, KeyOutcome

STAGES = (
    ("manymodels.training.prepare:resolve", "open, check and split"),
    ("manymodels.partitioning.split:sort_rows", "read, sort, finish, write the partition store"),
    ("manymodels.partitioning.ordering:finish_keys", "finish: hashes, manifest (in two threads)"),
    ("manymodels.partitioning.parts:PartWriter.write", "write Parquet (in two threads)"),
    ("manymodels.training.prepare:make_plan", "plan"),
    ("manymodels.training.engine:write_script", "register the run, write its plan"),
    ("manymodels.training.engine:run_batch", "batches"),
    ("manymodels.training.panel:read_rows", "read rows"),
    ("manymodels.training.panel:fit_panel", "fit and judge at once"),
    ("manymodels.training.worker:_fit", "fit and judge one by one, in the child"),
    ("manymodels.artifacts.segments:write_models", "write segments"),
    ("manymodels.artifacts.segments:write_segment", "write segments"),
    ("manymodels.registry:Registry.journal", "journal"),
    ("manymodels.training.engine:_publish", "publish and promote"),
)
INSIDE = {
    "read, sort, finish, write the partition store": 1,
    "finish: hashes, manifest (in two threads)": 2,
    "write Parquet (in two threads)": 2,
    "read rows": 1,
    "fit and judge at once": 1,
    "fit and judge one by one, in the child": 1,
    "write segments": 1,
}
MODELS: dict[str, tuple[str, Any]] = {
    "ridge": ("regression", {"sklearn.linear_model.Ridge": {}}),
    "mean": ("forecast", "mean"),
}


@dataclass
class Clock:
    """Seconds by stage."""

    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Time the stages meanwhile."""
        before = []
        for place, label in STAGES:
            module, _, path = place.partition(":")
            owner: Any = import_module(module)
            *outer, name = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, self._timed(getattr(owner, name), label))
        try:
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)

    def _timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        def call(*args: Any, **arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **arguments)
            finally:
                self.spent[label] = self.spent.get(label, 0.0) + time.perf_counter() - began

        return call


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", choices=sorted(MODELS), default="ridge")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=365)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = write_sales(folder / "small.parquet", 50, asked.rows, features=5)
        data = write_sales(folder / "sales.parquet", asked.keys, asked.rows, features=5)
        for isolation, title in (("auto", "batched"), ("process", "one by one")):
            mm.train(
                _job(asked.work, small, folder / f"small-{isolation}", isolation), progress=False
            )  # imports
            clock = Clock()
            job = _job(asked.work, data, folder / isolation, isolation)
            with clock.on():
                began = time.perf_counter()
                mm.train(job, progress=False)
                whole = time.perf_counter() - began
            print(f"{asked.work}, {asked.keys:,} keys x {asked.rows} rows, {title}, in one process: µs a key")
            for label in dict.fromkeys(label for _, label in STAGES):
                if label in clock.spent:
                    _line("  " * INSIDE.get(label, 0) + label, clock.spent[label] / asked.keys)
            _line("all", whole / asked.keys)
            print()
        _talk(asked.work, data, folder / "talk")


def _line(label: str, seconds: float) -> None:
    print(f"  {label:<60} {seconds * 1e6:>8.1f}")


def _job(work: str, data: Path, store: Path, isolation: str) -> mm.Job:
    task, model = MODELS[work]
    forecast = {"frequency": "D", "features": []} if task == "forecast" else {}
    return mm.Job.from_dict(
        {
            "name": "profile",
            "task": task,
            "data": {
                "path": str(data),
                "partition_by": ["store"],
                "time": "date",
                "target": "sales",
                **forecast,
            },
            "models": [model],
            "fallback": [],
            "evaluation": {} if forecast else {"holdout": 0},
            "training": {"isolation": isolation},
            "compute": {"target": "serial"},
            "store": str(store),
        }
    )


def _talk(work: str, data: Path, store: Path) -> None:
    """The pieces of the path one by one, on the largest batch, each alone."""
    from manymodels.training.batch import BatchPayload, train_batch
    from manymodels.training.layout import lay_out
    from manymodels.training.outcome_table import outcome_table
    from manymodels.training.prepare import prepare
    from manymodels.training.script import write_script

    prepared = prepare(_job(work, data, store, "process"))
    script = write_script(prepared, lay_out(prepared))
    task: BatchTask = max(script.tasks(range(script.batches)), key=lambda task: task.keys.num_rows)
    keys = task.keys.num_rows
    payload = BatchPayload(task.settings.fit, task.keys)
    list(train_batch(payload))
    messages: list[Any] = []
    print(f"one batch of {keys:,} keys one by one, in CPU time: µs a key")

    def timed(label: str, function: Callable[[], Any]) -> Any:
        began = time.process_time()
        found = function()
        _line(label, (time.process_time() - began) / keys)
        return found

    messages = timed("the child's work", lambda: list(train_batch(payload)))
    outcomes = [message for message in messages if isinstance(message, KeyOutcome)]
    _line("  inside fit and predict (wall)", sum(outcome.fit_seconds for outcome in outcomes) / keys)
    content = timed(
        "pickle what it says",
        lambda: [pickle.dumps(m.unit if isinstance(m, Started) else m, 5) for m in messages],
    )
    timed("read it in the worker", lambda: [pickle.loads(one) for one in content])  # noqa: S301 - our own
    timed("outcomes as a table", lambda: outcome_table(task.keys, outcomes, {}, level="", ladder=False))


if __name__ == "__main__":
    main()
