"""manymodels, in its own environment: the same work through ``train`` and ``score``."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import manymodels as mm

_MODELS: dict[str, tuple[str, Any]] = {
    "mean": ("forecast", "mean"),
    "ridge": ("regression", {"sklearn.linear_model.Ridge": {"alpha": 1.0}}),
    "forest": (
        "regression",
        {
            "sklearn.pipeline.Pipeline": {
                "steps": [{"sklearn.ensemble.RandomForestRegressor": {"n_estimators": 50, "random_state": 0}}]
            }
        },
    ),
    "holt_winters": ("forecast", {"holt_winters": {"season_length": 7, "trend": "add", "seasonal": "add"}}),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--work", "--train", "--new", "--models", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--isolation", default="auto")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    task, model = _MODELS[asked.work]
    forecast = task == "forecast"
    data = {"path": asked.train, "partition_by": ["store"], "time": "date", "target": "sales"}
    job = mm.Job.from_dict(
        {
            "name": "bench",
            "task": task,
            "data": {**data, **({"frequency": "D", "features": []} if forecast else {})},
            "models": [model],
            "fallback": [],
            # The peers fit once and keep what they fit; judging a candidate as well would be twice the work.
            "evaluation": {"backtest": {"windows": 1}} if forecast else {"holdout": 0},
            "training": {"isolation": asked.isolation},
            "compute": {"target": "local", "workers": 2},
            "store": asked.models,
        }
    )
    run = mm.train(job)
    mm.score(job, data=None if forecast else asked.new, output=asked.out)
    score = mm.Registry(asked.models).scores("bench")[0]
    times = {
        "startup": run.summary["startup_seconds"] + score.startup_seconds,
        "train": run.summary["seconds"],
        "score": score.seconds,
    }
    print(json.dumps(times), flush=True)


if __name__ == "__main__":  # workers import this module
    main()
