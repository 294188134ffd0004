"""Keys that are too large: cut down where the job says so, and failed for a reason where they will not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.planning.memory import BASE, needed
from manymodels.records import Rows
from manymodels.training.max_rows import sampled_rows

LARGE = 300_000
MEMORY = BASE + 2**20 * 20


def frame(large: int = LARGE) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for store in range(6):
        days = large if store == 3 else 60
        steps = np.arange(days)
        parts.append(
            pd.DataFrame({"store": store, "step": steps, "sales": steps % 7 + rng.normal(0, 0.1, days)})
        )
    return pd.concat(parts, ignore_index=True)


def job(folder: Path, models: list[Any], **training: Any) -> mm.Job:
    return mm.Job.from_dict(
        {
            "name": "sales",
            "task": "forecast",
            "data": {"partition_by": ["store"], "time": "step", "target": "sales", "frequency": "step"},
            "models": models,
            "forecast": {"horizon": 7, "season_length": 7},
            "training": {"memory": MEMORY, "max_failed": "50%", **training},
            "fallback": [],
            "compute": {"target": "serial"},
            "store": str(folder / "store"),
        }
    )


def outcome(run: mm.Run, store: int) -> dict[str, Any]:
    table = run.outcomes().set_index("store")
    return dict(table.loc[store])


@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_a_key_that_cannot_fit_fails_for_memory_before_it_is_read(tmp_path: Path, isolation: str) -> None:
    run = mm.train(job(tmp_path, ["seasonal_naive"], isolation=isolation), data=frame(), progress=False)
    assert (run.summary["trained"], run.summary["failed"]) == (5, 1)
    large = outcome(run, 3)
    assert (large["state"], large["cause"], large["error"]) == ("failed", "memory", "memory 0.3 GiB")
    assert large["message"].startswith("about 0.3 GiB would be needed for 300,000 rows of 3 columns")
    assert "training.max_rows" in large["message"]
    (signature,) = mm.Registry(tmp_path / "store").failures(run.id)
    assert (signature.cause, signature.keys) == ("memory", ("store=3",))


def test_only_the_candidates_that_need_too_much_are_left_out(tmp_path: Path) -> None:
    run = mm.train(job(tmp_path, ["seasonal_naive", "mean"]), data=frame(), progress=False)
    assert run.summary["trained"] == 6
    large, small = outcome(run, 3), outcome(run, 2)
    assert (large["candidate"], small["candidate"]) == ("mean", "seasonal_naive")
    assert [line["error"][:6] for line in large["scores"]] == ["", "memory"]


def test_a_limit_of_rows_keeps_the_last_and_makes_it_fit(tmp_path: Path) -> None:
    cut = job(tmp_path, ["seasonal_naive", "mean"], max_rows=10_000)
    run = mm.train(cut, data=frame(), progress=False)
    assert run.summary["trained"] == 6
    large = outcome(run, 3)
    assert (large["candidate"], large["rows"], large["cutoff"]) == ("seasonal_naive", 10_000, LARGE - 1)
    assert outcome(run, 2)["rows"] == 60
    # It is the model of a key that has no more rows.
    short = frame()[lambda rows: (rows["store"] != 3) | (rows["step"] >= LARGE - 10_000)]
    other = mm.train(job(tmp_path / "short", ["seasonal_naive", "mean"]), data=short, progress=False)
    assert outcome(other, 3)["metric"] == large["metric"]
    stores = [mm.Registry(tmp_path / place / "store") for place in (".", "short")]
    assert len({str(registry.load("sales", store=3).describe()) for registry in stores}) == 1
    # Another limit is another model.
    more = job(tmp_path, ["seasonal_naive", "mean"], max_rows=20_000)
    assert mm.plan(more, data=frame()).counts() == {"train": {"job changed": 6}}


def test_a_sample_is_seeded_in_order_and_the_same_in_any_batch() -> None:
    rows = Rows(pd.DataFrame({"x": np.arange(100)}))
    offsets = np.array([0, 40, 45, 100])
    cut, places = sampled_rows(rows, offsets, 10, [1, 2, 3])
    assert places.tolist() == [0, 10, 15, 25]
    x = cut.values("x")
    first, second, third = x[:10], x[10:15], x[15:]
    assert (np.diff(first) > 0).all()
    assert first.max() < 40
    assert second.tolist() == [40, 41, 42, 43, 44]
    assert third.min() >= 45
    alone, _ = sampled_rows(rows.part(45, 100), np.array([0, 55]), 10, [3])
    assert alone.values("x").tolist() == third.tolist()
    other, _ = sampled_rows(rows.part(45, 100), np.array([0, 55]), 10, [4])
    assert other.values("x").tolist() != third.tolist()


def test_tabular_keys_without_a_time_are_sampled(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = pd.DataFrame({"well": np.repeat([1, 2], [500, 30]), "x": rng.normal(size=530)})
    rows["y"] = 2 * rows["x"] + rng.normal(0, 0.1, len(rows))
    fields: dict[str, Any] = {
        "name": "wells",
        "task": "regression",
        "data": {"partition_by": ["well"], "target": "y"},
        "models": ["sklearn.linear_model.Ridge"],
        "training": {"isolation": "none", "max_rows": 100},
        "fallback": [],
        "compute": {"target": "serial"},
        "store": str(tmp_path / "store"),
    }
    run = mm.train(mm.Job.from_dict(fields), data=rows, progress=False)
    found = run.outcomes().set_index("well")
    assert found["rows"].to_dict() == {1: 100, 2: 30}
    fields["store"] = str(tmp_path / "shuffled")
    again = mm.train(mm.Job.from_dict(fields), data=rows.sample(frac=1, random_state=0), progress=False)
    assert again.outcomes().set_index("well")["metric"].to_dict() == found["metric"].to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep": "sample"}, "would leave gaps in a series; use last"),
        ({"keep": "newest"}, "max_rows.keep"),
        ({"rows": 0}, "max_rows.rows"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(mm.exceptions.JobError, match=message):
        job(tmp_path, ["mean"], max_rows={"rows": 100, **fields})


def test_the_estimate_grows_with_rows_columns_and_family() -> None:
    rows = np.array([1_000_000])
    assert needed(rows, rows, 4, "ets") > needed(rows, rows, 4, "mean") > needed(rows, rows, 2, "mean") > BASE
    assert needed(rows, np.array([1_000]), 4, "ets") < needed(rows, rows, 4, "ets")
