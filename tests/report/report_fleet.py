"""A small fleet with a history: three runs and two scorings, keys and errors that look like HTML, keys that fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import manymodels as mm
from manymodels.report import Report, report

EVIL = "<script>document.title='owned'</script>"
MATHS = r"$$\frac{1}{2}$$"
HORIZON = 7

OWN = """
import numpy as np


class Model:
    def predict(self, rows):
        return np.full(len(rows), 100.0)


def fit(frame, spec):
    store = str(frame["store"].iloc[0])
    if store.endswith(("3", "7", ">")):
        raise ValueError(f"<img src=x onerror=alert(1)> cannot fit {store}")
    return Model()
"""


@dataclass(frozen=True, repr=False)
class Fleet:
    """The store of the runs, and the folder of the job."""

    registry: mm.Registry
    folder: Path
    runs: list[mm.Run]
    scores: list[str]

    made: dict[str, Report]

    def run(self, number: int) -> mm.Run:
        return self.runs[number - 1]

    def report(self, name: str) -> Report:
        """Made once."""
        if name not in self.made:
            self.made[name] = report(self.registry, name)
        return self.made[name]


def sales(keys: int = 24, days: int = 70) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    frames = []
    for number in range(keys):
        name = {0: EVIL, 1: MATHS}.get(number, f"store {number:02d}")
        length = {5: 8, 6: 16}.get(number, days)
        at = np.arange(length)
        y = 100 + number + 15 * np.sin(2 * np.pi * at / 7) + rng.normal(0, 4, length)
        frame = pd.DataFrame({"store": name, "day": pd.date_range("2025-01-01", periods=length), "sales": y})
        frames.append(frame.drop(index=[20, 21]) if number % 9 == 4 else frame)
    return pd.concat(frames, ignore_index=True)


def forecast_job(folder: Path, models: list[Any], **changes: Any) -> mm.Job:
    fields: dict[str, Any] = {
        "name": "sales",
        "task": "forecast",
        "data": {
            "partition_by": ["store"],
            "time": "day",
            "target": "sales",
            "frequency": "D",
            "min_rows": 10,
        },
        "models": models,
        "forecast": {"horizon": HORIZON, "levels": [80, 95]},
        "evaluation": {"backtest": {"windows": 2}},
        "training": {"isolation": "none", "max_failed": 1.0},
        "compute": {"target": "serial"},
        "store": str(folder / "store"),
    }
    return mm.Job.from_dict({**fields, **changes}, folder=folder)
