"""Spark applyInPandas: models as a binary column of Parquet, joined again for scoring."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession
from work import Peer, fit, main, scored


@contextmanager
def cluster(work: str) -> Iterator[None]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.memory", "6g").config("spark.sql.shuffle.partitions", "8")
    session = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        session.stop()


def _session() -> SparkSession:
    session = SparkSession.getActiveSession()
    assert session is not None
    return session


def train(rows: Path, models: Path, work: str) -> None:
    def fitted(frame: pd.DataFrame) -> pd.DataFrame:
        model = pickle.dumps(fit(frame, work), 5)
        return pd.DataFrame({"store": [frame["store"].iloc[0]], "model": [model]})

    groups = _session().read.parquet(str(rows)).groupby("store")
    made = groups.applyInPandas(fitted, "store long, model binary")
    made.write.mode("overwrite").parquet(str(models))


def score(new: Path, models: Path, out: Path, work: str) -> None:
    def predicted(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
        return scored(left, pickle.loads(right["model"].iloc[0]), work)  # noqa: S301 - our own

    session = _session()
    rows = session.read.parquet(str(new)).groupby("store")
    kept = session.read.parquet(str(models)).groupby("store")
    schema = "store long, date timestamp, prediction double"
    rows.cogroup(kept).applyInPandas(predicted, schema).write.parquet(str(out))


if __name__ == "__main__":
    main(Peer(train, score, cluster))
