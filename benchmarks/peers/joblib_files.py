"""joblib.Parallel over groups with two processes, one file a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import pandas as pd
from work import Peer, fit, imports, main, model_path, scored


@contextmanager
def processes(work: str) -> Iterator[None]:
    joblib.Parallel(n_jobs=2, pre_dispatch=2, batch_size=1)(joblib.delayed(imports)(work) for _ in range(4))
    yield


def _fit(frame: pd.DataFrame, path: Path, work: str) -> None:
    joblib.dump(fit(frame, work), path)


def _score(frame: pd.DataFrame, path: Path, work: str) -> pd.DataFrame:
    return scored(frame, joblib.load(path), work)


def train(rows: Path, models: Path, work: str) -> None:
    groups = pd.read_parquet(rows).groupby("store")
    jobs = (joblib.delayed(_fit)(frame, model_path(models, store), work) for store, frame in groups)
    joblib.Parallel(n_jobs=2)(jobs)


def score(new: Path, models: Path, out: Path, work: str) -> None:
    groups = pd.read_parquet(new).groupby("store")
    jobs = (joblib.delayed(_score)(frame, model_path(models, store), work) for store, frame in groups)
    pd.concat(joblib.Parallel(n_jobs=2)(jobs)).to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score, processes))
