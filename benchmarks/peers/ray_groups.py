"""Ray Data: groupby and map_groups; the model's file is written inside the function."""

from __future__ import annotations

from pathlib import Path

import joblib
import pandas as pd
import ray
from ray_tasks import cluster
from work import Peer, fit, main, model_path, scored


def train(rows: Path, models: Path, work: str) -> None:
    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        store = int(frame["store"].iloc[0])
        joblib.dump(fit(frame, work), model_path(models, store))
        return pd.DataFrame({"store": [store]})

    ray.data.read_parquet(str(rows)).groupby("store").map_groups(kept, batch_format="pandas").materialize()


def score(new: Path, models: Path, out: Path, work: str) -> None:
    def predicted(frame: pd.DataFrame) -> pd.DataFrame:
        return scored(frame, joblib.load(model_path(models, int(frame["store"].iloc[0]))), work)

    groups = ray.data.read_parquet(str(new)).groupby("store")
    groups.map_groups(predicted, batch_format="pandas").to_pandas().to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score, cluster))
