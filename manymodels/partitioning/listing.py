"""The keys of a partition store, as the registry keeps them and as people read and write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from manymodels.exceptions import DataError
from manymodels.partitioning.keys import canonical_array, display_array, make_key, parse_value
from manymodels.partitioning.store import Partitions, PartitionStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "chosen_key",
    "chosen_keys",
    "displays",
    "parse_pairs",
    "registered_keys",
    "sample_rows",
    "sample_times",
]

SAMPLE_ROWS = 10_000
"""Rows of a key that a sample holds, at most."""

_SAMPLE_KEYS = 20


def displays(store: Partitions, places: Sequence[int] | None = None) -> list[str]:
    """Keys for people (``store=17, region=N``), in the manifest's order, or at these places of it."""
    columns = list(store.details.key_kinds)
    table = store.manifest.select([f"key:{name}" for name in columns])
    if places is not None:
        table = table.take(pa.array(places, pa.int64()))
    return display_array(table.rename_columns(columns), columns).to_pylist()  # type: ignore[no-any-return]


def registered_keys(store: PartitionStore, places: npt.NDArray[np.int64]) -> pa.Table:
    """Keys as the registry keeps them: ``key_id``, ``canonical``, ``display``, ``level`` (empty).

    Args:
        store: The partition store.
        places: Manifest rows of the keys.
    """
    columns = list(store.details.key_kinds)
    manifest = store.manifest.take(places)
    named = manifest.select([f"key:{name}" for name in columns]).rename_columns(columns)
    return pa.table(
        {
            "key_id": manifest.column("key_id").cast(pa.string()),
            "canonical": canonical_array(named, columns).cast(pa.binary()),
            "display": display_array(named, columns),
            "level": pa.repeat("", len(places)),
        }
    )


def sample_rows(store: Partitions, columns: Sequence[str]) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The first rows of a few keys, as ``PartitionStore.read`` gives them: enough to look at, however large the keys are.

    The longest keys of at most ``SAMPLE_ROWS`` rows are taken; where all are longer, the shortest, cut to that.
    """
    rows = store.manifest.column("rows").to_numpy()
    fitting = np.flatnonzero(rows <= SAMPLE_ROWS)
    order = (
        fitting[np.argsort(-rows[fitting], kind="stable")]
        if len(fitting)
        else np.argsort(rows, kind="stable")
    )
    slices = store.manifest.take(pa.array(np.sort(order[:_SAMPLE_KEYS])))
    place = slices.column_names.index("rows")
    cut = np.minimum(slices.column("rows").to_numpy(), SAMPLE_ROWS)
    return store.read(slices.set_column(place, "rows", pa.array(cut, pa.int64())), columns)


def sample_times(store: Partitions, column: str) -> list[npt.NDArray[Any]]:
    """The times of a few keys: what a frequency is inferred from."""
    frame, offsets = sample_rows(store, [column])
    times = frame[column].to_numpy()
    return [times[start:stop] for start, stop in pairwise(offsets.tolist())]


def parse_pairs(text: str) -> dict[str, str]:
    """``store=17,region=N`` as column to text.

    Raises:
        DataError: A part without ``=``.
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            if pairs:  # a comma inside the last value
                pairs[list(pairs)[-1]] += f",{part}"
                continue
            raise DataError(f"a key is written column=value, several columns with commas; found {text!r}")
        pairs[name.strip()] = value
    return pairs


def chosen_key(values: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """The key_id of a key that a user chose, by typed values or by text.

    Args:
        values: Key column to value; text stands for a value of the column's kind.
        kinds: Key column to its kind.

    Raises:
        DataError: A column too many or missing, or text that is not of the column's kind.
    """
    if set(values) != set(kinds):
        raise DataError(
            f"a key has the columns {', '.join(kinds)}; found {', '.join(map(str, values)) or 'none'}"
        )
    return make_key(_typed(values[name], kind, name) for name, kind in kinds.items()).key_id


def _typed(value: Any, kind: str, name: str) -> Any:
    return parse_value(value, kind, name) if isinstance(value, str) else value


def chosen_keys(keys: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> frozenset[str]:
    """The key_ids of keys that a user chose; see ``chosen_key``."""
    return frozenset(chosen_key(key, kinds) for key in keys)
