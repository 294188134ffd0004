"""The work that every peer does for a key, and how each is called; run in the peers' environment.

Rows have ``store``, ``date``, ``sales`` and numeric features. A peer is a pair of functions: ``train`` fits one
model per store and keeps it in a folder, ``score`` predicts 14 new rows per store from what is kept, as Parquet.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["LAGS", "PENALTY", "Peer", "features", "fit", "imports", "main", "model_path", "predict", "scored"]

LAGS = (1, 7, 14)
"""Days back of what ``lag_ridge`` regresses on."""
PENALTY = 1e-6
"""Next to none: who standardises lags first, and who does not, have the same model then."""


def imports(kind: str) -> None:
    """Import what the fits need, in this process: start-up, not work."""
    import joblib  # noqa: F401

    if kind == "holt_winters":
        import statsmodels.tsa.holtwinters  # noqa: F401
    elif kind == "forest":
        import sklearn.ensemble
    elif kind in ("ridge", "lag_ridge"):
        import sklearn.linear_model
        import sklearn.pipeline
        import sklearn.preprocessing  # noqa: F401


def features(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """The feature matrix of rows."""
    return frame[[name for name in frame.columns if name.startswith("x")]].to_numpy()


def fit(frame: pd.DataFrame, kind: str) -> Any:
    """One store's model: ``ridge`` on standardised features or on lags, the ``mean``, or additive Holt-Winters with a week."""
    if kind == "mean":
        return float(frame["sales"].mean())
    if kind == "ridge":
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(
            features(frame), frame["sales"].to_numpy()
        )
    if kind == "forest":
        from sklearn.ensemble import RandomForestRegressor

        # Which rows a tree draws depends on their order.
        frame = frame.sort_values("date")
        forest = RandomForestRegressor(n_estimators=50, random_state=0)
        return forest.fit(features(frame), frame["sales"].to_numpy())
    if kind == "holt_winters":
        from statsmodels.tsa.holtwinters import ExponentialSmoothing

        sales = frame.sort_values("date")["sales"].to_numpy()
        return ExponentialSmoothing(sales, trend="add", seasonal="add", seasonal_periods=7).fit()
    if kind == "lag_ridge":
        from sklearn.linear_model import Ridge

        sales = frame.sort_values("date")["sales"].to_numpy()
        longest = max(LAGS)
        lagged = np.column_stack([sales[longest - lag : len(sales) - lag] for lag in LAGS])
        return Ridge(alpha=PENALTY).fit(lagged, sales[longest:]), sales[-longest:]
    raise ValueError(kind)


def predict(model: Any, frame: pd.DataFrame, kind: str) -> np.ndarray[Any, Any]:
    """One store's predictions of new rows, in date order for forecasts."""
    if kind == "mean":
        return np.full(len(frame), model)
    if kind == "holt_winters":
        return np.asarray(model.forecast(len(frame)))
    if kind == "lag_ridge":
        ridge, history = model
        known = list(history)
        for _ in range(len(frame)):  # each forecast is a lag of those after it
            known.append(float(ridge.predict([[known[-lag] for lag in LAGS]])[0]))
        return np.array(known[len(history) :])
    return np.asarray(model.predict(features(frame)))


def scored(frame: pd.DataFrame, model: Any, kind: str) -> pd.DataFrame:
    """New rows of one store with their predictions."""
    frame = frame.sort_values("date")
    return frame[["store", "date"]].assign(prediction=predict(model, frame, kind))


def model_path(folder: Path, store: int) -> Path:
    """Where a store's model lies, when it is a file of its own."""
    return folder / f"{store}.joblib"


class Peer:
    """One way to do it.

    Args:
        train: Fit all stores' models and keep them.
        score: Predict from what is kept.
        start: Starts what it runs on, with the imports of a kind of work; its time is shown apart.
    """

    def __init__(
        self,
        train: Callable[[Path, Path, str], None],
        score: Callable[[Path, Path, Path, str], None],
        start: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.train, self.score, self.start = train, score, start


def main(peer: Peer) -> None:
    """Run a peer as a process of its own and print its times as JSON."""
    parser = argparse.ArgumentParser()
    for name in ("--work", "--train", "--new", "--models", "--out"):
        parser.add_argument(name, required=True)
    asked = parser.parse_args()
    models, out = Path(asked.models), Path(asked.out)
    models.mkdir(parents=True)
    began = time.perf_counter()
    imports(asked.work)
    with peer.start(asked.work):
        started = time.perf_counter()
        peer.train(Path(asked.train), models, asked.work)
        trained = time.perf_counter()
        peer.score(Path(asked.new), models, out, asked.work)
        ended = time.perf_counter()
    times = {"startup": started - began, "train": trained - started, "score": ended - trained}
    print(json.dumps(times), flush=True)
