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
        bytes_per_model: Estimated, on disk.
    """

    table: pd.DataFrame
    vanished: tuple[str, ...]
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

    keys = manifest.select(["key_id", "rows", "content", "null_targets", "infinite_targets"]).to_pandas()
    past = history.select(
        ["key_id", "version", "content", "job_hash", "code_hash", "failed_last"]
    ).to_pandas()
    merged = keys.merge(past, on="key_id", how="left", suffixes=("", "_past"), sort=False)

    version = merged["version"].to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(version)
    failed = _true(merged["failed_last"])
    same_rows = _true(merged["content"] == merged["content_past"])
    same_job = _true(merged["job_hash"] == job_hash)
    same_code = _true(merged["code_hash"] == code_hash)
    rows = merged["rows"].to_numpy()
    in_scope = np.ones(len(merged), dtype=bool)
    if scope.key_ids is not None:
        in_scope = merged["key_id"].isin(scope.key_ids).to_numpy()

    listed = np.zeros(len(merged), dtype=bool)
    if scope.only == "listed":
        then = merged["key_id"].map({key: -1 if at is None else at for key, at in scope.listed.items()})
        listed = then.notna().to_numpy() & ~(version > then.to_numpy(dtype=np.float64, na_value=np.nan))
        in_scope &= listed

    # The first rule that holds gives action and reason.
    idle = "fallback" if ladder else "skip"
    rules: Sequence[tuple[npt.NDArray[np.bool_], str, str]] = (
        (~in_scope, "skip", "out of scope"),
        (rows < min_rows, idle, "too few rows"),
        (merged["null_targets"].to_numpy() >= rows, idle, "target is missing"),
        (merged["infinite_targets"].to_numpy() > 0, idle, "target is infinite"),
        (listed, "train", "listed"),
        (failed, "train", "failed last time"),
        (
            np.full(len(merged), scope.only == "failed") & ~(known & same_rows & same_job & same_code),
            "skip",
            "out of scope",
        ),
        (~known, "train", "new"),
        (~same_rows, "train", "rows changed"),
        (~same_job, "train", "job changed"),
        (~same_code, "train", "code or library changed"),
        (np.full(len(merged), scope.only == "all"), "train", "asked for"),
        (np.ones(len(merged), dtype=bool), "reuse", "unchanged"),
    )
    conditions = [rule[0] for rule in rules]
    action = np.select(conditions, [rule[1] for rule in rules], default="")
    reason = np.select(conditions, [rule[2] for rule in rules], default="")

    if scope.limit is not None:
        training = np.flatnonzero(action == "train")
        if len(training) > scope.limit:
            kept = np.random.default_rng(scope.seed).choice(training, scope.limit, replace=False)
            left_out = np.setdiff1d(training, kept)
            action[left_out] = "skip"
            reason[left_out] = "out of scope"

    table = pd.DataFrame(
        {
            "key_id": merged["key_id"],
            "action": pd.Categorical(action),
            "reason": pd.Categorical(reason),
            "rows": rows,
            "seconds": np.where(action == "train", seconds, 0.0),
            "version": merged["version"],
        }
    )
    vanished = past.loc[past["version"].notna() & ~past["key_id"].isin(keys["key_id"]), "key_id"]
    return Plan(table=table, vanished=tuple(vanished.tolist()), bytes_per_model=bytes_per_model)


def _true(column: pd.Series) -> npt.NDArray[np.bool_]:
    """Where a column that may have nulls is true."""
    return np.asarray((column == True).fillna(value=False), dtype=bool)  # noqa: E712 - null is neither
