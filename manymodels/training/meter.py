"""What a run costs, measured while it runs and kept with it for the plans to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from manymodels.planning.costs import Effort
from manymodels.planning.estimate import makespan
from manymodels.planning.receipts import RunCosts, Tally, costs_path
from manymodels.records import BatchReceipt
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Meter"]


class Meter:
    """Of a run that goes from its first batch to its last without a stop.

    Args:
        effort: What is done with every key.
        prepared: Seconds of the run that went before: the split and the plan.
        starts: First guess of what is started or loaded before the first key.
        rungs: First guess of what the ladder's rungs take.
    """

    def __init__(self, effort: Effort, prepared: float, *, starts: float, rungs: float) -> None:
        self._effort = effort
        self._starts = starts
        self._rung_guess = rungs
        self._prepared = prepared
        self._keys: dict[int, float] = {}
        self._rungs: dict[int, float] = {}
        self._tally = Tally(effort.ids)
        self._first: pa.Table | None = None
        self._tried = 0
        self._key_seconds = 0.0
        self._fan_out = 0.0
        self._parallel = 1
        self._here = False

    def add(self, receipt: BatchReceipt, *, rung: bool) -> None:
        """Take a receipt."""
        (self._rungs if rung else self._keys)[receipt.batch] = receipt.seconds
        if not rung:
            # Where keys are fitted at once, the first batch's time is mostly that of code that is loaded: it says what the
            # run took, and nothing of more keys.
            if self._effort.batched and self._first is None:
                self._first = receipt.outcomes
            else:
                self._tally.add(receipt.outcomes)
            self._tried += receipt.outcomes.num_rows
            self._key_seconds += float(receipt.outcomes.column("seconds").to_numpy().sum())

    def fanned_out(self, seconds: float, parallel: int, *, here: bool) -> None:
        """All batches are done.

        Args:
            seconds: Wall time from when the workers were there.
            parallel: Tasks that ran at once.
            here: Whether they ran in this process.
        """
        self._fan_out, self._parallel, self._here = seconds, parallel, here

    def write(self, storage: Storage, run_id: str, order: Sequence[int], keys: int, seconds: float) -> None:
        """Keep what the run took; nothing where it tried no key.

        Args:
            storage: The store.
            run_id: The run.
            order: The batches, as they were to be done.
            keys: Of the dataset.
            seconds: Wall time of the run without start-up.
        """
        if not self._tried:
            return
        if self._first is not None and len(self._keys) == 1:
            self._tally.add(self._first)
        every = {**self._keys, **self._rungs}
        parallel = max(1, min(self._parallel, len(every)))
        costs = RunCosts(
            keys=keys,
            tried=self._tried,
            starts=self._starts,
            rungs=self._rung_guess,
            batches=len(self._keys),
            parallel=parallel,
            here=self._here,
            batched=self._effort.batched,
            evaluations=self._effort.evaluations,
            key_seconds=self._key_seconds,
            batch_seconds=sum(self._keys.values()),
            rung_seconds=sum(self._rungs.values()),
            fan_out=self._fan_out,
            packed=makespan((every[batch] for batch in order if batch in every), parallel),
            outside=max(0.0, seconds - self._prepared - self._fan_out),
            sizes=self._tally.sizes(),
        )
        storage.write(costs_path(run_id), costs.to_json())
