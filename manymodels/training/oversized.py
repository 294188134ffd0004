"""Keys that will not fit into memory: known before anything is read, so that no worker is hurt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from manymodels.job.settings import FitSettings
from manymodels.job.supervise import Blame
from manymodels.planning.memory import needed
from manymodels.records import AttemptFailure, CandidateScore, KeyOutcome
from manymodels.training.batch import key_seed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["oversized", "untried"]


def oversized(keys: pa.Table, fit: FitSettings, memory: int) -> Blame:
    """The candidates that need more memory than there is, for each key that has such.

    Args:
        keys: Rows of the manifest.
        fit: Of the run.
        memory: Bytes that a fit may occupy (``training.memory``).
    """
    rows = keys.column("rows").to_numpy()
    kept = rows if fit.max_rows is None else np.minimum(rows, fit.max_rows.rows)
    key_ids = keys.column("key_id")
    found: dict[str, dict[str, AttemptFailure]] = {}
    for candidate in fit.candidates:
        size = needed(rows, kept, len(fit.columns), candidate.family)
        for place in np.flatnonzero(size > memory).tolist():
            failure = AttemptFailure(
                "memory",
                f"memory {_gib(memory)}",
                f"about {_gib(int(size[place]))} would be needed for {int(kept[place]):,} rows of {len(fit.columns)} columns, "
                "more than `training.memory`; raise it, or set `training.max_rows`",
                candidate=candidate.name,
            )
            found.setdefault(key_ids[place].as_py(), {})[candidate.name] = failure
    return found


def untried(key_id: str, failures: Mapping[str, AttemptFailure], fit: FitSettings) -> KeyOutcome:
    """The outcome of a key for which every candidate needs too much."""
    first = failures[fit.candidates[0].name]
    return KeyOutcome(
        key_id=key_id,
        state="failed",
        reason=f"{first.error}: {first.message}",
        candidate=first.candidate,
        scores=tuple(
            CandidateScore(name, None, 0.0, f"{failure.error}: {failure.message}")
            for name, failure in failures.items()
        ),
        failure=first,
        seed=key_seed(fit.seed, key_id),
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
