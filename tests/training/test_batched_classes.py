"""Classification runs whose keys are fitted at once, beside runs one by one: the same winners, metrics and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import manymodels as mm

LOGISTIC = "sklearn.linear_model.LogisticRegression"


def _visits() -> pd.DataFrame:
    """Shops with what their visitors bought: most sell three things, some two or one, some have rows without an answer."""
    rng = np.random.default_rng(0)
    frames = []
    for shop in range(16):
        rows = int(rng.integers(20, 120))
        frame = pd.DataFrame(
            {"shop": f"s{shop}", "age": rng.normal(40, 12, rows), "member": rng.random(rows) < 0.4}
        )
        lean = (frame["age"] - 40) / 12 + frame["member"] + rng.normal(0, 1, rows)
        names = np.array(["bread", "milk", "wine"])[: 1 if shop == 5 else 2 if shop % 4 == 1 else 3]
        places = np.clip(np.digitize(lean, [0, 1][: len(names) - 1]), 0, len(names) - 1)
        frame["bought"] = names[places]
        if shop == 7:
            frame.loc[3, "bought"] = None
        frames.append(frame)
    return pd.concat(frames).sample(frac=1, random_state=1)


def _job(folder: Path, isolation: str, metric: str) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "visits",
            "task": "classification",
            "data": {"partition_by": ["shop"], "target": "bought"},
            "models": [LOGISTIC, {LOGISTIC: {"C": 0.01}}],
            "evaluation": {"metric": metric},
            "training": {"isolation": isolation},
            "fallback": ["naive"],
            "compute": {"target": "serial"},
            "store": str(folder / isolation),
        }
    )


@pytest.mark.parametrize("metric", ["logloss", "accuracy", "roc_auc"])
def test_runs_and_scores_are_the_same(tmp_path: Path, metric: str) -> None:
    visits = _visits()
    runs: dict[str, Any] = {}
    scores: dict[str, pd.DataFrame] = {}
    for isolation in ("auto", "process"):
        job = _job(tmp_path, isolation, metric)
        run = mm.train(job, data=visits, progress=False)
        runs[isolation] = run.outcomes().sort_values("shop").reset_index(drop=True)
        scores[isolation] = mm.score(job, data=visits.drop(columns="bought"), progress=False)
    for column in ("shop", "state", "candidate", "rows"):
        pd.testing.assert_series_equal(runs["auto"][column], runs["process"][column])
    for column in ("metric", "baseline"):
        pd.testing.assert_series_equal(runs["auto"][column], runs["process"][column], rtol=1e-9)
    pd.testing.assert_frame_equal(scores["auto"], scores["process"], rtol=1e-9)
    assert set(scores["auto"]["status"]) == {"ok"}
    codecs = [
        codec
        for path in (tmp_path / "auto" / "runs").rglob("segments/*.parquet")
        for codec in pq.read_table(path, columns=["codec"]).column(0).to_pylist()
    ]
    assert codecs.count("columns") >= 12


def test_a_model_is_an_estimator_of_scikit_learn(tmp_path: Path) -> None:
    job = _job(tmp_path, "auto", "logloss")
    mm.train(job, data=_visits(), progress=False)
    model: Any = mm.Registry(str(tmp_path / "auto")).load("visits", shop="s1")
    assert type(model.estimator).__name__ == "LogisticRegression"
    assert model.estimator.predict_proba(np.zeros((1, len(model.encoder.names)))).sum() == pytest.approx(1.0)
