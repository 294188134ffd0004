"""The job meets its data: roles checked, rows split by key, and everything that a fit needs settled."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from itertools import pairwise
from typing import Any, Protocol

from manymodels.dataset.roles import Roles, resolve_roles, suspicious_features
from manymodels.dataset.sources import Source, open_source
from manymodels.exceptions import DataError, JobError, ModelError
from manymodels.job.code import code_fingerprint, find_modules
from manymodels.job.fingerprints import job_fingerprint
from manymodels.job.job import Job
from manymodels.job.splitting import split_rows
from manymodels.models.contract import Family, FitSpec
from manymodels.models.spec import CandidateSpec
from manymodels.partitioning.listing import displays, sample_rows, sample_times
from manymodels.partitioning.store import Partitions, PartitionStore
from manymodels.registry.versions import installed_version
from manymodels.selection.spaces import configurations
from manymodels.storage import Storage

__all__ = [
    "Resolved",
    "blended_levels",
    "importable",
    "level_columns",
    "level_name",
    "library_versions",
    "resolve",
]

_RECORDED = ("manymodels", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "statsmodels")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # import name to distribution, where they differ


class _Made(Protocol):
    """What the fingerprint of the code knows of a family, or of what fits a level."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> int: ...

    @property
    def library(self) -> str: ...


@dataclass(frozen=True)
class Resolved:
    """A job and its data, ready to plan.

    Attributes:
        source: The rows as they came.
        store: The rows, split by key.
        roles: Which column is what.
        spec: What a fit needs to know, but for the key's seed.
        candidates: What is tried on a key: the job's candidates, with what was drawn of their search spaces.
        families: Theirs, in the same order.
        metric: Name of the metric that candidates compete on; None where there is none.
        job_hash: Fingerprint of what in the job makes a model.
        code_hash: Fingerprint of the user's modules, the families' revisions and the libraries' minor versions.
        libraries: Library to version, as recorded with the run.
        modules: The user's own modules that the job needs, absolute paths.
        warnings: What the user should know, a line each.
        split_seconds: What it took to split the rows, or to find that they were split before.
    """

    source: Source
    store: PartitionStore
    roles: Roles
    spec: FitSpec
    candidates: tuple[CandidateSpec, ...]
    families: tuple[Family, ...]
    metric: str | None
    job_hash: str
    code_hash: str
    libraries: dict[str, str]
    modules: tuple[str, ...]
    warnings: tuple[str, ...]
    split_seconds: float


def resolve(
    job: Job,
    frame: Any,
    storage: Storage,
    *,
    begin: Callable[[Source, Sequence[CandidateSpec], Sequence[Family]], None] | None = None,
) -> Resolved:
    """Open the job's data, check it against the job, and split it by key unless that was done before.

    Args:
        job: The job.
        frame: A pandas, Dask or Arrow table that stands in for ``data.path``.
        storage: Where the partition store goes.
        begin: Called with the rows, the candidates and their families when there is something to split, before it is.

    Raises:
        JobError: A candidate or metric that is not there, or cannot be imported.
        DataError: Data that does not fit the job.
    """
    from manymodels.evaluation.metrics import default_metric, resolve_metric
    from manymodels.models.custom import CustomFamily
    from manymodels.models.families import build
    from manymodels.models.rungs import parent_family

    with importable(job.folder):
        candidates = configurations(job.models, job.selection, job.training.seed)
        families = tuple(build(candidate, job.task) for candidate in candidates)
        parent = None
        if blended_levels(job) and job.hierarchy is not None:
            parent = parent_family(job.task, job.hierarchy.parent)
        labelled = job.task != "anomaly" or job.evaluation.label is not None
        metric = (job.evaluation.metric or default_metric(job.task)) if labelled else None
        if metric is not None:
            resolve_metric(metric, job.task)
    source = open_source(job.data, frame)
    roles = resolve_roles(
        source,
        job.data,
        job.task,
        levels=level_columns(job),
        label=job.evaluation.label,
        groups=job.evaluation.groups,
        # The user's own function gets the key's whole rows.
        featureless=all(isinstance(family, CustomFamily) for family in families),
    )
    began = time.perf_counter()
    ahead = None if begin is None else partial(begin, source, candidates, families)
    store = split_rows(job, source, job.data, roles, storage, begin=ahead)
    split_seconds = time.perf_counter() - began
    spec = fit_spec(job, roles, store)
    libraries = library_versions(families)
    makers: tuple[_Made, ...] = families if parent is None else (*families, parent)
    modules = tuple(sorted(str(path) for path in find_modules(job)))
    return Resolved(
        source=source,
        store=store,
        roles=roles,
        spec=spec,
        candidates=candidates,
        families=families,
        metric=metric,
        job_hash=job_fingerprint(job, columns=_settled(job, spec)),
        code_hash=code_fingerprint(
            modules, [(f.name, f.revision) for f in makers], minor_versions(libraries, makers)
        ),
        libraries=libraries,
        modules=modules,
        warnings=(*roles.warnings, *store.details.warnings, *_giveaways(roles, store)),
        split_seconds=split_seconds,
    )


def _settled(job: Job, spec: FitSpec) -> dict[str, Any]:
    """What the job left to the data, and is settled now."""
    found: dict[str, Any] = {"frequency": spec.frequency, "features": spec.features}
    if job.forecast.season_length == "auto":
        found["season_length"] = spec.season_length
    return found


