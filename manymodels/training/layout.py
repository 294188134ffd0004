"""How a run's keys lie in batches, and what the run will take: worked out from the plan, before anything is registered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from manymodels.compute.here import is_small, may_run_here
from manymodels.compute.spec import ComputeSpec
from manymodels.job.sums import SumLevel, members_of, sum_levels, sum_name, sum_rows
from manymodels.models.loops import are_loaded, loops_of
from manymodels.models.rungs import pooled_estimator
from manymodels.models.spec import CandidateSpec
from manymodels.partitioning.packing import pack
from manymodels.planning.costs import guess_rung, guess_seconds
from manymodels.planning.estimate import CHILD, LOOPS, Engine, Estimate, learned_engine, makespan
from manymodels.planning.memory import BATCH_SHARE, VALUE_BYTES, needed
from manymodels.training.learning import pilot, tried_all
from manymodels.training.prepare import Prepared
from manymodels.training.rungs import RungTask, rung_levels, rung_tasks
from manymodels.training.scouts import scouts

__all__ = ["Layout", "lay_out", "workers_of"]

_CLUSTER = 64  # workers that batches are cut for on a scheduler somewhere: how many it has is known later, and may change
_GLOBAL = CandidateSpec(name="global_boost", family="global_boost")  # what forecasts are blended with


@dataclass(frozen=True)
class Layout:
    """A run's batches.

    Attributes:
        batches: Places among the keys that train, of each batch: the scouts, the pilot, then the others, longest first.
        pilot_batches: The first so many are the pilot's, from which the others learn.
        rungs: The ladder's models to fit, and those that keys are blended with; empty when none is due.
        sums: The levels whose sums are forecast.
        fit_sums: Whether they are fitted too.
        start_guess: First guess of what is started or loaded before the first key is fitted.
        rung_guess: First guess of what the rungs take, and the sums that are fitted.
        estimate: What the run will take.
    """

    batches: tuple[npt.NDArray[np.int64], ...]
    pilot_batches: int
    rungs: tuple[RungTask, ...]
    sums: tuple[SumLevel, ...]
    fit_sums: bool
    start_guess: float
    rung_guess: float
    estimate: Estimate


def lay_out(prepared: Prepared, *, slow: float = 1.0) -> Layout:
    """Pack a plan's keys into batches, and estimate what they take.

    Args:
        prepared: The plan.
        slow: How many times longer work takes here and now than where the first guesses were made (``planning.speed``). It
            counts where the workers are on this machine; 1 where earlier runs have shown what work takes.
    """
    job, resolved, training = prepared.job, prepared.resolved, prepared.plan.training
    due = len(training) > 0 or not rung_levels(job) <= prepared.known_levels
    rungs = tuple(rung_tasks(job, resolved.store.manifest)) if due else ()
    sums = _sums(prepared)
    fit_sums = len(training) > 0 or any(level.name not in prepared.known_levels for level in sums)
    batches, pilot_batches = _packed(prepared)
    guesses = _guess_levels(prepared, rungs, sums if fit_sums else ())
    estimate, starts = _expect(prepared, batches, guesses, slow)
    return Layout(
        batches=tuple(batches),
        pilot_batches=pilot_batches,
        rungs=rungs,
        sums=sums,
        fit_sums=fit_sums,
        start_guess=starts,
        rung_guess=sum(guesses),
        estimate=estimate,
    )


def _expect(
    prepared: Prepared, batches: list[npt.NDArray[np.int64]], guesses: list[float], slow: float
) -> tuple[Estimate, float]:
    """What the run will take, and the first guess of what it starts or loads before its first key.

    Args:
        prepared: The plan.
        batches: Places among the keys that train, of each.
        guesses: Of the rungs and sums.
        slow: See ``lay_out``.
    """
    job, resolved, plan = prepared.job, prepared.resolved, prepared.plan
    training, workers = plan.training, workers_of(job.compute)
    seconds = plan.table["seconds"].to_numpy()[training]

    def engine(*, here: bool) -> Engine:
        starts = _guess_starts(prepared) if here and len(training) else 0.0
        return learned_engine(prepared.past, batched=prepared.effort.batched, here=here, starts=starts)

    def costs(engine: Engine) -> list[float]:
        keys = [float(seconds[places].sum()) + engine.batch(len(places)) for places in batches]
        return [*keys[:workers], *(engine.rung(guess) for guess in guesses), *keys[workers:]]

    alone, apart = engine(here=True), engine(here=False)
    work = costs(alone)
    # In one process children would take each other's memory; what is fitted at once shares it well.
    threads = workers if prepared.effort.batched else 1
    here = job.compute.target == "serial" or (
        may_run_here(
            job.compute, job.training.isolation, isolated=prepared.isolated, own_code=bool(resolved.modules)
        )
        and (bool(prepared.past) or prepared.effort.is_known)
        and is_small(sum(work), makespan(costs(apart), workers), workers, threads=threads)
    )
    used, parallel = alone if here else apart, max(1, min(threads if here else workers, len(work)))
    run = used.seconds(costs(used), parallel, len(plan.table))
    if job.compute.target != "dask":
        run *= slow
    rows = plan.table["rows"].to_numpy()[training]
    largest = np.array([rows.max() if len(rows) else 0], dtype=np.int64)
    kept = largest if job.training.max_rows is None else np.minimum(largest, job.training.max_rows.rows)
    width = len(resolved.store.schema)
    estimate = Estimate(
        seconds=prepared.seconds + run,
        work=sum(work),
        workers=parallel,
        here=here,
        memory=max(int(needed(largest, kept, width, each.family)[0]) for each in resolved.candidates),
        disk=plan.disk,
    )
    return estimate, used.starts


def _packed(prepared: Prepared) -> tuple[list[npt.NDArray[np.int64]], int]:
    """Places among the keys that train, by batch; and how many batches are the pilot's."""
    job, manifest, training = prepared.job, prepared.resolved.store.manifest, prepared.plan.training
    ahead = scouts(manifest, training, job.training.seed)
    first = [ahead] if len(ahead) else []
    pilot_batches = 0
    if prepared.earlier is not None:
        known = tried_all(prepared.earlier, len(prepared.resolved.candidates))
        sample = pilot(manifest, training, job, scouts=ahead, known=known)
        if sample is not None:
            first += _cut(prepared, sample)
            ahead = np.union1d(ahead, sample)
            pilot_batches = len(first)
    others = np.setdiff1d(np.arange(len(training)), ahead)
    return [*first, *_cut(prepared, others)], pilot_batches


