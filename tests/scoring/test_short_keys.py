"""Scoring keys too short for a model of their own: the pooled model, started from each key's own level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.partitioning.store import PartitionStore

SHORT, STRANGER = range(40), 99
ROWS = 6


def users(keys: list[int], rows: int) -> pd.DataFrame:
    """Ratings of 5 + 2 x, and of as much more as the user's number says."""
    rng = np.random.default_rng(11)
    frame = pd.DataFrame({"user": np.repeat(keys, rows), "x": rng.normal(size=len(keys) * rows)})
    frame["rating"] = 5 + 2 * frame["x"] + 0.1 * frame["user"] + rng.normal(0, 0.2, len(frame))
    return frame


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> mm.Job:
    folder = tmp_path_factory.mktemp("short_keys")
    users([*SHORT], ROWS).to_parquet(folder / "ratings.parquet", index=False)
    job = mm.Job.from_dict(
        {
            "name": "short",
            "task": "ranking",
            "data": {
                "path": str(folder / "ratings.parquet"),
                "partition_by": ["user"],
                "target": "rating",
                "min_rows": ROWS + 1,
            },
            "models": [{"sklearn.linear_model.Ridge": {"alpha": 1.0}}],
            "training": {"isolation": "none"},
            "compute": "serial",
            "store": str(folder / "store"),
        }
    )
    run = mm.train(job, progress=False)
    assert run.summary["fallback"] == len(SHORT)
    return job


def test_a_short_key_is_served_by_the_pooled_model_from_its_own_level(job: mm.Job) -> None:
    new = pd.DataFrame({"user": [*SHORT, STRANGER], "x": 0.0})
    found = mm.score(job, data=new, progress=False).set_index("user")
    assert (found["model_source"] == "pooled").all()
    assert found.loc[STRANGER, "prediction"] == pytest.approx(5 + 0.1 * np.mean(SHORT), abs=0.3)
    levels = 5 + 0.1 * np.array(SHORT)
    np.testing.assert_allclose(found.loc[[*SHORT], "prediction"], levels, atol=0.5)


def test_the_rows_of_keys_without_a_model_are_read_at_once(
    job: mm.Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = PartitionStore.read

    def counted(store: PartitionStore, keys: Any, *columns: Any, **options: Any) -> Any:
        reads.append(keys.num_rows)
        return read(store, keys, *columns, **options)

    monkeypatch.setattr(PartitionStore, "read", counted)
    mm.score(job, data=pd.DataFrame({"user": [*SHORT], "x": 1.0}), progress=False)
    assert reads == [len(SHORT), len(SHORT)]  # the rows to score, and the history
