"""Scoring without a store: rows and models in memory in, predictions out, in the order in which the rows came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manymodels.compute.threads import blas_threads
from manymodels.models.contract import FittedModel
from manymodels.partitioning.keys import cast_keys, key_ids, make_key
from manymodels.partitioning.memory import MemoryRows
from manymodels.records import Rows

__all__ = ["MemoryLadder", "MemoryRung", "MemoryScores", "score_in_memory"]


@dataclass(frozen=True)
class MemoryRung:
    """A rung of the ladder.

    Attributes:
        source: ``pooled``, ``naive`` or ``level:region``.
        columns: Of the level; empty for ``pooled`` and ``naive``.
        models: The rung's models by their key_id.
    """

    source: str
    columns: tuple[str, ...]
    models: Mapping[str, FittedModel]


@dataclass(frozen=True)
class MemoryLadder:
    """Who serves which key.

    Attributes:
        key_kinds: Key column to the kind that training recorded.
        models: key_id to who serves it (``key``, or a rung that was bound to its history) and the model.
        rungs: Who serves the others, in order.
        always: Whether a rung also serves a key whose own model refuses its rows: not for forecasts, whose rungs know the
            history of no key.
    """

    key_kinds: Mapping[str, str]
    models: Mapping[str, tuple[str, FittedModel]]
    rungs: Sequence[MemoryRung]
    always: bool

    def servers(self, key_id: str, levels: Mapping[str, Any]) -> Iterator[tuple[str, FittedModel]]:
        """Who may serve a key, best first."""
        own = self.models.get(key_id)
        if own is not None:
            yield own
            if not self.always:
                return
        for rung in self.rungs:
            key = make_key((levels.get(name) for name in rung.columns), level=rung.source)
            if key.key_id in rung.models:
                yield rung.source, rung.models[key.key_id]


@dataclass(frozen=True)
class MemoryScores:
    """Predictions of rows.

    Attributes:
        values: Output column to one value a row; those of rows that nobody served mean nothing.
        sources: Who served each row; empty when nobody did.
        refused: Key, as people write it, to why nobody served it.
    """

    values: dict[str, npt.NDArray[Any]]
    sources: npt.NDArray[Any]
    refused: dict[str, str]


def score_in_memory(
    rows: MemoryRows, columns: Sequence[str], place: str, ladder: MemoryLadder
) -> MemoryScores:
    """Bring each key's rows to the first model that serves them.

    Args:
        rows: What is to be predicted.
        columns: That models read.
        place: A column with the place of each row in the output: 0 to n-1.
        ladder: The models.

    Raises:
        DataError: A key column cannot be cast losslessly to the kind that training recorded.
    """
    from manymodels.partitioning.listing import displays

    frame, offsets = rows.read(rows.manifest, [*columns, place])
    whole = Rows(frame)
    places = whole.values(place)
    keys = rows.manifest.select([f"key:{name}" for name in ladder.key_kinds])
    keys = cast_keys(
        keys.rename_columns(list(ladder.key_kinds)), list(ladder.key_kinds), dict(ladder.key_kinds)
    )
    levels = rows.manifest.select([f"level:{name}" for name in rows.details.levels])
    lines = levels.rename_columns(list(rows.details.levels)).to_pylist() or [{}] * rows.manifest.num_rows
    found: dict[str, npt.NDArray[Any]] = {}
    sources = np.full(len(whole), "", dtype=object)
    nobody: dict[int, str] = {}
    with blas_threads(1):
        for number, key_id in enumerate(key_ids(keys, list(ladder.key_kinds)).to_pylist()):
            part = whole.part(int(offsets[number]), int(offsets[number + 1]))
            at = places[part.places]
            refused = [] if key_id in ladder.models else ["no model of this key"]
            for source, model in ladder.servers(key_id, lines[number]):
                try:
                    values = model.predict(part)
                except Exception as error:  # failure is data: the next rung may serve
                    refused.append(f"{source}: {error}")
                    continue
                for name, array in values.items():
                    if name not in found:
                        found[name] = _blank(len(whole), array.dtype)
                    found[name][at] = array
                sources[at] = source
                break
            else:
                nobody[number] = "; ".join(refused)
    refusals = zip(displays(rows, list(nobody)), nobody.values(), strict=True)
    return MemoryScores(found, sources, dict(refusals))


def _blank(size: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.full(size, np.nan, kind) if kind.kind == "f" else np.empty(size, kind)