def _giveaways(roles: Roles, store: PartitionStore) -> list[str]:
    """Warnings about features that tell the target."""
    if roles.target is None:
        return []
    sample, _ = sample_rows(store, [roles.target, *roles.features])
    return [
        f"feature {name!r} gives the target {roles.target!r} away; is it known when scoring? `data.ignore` leaves it out"
        for name in suspicious_features(sample, roles)
    ]


def fit_spec(job: Job, roles: Roles, store: Partitions) -> FitSpec:
    """What every fit of a job needs to know about it and its data."""
    spec = FitSpec(
        task=job.task,
        partition_by=tuple(job.data.partition_by),
        target=job.data.target,
        time=job.data.time,
        features=tuple(roles.features),
        known_future=tuple(roles.known_future),
        categorical=tuple(roles.categorical),
        weight=job.data.weight,
        classes=store.classes if job.task == "classification" else (),
        rate=job.anomaly.rate,
        label=job.evaluation.label,
        threads=job.compute.threads,
    )
    if job.task == "regression":
        return replace(spec, levels=tuple(job.regression.levels))
    if job.task != "forecast":
        return spec
    from manymodels.models.forecast.frequency import infer_frequency, normalise_frequency, season_length

    if job.data.on_duplicate_time == "error":
        _refuse_duplicate_times(job, store)
    frequency = (
        normalise_frequency(job.data.frequency)
        if job.data.frequency
        else infer_frequency(sample_times(store, str(job.data.time)))
    )
    span = job.evaluation.backtest.span
    if frequency == "step" and span is not None and span.unit != "periods":
        raise JobError(
            f"`evaluation.backtest.window` is {job.evaluation.backtest.window}, a length of time, and the frequency is step; "
            "give a number of periods"
        )
    asked = job.forecast.season_length
    known = replace(
        spec,
        frequency=frequency,
        season_length=asked if isinstance(asked, int) else season_length(frequency),
        horizon=job.forecast.horizon,
        levels=tuple(job.forecast.levels),
        intervals=job.forecast.intervals,
        non_negative=job.forecast.non_negative,
        gaps=job.data.gaps,
        on_duplicate_time=job.data.on_duplicate_time,
    )
    return known if asked != "auto" else replace(known, season_length=_detected_season(known, store))


def _detected_season(spec: FitSpec, store: Partitions) -> int:
    """The season of some keys; 1 where none of them makes a series."""
    from manymodels.models.forecast.seasons import detect_season
    from manymodels.models.forecast.series import Basis, Series, fill
    from manymodels.records import Rows

    basis = Basis.of(spec)
    frame, offsets = sample_rows(store, [basis.time, basis.target])
    rows, found = Rows(frame), []
    for start, stop in pairwise(offsets.tolist()):
        with suppress(ModelError):  # a key that is of no use; its fit says why
            found.append(fill(Series.read(rows.part(start, stop), basis).target, 1))
    return detect_season(found, str(spec.frequency)) if found else 1


def level_columns(job: Job) -> list[str]:
    """Columns of the ladder's levels and of the hierarchy's, each once."""
    ladder = [rung.level for rung in job.fallback if not isinstance(rung, str)]
    above = job.hierarchy.levels if job.hierarchy is not None else []
    return list(dict.fromkeys(column for level in (*ladder, *above) for column in level))


def blended_levels(job: Job) -> list[list[str]]:
    """The columns of the levels whose models keys are blended with, the nearest first; none without blending."""
    return job.hierarchy.levels if job.hierarchy is not None and job.hierarchy.blend else []


def level_name(columns: list[str]) -> str:
    """The name of a level in the registry: ``level:region,format``; ``pooled`` is all keys."""
    return "level:" + ",".join(columns) if columns else "pooled"


def library_versions(families: tuple[Family, ...]) -> dict[str, str]:
    """Versions of Python, of the product's own libraries, and of those that fit."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in sorted({*_RECORDED, *_fitting(families)}):
        found[name] = installed_version(name)
    return found


def minor_versions(libraries: dict[str, str], families: tuple[_Made, ...]) -> dict[str, str]:
    """Major and minor version of the libraries that fit."""
    return {name: ".".join(libraries[name].split(".")[:2]) for name in sorted(_fitting(families))}


def _fitting(families: tuple[_Made, ...]) -> set[str]:
    """Distributions of the libraries that fit; a user's own module has none."""
    names = {_DISTRIBUTIONS.get(family.library, family.library) for family in families if family.library}
    found = set()
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            installed_version(name)
            found.add(name)
    return found


@contextmanager
def importable(folder: str) -> Iterator[None]:
    """The modules of a folder can be imported inside the block."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _refuse_duplicate_times(job: Job, store: Partitions) -> None:
    import pyarrow.compute as pc

    manifest = store.manifest
    twice = pc.sum(manifest.column("duplicate_times")).as_py() or 0
    if twice:
        place = pc.index(pc.greater(manifest.column("duplicate_times"), 0), True).as_py()
        raise DataError(
            f"{twice:,} rows have the same `{job.data.time}` as another row of their key, first in "
            f"{displays(store, [place])[0]}; set `data.on_duplicate_time` to last, sum or mean, or add a key column"
        )
