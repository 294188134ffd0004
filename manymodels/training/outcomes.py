"""The outcomes of a run: collected from receipts, completed from the plan, kept as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from manymodels.records import STATES, BatchReceipt
from manymodels.storage import Storage
from manymodels.training.outcome_table import outcome_schema, parquet_bytes, read_parquet
from manymodels.training.scouts import failed_scouts
from manymodels.training.script import RunScript

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunOutcomes"]


class RunOutcomes:
    """What became of every key so far.

    Args:
        storage: The store.
        script: Of the run.
    """

    def __init__(self, storage: Storage, script: RunScript) -> None:
        self._storage = storage
        self._script = script
        self._parts: dict[int, pa.Table] = {}
        self._paths: list[str] = []
        self._stopped = ""

    @property
    def batches(self) -> set[int]:
        """Batches that have a receipt."""
        return set(self._parts)

    @property
    def expected(self) -> int:
        """Batches that the run needs."""
        return self._script.batches

    @property
    def stopped_early(self) -> str:
        """Why the keys without a receipt are not worth trying; empty when they are, or there are none."""
        left = self._script.key_batches - sum(1 for _ in self._key_parts())
        if not self._stopped and left and 0 in self._parts:
            others = (part for batch, part in self._parts.items() if batch != 0 and not self.is_rung(batch))
            limit, planned = self._script.job.training.max_failed, self._script.planned
            self._stopped = failed_scouts(limit, planned, (self._parts[0], *others))
        return self._stopped

    def load(self, journalled: pa.Table) -> None:
        """Take over the receipts of an earlier attempt at the run."""
        for batch, path in zip(
            journalled.column("batch").to_pylist(),
            journalled.column("outcomes_path").to_pylist(),
            strict=True,
        ):
            self._parts[batch] = read_parquet(self._storage.read(path))
            self._paths.append(path)

    def add(self, receipt: BatchReceipt) -> None:
        """Take a receipt."""
        self._parts[receipt.batch] = receipt.outcomes
        self._paths.append(receipt.outcomes_path)

    def is_rung(self, batch: int) -> bool:
        """Whether a batch fits a rung of the ladder, and no keys."""
        return batch >= self._script.key_batches

    def counts(self) -> dict[str, int]:
        """State to keys: those of the receipts, those that the plan settled, those that an early stop left."""
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        for table in (*self._key_parts(), self._script.settled(), self._left()):
            for entry in table.column("state").value_counts():
                counts[entry["values"].as_py()] += entry["counts"].as_py()
        return counts

    def failed_rungs(self) -> dict[str, str]:
        """Level to reason, for rungs that could not be fitted."""
        found: dict[str, str] = {}
        for batch, table in self._parts.items():
            if self.is_rung(batch):
                for line in table.select(["level", "state", "reason"]).to_pylist():
                    if line["state"] == "failed":
                        found[line["level"]] = line["reason"]
        return found

    def write(self) -> str:
        """Write every outcome of the run as one file; its path in the store."""
        import pyarrow as pa

        schema = outcome_schema()
        parts: list[pa.Table] = [part.cast(schema) for part in self._parts.values()]
        settled = pa.concat_tables([self._script.settled(), self._left()])
        columns = [
            settled.column(field.name).cast(field.type)
            if field.name in settled.column_names
            else pa.nulls(settled.num_rows, field.type)
            for field in schema
        ]
        whole = pa.concat_tables([*parts, pa.table(columns, schema=schema)])
        path = f"runs/{self._script.run_id}/outcomes.parquet"
        self._storage.write(path, parquet_bytes(whole))
        return path

    def discard_parts(self) -> None:
        """Remove the batches' own files, once the whole is published, and backtests of attempts that did not count."""
        for path in self._paths:
            self._storage.delete(path)
        named = {
            path for part in self._parts.values() for path in part.column("backtests").unique().to_pylist()
        }
        for path in self._storage.listing(f"runs/{self._script.run_id}/backtests"):
            if path not in named:
                self._storage.delete(path)

    def _left(self) -> pa.Table:
        """Keys that an early stop left untried, in the form of ``RunScript.settled``."""
        import pyarrow as pa

        stopped = bool(self.stopped_early)
        batch = self._script.plan.column("batch").to_pylist()
        untried = [stopped and number is not None and number not in self._parts for number in batch]
        left = self._script.plan.filter(pa.array(untried, pa.bool_())).select(["key_id"])
        count = left.num_rows
        for name, text in (
            ("state", "skipped"),
            ("reason", "not tried: the run stopped early"),
            ("level", ""),
        ):
            left = left.append_column(name, pa.repeat(text, count))
        return left

    def _key_parts(self) -> Iterable[pa.Table]:
        return (table for batch, table in self._parts.items() if not self.is_rung(batch))
