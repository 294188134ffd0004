"""Dask, one task per key; the model's file is written by the task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import pandas as pd
from distributed import Client, LocalCluster
from work import Peer, fit, imports, main, model_path, scored


@contextmanager
def cluster(work: str) -> Iterator[None]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local) as client,
    ):
        client.run(imports, work)
        yield


def _fit(frame: pd.DataFrame, path: Path, work: str) -> None:
    joblib.dump(fit(frame, work), path)


def _score(frame: pd.DataFrame, path: Path, work: str) -> pd.DataFrame:
    return scored(frame, joblib.load(path), work)


def train(rows: Path, models: Path, work: str) -> None:
    client = Client.current()
    groups = pd.read_parquet(rows).groupby("store")
    client.gather([client.submit(_fit, f, model_path(models, s), work, pure=False) for s, f in groups])


def score(new: Path, models: Path, out: Path, work: str) -> None:
    client = Client.current()
    groups = pd.read_parquet(new).groupby("store")
    parts = [client.submit(_score, f, model_path(models, s), work, pure=False) for s, f in groups]
    pd.concat(client.gather(parts)).to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score, cluster))
