"""What the registry hands out: frozen values for one thing each; whole fleets are ``pyarrow`` tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from manymodels.records import Cause

__all__ = [
    "LATEST",
    "AliasDecision",
    "AliasEvent",
    "AliasMove",
    "CompactReport",
    "DamagedSegment",
    "EventKind",
    "GcReport",
    "ModelHistory",
    "ModelRow",
    "ModelSetRecord",
    "Promotion",
    "PromotionRule",
    "RebuildReport",
    "RunRecord",
    "RunState",
    "ScoreRecord",
    "Signature",
    "UnusableModel",
    "VerifyReport",
]

RunState = Literal["running", "completed", "failed_gate", "failed", "interrupted"]
EventKind = Literal["publish", "promote", "rollback"]
PromotionRule = Literal["better", "always", "never"]

LATEST = "latest"
"""The alias that points at every key's newest published version; it moves by itself and cannot be promoted."""


@dataclass(frozen=True)
class RunRecord:
    """A run, as the registry knows it.

    Attributes:
        id: ``<model set>-<number>``; unique in the store.
        model_set: Name of the model set.
        number: Counts the model set's runs; the version of the models that the run trained.
        task: The job's task.
        state: ``running``, ``completed``, ``failed_gate``, ``failed`` or ``interrupted``.
        job: The job, JSON.
        job_hash: Fingerprint of the job.
        code_hash: Fingerprint of code and libraries.
        archive: SHA-256 of the archive of the user's modules; empty without one.
        archive_signature: Of that, hex; empty when it is not signed.
        libraries: Library to version.
        dataset: Fingerprint of the partition store.
        batches: Batches that the run needs.
        counts: State to keys, once published.
        reason: Why it failed or was interrupted.
        started: When it started, UTC.
        heartbeat: When its driver was last seen, UTC.
        ended: When it ended, UTC; None while it runs.
        seconds: Wall time without start-up, once published.
        startup_seconds: Cluster start and imports, once published.
        outcomes_path: The outcomes of all keys, relative to the store's root, once published.
        promoted: Keys whose alias moved when it was published.
        cancel_requested: Whether somebody asked it to stop.
        published: Whether readers see its models.
    """

    id: str
    model_set: str
    number: int
    task: str
    state: RunState
    job: str = field(repr=False)
    job_hash: str = field(repr=False)
    code_hash: str = field(repr=False)
    archive: str = field(repr=False)
    archive_signature: str = field(repr=False)
    libraries: Mapping[str, str] = field(repr=False)
    dataset: str = field(repr=False)
    batches: int
    counts: Mapping[str, int]
    reason: str
    started: dt.datetime
    heartbeat: dt.datetime = field(repr=False)
    ended: dt.datetime | None
    seconds: float | None
    startup_seconds: float | None = field(repr=False)
    outcomes_path: str = field(repr=False)
    promoted: int
    cancel_requested: bool
    published: bool


@dataclass(frozen=True)
class Promotion:
    """Which new versions become live when a run is published.

    Attributes:
        alias: The alias that moves.
        rule: ``better``, ``always`` or ``never``.
        min_gain: How much better, relative to the champion's metric (0.05 is 5 %).
        higher_is_better: Of the metric.
        as_of: The newest moment that the run saw (as cutoffs have it), where it was trained as if it were then: nothing that
            was trained on later rows is replaced. None for a run that saw all there is.
    """

    alias: str
    rule: PromotionRule
    min_gain: float = 0.0
    higher_is_better: bool = False
    as_of: int | None = None


@dataclass(frozen=True)
class AliasEvent:
    """One change of aliases, or the publication of a run.

    Attributes:
        number: Counts the store's events; names the event's file.
        kind: ``publish``, ``promote`` or ``rollback``.
        model_set: Name of the model set.
        alias: The alias concerned; None when a run was published without promotion.
        run_id: The run that was published; None otherwise.
        at: When, UTC.
        by: Who.
        why: Why, as they said.
        filter: How the keys were chosen, as they said; empty for the whole fleet.
        moved: Keys whose alias moved (rungs of the ladder move too, and are not counted).
    """

    number: int
    kind: EventKind
    model_set: str
    alias: str | None
    run_id: str | None
    at: dt.datetime
    by: str
    why: str
    filter: str
    moved: int


