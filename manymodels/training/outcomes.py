"""The outcomes of a run: collected from receipts, completed from the plan, kept as one Parquet file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from manymodels.exceptions import StoreError
from manymodels.records import STATES, BatchReceipt
from manymodels.storage import Storage
from manymodels.training.outcome_table import outcome_schema, read_parquet
from manymodels.training.parents import ParentLevel, parent_levels
from manymodels.training.scouts import failed_scouts
from manymodels.training.script import RunScript

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RunOutcomes"]

_GROUP_ROWS = 20_000  # of the file: small batches are written together, and large plans part by part


class RunOutcomes:
    """What became of every key so far; a context manager.

    The tables of the receipts go to a file as they come: a million of them would be most of the driver's memory.

    Args:
        storage: The store.
        script: Of the run.

    Attributes:
        pilot: What the others learn from: ``key_id``, ``traits`` and ``scores`` of the pilot's keys, a table a batch.
    """

    def __init__(self, storage: Storage, script: RunScript) -> None:
        self._storage = storage
        self._script = script
        self._batches: set[int] = set()
        self._key_batches = 0
        self._counts: dict[str, int] = dict.fromkeys(STATES, 0)
        self._waiting: list[pa.Table] = []
        self._folder: Path | None = None
        self._writer: Any = None
        self._paths: list[str] = []
        self._backtests: set[str | None] = set()
        self._failed_rungs: dict[str, str] = {}
        self._levels: list[pa.Table] = []
        self._scouts: pa.Table | None = None
        self.pilot: list[pa.Table] = []
        self._trained_beside = False
        self._stopped = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def batches(self) -> set[int]:
        """Batches that have a receipt."""
        return self._batches

    @property
    def expected(self) -> int:
        """Batches that the run needs."""
        return self._script.batches

    @property
    def stopped_early(self) -> str:
        """Why the keys without a receipt are not worth trying; empty when they are, or there are none."""
        left = self._script.key_batches - self._key_batches
        if not self._stopped and left and self._scouts is not None:
            limit, planned = self._script.job.training.max_failed, self._script.planned
            self._stopped = failed_scouts(limit, planned, self._scouts, trained_beside=self._trained_beside)
        return self._stopped

    def load(self, journalled: pa.Table) -> None:
        """Take over the receipts of an earlier attempt at the run."""
        for batch, path in zip(
            journalled.column("batch").to_pylist(),
            journalled.column("outcomes_path").to_pylist(),
            strict=True,
        ):
            self._take(batch, read_parquet(self._storage.read(path)), path)

    def add(self, receipt: BatchReceipt) -> None:
        """Take a receipt."""
        self._take(receipt.batch, receipt.outcomes, receipt.outcomes_path)

    def is_rung(self, batch: int) -> bool:
        """Whether a batch fits a rung of the ladder, and no keys."""
        return batch >= self._script.key_batches

    def counts(self) -> dict[str, int]:
        """State to keys: those of the receipts, those that the plan settled, those that an early stop left."""
        counts = dict(self._counts)
        for table in (self._script.settled(), self._left()):
            _count(counts, table)
        return counts

    def trained(self, path: str, columns: list[str]) -> pa.Table:
        """Of what ``write`` wrote, the keys that were trained.

        Args:
            path: What ``write`` gave back.
            columns: The columns wanted.
        """
        import pyarrow.compute as pc

        table = read_parquet(self._storage.read(path), [*columns, "state", "level"])
        wanted = pc.and_(pc.equal(table.column("state"), "trained"), pc.equal(table.column("level"), ""))
        return table.filter(wanted).select(columns)

    def parents(self, sums: Mapping[str, str]) -> tuple[ParentLevel, ...]:
        """The levels that keys are blended with; see ``parent_levels``."""
        return parent_levels(self._script.job, self._levels, sums)

    def failed_rungs(self) -> dict[str, str]:
        """Level to reason, for rungs that could not be fitted."""
        return self._failed_rungs

    def write(self) -> str:
        """Write every outcome of the run as one file; its path in the store.

        Raises:
            StoreError: It could not be written.
        """
        import pyarrow as pa

        schema = outcome_schema()
        for rest in (self._script.settled(), self._left()):
            for start in range(0, rest.num_rows, _GROUP_ROWS):
                part = rest.slice(start, _GROUP_ROWS)
                columns = [
                    part.column(field.name).cast(field.type)
                    if field.name in part.column_names
                    else pa.nulls(part.num_rows, field.type)
                    for field in schema
                ]
                self._keep(pa.table(columns, schema=schema))
        self._flush()
        self._writer.close()
        self._writer = None
        path = f"runs/{self._script.run_id}/outcomes.parquet"
        self._storage.upload(self._file, path)
        return path

    def discard_parts(self) -> None:
        """Remove the batches' own files, once the whole is published, and backtests of attempts that did not count."""
        for path in self._paths:
            self._storage.delete(path)
        for path in self._storage.listing(f"runs/{self._script.run_id}/backtests"):
            if path not in self._backtests:
                self._storage.delete(path)

    def _take(self, batch: int, table: pa.Table, path: str) -> None:
        self._batches.add(batch)
        self._paths.append(path)
        self._backtests.update(table.column("backtests").unique().to_pylist())
        if self.is_rung(batch):
            self._levels.append(table)
            for line in table.select(["level", "state", "reason"]).to_pylist():
                if line["state"] == "failed":
                    self._failed_rungs[line["level"]] = line["reason"]
        else:
            self._key_batches += 1
            before = self._counts["trained"]
            _count(self._counts, table)
            if batch < self._script.settings.pilot_batches:
                self.pilot.append(table.select(["key_id", "traits", "scores"]))
            if batch == 0:
                self._scouts = table
            elif self._counts["trained"] > before:
                self._trained_beside = True
        self._keep(table.cast(outcome_schema()))

    def _keep(self, table: pa.Table) -> None:
        self._waiting.append(table)
        if sum(part.num_rows for part in self._waiting) >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        """Write what waits as one row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._folder = self._storage.scratch()
            self._writer = pq.ParquetWriter(self._file, outcome_schema(), compression="zstd")
        if self._waiting:
            try:
                self._writer.write_table(pa.concat_tables(self._waiting))
            except OSError as error:
                raise StoreError(
                    f"could not write the outcomes of the run in {self._file}: {error}"
                ) from error
            self._waiting = []

    @property
    def _file(self) -> Path:
        if self._folder is None:
            raise StoreError("no outcomes were written yet")
        return self._folder / "outcomes.parquet"

    def _left(self) -> pa.Table:
        """Keys that an early stop left untried, in the form of ``RunScript.settled``."""
        import pyarrow as pa

        plan = self._script.plan
        if not self.stopped_early:
            return self._script.settled().slice(0, 0)
        batch = plan.column("batch").to_numpy(zero_copy_only=False)
        untried = ~np.isnan(batch) & ~np.isin(batch, list(self._batches))
        left = plan.filter(pa.array(untried)).select(["key_id"])
        for name, text in (
            ("state", "skipped"),
            ("reason", "not tried: the run stopped early"),
            ("level", ""),
        ):
            left = left.append_column(name, pa.repeat(text, left.num_rows))
        return left


def _count(counts: dict[str, int], table: pa.Table) -> None:
    """Add a table's keys by state."""
    for entry in table.column("state").value_counts():
        counts[entry["values"].as_py()] += entry["counts"].as_py()
