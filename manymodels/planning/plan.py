"""What trains and why: every key of the dataset compared with what the registry knows of it.

Planning is pure: the manifest and the past arrive as tables, the plan leaves as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["REASONS", "Plan", "Scope", "make_plan"]

REASONS = {
    "new": "no version of this key yet",
    "rows changed": "the key's rows differ from those its newest version saw",
    "job changed": "data, models, forecast, evaluation or seed of the job differ",
    "code or library changed": "your modules, a family's revision or a library's minor version differ",
    "failed last time": "the last attempt failed",
    "asked for": "`only: all`, or named with --key",
    "listed": "`manymodels monitor` lists it, and it was not trained since",
    "unchanged": "nothing that made its newest version changed",
    "too few rows": "fewer rows than `data.min_rows`",
    "target is missing": "no row has a target",
    "target is infinite": "a target is infinite",
    "out of scope": "outside `only`, --key or --limit",
    "vanished": "has versions, but no row in this dataset",
}
"""Every reason of a plan, with what it means."""


@dataclass(frozen=True)
class Scope:
    """Which keys a run may train.

    Attributes:
        only: ``changed``, ``all``, ``failed`` or ``listed``.
        key_ids: The keys named by the user; None is all.
        listed: With ``listed``: key_id of the keys that monitoring lists to the version that each had then.
        limit: Train at most this many keys: a seeded sample; None is no limit.
        seed: Of the sample.
    """

    only: str = "changed"
    key_ids: frozenset[str] | None = None
    limit: int | None = None
    seed: int = 0
    listed: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a run will do with every key.

    Attributes:
        table: One row per key of the manifest, in its order: ``key_id``, ``action`` (``train``, ``reuse``,
            ``fallback``, ``skip``), ``reason`` (of ``REASONS``), ``rows``, ``seconds`` (estimated, 0 unless trained),
            ``version`` (newest, null when none).
        vanished: key_ids that have versions but no rows any more.
        unknown: Manifest rows of keys that the registry has never heard of, ascending.
        bytes_per_model: Estimated, on disk.
    """

    table: pd.DataFrame
    vanished: tuple[str, ...]
    unknown: npt.NDArray[np.int64]
    bytes_per_model: float

    @property
    def training(self) -> npt.NDArray[np.int64]:
        """Manifest rows of the keys that train, ascending."""
        return np.flatnonzero((self.table["action"] == "train").to_numpy())

    @property
    def seconds(self) -> float:
        """Estimated seconds of work on one worker."""
        return float(self.table["seconds"].sum())

    @property
    def disk(self) -> int:
        """Estimated bytes of the new models."""
        return int(len(self.training) * self.bytes_per_model)

    def counts(self) -> dict[str, dict[str, int]]:
        """Keys by action and reason, the vanished ones too; empty groups left out."""
        found: dict[str, dict[str, int]] = {}
        sizes = self.table.groupby(["action", "reason"], observed=True, sort=True).size()
        for (action, reason), number in sizes.items():
            if number:
                found.setdefault(str(action), {})[str(reason)] = int(number)
        if self.vanished:
            found["vanished"] = {"vanished": len(self.vanished)}
        return found


