"""Forecast six weeks of turnover of 1,115 stores with known promotions, one model per store, and score it by RMSPE.

    python benchmarks/real/rossmann.py DATA                     DATA is the folder that holds train_open_days.parquet
    python benchmarks/real/rossmann.py DATA --last 2015-06-19   the six weeks before: to choose candidates by
    python benchmarks/real/rossmann.py DATA --limit 100         a sample of stores
    python benchmarks/real/rossmann.py DATA --set 'hierarchy={levels: [[]]}'    each store blended with a model of all
    python benchmarks/real/rossmann.py DATA --stores 100 --days 120    short keys: the last days of some stores, and no others

The six weeks that end with `--last` (2015-07-31, the last day of the data) are held out; nothing from them on is seen in
training. Promotions and holidays are known ahead; the number of customers is not, and is left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from rmspe import rmspe

import manymodels as mm

JOB = Path(__file__).with_suffix(".yaml").absolute()
HORIZON = pd.Timedelta(days=42)
COLUMNS = ["Store", "Date", "Sales", "Promo", "StateHoliday", "SchoolHoliday"]


def main(
    folder: Path,
    last: pd.Timestamp,
    limit: int | None,
    overrides: list[str],
    stores: int | None,
    days: int | None,
) -> None:
    rows = pd.read_parquet(folder / "train_open_days.parquet")[COLUMNS]
    rows["Date"] = pd.to_datetime(rows["Date"])
    if stores is not None:
        some = np.random.default_rng(0).permutation(rows["Store"].unique())[:stores]
        rows = rows[rows["Store"].isin(some)]
    train = rows[rows["Date"] <= last - HORIZON]
    if days is not None:
        train = train[train["Date"] > last - HORIZON - pd.Timedelta(days=days)]
    test = rows[(rows["Date"] > last - HORIZON) & (rows["Date"] <= last)]
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        train.to_parquet("train.parquet", index=False)
        job = mm.Job.from_yaml(JOB, overrides=overrides)
        run = mm.train(job, limit=limit)
        scores = mm.score(job, future=test.drop(columns="Sales"))
        outcomes = run.outcomes()
        print(f"{run} in {run.summary['seconds']:.0f} s")
        print(run.leaderboard().to_string(index=False))
        if "own_weight" in outcomes:
            weights = outcomes["own_weight"].dropna()
            print(
                f"{len(weights)} stores are blended; weight of their own: {weights.value_counts().sort_index().to_dict()}"
            )
        print(f"backtests: RMSPE {np.sqrt((outcomes['metric'] ** 2).mean()):.4f}")
    print(scores.groupby(["model_source", "status"], dropna=False)["Store"].nunique().to_string())
    assert len(scores) == len(test), "every row of the future is in the output"
    judged = test.merge(
        scores.drop(columns=["Promo", "StateHoliday", "SchoolHoliday"], errors="ignore"), on=["Store", "Date"]
    )
    if limit is not None:
        judged = judged[judged["Store"].isin(outcomes.loc[outcomes["state"] == "trained", "Store"])]
    inside = judged["Sales"].between(judged["prediction_lo_80"], judged["prediction_hi_80"])
    print(
        f"{judged['Store'].nunique()} stores, {len(judged):,} days: RMSPE {rmspe(judged['Sales'], judged['prediction']):.4f}; "
        f"80 % intervals cover {inside.mean():.1%}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--last", type=pd.Timestamp, default=pd.Timestamp("2015-07-31"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--stores", type=int)
    parser.add_argument("--days", type=int)
    given = parser.parse_args()
    main(given.data.absolute(), given.last, given.limit, given.set, given.stores, given.days)
