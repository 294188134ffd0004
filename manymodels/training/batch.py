"""Fitting a batch of keys: rows and settings in, outcomes out. Runs in the sandbox's child, or in process.

Nothing here knows the registry, the clock of the run, or the cluster; the same payload gives the same outcomes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from manymodels.compute.sandbox import Started
from manymodels.compute.threads import blas_threads
from manymodels.job.settings import FitSettings
from manymodels.models.loops import load_loops
from manymodels.records import AttemptFailure, KeyOutcome, Rows
from manymodels.training.parents import ParentLevel, parents_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from manymodels.models.blended import Parent
    from manymodels.models.contract import Family, FitSpec, FittedModel
    from manymodels.models.spec import CandidateSpec
    from manymodels.partitioning.store import Partitions

__all__ = [
    "INCUMBENT",
    "SECONDS",
    "BatchPayload",
    "Rung",
    "families_of",
    "incumbents_of",
    "key_seed",
    "read_rows",
    "train_batch",
]

INCUMBENT = "incumbent"
"""Column of a batch's keys with the candidate that the key's champion is of."""


SECONDS = "seconds"
"""Column of a batch's keys: what each is estimated to take, or the time that its search has."""


@dataclass(frozen=True)
class Rung:
    """A model over many keys' rows, for the fallback ladder.

    Attributes:
        level: ``pooled``, ``naive`` or ``level:region``.
        key_id: Of the rung's own key.
        kind: ``pooled`` or ``naive``: what is fitted.
        parent: Whether keys are blended with it.
    """

    level: str
    key_id: str
    kind: str
    parent: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether nothing but the product's own code fits it: no child process is needed."""
        return self.kind == "naive" and not self.parent


@dataclass(frozen=True)
class BatchPayload:
    """What ``train_batch`` takes.

    Attributes:
        settings: Of the run.
        keys: ``pyarrow.Table``: rows of the manifest, maybe with ``INCUMBENT`` and ``SECONDS``.
        rung: Set when all the rows are for one rung.
        blamed: key_id to candidate to what it did: candidates that killed or stalled the child before.
        partitions: ``Partitions`` with the keys' rows; None when they are in the settings' store.
        estimators: Candidate name to a pickled estimator: candidates that are objects, not import paths.
        parents: The levels that the keys' models are blended with.
    """

    settings: FitSettings
    keys: Any
    rung: Rung | None = None
    blamed: Mapping[str, Mapping[str, AttemptFailure]] = field(default_factory=dict)
    partitions: Any = field(default=None, repr=False)
    estimators: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    parents: tuple[ParentLevel, ...] = ()


def key_seed(run_seed: int, key_id: str) -> int:
    """The seed of one key in a run: 32 bits of BLAKE2b over the run's seed and the key."""
    digest = blake2b(f"{run_seed}:{key_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")


def train_batch(payload: BatchPayload) -> Iterator[Started | KeyOutcome]:
    """Fit every key of a batch, one after the other.

    Yields:
        ``Started((key_id, candidate))`` before every evaluation and refit, and each key's ``KeyOutcome``.
    """
    settings = payload.settings
    if payload.rung is None:
        load_loops(settings.candidates, at_once=False)
    whole, offsets = read_rows(settings, payload.keys, payload.partitions)
    parts = [whole.part(start, stop) for start, stop in pairwise(offsets.tolist())]
    with blas_threads(settings.spec.threads):
        if payload.rung is not None:
            yield from _fit_rung(payload.rung, parts, payload)
        else:
            yield from _fit_keys(payload, parts)