@dataclass(frozen=True)
class AliasMove:
    """One key's part in an event.

    Attributes:
        event: Number of the event.
        kind: Of the event.
        alias: The alias that moved.
        at: When, UTC.
        by: Who.
        why: Why.
        before: Version that the alias pointed at; None when it was nowhere.
        after: Version that it points at now; None when it points nowhere.
        undone: Number of the rollback that undid it; None when none did.
    """

    event: int
    kind: EventKind
    alias: str
    at: dt.datetime
    by: str
    why: str
    before: int | None
    after: int | None
    undone: int | None


@dataclass(frozen=True)
class AliasDecision:
    """What a publication decided on one key: whether its newest version took the alias.

    Attributes:
        event: Number of the publication.
        alias: The alias.
        at: When, UTC.
        challenger: The version decided on.
        champion: The version that had the alias; None when none had.
        challenger_metric: Of its own evaluation; None when it has none.
        champion_metric: Of the champion's configuration on the challenger's windows, where the run judged it; else of its own
            evaluation.
        promoted: Whether the challenger took the alias; else the champion kept it.
        rule: ``better`` or ``always``.
        min_gain: How much better the rule wants, relative to the champion's metric.
        as_of: ``data.as_of`` of the challenger's run: it could not replace a champion that saw later rows. None where it had
            none.
    """

    event: int
    alias: str
    at: dt.datetime
    challenger: int
    champion: int | None
    challenger_metric: float | None
    champion_metric: float | None
    promoted: bool
    rule: PromotionRule
    min_gain: float
    as_of: str | int | None = None


@dataclass(frozen=True)
class ModelRow:
    """One published version of one key's model.

    Attributes:
        version: Number of the run that trained it.
        run_id: That run.
        candidate: The winning candidate.
        metric: On the job's metric; None when it was not evaluated.
        cutoff: Last training time: microseconds since 1970 UTC, or the position.
        seconds: Wall time of its training.
        content: Fingerprint of the rows it was trained on, hex.
        trained: When its run ended, UTC.
        segment: File that holds it, relative to the store's root.
        segment_row: Its row in that file.
        sha256: Of that file, hex.
        aliases: Aliases that point at it, sorted.
        retired: Since when garbage collection has given it up, UTC; None when it is to be had.
    """

    version: int
    run_id: str
    candidate: str
    metric: float | None
    cutoff: int | None
    seconds: float
    content: str
    trained: dt.datetime | None
    segment: str = field(repr=False)
    segment_row: int = field(repr=False)
    sha256: str = field(repr=False)
    aliases: tuple[str, ...]
    retired: dt.datetime | None


@dataclass(frozen=True)
class ModelHistory:
    """Everything the registry knows of one key.

    Attributes:
        key_id: The key.
        key: As people write it.
        level: Empty for keys; the rung's name for a rung.
        stale_since: The run in which it failed last, where no newer version came after it.
        versions: Newest first.
        moves: Alias moves, newest first.
        decisions: What publications decided on it, newest first: also those that moved nothing.
    """

    key_id: str
    key: str
    level: str
    stale_since: str | None
    versions: tuple[ModelRow, ...]
    moves: tuple[AliasMove, ...]
    decisions: tuple[AliasDecision, ...]


@dataclass(frozen=True)
class ModelSetRecord:
    """A model set at a glance.

    Attributes:
        name: Its name.
        task: Of its newest run.
        runs: Runs, of any state.
        models: Keys with a published version.
        champions: Keys with a champion.
        latest_run: Id of the newest published run; None when there is none.
    """

    name: str
    task: str
    runs: int
    models: int
    champions: int
    latest_run: str | None


