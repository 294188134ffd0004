"""MLflow: one registered model per store, on SQLite; run in the peers' environment.

Requirements are pinned, since inferring them takes seconds a model, and there is no input example.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
from sklearn.linear_model import Ridge


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=100)
    count = parser.parse_args().models
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    rng = np.random.default_rng(0)
    fitted = Ridge().fit(rng.normal(size=(50, 5)), rng.normal(size=50))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.create_experiment("bench", artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment("bench")
        _register(fitted, 0)
        began = time.perf_counter()
        for store in range(1, count + 1):
            _register(fitted, store)
        registering = (time.perf_counter() - began) / count
        began = time.perf_counter()
        for store in range(1, count + 1):
            mlflow.sklearn.load_model(f"models:/store-{store}/1")
        loading = (time.perf_counter() - began) / count
        kept = [path for path in (folder / "artifacts").rglob("*") if path.is_file()]
        files, size = len(kept) / (count + 1), sum(path.stat().st_size for path in kept) / (count + 1)
    found = {"registering": registering, "loading": loading, "files": files, "bytes": size}
    print(json.dumps({"version": mlflow.__version__, **found}))


def _register(fitted: Ridge, store: int) -> None:
    with mlflow.start_run():
        mlflow.log_metric("rmse", 1.0)
        mlflow.sklearn.log_model(
            fitted,
            name="model",
            registered_model_name=f"store-{store}",
            pip_requirements=["scikit-learn"],
        )


if __name__ == "__main__":
    main()
