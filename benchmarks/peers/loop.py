"""A plain loop over groups, one joblib file a model."""

from __future__ import annotations

from pathlib import Path

import joblib
import pandas as pd
from work import Peer, fit, main, model_path, scored


def train(rows: Path, models: Path, work: str) -> None:
    for store, frame in pd.read_parquet(rows).groupby("store"):
        joblib.dump(fit(frame, work), model_path(models, store))


def score(new: Path, models: Path, out: Path, work: str) -> None:
    parts = [
        scored(frame, joblib.load(model_path(models, store)), work)
        for store, frame in pd.read_parquet(new).groupby("store")
    ]
    pd.concat(parts).to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score))
