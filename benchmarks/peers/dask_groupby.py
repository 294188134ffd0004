"""Dask DataFrame's groupby-apply; the model's file is written inside the function."""

from __future__ import annotations

from pathlib import Path

import dask.dataframe as dd
import joblib
import pandas as pd
from dask_tasks import cluster
from work import Peer, fit, main, model_path, scored


def _fit(frame: pd.DataFrame, models: Path, work: str) -> int:
    joblib.dump(fit(frame, work), model_path(models, int(frame["store"].iloc[0])))
    return len(frame)


def _score(frame: pd.DataFrame, models: Path, work: str) -> pd.DataFrame:
    return scored(frame, joblib.load(model_path(models, int(frame["store"].iloc[0]))), work)


def _rows(path: Path) -> dd.DataFrame:
    # The key stands beside the grouping column, since groupby-apply takes the latter away.
    rows = dd.read_parquet(path).repartition(npartitions=8)
    return rows.assign(key=rows["store"])


def train(rows: Path, models: Path, work: str) -> None:
    _rows(rows).groupby("key").apply(_fit, models, work, meta=("rows", "int64")).compute()


def score(new: Path, models: Path, out: Path, work: str) -> None:
    meta = {"store": "int64", "date": "datetime64[us]", "prediction": "float64"}
    _rows(new).groupby("key").apply(_score, models, work, meta=meta).compute().to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score, cluster))
