"""What charts draw: bins, and as many points as one can show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from manymodels.job.settings import RunSettings

__all__ = ["earlier_rows", "histogram", "thinned"]

_BINS = 40
_HISTORY = 3
"""Lengths of what was predicted that are shown of the time before."""
_POINTS = 240
"""Points of a key that a chart holds, at most."""


def histogram(values: npt.NDArray[np.float64], *, log: bool = False) -> pd.DataFrame:
    """Keys by value in equal steps: ``low``, ``high``, ``keys``; the last bin has all beyond the 99th percentile.

    Args:
        values: One a key.
        log: Whether steps are equal factors; values are then above zero.
    """
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if len(values) == 0:
        return pd.DataFrame({"low": [], "high": [], "keys": []})
    scaled = np.log10(values) if log else values
    low, top = float(scaled.min()), float(np.quantile(scaled, 0.99))
    edges = np.linspace(low, top if top > low else low + max(abs(low), 1.0) * 0.1, _BINS + 1)
    counts, _ = np.histogram(np.minimum(scaled, edges[-1]), edges)
    edges = 10**edges if log else edges
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "keys": counts})


def earlier_rows(settings: RunSettings, key_id: str, stop: int | None, count: int) -> pd.DataFrame:
    """What happened in a key before what was predicted: ``key_id``, ``time``, ``actual``; empty without times.

    Args:
        settings: Of the run.
        key_id: The key.
        stop: Place of the first row predicted; None for after the last row.
        count: Rows predicted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    spec, store = settings.fit.spec, settings.store
    manifest = store.manifest.filter(pc.equal(store.manifest.column("key_id"), pa.scalar(key_id)))
    if spec.time is None or manifest.num_rows == 0:
        return pd.DataFrame()
    stop = manifest.column("rows")[0].as_py() if stop is None else stop
    start = max(stop - _HISTORY * count, 0)
    slices = manifest
    for name, values in (
        ("rows", pa.array([stop - start], pa.int64())),
        ("row_offset", pc.add(manifest.column("row_offset"), start)),
    ):
        slices = slices.set_column(slices.column_names.index(name), name, values)
    rows, _ = store.read(slices, [spec.time, str(spec.target)])
    times = rows[spec.time]
    if times.dtype.kind == "M" or times.dtype == object:
        times = pd.to_datetime(times, utc=True).dt.tz_localize(None)
    known = pd.DataFrame({"key_id": key_id, "time": times, "actual": rows[spec.target]})
    return thinned(known[known["actual"].notna()])


def thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """At most as many rows as a chart can show, evenly taken."""
    if len(rows) <= _POINTS:
        return rows
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, _POINTS).astype(int))]
