"""Remaining useful life and anomalies of NASA's simulated turbofan engines (C-MAPSS, FD001 and FD002).

    python benchmarks/real/cmapss.py DATA [--folds]     DATA is the folder that holds train_FD001.parquet and its like

Four jobs on the same prepared rows:

- `cmapss_folds.yaml`: one regression per set, judged on folds of the training part that split no engine: what the rungs are
  made of is chosen by it. `--folds` runs it alone, without a look at the test part;
- `cmapss_condition.yaml`: one regression per set and operating condition (FD001 has one, FD002 six);
- `cmapss_engine.yaml`: the key is the engine. A training engine fails once, so its own rows say nothing about its end: every
  engine is served by the ladder, and so are the test engines, which training never saw;
- `cmapss_anomaly.yaml`: one detector per engine, trained on its first 60 cycles. It watches the rest of the engine's life; test
  engines are unseen keys, and are served by the ladder.

The remaining useful life is capped at 125 cycles in training and in the test, an idea of Heimes (Recurrent Neural Networks for
Remaining Useful Life Estimation, PHM 2008). The figure is the RMSE of the prediction at each test engine's last row. Sensors
are standardised within each operating condition with the training engines' moments; features are their rolling means over an
engine's own past, which say what a regression cannot see in one noisy row, and how far they have moved since the engine's first
cycles, since engines differ from the start.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import manymodels as mm

HERE = Path(__file__).parent.absolute()
SETS = ["FD001", "FD002"]
ENGINE = ["set", "engine"]
CONDITION = ["set", "condition"]
# The sensors that are not constant in FD001; the sign is how they move as the engine wears.
SENSORS = {
    "s_2": 1, "s_3": 1, "s_4": 1, "s_7": -1, "s_8": 1, "s_9": 1, "s_11": 1, "s_12": -1,
    "s_13": 1, "s_14": 1, "s_15": 1, "s_17": 1, "s_20": -1, "s_21": -1,
}  # fmt: skip
CAP = 125
HEALTHY = 60
FIRST = 20  # cycles that say how an engine was when it was new
STAGES = [0, 20, 50, 100, 150, np.inf]


def read(folder: Path, part: str) -> pd.DataFrame:
    rows = pd.concat(
        [pd.read_parquet(folder / f"{part}_{name}.parquet").assign(set=name) for name in SETS],
        ignore_index=True,
    )
    # Unit 1 of the test is another engine than unit 1 of the training.
    rows["engine"] = part + "-" + rows["unit"].astype(str).str.zfill(3)
    rows["condition"] = rows["setting_1"].round().astype(int)  # altitude: 0, 10, 20, 25, 35, 42 thousand feet
    last = rows.groupby(ENGINE)["cycle"].transform("max")
    left = 0
    if part == "test":
        ends = {name: np.loadtxt(folder / f"RUL_{name}.txt") for name in SETS}
        left = [ends[name][unit - 1] for name, unit in zip(rows["set"], rows["unit"], strict=True)]
    rows["left"] = last - rows["cycle"] + left
    rows["rul"] = rows["left"].clip(upper=CAP).astype(float)
    rows["is_last"] = rows["cycle"] == last
    return rows


def prepared(rows: pd.DataFrame, mean: pd.DataFrame, deviation: pd.DataFrame) -> pd.DataFrame:
    """The rows' features: each looks back on the engine's own cycles only."""
    condition = pd.MultiIndex.from_frame(rows[CONDITION])
    scaled = (rows[[*SENSORS]] - mean.reindex(condition).to_numpy()) / deviation.reindex(condition).to_numpy()
    scaled["wear"] = scaled.mul(SENSORS).mean(axis=1)
    engines = scaled.groupby([rows[name] for name in ENGINE])
    features = [
        engines.rolling(window, min_periods=1).mean().droplevel(ENGINE).sort_index().add_suffix(f"_{window}")
        for window in (5, 10, 20, 40)
    ]
    life = engines.expanding().mean().droplevel(ENGINE).sort_index().add_suffix("_life")
    new = scaled.where(rows["cycle"] <= FIRST).groupby([rows[name] for name in ENGINE]).expanding().mean()
    moved = engines.rolling(10, min_periods=1).mean() - new
    moved = moved.droplevel(ENGINE).sort_index().add_suffix("_moved")
    return pd.concat(
        [rows[[*ENGINE, "unit", "condition", "cycle", "rul"]], scaled, *features, life, moved], axis=1
    )


def remaining_life(name: str, train: pd.DataFrame, test: pd.DataFrame) -> None:
    train.to_parquet("train.parquet", index=False)
    job = mm.Job.from_yaml(HERE / f"cmapss_{name}.yaml")
    run = mm.train(job)
    scores = mm.score(job, data=test)
    assert len(scores) == len(test), "every engine is in the output"
    print(f"\n{name}: {run} in {run.summary['seconds']:.0f} s")
    if run.summary["trained"]:
        print(run.leaderboard().to_string(index=False))
    print(scores.groupby(["set", "model_source", "status"]).size().to_string())
    for fleet, rows in scores.groupby("set"):
        capped, not_capped = (
            np.sqrt(np.mean((rows["prediction"] - rows[true]) ** 2)) for true in ("rul", "left")
        )
        print(f"{fleet}: {len(rows)} engines, RMSE {capped:.2f} (truth not capped: {not_capped:.2f})")


def folds(train: pd.DataFrame) -> None:
    """What each candidate is worth on engines that its fit did not see."""
    train.to_parquet("train.parquet", index=False)
    run = mm.train(mm.Job.from_yaml(HERE / "cmapss_folds.yaml"))
    print(f"\nfolds: {run} in {run.summary['seconds']:.0f} s")
    outcomes = run.outcomes()
    for fleet, scores in zip(outcomes["set"], outcomes["scores"], strict=True):
        print(f"{fleet}: " + ", ".join(f"{score['candidate']} {score['metric']:.2f}" for score in scores))


def anomalies(train: pd.DataFrame, test: pd.DataFrame) -> None:
    healthy = train["cycle"] <= HEALTHY
    train[healthy].to_parquet("train.parquet", index=False)
    job = mm.Job.from_yaml(HERE / "cmapss_anomaly.yaml")
    run = mm.train(job)
    print(f"\nanomaly: {run} in {run.summary['seconds']:.0f} s")
    for name, rows in (("training engines, later cycles", train[~healthy]), ("test engines", test)):
        scores = mm.score(job, data=rows)
        assert len(scores) == len(rows), "every row is in the output"
        print(f"{name}: {len(scores):,} rows of {scores.groupby(ENGINE).ngroups} engines")
        print(scores.groupby(["model_source", "status"]).size().to_string())
        stage = pd.cut(
            scores["left"],
            STAGES,
            right=False,
            labels=["last 20", "20 to 49", "50 to 99", "100 to 149", "150 on"],
        )
        table = scores.groupby(["set", stage.rename("cycles left")], observed=True).agg(
            engines=("engine", "nunique"), rows=("is_anomaly", "size"), flagged=("is_anomaly", "mean")
        )
        print(table.to_string(formatters={"flagged": "{:.1%}".format}))


def main(folder: Path, *, only_folds: bool) -> None:
    train = read(folder, "train")
    moments = train.groupby(CONDITION)[[*SENSORS]]
    mean, deviation = moments.mean(), moments.std()
    train_features = prepared(train, mean, deviation)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        folds(train_features)
        if only_folds:
            return
        test = read(folder, "test")
        test_features = prepared(test, mean, deviation)
        for name in ("condition", "engine"):
            remaining_life(name, train_features, test_features.assign(left=test["left"])[test["is_last"]])
        anomalies(train_features.assign(left=train["left"]), test_features.assign(left=test["left"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), only_folds="--folds" in sys.argv[2:])
