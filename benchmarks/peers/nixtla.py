"""statsforecast: its Holt-Winters (or window average for the mean) for all series, two processes, the fitted object pickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
from statsforecast import StatsForecast
from statsforecast.models import HistoricAverage, HoltWinters
from work import Peer, main


def _models(work: str) -> list[Any]:
    if work == "mean":
        return [HistoricAverage(alias="prediction")]
    if work == "holt_winters":
        return [HoltWinters(season_length=7, error_type="A", alias="prediction")]
    raise SystemExit(f"statsforecast does not do {work}")


def train(rows: Path, models: Path, work: str) -> None:
    frame = pd.read_parquet(rows, columns=["store", "date", "sales"])
    frame = frame.rename(columns={"store": "unique_id", "date": "ds", "sales": "y"})
    fitted = StatsForecast(models=_models(work), freq="D", n_jobs=2).fit(frame)
    with (models / "fleet.pickle").open("wb") as file:
        pickle.dump(fitted, file, 5)


def score(new: Path, models: Path, out: Path, work: str) -> None:
    with (models / "fleet.pickle").open("rb") as file:
        fitted = pickle.load(file)  # noqa: S301 - our own
    horizon = int(pd.read_parquet(new, columns=["store"]).groupby("store").size().max())
    found = fitted.predict(h=horizon).rename(columns={"unique_id": "store", "ds": "date"})
    found.to_parquet(out)


if __name__ == "__main__":
    main(Peer(train, score))
