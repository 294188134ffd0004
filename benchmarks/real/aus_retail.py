"""Forecast 24 months of Australian retail turnover, one model per state and industry, and score it.

    python benchmarks/real/aus_retail.py DATA     DATA is the folder that holds aus_retail.parquet
    python benchmarks/real/aus_retail.py DATA --inside             without the last 24 months: the 24 before them are held out
    python benchmarks/real/aus_retail.py DATA --inside --single    with each series' best candidate instead of an ensemble
    python benchmarks/real/aus_retail.py DATA --inside --blend     each series blended with a model of all

MASE is scaled by the in-sample seasonal naive error (period 12), over the series that reach the end of the data and have at
least 36 training months.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import manymodels as mm

KEYS = ["State", "Industry"]
JOB = Path(__file__).with_suffix(".yaml").absolute()


def main(folder: Path, *, inside: bool, single: bool, blend: bool) -> None:
    rows = pd.read_parquet(folder / "aus_retail.parquet")[[*KEYS, "Month", "Turnover"]]
    rows["Month"] = pd.to_datetime(rows["Month"])
    if inside:
        rows = rows[rows["Month"] <= rows["Month"].max() - pd.DateOffset(months=24)]
    cut = rows["Month"].max() - pd.DateOffset(months=24)
    train, test = rows[rows["Month"] <= cut], rows[rows["Month"] > cut]
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        train.to_parquet("train.parquet", index=False)
        overrides = ["selection.ensemble=null"] if single else []
        job = mm.Job.from_yaml(JOB, overrides=[*overrides, *(["hierarchy={levels: [[]]}"] if blend else [])])
        run = mm.train(job)
        scores = mm.score(job)
        print(f"{run} in {run.summary['seconds']:.0f} s")
        print(run.leaderboard().to_string(index=False))
    print(scores["model_source"].value_counts().to_string())
    judged = test.merge(scores.assign(Month=pd.to_datetime(scores["Month"])), on=[*KEYS, "Month"], how="left")
    errors = []
    histories = {key: group["Turnover"].to_numpy() for key, group in train.sort_values("Month").groupby(KEYS)}
    for key, group in judged.groupby(KEYS):
        history = histories.get(key, np.empty(0))
        if len(history) >= 36 and len(group) == 24:
            scale = np.abs(history[12:] - history[:-12]).mean()
            errors.append(np.abs(group["Turnover"] - group["prediction"]).mean() / scale)
    promised = judged.dropna(
        subset=["prediction_lo_80"]
    )  # not the series that ended before, which nobody forecast
    inside = promised["Turnover"].between(promised["prediction_lo_80"], promised["prediction_hi_80"])
    print(f"{len(errors)} series: MASE {np.mean(errors):.3f}; 80 % intervals cover {inside.mean():.1%}")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).absolute(),
        inside="--inside" in sys.argv,
        single="--single" in sys.argv,
        blend="--blend" in sys.argv,
    )