@dataclass(frozen=True)
class Signature:
    """Failures of a run that look the same.

    Attributes:
        cause: ``exception``, ``crash``, ``timeout``, ``memory`` or ``data``.
        error: Exception class, signal, or the limit that was hit.
        message: With numbers, addresses, quoted values and paths left out, so that it is the same for all.
        frame: ``file:function`` where it happened.
        traceback: Of the first failure that looked like this, in any run.
        count: Keys that failed like this in the run.
        keys: Examples, as people write them.
        key_ids: Of the examples.
    """

    cause: Cause
    error: str
    message: str
    frame: str
    traceback: str = field(repr=False)
    count: int
    keys: tuple[str, ...]
    key_ids: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class ScoreRecord:
    """A scoring, as the registry knows it.

    Attributes:
        id: ``<model set>-score-<number>``; unique in the store.
        model_set: Name of the model set.
        number: Counts the model set's scorings.
        alias: The alias that served; None when a run did.
        run_id: The run that served; None when an alias did.
        input: Fingerprint of the input.
        output: Where the predictions are.
        state: ``running``, ``completed``, ``failed_gate``, ``failed`` or ``interrupted``.
        reason: Why it failed.
        counts: What became of the keys and rows.
        started: When, UTC.
        ended: When, UTC; None while it runs.
        seconds: Wall time without start-up.
        startup_seconds: Cluster start and imports.
    """

    id: str
    model_set: str
    number: int
    alias: str | None
    run_id: str | None
    input: str
    output: str
    state: RunState
    reason: str
    counts: Mapping[str, int]
    started: dt.datetime
    ended: dt.datetime | None
    seconds: float | None
    startup_seconds: float | None


@dataclass(frozen=True)
class DamagedSegment:
    """A segment that cannot be served, or a run's archive of modules, which has no models.

    Attributes:
        path: Relative to the store's root.
        problem: What is wrong with it.
        models: Published versions in it.
        keys: Their keys, as people write them.
        key_ids: Of the keys.
    """

    path: str
    problem: str
    models: int
    keys: tuple[str, ...] = field(repr=False)
    key_ids: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class UnusableModel:
    """A model that its segment holds unharmed, and that cannot be loaded here.

    Attributes:
        path: The segment's, relative to the store's root.
        row: The model's row in it; None when it concerns all of them.
        key: Its key, as people write it.
        problem: Why.
    """

    path: str
    row: int | None
    key: str
    problem: str


@dataclass(frozen=True)
class VerifyReport:
    """What ``store verify`` found.

    Attributes:
        segments: Segments of published runs.
        bytes: Their size.
        damaged: Those that are missing or not what was recorded.
        loaded: Models that could be loaded; None when that was not tried.
        unusable: Models that could not.
    """

    segments: int
    bytes: int
    damaged: tuple[DamagedSegment, ...]
    loaded: int | None
    unusable: tuple[UnusableModel, ...]


@dataclass(frozen=True)
class GcReport:
    """What ``store gc`` did, or would do.

    Attributes:
        applied: Whether it was done.
        grace: Seconds that files stay after they fell out of use.
        retired: Segments whose models have just been given up: ``segments``, ``models``, ``bytes``.
        removed: Kind to ``files`` and ``bytes`` of what was removed. Kinds: ``segments`` (given up before),
            ``attempts`` (segments and outcomes of attempts that lost), ``runs`` (those that can no longer be resumed),
            ``datasets`` (rows that no run needs), ``scores`` (parts of scorings that died), ``temporary``.
        waiting: ``files`` and ``bytes`` that are out of use, within the grace period.
        paths: What was removed: relative to the store's root, but for ``scores``.
    """

    applied: bool
    grace: float
    retired: Mapping[str, int]
    removed: Mapping[str, Mapping[str, int]]
    waiting: Mapping[str, int]
    paths: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class CompactReport:
    """What ``store compact`` did, or would do.

    Attributes:
        applied: Whether it was done.
        segments: Segments that were rewritten.
        bytes: Their size.
        into: Segments that were written instead; None before it is done.
        into_bytes: Their size; an estimate before it is done.
        models: Models that stay.
        given_up: Models that do not.
    """

    applied: bool
    segments: int
    bytes: int
    into: int | None
    into_bytes: int
    models: int
    given_up: int


@dataclass(frozen=True)
class RebuildReport:
    """What ``store rebuild`` restored.

    Attributes:
        runs: Published runs.
        versions: Their models.
        events: Alias events.
        damaged: Segments that could not be read; their models are not in the new registry.
    """

    runs: int
    versions: int
    events: int
    damaged: tuple[str, ...]
