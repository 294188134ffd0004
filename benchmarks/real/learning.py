"""What a fleet learns: a search with every configuration on every key, and with the few that similar keys suggest.

    python benchmarks/real/learning.py m4_hourly DATA      DATA is the folder of the data set, as for m4_hourly.py
    python benchmarks/real/learning.py rossmann DATA       as for rossmann.py; --limit 200 takes a sample of the stores
    python benchmarks/real/learning.py rossmann DATA --trials 4 --pilot 40
    python benchmarks/real/learning.py m4_hourly DATA --ensemble 5      the median of the best five instead of the best one

Fits are counted from the leaderboards: each configuration that was tried on a key is fitted once a window, and the winner (all
members of an ensemble) once more. The pilot's are among them. The rows after the last window are seen by neither run; both
forecast them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from m4_hourly import NAIVE2, long
from rmspe import rmspe
from rossmann import COLUMNS, HORIZON

import manymodels as mm

HERE = Path(__file__).parent.absolute()

Judge = Callable[[pd.DataFrame], str]


def m4_hourly(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None, Judge]:
    train, test = long(folder / "Hourly-train.csv"), long(folder / "Hourly-test.csv")
    histories = {key: group["value"].to_numpy() for key, group in train.groupby("series")}

    def judge(scores: pd.DataFrame) -> str:
        for table in (scores, test):
            table["step"] = table.groupby("series").cumcount()
        both = test.merge(scores[["series", "step", "prediction"]], on=["series", "step"])
        smape, mase = [], []
        for key, group in both.groupby("series"):
            actual, forecast, past = group["value"].to_numpy(), group["prediction"].to_numpy(), histories[key]
            smape.append((200 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast))).mean())
            mase.append(np.abs(actual - forecast).mean() / np.abs(past[24:] - past[:-24]).mean())
        owa = (np.mean(smape) / NAIVE2["smape"] + np.mean(mase) / NAIVE2["mase"]) / 2
        return f"{len(smape)} series, OWA {owa:.4f}"

    return train, None, judge


def rossmann(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None, Judge]:
    rows = pd.read_parquet(folder / "train_open_days.parquet")[COLUMNS]
    rows["Date"] = pd.to_datetime(rows["Date"])
    cut = rows["Date"].max() - HORIZON
    test = rows[rows["Date"] > cut]

    def judge(scores: pd.DataFrame) -> str:
        scores = scores[scores["model_source"] == "key"]
        both = test.merge(scores[["Store", "Date", "prediction"]], on=["Store", "Date"])
        return f"{both['Store'].nunique()} stores, RMSPE {rmspe(both['Sales'], both['prediction']):.4f}"

    return rows[rows["Date"] <= cut], test.drop(columns="Sales"), judge


DATA: dict[str, Callable[[Path], tuple[pd.DataFrame, pd.DataFrame | None, Judge]]] = {
    "m4_hourly": m4_hourly,
    "rossmann": rossmann,
}


def search(name: str, future: pd.DataFrame | None, judge: Judge, limit: int | None, *settings: str) -> int:
    """Train and judge; the fits that it took."""
    with tempfile.TemporaryDirectory() as store:
        job = mm.Job.from_yaml(HERE / f"{name}_search.yaml", overrides=[f"store={store}", *settings])
        began = time.perf_counter()
        run = mm.train(job, limit=limit, progress=False)
        seconds = time.perf_counter() - began
        outcomes = run.outcomes()
        trained = outcomes[outcomes["state"] == "trained"]
        trials = trained["scores"].map(len)
        together = job.selection.ensemble
        refits = (
            1 if together is None else np.minimum(trials - 1, together.top)
        )  # the ensemble is a line of its own
        fits = int(((trials - (together is not None)) * job.evaluation.backtest.windows + refits).sum())
        more: dict[str, Any] = {} if future is None else {"future": future}
        result = judge(mm.score(job, **more))
        print(
            f"{' '.join(settings) or 'everything'}: {len(trained)} keys, {trials.mean():.1f} configurations a key, "
            f"{fits:,} fits, {seconds:.0f} s; backtests {trained['metric'].mean():.4f}; {result}",
            flush=True,
        )
    return fits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", choices=sorted(DATA))
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--pilot", type=int)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--ensemble", type=int)
    arguments = parser.parse_args()
    train, future, judge = DATA[arguments.name](arguments.data.absolute())
    size = arguments.ensemble
    combined = [] if size is None else [f"selection.ensemble={{top: {size}, combine: median, keep: always}}"]
    learned = [*combined, "selection.learn=true", f"selection.max_trials={arguments.trials}"]
    if arguments.pilot is not None:
        learned.append(f"selection.pilot={arguments.pilot}")
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        train.to_parquet("train.parquet", index=False)
        everything = search(arguments.name, future, judge, arguments.limit, *combined)
        few = search(arguments.name, future, judge, arguments.limit, *learned)
        unlearned = f"selection.max_trials={arguments.trials}"
        search(arguments.name, future, judge, arguments.limit, *combined, unlearned)
    print(f"{everything / few:.1f} times fewer fits")


if __name__ == "__main__":
    main()
