"""mlforecast, one model per key: an ``MLForecast`` object for each store, two processes with joblib, one file an object.

It is made for one model of all series; this is what its user would do for one per series.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from mlforecast import MLForecast
from sklearn.linear_model import Ridge
from work import LAGS, PENALTY, Peer, main, model_path


@contextmanager
def processes(work: str) -> Iterator[None]:
    if work != "lag_ridge":
        raise SystemExit(f"mlforecast does not do {work}")
    joblib.Parallel(n_jobs=2, pre_dispatch=2, batch_size=1)(joblib.delayed(_warm_up)() for _ in range(4))
    yield


def _warm_up() -> None:
    """Its loops are compiled when they are first called: start-up, not work."""
    days = pd.date_range("2025-01-01", periods=40)
    sales = np.random.default_rng(0).normal(size=len(days))
    _fitted(pd.DataFrame({"store": 0, "date": days, "sales": sales})).predict(2)


def _fitted(frame: pd.DataFrame) -> MLForecast:
    frame = frame.rename(columns={"store": "unique_id", "date": "ds", "sales": "y"})
    model = MLForecast(models={"prediction": Ridge(alpha=PENALTY)}, freq="D", lags=list(LAGS))
    return model.fit(frame.sort_values("ds"))


def _fit(frame: pd.DataFrame, path: Path) -> None:
    joblib.dump(_fitted(frame), path)


def _score(horizon: int, path: Path) -> pd.DataFrame:
    return joblib.load(path).predict(horizon)


def train(rows: Path, models: Path, work: str) -> None:
    groups = pd.read_parquet(rows, columns=["store", "date", "sales"]).groupby("store")
    joblib.Parallel(n_jobs=2)(
        joblib.delayed(_fit)(frame, model_path(models, store)) for store, frame in groups
    )


def score(new: Path, models: Path, out: Path, work: str) -> None:
    horizons = pd.read_parquet(new, columns=["store"]).groupby("store").size()
    jobs = (joblib.delayed(_score)(int(rows), model_path(models, store)) for store, rows in horizons.items())
    found = pd.concat(joblib.Parallel(n_jobs=2)(jobs))
    found.rename(columns={"unique_id": "store", "ds": "date"}).to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score, processes))
