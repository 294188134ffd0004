"""Workers that start while the rows are split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import psutil
import pytest

import manymodels as mm
from manymodels.compute.local import LocalWorkers
from manymodels.training import early


def sales(folder: Path, shops: Sequence[float] = range(4), **changes: Any) -> mm.Job:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"shop": np.repeat(shops, 30), "x": rng.normal(size=30 * len(shops))})
    frame["y"] = 2 * frame["x"] + rng.normal(size=len(frame))
    frame.to_parquet(folder / "rows.parquet", index=False)
    content = {
        "name": "shops",
        "task": "regression",
        "data": {"path": str(folder / "rows.parquet"), "partition_by": ["shop"], "target": "y"},
        "models": ["sklearn.linear_model.Ridge"],
        "training": {"isolation": "process"},
        "compute": {"workers": 2},
        "store": str(folder / "store"),
    }
    return mm.Job.from_dict({**content, **changes})


class Watched(LocalWorkers):
    """Tells what was split when workers began to start."""

    store = Path()
    split: ClassVar[list[int]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.split.append(len(list(self.store.glob("datasets/*/manifest.parquet"))))
        super().__init__(*arguments, **options)


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Datasets that were split when workers began to start, each time that they did; few rows are many here."""
    monkeypatch.setattr(Watched, "store", tmp_path / "store")
    monkeypatch.setattr(Watched, "split", [])
    for module in ("manymodels.training.early", "manymodels.compute.local"):
        monkeypatch.setattr(f"{module}.LocalWorkers", Watched)
    monkeypatch.setattr(early, "_MANY_ROWS", {True: 100, False: 100})
    return Watched.split


@pytest.mark.integration
def test_workers_start_before_the_rows_are_split_and_are_taken_over(tmp_path: Path, split: list[int]) -> None:
    before = set(psutil.Process().children())
    run = mm.train(sales(tmp_path), progress=False)
    assert run.summary["trained"] == 4
    assert split == [0]
    mm.train(sales(tmp_path), only="all", progress=False)  # nothing to split: workers wait for the plan
    assert split == [0, 1]
    assert set(psutil.Process().children()) <= before


def test_workers_that_began_to_start_end_when_the_split_fails(tmp_path: Path, split: list[int]) -> None:
    before = set(psutil.Process().children())
    with pytest.raises(mm.ManyModelsError, match="shop"):
        mm.train(sales(tmp_path, shops=[0, 1, 2, np.nan]), progress=False)
    assert split == [0]
    assert set(psutil.Process().children()) <= before


def test_none_start_early_for_few_rows(tmp_path: Path, split: list[int]) -> None:
    mm.train(sales(tmp_path, shops=range(3)), progress=False)
    assert 0 not in split


def test_none_start_where_all_is_done_in_this_process(tmp_path: Path, split: list[int]) -> None:
    mm.train(sales(tmp_path, compute="serial"), progress=False)
    assert split == []
