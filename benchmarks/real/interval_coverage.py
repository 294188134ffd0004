"""How often forecast intervals hold what happened, by where their bounds come from.

    python benchmarks/real/interval_coverage.py DATA                     DATA has the folders m4_hourly, rossmann, aus_retail
    python benchmarks/real/interval_coverage.py DATA --data rossmann     one of them
    python benchmarks/real/interval_coverage.py DATA --data rossmann --limit 100     a sample of its keys

Each job file beside this script is run as it is but for its levels (80 and 95 %) and `forecast.intervals`, and judged on the
part that it never saw. Beside the coverage stands the interval score (Gneiting and Raftery, J. Am. Stat. Assoc. 102, 2007: the
width, and what falls outside with a penalty), relative to the mean of the key's actual values; lower is better.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import aus_retail
import m4_hourly
import numpy as np
import pandas as pd
import rossmann

import manymodels as mm

LEVELS = (80, 95)
Parts = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame | None]


def of_m4_hourly(folder: Path) -> Parts:
    return m4_hourly.long(folder / "Hourly-train.csv"), m4_hourly.long(folder / "Hourly-test.csv"), None


def of_rossmann(folder: Path) -> Parts:
    rows = pd.read_parquet(folder / "train_open_days.parquet")[rossmann.COLUMNS]
    rows["Date"] = pd.to_datetime(rows["Date"])
    cut = rows["Date"].max() - rossmann.HORIZON
    test = rows[rows["Date"] > cut]
    return rows[rows["Date"] <= cut], test, test.drop(columns="Sales")


def of_aus_retail(folder: Path) -> Parts:
    rows = pd.read_parquet(folder / "aus_retail.parquet")[[*aus_retail.KEYS, "Month", "Turnover"]]
    rows["Month"] = pd.to_datetime(rows["Month"])
    cut = rows["Month"].max() - pd.DateOffset(months=24)
    return rows[rows["Month"] <= cut], rows[rows["Month"] > cut], None


DATA: dict[str, tuple[Path, Callable[[Path], Parts]]] = {
    "m4_hourly": (m4_hourly.JOB, of_m4_hourly),
    "rossmann": (rossmann.JOB, of_rossmann),
    "aus_retail": (aus_retail.JOB, of_aus_retail),
}


def judged(job: mm.Job, test: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """What happened beside what was predicted; a series without times by how many periods after the last it is."""
    keys, time, target = list(job.data.partition_by), str(job.data.time), str(job.data.target)
    scores = scores[(scores["model_source"] == "key") & (scores["status"] == "ok")]
    bounds = [name for name in scores.columns if name.startswith("prediction")]
    if job.data.frequency == "step":
        test, scores = test.sort_values([*keys, time]), scores.sort_values([*keys, time])
        for table in (test, scores):
            table[time] = table.groupby(keys).cumcount()
    else:
        scores = scores.assign(**{time: pd.to_datetime(scores[time])})
    return test.rename(columns={target: "actual"}).merge(scores[[*keys, time, *bounds]], on=[*keys, time])


def measure(job: mm.Job, test: pd.DataFrame, scores: pd.DataFrame) -> str:
    rows = judged(job, test, scores)
    scale = rows.groupby(list(job.data.partition_by))["actual"].transform("mean").abs()
    found = [f"{len(rows):,} rows"]
    for level in LEVELS:
        low, high = rows[f"prediction_lo_{level}"], rows[f"prediction_hi_{level}"]
        missed = np.maximum(low - rows["actual"], 0) + np.maximum(rows["actual"] - high, 0)
        score = ((high - low + 2 / (1 - level / 100) * missed) / scale).mean()
        found.append(f"{level} % cover {rows['actual'].between(low, high).mean():.1%}, score {score:.3f}")
    return "; ".join(found)


def main(folder: Path, names: list[str], limit: int | None) -> None:
    for name in names:
        file, parts = DATA[name]
        train, test, future = parts(folder / name)
        for intervals in ("model", "conformal"):
            with tempfile.TemporaryDirectory() as work:
                os.chdir(work)
                train.to_parquet("train.parquet", index=False)
                changes = [f"forecast.levels={list(LEVELS)}", f"forecast.intervals={intervals}"]
                job = mm.Job.from_yaml(file, overrides=changes)
                run = mm.train(job, limit=limit, progress=False)
                scores = mm.score(job, future=future, progress=False)
                print(
                    f"{name}, {intervals}: {measure(job, test, scores)}; trained in {run.summary['seconds']:.0f} s"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--data", dest="names", action="append", choices=list(DATA))
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    main(arguments.data.absolute(), arguments.names or list(DATA), arguments.limit)
