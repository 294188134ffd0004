"""Scoring the keys of a batch whose models are columns: rows joined to coefficients, no object of a key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manymodels.artifacts.columns import CODEC
from manymodels.artifacts.reader import SegmentReader
from manymodels.compute.threads import blas_threads
from manymodels.exceptions import StoreError
from manymodels.models.batched.contract import Ints, ModelColumns, Panel
from manymodels.records import Rows
from manymodels.scoring.assemble import Scored
from manymodels.scoring.batch import OWN_MODEL, STALE, ScoreSettings, read_slices
from manymodels.scoring.unreadable import blanked, read_numbers
from manymodels.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["score_panel"]


def score_panel(settings: ScoreSettings, units: pa.Table) -> list[Scored]:
    """Score what can be scored all at once.

    A unit is left out, to be scored one by one, when its model is no row of columns or is to be continued over newer
    history, or when its segment is damaged or its model cannot predict a row.

    Args:
        settings: Of the scoring.
        units: One row per key (``scoring.units``).

    Raises:
        StoreError: The rows could not be read.
    """
    groups = list(_models(settings, units))
    if not groups:
        return []
    places = np.concatenate([places for places, _ in groups])
    panel, times, bad = _rows(settings, units, places)
    found = []
    first = 0
    with blas_threads(settings.spec.threads):
        for places, columns in groups:
            part = np.arange(first, first + len(places))
            first += len(places)
            scored = _scored(settings, units, places, columns, panel.take(part), times, bad)
            if scored is not None:
                found.append(scored)
    return found


def _models(settings: ScoreSettings, units: pa.Table) -> Iterator[tuple[Ints, ModelColumns]]:
    """The units whose models are columns, by segment."""
    import pyarrow.compute as pc

    usable = pc.is_valid(units.column("segment"))
    if settings.history is not None:
        usable = pc.and_(usable, pc.is_null(units.column("history_rows")))
    if settings.input is None:
        usable = pc.and_(usable, pc.is_valid(units.column("cutoff")))
    usable = usable.to_numpy()
    segments = units.column("segment").combine_chunks().dictionary_encode()
    codes = segments.indices.fill_null(-1).to_numpy()
    reader = SegmentReader(Storage.at(settings.storage_root), settings.trust)
    rows = units.column("segment_row").fill_null(0).to_numpy()
    for code, path in enumerate(segments.dictionary.to_pylist()):
        places = np.flatnonzero(usable & (codes == code))
        if len(places) == 0:
            continue
        sha256 = units.column("sha256")[int(places[0])].as_py()
        try:
            if reader.codec(path, sha256) == CODEC:
                yield places, reader.models(path, sha256, rows[places])
        except StoreError:  # said of each of its keys when they are scored one by one
            continue


def _rows(
    settings: ScoreSettings, units: pa.Table, places: Ints
) -> tuple[Panel, Ints | None, npt.NDArray[np.bool_] | None]:
    """The rows to predict of some units, the times of those that a forecast makes for itself, and which cannot be read."""
    import pandas as pd
    import pyarrow as pa

    if settings.input is not None:
        slices = units.take(pa.array(places))
        frame, offsets = read_slices(settings.storage_root, settings.input, "input", slices, settings.columns)
        bad = read_numbers(frame, settings.turned_text)
        return Panel(Rows(frame), offsets[:-1], offsets[1:]), None, bad
    from manymodels.models.forecast.frequency import future_times

    spec = settings.spec
    cutoffs = units.column("cutoff").take(pa.array(places)).to_numpy().astype(np.int64)
    times = future_times(cutoffs, str(spec.frequency), settings.horizon)
    numbers = times.ravel() if spec.frequency == "step" else times.ravel().astype("datetime64[us]")
    stops = np.arange(1, len(places) + 1) * settings.horizon
    panel = Panel(Rows(pd.DataFrame({spec.time: numbers})), stops - settings.horizon, stops)
    return panel, numbers.view(np.int64), None


def _scored(
    settings: ScoreSettings,
    units: pa.Table,
    places: Ints,
    columns: ModelColumns,
    panel: Panel,
    times: Ints | None,
    bad: npt.NDArray[np.bool_] | None,
) -> Scored | None:
    """The predictions of one segment's models; None when there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        predictions = columns.predict(panel)
    except Exception:  # said of each of the keys when they are scored one by one
        return None
    served = predictions.served
    if not served.any():
        return None
    values: dict[str, npt.NDArray[Any]] = dict(predictions.values)
    if bad is not None:
        values = dict(blanked(values, panel.flat(bad)))
    own = None if times is None else panel.flat(times)
    if not served.all():
        rows = np.repeat(served, panel.lengths)
        values = {name: array[rows] for name, array in values.items()}
        own = None if own is None else own[rows]
    lengths = panel.lengths[served]
    kept = None
    if settings.spec.task == "ranking":
        from manymodels.models.ranking import rank_panel

        values["rank"], kept = rank_panel(values["prediction"], lengths, settings.top)
    count = len(lengths)
    stale = units.column("stale_since").take(pa.array(places[served])).combine_chunks().cast(pa.string())
    return Scored(
        places=places[served],
        lengths=lengths,
        values=values,
        times=own,
        kept=kept,
        versions=units.column("version").take(pa.array(places[served])).combine_chunks().cast(pa.int64()),
        sources=pa.repeat(OWN_MODEL, count),
        reasons=pc.binary_join_element_wise(STALE, stale, ""),
    )