def _cut(prepared: Prepared, places: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Some of the places among the keys that train, by batch, longest first."""
    job, table = prepared.job, prepared.plan.table
    chosen = prepared.plan.training[places]
    packed = pack(
        table["seconds"].to_numpy()[chosen],
        workers=workers_of(job.compute),
        sizes=table["rows"].to_numpy()[chosen] * float(len(prepared.resolved.roles.columns) * VALUE_BYTES),
        room=job.training.memory / BATCH_SHARE,
    )
    return [places[some] for some in packed]


def _sums(prepared: Prepared) -> tuple[SumLevel, ...]:
    """The levels whose sums are forecast, their rows made and split."""
    job, resolved = prepared.job, prepared.resolved
    keys, storage = resolved.store, prepared.registry.storage
    found = []
    for columns in sum_levels(job):
        owners, _ = members_of(keys, columns)
        rows = sum_rows(job, resolved.spec, columns, keys, owners, keys, storage, target=True)
        if rows is not None:
            found.append(SumLevel(sum_name(columns), tuple(columns), rows))
    return tuple(found)


def _guess_levels(prepared: Prepared, rungs: tuple[RungTask, ...], sums: tuple[SumLevel, ...]) -> list[float]:
    """First guesses of what the rungs and the sums take, in the order in which they run."""
    pooled = pooled_estimator(prepared.job.task, prepared.resolved.candidates)
    guesses = [_guess_rung(prepared, pooled, task) for task in rungs]
    guesses += [_guess_sums(prepared, level) for level in sums]
    if prepared.isolated and prepared.effort.batched:  # the first of these on each worker starts its child
        ours = [task.rung.is_ours for task in rungs] + [False] * len(sums)
        for place in np.flatnonzero(~np.array(ours, dtype=bool))[: workers_of(prepared.job.compute)]:
            guesses[place] += CHILD
    return guesses


def _guess_starts(prepared: Prepared) -> float:
    """First guess of what a run in this process starts or loads before its first key: workers come warm."""
    at_once, child = prepared.effort.batched, prepared.isolated and not prepared.effort.batched
    loops = loops_of(prepared.resolved.candidates, at_once=at_once)
    # A child starts with nothing loaded.
    return CHILD * child + LOOPS * bool(loops and (child or not are_loaded(loops)))


def _guess_rung(prepared: Prepared, pooled: CandidateSpec | None, task: RungTask) -> float:
    rows, features = int(task.keys.column("rows").to_numpy().sum()), prepared.effort.features
    if task.rung.parent:
        asked = prepared.job.hierarchy.parent if prepared.job.hierarchy is not None else None
        fitted = asked or pooled_estimator(prepared.job.task, ()) or _GLOBAL
        # Once on all rows, and once on what was before each part that is held out.
        return (1 + prepared.effort.evaluations) * guess_rung(fitted.family, fitted.params, rows, features)
    if pooled is None or task.rung.kind == "naive":
        return guess_rung("", {}, rows)
    return guess_rung(pooled.family, pooled.params, rows, features)


def _guess_sums(prepared: Prepared, level: SumLevel) -> float:
    """First guess of what the sums of a level take: they are fitted as keys are, one by one."""
    rows = level.store.manifest.column("rows").to_numpy().astype(np.float64)
    return float(guess_seconds(rows, replace(prepared.effort, batched=False)).sum())


def workers_of(compute: ComputeSpec) -> int:
    """Workers that a job's batches are cut for."""
    if compute.target == "serial":
        return 1
    return _CLUSTER if compute.target == "dask" else compute.local_workers
