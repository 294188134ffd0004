"""A run whose driver was killed continues: what has a receipt is not done again, and the result is that of a calm run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.registry import Registry

pytestmark = pytest.mark.integration

# The file's name makes the first guess of a fit's cost high, so that there are several batches.
MODEL = """
import os, pathlib, signal

import numpy as np


class Mean:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return np.full(len(frame), self.value)


def fit(frame, spec):
    well = int(frame["well"].iloc[0])
    with open("fitted.txt", "a") as file:
        file.write(f"{well}\\n")
    killed = pathlib.Path("killed")
    if well == int(os.environ.get("WELL", -1)) and os.environ.get("KILL") and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), int(os.environ["KILL"]))
    return Mean(frame["y"].mean())
"""

JOB = """
name: wells
task: regression
data: {path: wells.parquet, partition_by: [well], target: y}
models: ["ensemble_model:fit"]
evaluation: {holdout: 0}
training: {isolation: none}
fallback: []
compute: serial
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame({"well": well, "x": rng.normal(size=12), "y": rng.normal(well, 1, 12)})
        for well in range(200)
    ]
    pd.concat(frames).to_parquet(tmp_path / "wells.parquet", index=False)
    (tmp_path / "ensemble_model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def verb(folder: Path, *words: str, kill: int = 0, well: int = 150) -> subprocess.CompletedProcess[str]:
    import os

    environment = {**os.environ, "KILL": str(kill) if kill else "", "WELL": str(well)}
    return subprocess.run(
        [sys.executable, "-m", "manymodels", *words, "--json"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def fitted(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "fitted.txt").read_text().split()]


def models(folder: Path) -> dict[int, Any]:
    registry = Registry(folder / ".manymodels")
    return {well: registry.load("wells", well=well).describe() for well in (0, 149, 150, 199)}


def test_a_killed_driver_is_resumed_without_repeating_what_has_a_receipt(folder: Path) -> None:
    died = verb(folder, "train", "job.yaml", kill=signal.SIGKILL)
    assert died.returncode == -signal.SIGKILL
    with Registry(folder / ".manymodels") as registry:
        journalled = registry.journalled("wells-000001").num_rows
        assert 0 < journalled < registry.run("wells-000001").batches
        assert registry.model_sets()[0].models == 0  # nothing of half a run is seen
    before = fitted(folder)
    done = verb(folder, "runs", "resume", "wells-000001")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["trained"], result["keys"], result["promoted"]) == (200, 200, 200)
    again = fitted(folder)[len(before) :]
    assert set(before) | set(again) == set(range(200))
    assert len(again) < 200
    repeated = set(before) & set(again)
    assert 150 in repeated
    resumed = models(folder)
    calm = folder / "calm"
    calm.mkdir()
    for name in ("wells.parquet", "ensemble_model.py", "job.yaml"):
        (calm / name).write_bytes((folder / name).read_bytes())
    assert verb(calm, "train", "job.yaml").returncode == 0
    assert models(calm) == resumed


def test_a_resume_for_another_job_is_refused_with_the_difference(folder: Path) -> None:
    verb(folder, "train", "job.yaml", kill=signal.SIGKILL)
    (folder / "job.yaml").write_text(JOB.replace("holdout: 0", "holdout: 10%"))
    refused = verb(folder, "runs", "resume", "latest", "--job", "job.yaml")
    assert refused.returncode == 2
    assert "evaluation.holdout" in json.loads(refused.stdout)["error"]["message"]


def test_an_interrupt_lets_the_batch_finish_and_the_run_can_be_resumed(folder: Path) -> None:
    stopped = verb(folder, "train", "job.yaml", kill=signal.SIGINT, well=10)
    assert stopped.returncode == 130, stopped.stderr
    error = json.loads(stopped.stdout)["error"]
    assert "runs resume wells-000001" in error["message"]
    with Registry(folder / ".manymodels") as registry:
        assert registry.run("wells-000001").state == "interrupted"
        assert 10 in fitted(folder)
    before = len(fitted(folder))
    result = json.loads(verb(folder, "runs", "resume", "wells-000001").stdout)
    assert result["trained"] == 200
    assert len(fitted(folder)) - before == 200 - before  # the interrupted batch had its receipt


def test_an_ended_run_is_not_resumed(folder: Path) -> None:
    assert verb(folder, "train", "job.yaml").returncode == 0
    refused = verb(folder, "runs", "resume", "latest")
    assert refused.returncode == 1
    assert "has ended" in json.loads(refused.stdout)["error"]["message"]


def test_a_changed_module_of_the_user_trains_again_with_the_new_code_in_the_same_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import manymodels as mm

    monkeypatch.chdir(folder)
    mm.train(mm.Job.from_yaml("job.yaml"), progress=False)
    changed = MODEL.replace('Mean(frame["y"].mean())', "Mean(7.0)")
    (folder / "ensemble_model.py").write_text(changed)
    job = mm.Job.from_yaml("job.yaml")
    assert mm.plan(job).counts()["train"] == {"code or library changed": 200}
    mm.train(job, progress=False)
    assert set(mm.score(job, progress=False)["prediction"]) == {7.0}


def test_a_feature_that_gives_the_target_away_is_warned_of(folder: Path) -> None:
    rows = pd.read_parquet(folder / "wells.parquet")
    rows.assign(leak=rows["y"]).to_parquet(folder / "wells.parquet", index=False)
    planned = verb(folder, "plan", "job.yaml")
    assert any("'leak'" in warning for warning in json.loads(planned.stdout)["warnings"])
