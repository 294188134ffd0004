"""Recompute the published scores of M4 methods from their published forecasts, with the product's own metrics.

    python benchmarks/real/m4_published.py DATA     DATA is the folder of the M4 hourly series

It needs Hourly-train.csv and Hourly-test.csv, published_point_forecasts.parquet (submission, series, h, forecast) and
published_scores.csv. Exit code 1 where a sMAPE, MASE or OWA differs from the published one in the third decimal.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from manymodels.evaluation.metrics import METRICS, HeldOut
from manymodels.models.contract import FitSpec

SPEC = FitSpec("forecast", target="value", time="position", frequency="step", season_length=24, horizon=48)


def main(folder: Path) -> None:
    histories, futures = (
        {
            line[0]: line[1:][~pd.isna(line[1:])].astype(float)
            for line in pd.read_csv(folder / name).to_numpy(object)
        }
        for name in ("Hourly-train.csv", "Hourly-test.csv")
    )
    forecasts = pd.read_parquet(folder / "published_point_forecasts.parquet").sort_values("h")
    published = _published(folder / "published_scores.csv")
    found = {
        method: {
            name: np.mean([
                METRICS[name].measure(
                    HeldOut(futures[series], {"prediction": rows["forecast"].to_numpy()}, SPEC, histories[series])
                )
                for series, rows in theirs.groupby("series")
            ])
            for name in ("smape", "mase")
        }
        for method, theirs in forecasts.groupby("submission")
    }  # fmt: skip
    naive = found["Naive2"]
    wrong = 0
    print(
        f"{'method':10}{'sMAPE':>10}{'published':>11}{'MASE':>10}{'published':>11}{'OWA':>10}{'published':>11}"
    )
    for method, scores in found.items():
        # The published OWA is that of the published scores, which have three decimals.
        owa = sum(round(scores[name], 3) / round(naive[name], 3) for name in ("smape", "mase")) / 2
        line = list(
            zip((scores["smape"], scores["mase"], owa), published.loc[method.lstrip("0")], strict=True)
        )
        wrong += sum(round(ours, 3) != round(theirs, 3) for ours, theirs in line)
        print(f"{method:10}" + "".join(f"{ours:10.3f}{theirs:11.3f}" for ours, theirs in line))
    print(f"{len(found)} methods, {len(futures)} series: {wrong} of {3 * len(found)} scores differ")
    sys.exit(wrong > 0)


def _published(file: Path) -> pd.DataFrame:
    """The three published scores on hourly data by method."""
    table = pd.read_csv(file)
    table.index = table["user_id"].astype(str)
    return table[["sMAPE_Hourly", "MASE_Hourly", "OWA_Hourly"]].astype(float)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
