"""One bad key never hurts another: models that raise, crash, hang or eat memory fail their own key, with the true cause."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.integration

MODEL = """
import ctypes

import numpy as np


class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return np.full(len(frame), self.value)


def fit(frame, spec):
    poison = frame["poison"].iloc[0]
    if poison == "raise":
        raise ValueError("this well is cursed")
    if poison == "crash":
        ctypes.string_at(0)
    if poison == "hang":
        while True:
            pass
    if poison == "memory":
        hoard = []
        while True:
            hoard.append(np.ones(2**22))
    return Mean(frame["y"].mean())
"""

JOB = """
name: wells
task: regression
data: {path: wells.parquet, partition_by: [well], target: y}
models: ["own_model:fit"]
evaluation: {holdout: 0}
training: {timeout: 15s, memory: 1GiB, retries: 0, max_failed: 50%}
compute: {target: local, workers: 2}
fallback: [naive]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("poison")
    rng = np.random.default_rng(0)
    poison = {3: "raise", 7: "crash", 11: "hang", 15: "memory"}
    frames = [
        pd.DataFrame({"well": well, "y": rng.normal(well, 1, 20), "poison": poison.get(well, "")})
        for well in range(20)
    ]
    pd.concat(frames).to_parquet(place / "wells.parquet", index=False)
    (place / "own_model.py").write_text(MODEL)
    (place / "job.yaml").write_text(JOB)
    return place


def verb(folder: Path, *words: str, code: int = 0) -> Any:
    command = [sys.executable, "-m", "manymodels", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_poison_fails_alone_with_its_true_cause(folder: Path) -> None:
    result = verb(folder, "train", "job.yaml")
    assert (result["trained"], result["failed"], result["keys"]) == (16, 4, 20)
    failures = verb(folder, "runs", "failures", "latest")
    causes = {key: entry["cause"] for entry in failures["signatures"] for key in entry["keys"]}
    assert causes == {"well=3": "exception", "well=7": "crash", "well=11": "timeout", "well=15": "memory"}
    # Failed keys are tried again; the others are not.
    plan = verb(folder, "plan", "job.yaml")
    assert plan["actions"] == {"train": {"failed last time": 4}, "reuse": {"unchanged": 16}}
    # The ladder serves them, and says why.
    score = verb(folder, "score", "job.yaml", "-o", "scores")
    assert (score["scored"], score["fallback"], score["failed"]) == (16, 4, 0)
    scores = pd.read_parquet(folder / "scores")
    assert len(scores) == 400
    served = scores[scores["well"].isin([3, 7, 11, 15])]
    assert set(served["model_source"]) == {"naive"}
    assert served["reason"].str.contains("failed in training").all()


def test_more_failures_than_allowed_promote_nothing_and_exit_with_3(folder: Path) -> None:
    settings = ["--set", "training.max_failed=3", "--set", "store=.gated"]
    result = verb(folder, "train", "job.yaml", *settings, code=3)
    assert result["state"] == "failed_gate"
    assert result["promoted"] == 0
