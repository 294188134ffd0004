"""From predictions to the output table: columns of ours beside the input's, in the order of the keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.models.batched.contract import Ints, ranges
from manymodels.models.contract import FitSpec, Predictions, interval_columns
from manymodels.scoring.batch import OWN_MODEL, KeyScores

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OUR_COLUMNS", "Scored", "assemble", "collect", "prediction_fields"]

OUR_COLUMNS = ("model_version", "model_source", "status", "reason")
"""Columns that every output ends with."""

_NO_VALUE = "no value for this row: a feature that it needs is missing, or is no number"


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions of some units of a batch, one unit after the other.

    Attributes:
        places: The units. Shape (units,).
        lengths: Rows of each, before ``kept``. Shape (units,).
        values: Output column to one value a row, null (NaN, None) where there is none.
        times: The periods of forecasts that made their own rows; None when the rows came from the input.
        kept: The rows to keep, in output order (rankings); None keeps all.
        versions: Of the models that served, null where nobody did. Arrow array of shape (units,).
        sources: Who served: ``key``, a rung, null. Arrow array of shape (units,).
        reasons: Why the key's own model did not, or that it is stale; else null. Arrow array of shape (units,).
    """

    places: Ints
    lengths: Ints
    values: Predictions
    times: Ints | None
    kept: Ints | None
    versions: Any
    sources: Any
    reasons: Any


def prediction_fields(spec: FitSpec, class_type: Any) -> list[tuple[str, Any]]:
    """Names and Arrow types of the columns that a task's models fill."""
    import pyarrow as pa

    if spec.task == "anomaly":
        return [("score", pa.float64()), ("is_anomaly", pa.bool_())]
    if spec.task == "classification":
        probabilities = [(f"probability_{value}", pa.float64()) for value in spec.classes]
        return [("prediction", class_type), *probabilities]
    fields = [("prediction", pa.float64())]
    for level in spec.levels:
        fields += [(name, pa.float64()) for name in interval_columns(level)]
    if spec.task == "ranking":
        fields.append(("rank", pa.int64()))
    return fields


