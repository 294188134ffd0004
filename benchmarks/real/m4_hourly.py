"""Forecast the M4 competition's 414 hourly series, 48 hours ahead, and score them as the competition did.

    python benchmarks/real/m4_hourly.py DATA     DATA is the folder that holds Hourly-train.csv and Hourly-test.csv
    python benchmarks/real/m4_hourly.py DATA --inside             the last 48 hours of the training part are held out
    python benchmarks/real/m4_hourly.py DATA --inside --single    with each series' best candidate instead of an ensemble

sMAPE, MASE (period 24) and OWA as defined by the M4 competition (Makridakis, Spiliotis and Assimakopoulos); the scores of
Naive2 that OWA is relative to are the published ones.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import manymodels as mm

JOB = Path(__file__).with_suffix(".yaml").absolute()
HORIZON = 48
NAIVE2 = {"smape": 18.383, "mase": 2.395}  # published, M4 hourly


def long(file: Path) -> pd.DataFrame:
    wide = pd.read_csv(file).melt(id_vars="V1", var_name="place", value_name="value").dropna()
    wide["position"] = wide["place"].str[1:].astype(int) - 1
    return wide.rename(columns={"V1": "series"})[["series", "position", "value"]].sort_values(
        ["series", "position"]
    )


def main(folder: Path, *, inside: bool, single: bool) -> None:
    train, test = long(folder / "Hourly-train.csv"), long(folder / "Hourly-test.csv")
    if inside:
        late = train.groupby("series").cumcount(ascending=False) < HORIZON
        train, test = train[~late], train[late]
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        train.to_parquet("train.parquet", index=False)
        job = mm.Job.from_yaml(JOB, overrides=["selection.ensemble=null"] if single else ())
        run = mm.train(job)
        scores = mm.score(job)
        print(f"{run} in {run.summary['seconds']:.0f} s")
        print(run.leaderboard().to_string(index=False))
    scores, test = (table.assign(step=table.groupby("series").cumcount()) for table in (scores, test))
    judged = test.merge(scores[["series", "step", "prediction"]], on=["series", "step"])
    histories = {key: group["value"].to_numpy() for key, group in train.groupby("series")}
    smape, mase = [], []
    for key, group in judged.groupby("series"):
        actual, forecast, history = group["value"].to_numpy(), group["prediction"].to_numpy(), histories[key]
        smape.append((200 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast))).mean())
        mase.append(np.abs(actual - forecast).mean() / np.abs(history[24:] - history[:-24]).mean())
    owa = (np.mean(smape) / NAIVE2["smape"] + np.mean(mase) / NAIVE2["mase"]) / 2
    print(f"{len(smape)} series: sMAPE {np.mean(smape):.3f}, MASE {np.mean(mase):.3f}, OWA {owa:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), inside="--inside" in sys.argv, single="--single" in sys.argv)
