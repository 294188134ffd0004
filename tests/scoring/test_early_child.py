"""The child of a scoring starts before its work, and waiting for it is start-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm


@pytest.mark.parametrize("model", ["sklearn.tree.DecisionTreeRegressor", "sklearn.linear_model.Ridge"])
def test_waiting_for_the_child_is_start_up_where_models_are_used_one_by_one(
    tmp_path: Path, model: str
) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"well": np.repeat([1, 2], 30), "x": rng.normal(size=60), "y": rng.normal(size=60)})
    document: dict[str, Any] = {
        "name": "wells",
        "task": "regression",
        "data": {"path": str(tmp_path / "rows.parquet"), "partition_by": ["well"], "target": "y"},
        "models": [model],
        "fallback": [],
        "compute": "serial",
        "store": str(tmp_path / "store"),
    }
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    job = mm.Job.from_dict(document)
    mm.train(job, progress=False)
    found = mm.score(job, data=rows[["well", "x"]], progress=False)
    assert found["prediction"].notna().all()
    scoring = mm.Registry(document["store"]).scores("wells")[0]
    assert (scoring.startup_seconds > 0) == ("tree" in model)
    assert scoring.seconds > 0