def read_rows(
    settings: FitSettings, keys: pa.Table, partitions: Partitions | None = None
) -> tuple[Rows, npt.NDArray[np.int64]]:
    """The rows of a batch's keys that are fitted, one key after the other, and where each key's begin (with the last's end).

    Args:
        settings: Of the run.
        keys: Rows of the manifest.
        partitions: Has the rows; None when they are in the settings' store.

    Raises:
        StoreError: They could not be read.
    """
    from manymodels.partitioning.store import PartitionStore
    from manymodels.storage import Storage
    from manymodels.training.max_rows import last_rows, sampled_rows

    if partitions is None:
        partitions = PartitionStore.open(Storage.at(settings.storage_root), settings.dataset)
    limit = settings.max_rows
    if limit is not None and limit.keep == "last":
        keys = last_rows(keys, limit.rows)
    frame, offsets = partitions.read(keys, list(settings.columns))
    if limit is None or limit.keep == "last":
        return Rows(frame), offsets
    seeds = [key_seed(settings.seed, key_id) for key_id in keys.column("key_id").to_pylist()]
    return sampled_rows(Rows(frame), offsets, limit.rows, seeds)


def incumbents_of(keys: pa.Table) -> list[str | None]:
    """The candidate that each key's champion is of, where the run's plan says so."""
    if INCUMBENT not in keys.column_names:
        return [None] * int(keys.num_rows)
    found: list[str | None] = keys.column(INCUMBENT).to_pylist()
    return found


def _fit_keys(payload: BatchPayload, parts: list[Rows]) -> Iterator[Started | KeyOutcome]:
    from manymodels.evaluation.metrics import resolve_metric
    from manymodels.selection.champions import champion_metric
    from manymodels.selection.choose import fit_key

    settings = payload.settings
    task = settings.spec.task
    candidates = families_of(payload)
    metric = None if settings.metric is None else resolve_metric(settings.metric, task)
    incumbents = incumbents_of(payload.keys)
    others = {
        other.name: _family(other, payload) for other in settings.champions if other.name in set(incumbents)
    }
    times = _Times(payload.keys)
    parents = parents_of(payload.parents, payload.keys, settings.storage_root)
    for key_id, rows, incumbent, above in zip(
        payload.keys.column("key_id").to_pylist(), parts, incumbents, parents, strict=True
    ):
        began = time.perf_counter()
        seed = key_seed(settings.seed, key_id)
        steps = fit_key(
            rows,
            candidates,
            settings.spec.seeded(seed),
            settings.evaluation,
            metric,
            settings.selection,
            blamed=payload.blamed.get(key_id, {}),
            incumbent=incumbent,
            min_gain=settings.min_gain,
            lessons=settings.lessons,
            seconds=times.next(),
            parents=above,
        )
        while True:
            try:
                candidate = next(steps)
            except StopIteration as stop:
                fitted = stop.value
                break
            yield Started((key_id, candidate))
        champion = next((score.metric for score in fitted.scores if score.candidate == incumbent), None)
        if (
            metric is not None
            and incumbent in others
            and fitted.judged
            and incumbent not in payload.blamed.get(key_id, {})
        ):
            yield Started((key_id, incumbent))
            champion = champion_metric(
                others[incumbent],
                rows,
                settings.spec.seeded(seed),
                settings.evaluation,
                metric,
                fitted.judged,
            )
        yield replace(_encoded(key_id, fitted, seed, began), champion_metric=champion)


class _Times:
    """The time that the keys of a batch have for their searches; what one leaves, those after it share."""

    def __init__(self, keys: pa.Table) -> None:
        shares = keys.column(SECONDS).to_pylist() if SECONDS in keys.column_names else []
        self._shares, self._ends = shares[::-1], time.perf_counter() + sum(shares)
        self._rest = float(sum(shares))

    def next(self) -> float | None:
        """Seconds of the next key; None is any number."""
        if not self._shares:
            return None
        share, rest = self._shares.pop(), self._rest
        self._rest -= share
        left = max(self._ends - time.perf_counter(), 0.0)
        return left * share / rest if rest > 0 else 0.0


def families_of(payload: BatchPayload) -> list[tuple[CandidateSpec, Family]]:
    """The candidates of a batch, and what fits each.

    Raises:
        JobError: One is not there, or does another task.
    """
    return [(candidate, _family(candidate, payload)) for candidate in payload.settings.candidates]


