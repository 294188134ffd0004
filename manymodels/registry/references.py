"""What the registry still refers to: the segments, files and rows that must stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from manymodels.registry.drivers import Driver
from manymodels.registry.schema import batches, runs, scores, segments
from manymodels.registry.settings import Retention

__all__ = ["References", "RunUse", "read_references"]

_RUN = (
    "id", "run_id", "model_set", "dataset", "published", "state", "driver", "started", "heartbeat", "ended",
)  # fmt: skip

RunUse = Literal["published", "driven", "resumable", "abandoned"]


@dataclass(frozen=True)
class References:
    """What the registry refers to, at one moment.

    Attributes:
        horizon: Who reads the store now has begun after it: what fell out of use before it can go. Microseconds since
            1970 UTC.
        runs: Run to what becomes of it.
        segments: Path to since when it is out of use; None while it is in use.
        outcomes: Paths of the outcomes that resumes read.
        datasets: Fingerprints of the rows that must stay.
        scores: Output and id of scorings that ended without publishing, and cannot be continued.
    """

    horizon: int
    runs: Mapping[str, RunUse]
    segments: Mapping[str, int | None]
    outcomes: frozenset[str]
    datasets: frozenset[str]
    scores: tuple[tuple[str, str], ...]

    @property
    def abandoned(self) -> list[str]:
        """The runs that can no longer be resumed."""
        return [run for run, use in self.runs.items() if use == "abandoned"]


def read_references(connection: sa.Connection, retention: Retention, grace: float, now: int) -> References:
    """Read what the registry refers to.

    Args:
        connection: In a transaction.
        retention: The store's.
        grace: Seconds that files stay after they fell out of use.
        now: Microseconds since 1970 UTC.
    """
    expired = now - int(retention.unfinished * 1e6)
    scorings = connection.execute(sa.select(scores)).all()
    driving = [line for line in scorings if line.state == "running" and _is_driven(line, now)]
    horizon = min([now, *(line.started for line in driving)]) - int(grace * 1e6)
    lines = connection.execute(sa.select(*(runs.c[name] for name in _RUN)).order_by(runs.c.id)).all()
    uses = {line.run_id: _use(line, expired, now) for line in lines}
    open_runs = [line.id for line in lines if uses[line.run_id] in ("driven", "resumable")]
    kept = sa.select(batches.c.outcomes_path).where(batches.c.run.in_(open_runs))
    unpublished = [line for line in scorings if line.state not in ("completed", "failed_gate")]
    alive = [line for line in unpublished if line in driving or _last_seen(line) > expired]
    datasets = {part for line in alive for part in line.input.split("+")}
    datasets |= {line.dataset for line in lines if line.id in open_runs}
    datasets |= _of_published_runs(lines, retention, horizon)
    found = connection.execute(sa.select(segments.c.path, segments.c.retired))
    return References(
        horizon=horizon,
        runs=uses,
        segments={line.path: line.retired for line in found},
        outcomes=frozenset(connection.execute(kept).scalars()),
        datasets=frozenset(datasets),
        scores=tuple((line.output, line.score_id) for line in unpublished if line not in alive),
    )


def _use(line: sa.Row[*tuple[Any, ...]], expired: int, now: int) -> RunUse:
    if line.published:
        return "published"
    if line.state == "running" and _is_driven(line, now):
        return "driven"
    return "resumable" if _last_seen(line) > expired else "abandoned"


def _is_driven(line: sa.Row[*tuple[Any, ...]], now: int) -> bool:
    return Driver.from_json(line.driver).is_alive((now - line.heartbeat) / 1e6)


def _last_seen(line: sa.Row[*tuple[Any, ...]]) -> int:
    return int(max(line.started, line.heartbeat, line.ended or 0))


def _of_published_runs(
    lines: Sequence[sa.Row[*tuple[Any, ...]]], retention: Retention, horizon: int
) -> set[str]:
    """The rows of a model set's newest runs: of so many that were there at the horizon, and of all since."""
    published: dict[int, list[sa.Row[*tuple[Any, ...]]]] = defaultdict(list)
    for line in lines:
        if line.published:
            published[line.model_set].append(line)
    needed: set[str] = set()
    for family in published.values():
        before = [line for line in family if (line.ended or 0) <= horizon]
        if retention.datasets != "all":
            before = before[-retention.datasets :]
        needed |= {line.dataset for line in before}
        needed |= {line.dataset for line in family if (line.ended or 0) > horizon}
    return needed
