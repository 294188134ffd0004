"""Seeded sales of many stores, for the benchmarks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["write_sales", "write_sales_in_pieces"]

_FIRST = np.datetime64("2025-01-01", "us")
_DAY = np.timedelta64(86_400_000_000, "us")


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
            "date": _FIRST + day * _DAY,
            "sales": (100 + week + effect + rng.normal(0, 5, rows)).round(2),
            **columns,
        }
    )
    frame.to_parquet(path, index=False)
    return path


def write_sales_in_pieces(
    folder: Path,
    keys: int,
    days: int,
    *,
    features: int = 0,
    seed: int = 0,
    first_day: int = 0,
    files: int = 1,
    piece: int = 1_000_000,
) -> None:
    """Write the same kind of sales as Parquet files in a folder, piece by piece: memory does not depend on their number.

    Row ``i`` is row ``i * step`` modulo the number of rows, in the order of store and day: neighbours are far apart.
    """
    rows = keys * days
    step = int(rows * 0.6180339887) | 1
    while np.gcd(step, rows) != 1:
        step += 2
    rng = np.random.default_rng(seed)
    bounds = np.linspace(0, rows, files + 1).astype(np.int64)
    for file, (first, last) in enumerate(pairwise(bounds.tolist())):
        writer = None
        for start in range(first, last, piece):
            order = np.arange(start, min(start + piece, last)) * step % rows
            store, day = order // days, order % days + first_day
            columns = {f"x{n}": rng.normal(size=len(order)).round(3) for n in range(features)}
            effect = sum((n + 1) * column for n, column in enumerate(columns.values()))
            week = 20 * np.sin(2 * np.pi * day / 7)
            sales = 100 + store % 50 + week + effect + rng.normal(0, 5, len(order))
            table = pa.table(
                {"store": store, "date": _FIRST + day * _DAY, "sales": sales.round(2), **columns}
            )
            writer = writer or pq.ParquetWriter(folder / f"part-{file:03d}.parquet", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