def _family(candidate: CandidateSpec, payload: BatchPayload) -> Family:
    task = payload.settings.spec.task
    if candidate.name in payload.estimators:
        from manymodels.models.tabular.family import SklearnFamily

        return SklearnFamily.of_estimator(candidate, task, payload.estimators[candidate.name])
    from manymodels.models.families import build

    return build(candidate, task)


def _encoded(key_id: str, fitted: Any, seed: int, began: float) -> KeyOutcome:
    """A selection's result as it travels; a model that cannot be encoded fails its key."""
    from manymodels.artifacts.codecs import encode
    from manymodels.exceptions import ModelError
    from manymodels.selection.failures import failure_of

    codec, artifact, state, failure, reason = "", b"", fitted.state, fitted.failure, fitted.reason
    if state == "trained":
        try:
            codec, artifact = encode(fitted.model)
        except ModelError as error:
            state, failure, reason = "failed", failure_of(error, fitted.candidate), str(error)
    return KeyOutcome(
        key_id=key_id,
        state=state,
        reason=reason,
        candidate=fitted.candidate,
        params=fitted.params,
        metric=fitted.metric,
        baseline=fitted.baseline,
        skill=fitted.skill,
        scores=fitted.scores,
        backtests=fitted.backtests if state == "trained" else (),
        codec=codec,
        artifact=artifact,
        rows=fitted.rows,
        cutoff=fitted.cutoff,
        fit_seconds=fitted.fit_seconds,
        seconds=time.perf_counter() - began,
        failure=failure,
        seed=seed,
        traits=fitted.traits,
        parent=fitted.parent,
        own_weight=fitted.own_weight,
    )


def _fit_rung(rung: Rung, parts: list[Rows], payload: BatchPayload) -> Iterator[Started | KeyOutcome]:
    from manymodels.artifacts.codecs import encode
    from manymodels.models.rungs import PooledRows, naive_family, pooled_family
    from manymodels.selection.failures import failure_of

    began = time.perf_counter()
    settings = payload.settings
    seed = key_seed(settings.seed, rung.key_id)
    spec = settings.spec.seeded(seed)
    ended = payload.blamed.get(rung.key_id, {}).get(rung.kind)
    if ended is not None:
        reason = f"{ended.error}: {ended.message}"
        yield KeyOutcome(key_id=rung.key_id, state="failed", reason=reason, failure=ended, seed=seed)
        return
    yield Started((rung.key_id, rung.kind))
    try:
        if rung.parent:
            model: FittedModel = _fit_parent(parts, payload, spec)
        elif rung.kind == "naive":
            model = naive_family(spec.task).fit_pooled(parts, spec)
        elif settings.candidates[0].name in payload.estimators:
            model = PooledRows(_family(settings.candidates[0], payload)).fit_pooled(parts, spec)
        else:
            family = pooled_family(spec.task, list(settings.candidates), featureless=not spec.features)
            model = family.fit_pooled(parts, spec)
        codec, artifact = encode(model)
    except Exception as error:
        yield KeyOutcome(
            key_id=rung.key_id,
            state="failed",
            reason=str(error),
            failure=failure_of(error, rung.kind),
            seed=seed,
        )
        return
    seconds = time.perf_counter() - began
    yield KeyOutcome(
        key_id=rung.key_id,
        state="trained",
        candidate=rung.kind,
        codec=codec,
        artifact=artifact,
        rows=sum(len(part) for part in parts),
        fit_seconds=seconds,
        seconds=seconds,
        seed=seed,
    )


def _fit_parent(parts: list[Rows], payload: BatchPayload, spec: FitSpec) -> Parent:
    from manymodels.models.rungs import parent_family
    from manymodels.selection.shrinkage import fit_parent

    settings = payload.settings
    seeds = [key_seed(settings.seed, key_id) for key_id in payload.keys.column("key_id").to_pylist()]
    return fit_parent(parent_family(spec.task, settings.parent), parts, seeds, spec, settings.evaluation)
