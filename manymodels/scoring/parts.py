"""Parts of an output: each batch's scores as a file that holds its own receipt, so that a part that is there is done."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ScoreReceipt", "finished_parts", "part_name", "write_part"]

_RECEIPT = b"manymodels.receipt"


@dataclass(frozen=True)
class ScoreReceipt:
    """A worker's proof that a batch of keys is scored.

    Attributes:
        batch: The batch's number.
        part: The file's name in the staging folder.
        rows: In the file.
        counts: ``scored``, ``fallback`` and ``failed`` keys.
        seconds: Wall time on the worker.
        reasons: Reason to keys, for those that did not get predictions of a good model of their own; the most frequent.
    """

    batch: int
    part: str
    rows: int
    counts: Mapping[str, int]
    seconds: float
    reasons: Mapping[str, int]


def part_name(batch: int, plan: str) -> str:
    """The file of a batch; parts of another plan have other names, so that they are never taken for it."""
    return f"part-{batch:06d}-{plan[:8]}.parquet"


def write_part(staging: str, table: pa.Table, receipt: ScoreReceipt) -> None:
    """Write a batch's scores, with the receipt in the file's footer.

    Raises:
        StoreError: It could not be written.
    """
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    content = json.dumps(asdict(receipt)).encode()
    pq.write_table(table.replace_schema_metadata({_RECEIPT: content}), buffer, compression="zstd")
    Storage.at(staging).write(receipt.part, buffer.getvalue())


def finished_parts(staging: str, plan: str) -> dict[int, ScoreReceipt]:
    """The receipts of the parts of a plan that are there, by batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    storage = Storage.at(staging)
    found: dict[int, ScoreReceipt] = {}
    for name in storage.listing(""):
        if not name.endswith(f"-{plan[:8]}.parquet"):
            continue
        try:
            metadata = pq.read_schema(io.BytesIO(storage.read(name))).metadata or {}
            receipt = ScoreReceipt(**json.loads(metadata[_RECEIPT]))
        except (pa.ArrowException, KeyError, ValueError, TypeError):
            continue  # no part of ours, or damaged: it is made again
        found[receipt.batch] = receipt
    return found
