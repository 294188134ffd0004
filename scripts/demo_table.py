"""Print a few of the demo's forecasts: python scripts/demo_table.py SCORES."""

import sys

import pandas as pd
from rich.console import Console

from manymodels.cli.tables import table

scores = pd.read_parquet(sys.argv[1])
columns = ["store", "date", "prediction", "prediction_lo_80", "prediction_hi_80", "model_source", "status"]
shown = scores.groupby("model_source", sort=False, dropna=False).head(5)[columns]
rows = [
    (
        line.store,
        f"{line.date:%Y-%m-%d}",
        *(f"{value:,.0f}" for value in (line.prediction, line.prediction_lo_80, line.prediction_hi_80)),
        line.model_source,
        line.status,
    )
    for line in shown.itertuples()
]
heads = [
    (name.removeprefix("prediction_"), "right" if name.startswith("prediction") else "left")
    for name in columns
]
Console().print(table(f"Forecasts: {len(scores):,} rows in {sys.argv[1]}", heads, rows))
