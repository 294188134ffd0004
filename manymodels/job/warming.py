"""What a worker does before its first batch: imports, and the child that fits and predicts one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib import import_module

from manymodels.compute.sandbox import Runner
from manymodels.job.runner import runner_for, spare_runner
from manymodels.job.settings import CodeSnapshot, FitSettings
from manymodels.models.batched.trainers import all_batched, trainer_module
from manymodels.models.families import build
from manymodels.models.loops import load_loops
from manymodels.models.spec import CandidateSpec, Task
from manymodels.storage import Storage

__all__ = ["await_child", "build_families", "start_child", "warm_up"]

_PATIENCE = 60.0  # seconds for the child to import what fits need
_ROOM = 1 << 40  # bytes: nothing is fitted yet


def warm_up(
    candidates: Sequence[CandidateSpec],
    task: Task,
    modules: Sequence[str],
    *,
    root: str,
    code: CodeSnapshot | None,
    threads: int,
    isolated: bool,
    batched: bool,
) -> None:
    """Import what the batches of a run need, and where keys are fitted one by one start the child that does it.

    Args:
        candidates: Of the run.
        task: Of the job.
        modules: Of the batches' own code.
        root: Of the store.
        code: The user's own modules; None when there are none.
        threads: BLAS and OpenMP threads of a fit.
        isolated: Whether keys that are fitted one by one are fitted in a child.
        batched: Whether all keys of a batch may be fitted at once.
    """
    trainers = [trainer_module(candidate, task) for candidate in candidates]
    at_once = batched and code is None and None not in trainers
    # Some parameters have no batched trainer: a regression on lags with a tree.
    at_once = at_once and all_batched([build(candidate, task) for candidate in candidates])
    child = None
    if isolated and not at_once:
        child = spare_runner(Storage.at(root), code, threads=threads)
    for module in (*modules, *(trainers if at_once else ())):
        import_module(str(module))
    if child is None:
        load_loops(candidates, at_once=at_once)
    else:
        _build_in(child, candidates, task)


def start_child(fit: FitSettings) -> None:
    """Start the child of this thread, where there is none: it imports what it needs while other work is done here."""
    _own_child(fit)


def await_child(fit: FitSettings) -> float:
    """Wait until the child of this thread has imported what it needs; the seconds that this took."""
    began = time.perf_counter()
    _build_in(_own_child(fit), fit.candidates, fit.spec.task)
    return time.perf_counter() - began


def _own_child(fit: FitSettings) -> Runner:
    return runner_for(Storage.at(fit.storage_root), fit.code, isolated=True, threads=fit.spec.threads)


def _build_in(child: Runner, candidates: Sequence[CandidateSpec], task: Task) -> None:
    payload = (candidates, task)
    for _ in child.run(f"{__name__}:build_families", payload, timeout=_PATIENCE, memory=_ROOM):
        pass


def build_families(payload: tuple[Sequence[CandidateSpec], Task]) -> Iterator[None]:
    """Build candidates' families and yield nothing: afterwards their libraries and loops are imported."""
    candidates, task = payload
    load_loops(candidates, at_once=False)
    for candidate in candidates:
        build(candidate, task)
    yield from ()
