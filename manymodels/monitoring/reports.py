"""Where monitoring leaves what it found: ``monitors/<model set>/<number>/`` in the store, ``keys.parquet`` last."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from manymodels.exceptions import NotFoundError
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["KEYS", "listed_keys", "write_report"]

KEYS = "keys.parquet"
"""One row per key: ``key_id``, ``version``, ``retrain``, ``causes`` and what they rest on."""


def write_report(storage: Storage, model_set: str, tables: Mapping[str, pa.Table]) -> str:
    """Write the tables of one monitoring.

    Args:
        storage: The store.
        model_set: Name of the model set.
        tables: File name to table; ``KEYS`` makes the others visible.

    Returns:
        The folder, relative to the store's root.

    Raises:
        StoreError: They could not be written.
    """
    import pyarrow.parquet as pq

    folder = f"monitors/{model_set}/{_newest(storage, model_set) + 1:06d}"
    for name in sorted(tables, key=lambda name: name == KEYS):
        buffer = io.BytesIO()
        pq.write_table(tables[name], buffer, compression="zstd")
        storage.write(f"{folder}/{name}", buffer.getvalue())
    return folder


def listed_keys(storage: Storage, model_set: str) -> dict[str, int | None]:
    """The keys that the newest monitoring lists for training, and the version that each had.

    Raises:
        NotFoundError: The model set was never monitored.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    newest = _newest(storage, model_set)
    if newest == 0:
        raise NotFoundError(
            f"no list of keys to train: {model_set!r} was never monitored; "
            "`manymodels monitor JOB --actuals NEW` makes one"
        )
    content = storage.read(f"monitors/{model_set}/{newest:06d}/{KEYS}")
    table = pq.read_table(io.BytesIO(content), columns=["key_id", "version", "retrain"])
    listed = table.filter(pc.field("retrain"))
    return dict(zip(listed.column("key_id").to_pylist(), listed.column("version").to_pylist(), strict=True))


def _newest(storage: Storage, model_set: str) -> int:
    """Number of the newest finished monitoring; 0 when there is none."""
    found = (path.split("/") for path in storage.listing(f"monitors/{model_set}"))
    return max((int(parts[-2]) for parts in found if parts[-1] == KEYS), default=0)
