"""Random ragged panels, and the comparison of a batched trainer with fits one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from manymodels.exceptions import ModelError
from manymodels.models.batched.contract import Panel, PanelFit
from manymodels.models.batched.trainers import columns_of, trainer_of
from manymodels.models.contract import Family, FitSpec
from manymodels.records import Rows

__all__ = ["CLOSE", "Compared", "compare", "panel_of", "series_panel"]

CLOSE = 1e-9
"""Relative distance that batched results may have."""


@dataclass(frozen=True)
class Compared:
    """How a batched fit went beside fits one by one.

    Attributes:
        fit: Of the trainer.
        alone: The models of the keys that could be fitted one by one, by their places.
    """

    fit: PanelFit
    alone: dict[int, Any]


def panel_of(frames: list[pd.DataFrame]) -> Panel:
    """The panel of some keys' rows."""
    stops = np.cumsum([len(frame) for frame in frames])
    whole = pd.concat(frames, ignore_index=True)
    return Panel(Rows(whole), np.concatenate([[0], stops[:-1]]), stops)


def series_panel(seed: int, keys: int = 24, longest: int = 90, *, positive: bool = True) -> Panel:
    """Daily series of 1 to ``longest`` days with a week and a trend; some constant, some with zeros, some irregular."""
    rng = np.random.default_rng(seed)
    frames = []
    for key in range(keys):
        length = int(rng.integers(1, longest + 1)) if key % 3 else longest
        at = np.arange(length)
        y = 60 + rng.normal(0, 0.2) * at + 9 * np.sin(2 * np.pi * (at + key) / 7) + rng.normal(0, 3, length)
        if not positive:
            y = y - 60
        if key % 8 == 5:
            y = np.full(length, 7.0)
        if key % 8 == 6:
            y = np.where(rng.random(length) < 0.6, 0.0, np.round(np.abs(y)))
        days = pd.date_range("2024-01-01", periods=length) + pd.Timedelta(days=int(rng.integers(0, 30)))
        frame = pd.DataFrame({"day": days, "y": y, "promo": rng.integers(0, 2, length).astype(float)})
        if key % 8 == 7 and length > 10:  # a missing row, a missing value
            frame = frame.drop(index=[4]).reset_index(drop=True)
            frame.loc[6, "y"] = np.nan
        frames.append(frame)
    return panel_of(frames)


def compare(family: Family, panel: Panel, future: Panel, spec: FitSpec) -> Compared:
    """Fit batched and one by one, and hold the predictions equal.

    Args:
        family: Of which there is a batched trainer.
        panel: To fit.
        future: The rows to predict, of the same keys.
        spec: Of the fit.
    """
    trainer = trainer_of(family)
    assert trainer is not None
    seeds = np.arange(len(panel), dtype=np.int64) + 11
    fit = trainer.fit_batch(panel, seeds, spec)
    alone: dict[int, Any] = {}
    for place in range(len(panel)):
        try:
            alone[place] = family.fit(panel.key(place), spec.seeded(int(seeds[place])))
        except ModelError:
            assert place not in fit.places, f"key {place} cannot be fitted, but the batched trainer did"
    columns = _stored(fit)
    asked = future.take(fit.places)
    found = columns.predict(asked)
    for number, place in enumerate(fit.places.tolist()):
        rows = future.key(place)
        span = slice(int(asked.offsets[number]), int(asked.offsets[number + 1]))
        try:
            expected = alone[place].predict(rows)
        except ModelError:
            assert not found.served[number]
            continue
        assert found.served[number]
        one = columns.model(number)
        assert type(one) is type(alone[place])
        assert one.describe().keys() == alone[place].describe().keys()
        assert found.values.keys() == expected.keys()
        for name, values in expected.items():
            _same(found.values[name][span], values, f"key {place}, {name}")
            _same(one.predict(rows)[name], values, f"the model of key {place}, {name}")
    return Compared(fit, alone)


def _stored(fit: PanelFit) -> Any:
    """The columns as they come back from a file."""
    columns = fit.columns
    assert len(columns) == len(fit.places) == len(columns.seeds)
    sink = pa.BufferOutputStream()
    pq.write_table(columns.table, sink)
    table = pq.read_table(pa.BufferReader(sink.getvalue()))
    return columns_of(columns.schema, table, json.loads(json.dumps(columns.shared)), columns.seeds)


def _same(found: Any, expected: Any, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    if expected.dtype.kind != "f":
        assert (found == expected).all(), what
        return
    scale = max(float(np.nanmax(np.abs(expected), initial=0.0)), 1e-6)
    np.testing.assert_allclose(found, expected, rtol=CLOSE, atol=CLOSE * scale, err_msg=what)