def collect(places: Ints, scores: Sequence[KeyScores], fields: Sequence[tuple[str, Any]]) -> Scored:
    """The predictions of keys that were scored one by one."""
    import pyarrow as pa

    lengths = np.array([key.rows for key in scores], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values: dict[str, npt.NDArray[Any]] = {}
    for name, kind in fields:
        column = _blank(int(offsets[-1]), kind)
        for place, key in enumerate(scores):
            if name in key.values:
                column[offsets[place] : offsets[place + 1]] = key.values[name]
        values[name] = column
    times = [key.times for key in scores if key.times is not None]
    kept = [
        offsets[place] + (np.arange(key.rows) if key.kept is None else key.kept)
        for place, key in enumerate(scores)
    ]
    ranked = any(key.kept is not None for key in scores)
    return Scored(
        places=places,
        lengths=lengths,
        values=values,
        times=np.concatenate(times) if times else None,
        kept=np.concatenate(kept).astype(np.int64) if ranked else None,
        versions=pa.array([key.version for key in scores], pa.int64()),
        sources=pa.array([key.source or None for key in scores], pa.string()),
        reasons=pa.array([key.reason or None for key in scores], pa.string()),
    )


def assemble(
    scored: Sequence[Scored],
    fields: Sequence[tuple[str, Any]],
    *,
    keys: Mapping[str, Any],
    rows: Mapping[str, Any],
    time: tuple[str, bool] | None,
    primary: str,
) -> tuple[pa.Table, dict[str, int]]:
    """The output table of a batch, and its keys by status.

    Args:
        scored: Every unit of the batch once, at least one.
        fields: See ``prediction_fields``.
        keys: Key column to its Arrow values, one a unit.
        rows: Input column to its values, one a row of all units; empty for forecasts that made their own rows.
        time: The time column that forecasts made, and whether it holds positions; None when the rows came from the input.
        primary: The column without which a row is failed.
    """
    import pyarrow as pa

    order = np.concatenate([part.places for part in scored])
    units = np.argsort(order)  # where each unit is among the parts' units
    lengths = np.concatenate([part.lengths for part in scored])
    starts = np.cumsum(lengths) - lengths
    take = ranges(starts[units], lengths[units])
    in_order = len(scored) == 1 and bool((np.diff(order) > 0).all())
    owner = pa.array(np.repeat(np.arange(len(units)), lengths[units]))

    def whole(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        return parts[0] if in_order else np.concatenate(parts)[take]

    def per_unit(name: str) -> pa.Array:
        return pa.concat_arrays([getattr(part, name) for part in scored]).take(pa.array(units))

    columns: dict[str, Any] = {name: values.take(owner) for name, values in keys.items()}
    if time is not None:
        name, positions = time
        times = whole([np.empty(0, np.int64) if part.times is None else part.times for part in scored])
        columns[name] = pa.array(times) if positions else pa.array(times.astype("datetime64[us]"))
    columns |= rows
    missing = np.ones(len(owner), dtype=bool)
    for name, kind in fields:
        columns[name] = _column(whole([part.values[name] for part in scored]), kind)
        if name == primary:
            missing = columns[name].is_null().to_numpy(zero_copy_only=False)
    sources = per_unit("sources")
    columns["model_version"] = per_unit("versions").take(owner)
    columns["model_source"] = sources.take(owner)
    own = np.asarray(sources.to_numpy(zero_copy_only=False) == OWN_MODEL)
    status = np.where(missing, 2, np.where(own[owner.to_numpy()], 0, 1)).astype(np.int8)
    columns["status"] = pa.array(["ok", "fallback", "failed"]).take(pa.array(status))
    reasons = per_unit("reasons").take(owner)
    unsaid = pa.array(missing & reasons.is_null().to_numpy(zero_copy_only=False))
    columns["reason"] = pa.compute.if_else(unsaid, pa.scalar(_NO_VALUE), reasons)
    table = pa.table(columns)
    counts = _counts(own, sources.is_null().to_numpy(zero_copy_only=False), missing, lengths[units])
    if any(part.kept is not None for part in scored):
        table = table.take(pa.array(_kept(scored, take)))
    return table, counts


def _counts(
    own: npt.NDArray[np.bool_], nobody: npt.NDArray[np.bool_], missing: npt.NDArray[np.bool_], lengths: Ints
) -> dict[str, int]:
    """Keys by status: failed are those that nobody served, or all of whose rows have no value."""
    ends = np.concatenate([[0], np.cumsum(missing)])
    stops = np.cumsum(lengths)
    lost = ends[stops] - ends[stops - lengths]
    failed = nobody | ((lengths > 0) & (lost == lengths))
    return {
        "scored": int((own & ~failed).sum()),
        "fallback": int((~own & ~failed).sum()),
        "failed": int(failed.sum()),
    }


def _kept(scored: Sequence[Scored], take: Ints) -> Ints:
    """The rows of the output that rankings keep, in output order: by unit, then as kept."""
    at = np.empty(len(take), dtype=np.int64)
    at[take] = np.arange(len(take))
    rows, owners = [], []
    first = 0
    for part in scored:
        count = int(part.lengths.sum())
        kept = np.arange(count) if part.kept is None else part.kept
        rows.append(at[first + kept])
        owners.append(np.repeat(part.places, part.lengths)[kept])
        first += count
    order = np.argsort(np.concatenate(owners), kind="stable")
    found: Ints = np.concatenate(rows)[order]
    return found


def _blank(size: int, kind: Any) -> npt.NDArray[Any]:
    import pyarrow as pa

    return np.full(size, np.nan) if pa.types.is_floating(kind) else np.full(size, None, dtype=object)


def _column(values: npt.NDArray[Any], kind: Any) -> pa.Array:
    """An output column, null where there is no value."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return pa.array(values, kind, mask=~np.isfinite(values))
    if values.dtype != object:
        return pa.array(values, kind)
    return pa.array(values.tolist(), kind, from_pandas=True)
