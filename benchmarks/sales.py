"""Seeded sales of many stores, for the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

__all__ = ["write_sales"]


def write_sales(path: Path, keys: int, days: int, *, features: int = 2, seed: int = 0) -> Path:
    """Write shuffled daily sales as Parquet: ``store``, ``date``, ``sales`` and numeric features ``x0``, ``x1`` and so on."""
    rng = np.random.default_rng(seed)
    rows = keys * days
    order = rng.permutation(rows)
    day = order % days
    columns = {f"x{n}": rng.normal(size=rows).round(3) for n in range(features)}
    week = 20 * np.sin(2 * np.pi * day / 7)
    effect = sum((n + 1) * column for n, column in enumerate(columns.values()))
    frame = pd.DataFrame(
        {
            "store": order // days,
            "date": np.datetime64("2025-01-01", "us") + day * np.timedelta64(86_400_000_000, "us"),
            "sales": (100 + week + effect + rng.normal(0, 5, rows)).round(2),
            **columns,
        }
    )
    frame.to_parquet(path, index=False)
    return path
