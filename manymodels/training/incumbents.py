"""What the champions are of: the configurations that a run's winners must beat, on the same windows.

A champion's configuration (family and parameters) that is among the run's candidates competes anyway. One that the job does not
have any more is judged beside them, and nothing else: when the winner does not beat it, the champion stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manymodels.exceptions import ManyModelsError, NotFoundError
from manymodels.job.code import find_modules
from manymodels.job.job import Job
from manymodels.job.resolve import Resolved, importable
from manymodels.models.custom import CustomFamily
from manymodels.models.families import build
from manymodels.models.spec import CandidateSpec
from manymodels.registry import Registry
from manymodels.selection.ensembles import ensemble_candidate
from manymodels.selection.spaces import configurations

__all__ = ["Incumbents", "incumbents_of", "setting_of"]


@dataclass(frozen=True)
class Incumbents:
    """What each key's champion is of.

    Attributes:
        names: ``pyarrow.Array``, dictionary-encoded: of a candidate of the run or of ``others``, in the manifest's order; null
            where there is no champion, or one that cannot be judged.
        others: Configurations of champions that are no candidates of the run.
    """

    names: Any
    others: tuple[CandidateSpec, ...]


def incumbents_of(job: Job, registry: Registry, resolved: Resolved) -> Incumbents | None:
    """What the champions of a job's keys are of; None where it does not matter.

    Raises:
        RegistryError: The registry could not be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if job.promotion.rule != "better" or resolved.metric is None:
        return None
    try:
        champions = registry.champions(job.name, job.promotion.alias)
    except NotFoundError:  # the first run, or the first with this alias
        return None
    as_of = resolved.source.as_of
    if as_of is not None:  # nobody knew of later ones then
        champions = champions.filter(
            pc.fill_null(pc.less_equal(champions.column("cutoff"), as_of.last), fill_value=True)
        )
    made = pc.binary_join_element_wise(
        champions.column("run_id").cast(pa.string()), champions.column("candidate").cast(pa.string()), "\0"
    )
    made = made.combine_chunks().dictionary_encode()
    pairs = [tuple(text.split("\0")) for text in made.dictionary.to_pylist()]
    names, others = _matched(pairs, job, registry, resolved)
    if not any(names):
        return None
    place = pc.index_in(resolved.store.manifest.column("key_id"), champions.column("key_id").combine_chunks())
    codes = made.indices.take(place.combine_chunks() if isinstance(place, pa.ChunkedArray) else place)
    known = pa.array(names, pa.string()).take(codes)
    return Incumbents(known.dictionary_encode(), others)


def _matched(
    pairs: Sequence[tuple[str, ...]], job: Job, registry: Registry, resolved: Resolved
) -> tuple[list[str | None], tuple[CandidateSpec, ...]]:
    """What runs and candidates of the past are called in this run, and those that it has to judge beside its own."""
    possible = _with_ensemble(resolved.candidates, job)
    now = {setting_of(candidate): candidate.name for candidate in reversed(possible)}
    others: list[CandidateSpec] = []
    then: dict[tuple[str, ...], CandidateSpec] = {}
    with_modules: dict[str, bool] = {}
    for run_id in {run_id for run_id, _ in pairs}:
        record = registry.run(run_id)
        was = Job.from_dict(json.loads(record.job))
        with_modules[run_id] = bool(record.archive)
        for candidate in _with_ensemble(configurations(was.models, was.selection, was.training.seed), was):
            then[run_id, candidate.name] = candidate
    names: list[str | None] = []
    for pair in pairs:
        old = then.get(pair)
        if (
            old is not None
            and setting_of(old) not in now
            and _can_be_judged(old, with_modules[pair[0]], job, resolved)
        ):
            name = _free(f"champion {old.name}", now.values())
            now[setting_of(old)] = name
            others.append(old.model_copy(update={"name": name}))
        names.append(None if old is None else now.get(setting_of(old)))
    return names, tuple(others)


def setting_of(candidate: CandidateSpec) -> str:
    """What makes two candidates the same, whatever their names."""
    return json.dumps([candidate.family, candidate.params], sort_keys=True)


def _with_ensemble(tried: Sequence[CandidateSpec], job: Job) -> list[CandidateSpec]:
    """What a key's model can be of."""
    together = ensemble_candidate(job.selection)
    return [*tried, *([] if together is None else [together])]


def _can_be_judged(was: CandidateSpec, with_modules: bool, job: Job, resolved: Resolved) -> bool:
    """Whether a run of today's job can fit it: its family is there, and the user's modules that it needs are the run's too.

    Args:
        was: The configuration.
        with_modules: Whether the run that it is from had modules of the user's own.
        job: Today's.
        resolved: Today's.
    """
    try:
        with importable(job.folder):
            family = build(was, job.task)
        needed = {str(path) for path in find_modules(job.model_copy(update={"models": [was]}))}
    except ManyModelsError:
        return False
    names = isinstance(family, CustomFamily) or any("." in str(value) for value in was.params.values())
    if with_modules and names and not needed:  # it may be importable here still, and is not on a worker
        return False
    return needed <= set(resolved.modules)


def _free(name: str, taken: Any) -> str:
    """The name, numbered where another candidate has it."""
    known = set(taken)
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, len(known) + 2))
    return next(name for name in numbered if name not in known)
