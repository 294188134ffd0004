"""Models of the user's own code: what they need, and which code loads them again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import manymodels as mm

CODE = """
import numpy as np

class Level:
    def __init__(self, value):
        self.value = value
    def predict(self, frame):
        return np.full(len(frame), self.value)
    def says(self):
        return {says!r}

def fit(frame, spec):
    return Level(frame["y"].mean())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = before[0]
    for name in set(sys.modules) - before[1]:
        if name.startswith("level_of_"):
            del sys.modules[name]


def job(module: str, task: str = "regression") -> mm.Job:
    return mm.Job(
        name="levels",
        task=task,
        data={"partition_by": ["key"], "target": "y", "min_rows": 1},
        models=[f"{module}:fit"],
        evaluation={"holdout": 0},
        training={"isolation": "none"},
        compute="serial",
    )


@pytest.mark.parametrize("task", ["regression", "ranking"])
def test_a_function_of_ones_own_needs_no_feature_column(folder: Path, task: str) -> None:
    (folder / "level_of_key.py").write_text(CODE.format(says="once"))
    rows = pd.DataFrame({"key": ["a", "a", "b"], "y": [1.0, 3.0, 5.0]})
    run = mm.train(job("level_of_key", task), rows, progress=False)
    assert run.summary["trained"] == 2
    new = pd.DataFrame({"key": ["a", "b", "unseen"]})
    scores = mm.score(job("level_of_key", task), new, progress=False).set_index("key")
    assert scores["prediction"].to_dict() == {"a": 2.0, "b": 5.0, "unseen": 3.0}
    assert scores["model_source"].to_dict() == {"a": "key", "b": "key", "unseen": "pooled"}


def test_an_estimator_needs_one(folder: Path) -> None:
    rows = pd.DataFrame({"key": ["a", "a"], "y": [1.0, 3.0]})
    estimator = mm.Job.from_dict(
        {**job("level_of_key").model_dump(), "models": ["sklearn.linear_model.Ridge"]}
    )
    with pytest.raises(mm.ManyModelsError, match="needs at least one feature column"):
        mm.plan(estimator, rows)


def test_a_model_is_loaded_with_the_code_of_its_run_whatever_is_imported(folder: Path) -> None:
    (folder / "level_of_run.py").write_text(CODE.format(says="as trained"))
    rows = pd.DataFrame({"key": ["a"], "y": [1.0]})
    mm.train(job("level_of_run"), rows, progress=False)
    (folder / "level_of_run.py").write_text(CODE.format(says="as edited since"))
    sys.modules.pop("level_of_run", None)
    sys.path.insert(0, str(folder))
    import level_of_run  # type: ignore[import-not-found]

    assert level_of_run.Level(0).says() == "as edited since"
    with mm.Registry(folder / ".manymodels") as registry:
        assert registry.load("levels", key="a").model.says() == "as trained"