def make_plan(
    manifest: pa.Table,
    history: pa.Table,
    *,
    job_hash: str,
    code_hash: str,
    min_rows: int,
    scope: Scope,
    ladder: bool,
    seconds: npt.NDArray[np.float64],
    bytes_per_model: float,
) -> Plan:
    """Decide for every key whether it trains, and say why.

    Args:
        manifest: Of the partition store: ``key_id``, ``rows``, ``content``, ``null_targets``, ``infinite_targets``.
        history: Of the registry, keys only: ``key_id``, ``version``, ``content``, ``job_hash``, ``code_hash``,
            ``failed_last``.
        job_hash: Fingerprint of today's job.
        code_hash: Fingerprint of today's code and libraries.
        min_rows: Keys with fewer rows are not tried.
        scope: Which keys may train.
        ladder: Whether a rung will serve keys that are not tried.
        seconds: Estimated cost of each manifest row's key, shape (keys,).
        bytes_per_model: Estimated size of a model on disk.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    key_ids = manifest.column("key_id")
    # Where each key is in the history. Joining whole tables would copy every column of millions of keys.
    past = pc.index_in(key_ids, history.column("key_id").combine_chunks())
    version = history.column("version").take(past)

    def holds(condition: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Of each key, whether something is true of its past; not without one."""
        return _true(pc.take(condition, past))

    known = version.is_valid().to_numpy()
    failed = holds(history.column("failed_last"))
    same_rows = _true(pc.equal(manifest.column("content"), history.column("content").take(past)))
    same_job = holds(pc.equal(history.column("job_hash"), job_hash))
    same_code = holds(pc.equal(history.column("code_hash"), code_hash))
    rows = manifest.column("rows").to_numpy()
    in_scope = np.ones(len(rows), dtype=bool)
    if scope.key_ids is not None:
        in_scope = _true(pc.is_in(key_ids, pa.array(sorted(scope.key_ids), pa.string())))

    listed = np.zeros(len(rows), dtype=bool)
    if scope.only == "listed":
        then = pd.Series(key_ids.to_pylist()).map(
            {key: -1 if at is None else at for key, at in scope.listed.items()}
        )
        newest = version.to_numpy().astype(np.float64)
        listed = then.notna().to_numpy() & ~(newest > then.to_numpy(dtype=np.float64, na_value=np.nan))
        in_scope &= listed

    # The first rule that holds gives action and reason.
    idle = "fallback" if ladder else "skip"
    rules: Sequence[tuple[npt.NDArray[np.bool_], str, str]] = (
        (~in_scope, "skip", "out of scope"),
        (rows < min_rows, idle, "too few rows"),
        (manifest.column("null_targets").to_numpy() >= rows, idle, "target is missing"),
        (manifest.column("infinite_targets").to_numpy() > 0, idle, "target is infinite"),
        (listed, "train", "listed"),
        (failed, "train", "failed last time"),
        (
            np.full(len(rows), scope.only == "failed") & ~(known & same_rows & same_job & same_code),
            "skip",
            "out of scope",
        ),
        (~known, "train", "new"),
        (~same_rows, "train", "rows changed"),
        (~same_job, "train", "job changed"),
        (~same_code, "train", "code or library changed"),
        (np.full(len(rows), scope.only == "all"), "train", "asked for"),
        (np.ones(len(rows), dtype=bool), "reuse", "unchanged"),
    )
    conditions = [rule[0] for rule in rules]
    actions, reasons = ["train", "reuse", "fallback", "skip"], list(REASONS)
    action = np.select(conditions, [np.int8(actions.index(rule[1])) for rule in rules])
    reason = np.select(conditions, [np.int8(reasons.index(rule[2])) for rule in rules])

    if scope.limit is not None:
        training = np.flatnonzero(action == actions.index("train"))
        if len(training) > scope.limit:
            kept = np.random.default_rng(scope.seed).choice(training, scope.limit, replace=False)
            left_out = np.setdiff1d(training, kept)
            action[left_out] = actions.index("skip")
            reason[left_out] = reasons.index("out of scope")

    table = pd.DataFrame(
        {
            "key_id": key_ids.to_pandas(),
            "action": pd.Categorical.from_codes(action, actions),
            "reason": pd.Categorical.from_codes(reason, reasons),
            "rows": rows,
            "seconds": np.where(action == actions.index("train"), seconds, 0.0),
            "version": version.to_pandas(),
        }
    )
    there = pc.is_in(history.column("key_id"), key_ids.combine_chunks())
    vanished = history.filter(pc.and_(history.column("version").is_valid(), pc.invert(there))).column(
        "key_id"
    )
    return Plan(
        table=table,
        vanished=tuple(vanished.to_pylist()),
        unknown=np.flatnonzero(past.is_null().to_numpy()),
        bytes_per_model=bytes_per_model,
    )


def _true(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Where a column that may have nulls is true."""
    return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)
