"""Ray, one task per key; the model's file is written by the task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import pandas as pd
import ray
from work import Peer, fit, imports, main, model_path, scored


@contextmanager
def cluster(work: str) -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        ray.get([ray.remote(imports).remote(work) for _ in range(2)])
        yield
    finally:
        ray.shutdown()


@ray.remote
def _fit(frame: pd.DataFrame, path: Path, work: str) -> None:
    joblib.dump(fit(frame, work), path)


@ray.remote
def _score(frame: pd.DataFrame, path: Path, work: str) -> pd.DataFrame:
    return scored(frame, joblib.load(path), work)


def train(rows: Path, models: Path, work: str) -> None:
    groups = pd.read_parquet(rows).groupby("store")
    ray.get([_fit.remote(frame, model_path(models, store), work) for store, frame in groups])


def score(new: Path, models: Path, out: Path, work: str) -> None:
    groups = pd.read_parquet(new).groupby("store")
    parts = ray.get([_score.remote(frame, model_path(models, store), work) for store, frame in groups])
    pd.concat(parts).to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score, cluster))
