"""What a run cost, summed up when it ends, so that the next plan learns from it: ``runs/<run>/costs.json``.

Seconds of each candidate are kept by the size of the key: a fleet's long keys may cost more a row, or less, than others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMAT", "OTHER", "RunCosts", "Size", "Tally", "costs_path", "read_costs"]

FORMAT = 2

OTHER = ""
"""What stands for a candidate where a key's time is none of the candidates': cutting windows, the baseline, encoding."""

_SIZES = 64  # powers of two


@dataclass(frozen=True)
class Size:
    """What keys of one size, a power of two of rows, cost one candidate.

    Attributes:
        keys: How many.
        rows: Of all of them.
        seconds: For all of them.
    """

    keys: int
    rows: int
    seconds: float

    @property
    def place(self) -> int:
        """The power of two."""
        return (self.rows // self.keys).bit_length() - 1


@dataclass(frozen=True)
class RunCosts:
    """What a run cost.

    Attributes:
        keys: Of the dataset.
        tried: Of those, the ones that candidates were fitted on.
        starts: First guess of what was started or loaded before the first key.
        rungs: First guess of what the ladder's rungs would take.
        batches: That fitted keys.
        parallel: Tasks that ran at once.
        here: Whether they ran in the driver's process.
        batched: Whether candidates were fitted on many keys at once.
        evaluations: Fits of a candidate on one key before the refit.
        key_seconds: Of the keys, summed up.
        batch_seconds: Of the keys' batches on their workers, summed up.
        rung_seconds: Of the rungs' batches.
        fan_out: Wall time from when the workers were there to the last batch's end.
        packed: What that would have been, had the batches followed one another without a pause.
        outside: Wall time of everything else, but for start-up and the split.
        sizes: Candidate (``costs.Candidate.id``, or ``OTHER``) to its costs by size of the key.
    """

    keys: int
    tried: int
    starts: float
    rungs: float
    batches: int
    parallel: int
    here: bool
    batched: bool
    evaluations: int
    key_seconds: float
    batch_seconds: float
    rung_seconds: float
    fan_out: float
    packed: float
    outside: float
    sizes: Mapping[str, tuple[Size, ...]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """For the run's folder."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode()


def costs_path(run_id: str) -> str:
    """Where a run's costs lie in the store."""
    return f"runs/{run_id}/costs.json"


def read_costs(content: bytes) -> RunCosts | None:
    """What ``RunCosts.to_json`` wrote; None for what cannot be read: a guess takes its place."""
    try:
        found = json.loads(content)
        if found.pop("format") != FORMAT:
            return None
        sizes = {
            candidate: tuple(Size(**line) for line in lines)
            for candidate, lines in found.pop("sizes").items()
        }
        return RunCosts(**found, sizes=sizes)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class Tally:
    """Sums up outcomes by candidate and size of the key.

    Args:
        candidates: A candidate's name in the job to its id.
    """

    def __init__(self, candidates: Mapping[str, str]) -> None:
        self._names = ["", *candidates]
        self._ids = [OTHER, *candidates.values()]
        self._sums = np.zeros((3, len(self._ids), _SIZES))

    def add(self, outcomes: pa.Table) -> None:
        """Take the outcomes of some keys, a table with ``OUTCOME_COLUMNS``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table = outcomes.filter(pc.equal(outcomes.column("state"), "trained")).combine_chunks()
        if table.num_rows == 0:
            return
        rows = np.maximum(table.column("rows").to_numpy(), 1)
        scores = table.column("scores").combine_chunks()
        owner, lines = scores.value_parent_indices().to_numpy(), scores.flatten()
        # What is no candidate, like an ensemble, is among the rest.
        code = pc.index_in(lines.field("candidate"), pa.array(self._names)).fill_null(0).to_numpy()
        seconds = lines.field("seconds").to_numpy(zero_copy_only=False)
        other = table.column("seconds").to_numpy() - np.bincount(owner, seconds, minlength=len(rows))
        named = code > 0
        codes = np.concatenate([np.zeros(len(rows), dtype=np.int64), code[named].astype(np.int64)])
        owners = np.concatenate([np.arange(len(rows)), owner[named]])
        other += np.bincount(owner[~named], seconds[~named], minlength=len(rows))
        place = codes * _SIZES + np.log2(rows).astype(np.int64)[owners]
        values = (np.ones(len(place)), rows[owners], np.concatenate([np.maximum(other, 0.0), seconds[named]]))
        for kind, weights in enumerate(values):
            sums = self._sums[kind]
            sums += np.bincount(place, weights, minlength=sums.size).reshape(sums.shape)

    def sizes(self) -> dict[str, tuple[Size, ...]]:
        """Candidate to its costs by size of the key, as in ``RunCosts``."""
        keys, rows, seconds = self._sums
        return {
            name: tuple(
                Size(int(keys[number, size]), int(rows[number, size]), float(seconds[number, size]))
                for size in np.flatnonzero(keys[number]).tolist()
            )
            for number, name in enumerate(self._ids)
            if keys[number].any()
        }
