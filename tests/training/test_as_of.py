"""`data.as_of` and `data.window`: a run as if it were then, and one that sees the newest rows only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.exceptions import JobError
from manymodels.progress import NoProgress
from manymodels.training.engine import resume
from manymodels.training.layout import lay_out
from manymodels.training.prepare import prepare
from manymodels.training.replay import replay_key
from manymodels.training.script import write_script

DAYS = pd.date_range("2024-01-01", periods=60)


def sales() -> pd.DataFrame:
    """Store 3 ended in January."""
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"store": store, "day": DAYS, "sales": rng.normal(10, 1, 60)}) for store in (1, 2)]
    frames.append(pd.DataFrame({"store": 3, "day": DAYS[:25], "sales": rng.normal(10, 1, 25)}))
    return pd.concat(frames)


def job(folder: Path, **sections: Any) -> mm.Job:
    fields = {
        "name": "sales",
        "task": "forecast",
        "models": ["naive", "mean"],
        "forecast": {"horizon": 5},
        "compute": "serial",
        "store": str(folder / "store"),
        **sections,
    }
    data = {"partition_by": ["store"], "time": "day", "target": "sales"}
    return mm.Job.from_dict({**fields, "data": {**data, **sections.get("data", {})}})


def champions(folder: Path) -> dict[str, int]:
    table = mm.Registry(folder / "store").models("sales", level=None).to_pylist()
    return {line["key"]: line["version"] for line in table}


def cutoffs(run: mm.Run) -> dict[int, Any]:
    found = run.outcomes()
    return dict(zip(found["store"], pd.to_datetime(found["cutoff"], unit="us"), strict=True))


def test_nothing_of_what_came_later_is_seen(tmp_path: Path) -> None:
    then = mm.train(job(tmp_path / "a"), sales(), as_of="2024-02-10", progress=False)
    later = sales()
    later = later[later["day"] <= "2024-02-10"]
    now = mm.train(job(tmp_path / "b"), later, progress=False)
    assert then.summary["dataset"] == now.summary["dataset"]
    assert cutoffs(then) == {1: DAYS[40], 2: DAYS[40], 3: DAYS[24]}
    columns = ["store", "candidate", "metric", "baseline", "rows", "cutoff"]
    pd.testing.assert_frame_equal(then.outcomes()[columns], now.outcomes()[columns])
    pd.testing.assert_frame_equal(then.backtests(), now.backtests())


def test_a_run_as_of_a_date_replaces_nothing_that_saw_more(tmp_path: Path) -> None:
    mm.train(job(tmp_path), sales(), progress=False)
    before = champions(tmp_path)
    then = mm.train(job(tmp_path), sales(), as_of="2024-02-10", progress=False)
    # The rows of store 3 are the same: its model is reused.
    assert (then.summary["trained"], then.summary["reused"], then.summary["promoted"]) == (2, 1, 0)
    assert champions(tmp_path) == before
    registry = mm.Registry(tmp_path / "store")
    (key_id,) = {line["key_id"] for line in registry.models("sales").to_pylist() if line["key"] == "store=1"}
    history = registry.model_history("sales", key_id)
    assert [(line.challenger, line.promoted, line.as_of) for line in history.decisions] == [
        (2, False, "2024-02-10"),
        (1, True, None),
    ]
    # Trained again, on the rows of the champions: renewed.
    again = mm.train(job(tmp_path), sales(), progress=False).summary
    assert (again["trained"], again["promoted"]) == (2, 2)


def test_days_that_follow_each_other_promote_as_they_did_then(tmp_path: Path) -> None:
    promoted = []
    for day in ("2024-02-10", "2024-02-20", "2024-02-20", "2024-02-15"):
        promoted.append(mm.train(job(tmp_path), sales(), as_of=day, progress=False).summary["promoted"])
    assert promoted == [3, 2, 0, 0]
    assert set(champions(tmp_path).values()) == {1, 2}
    scores = mm.score(job(tmp_path), run="sales-000001", progress=False)
    assert scores.groupby("store")["day"].min().to_dict() == {1: DAYS[41], 2: DAYS[41], 3: DAYS[25]}


def test_newer_rows_are_scored_whatever_the_job_is_as_of(tmp_path: Path) -> None:
    dated = job(tmp_path, data={"as_of": "2024-02-10", "window": "20d"})
    mm.train(dated, sales(), progress=False)
    scores = mm.score(dated, data=sales(), progress=False)
    assert scores.groupby("store")["day"].min().to_dict() == {
        1: DAYS[59] + DAYS.freq,
        2: DAYS[59] + DAYS.freq,
        3: DAYS[25],
    }


def test_a_resumed_run_sees_the_rows_that_it_was_started_with(tmp_path: Path) -> None:
    dated = job(tmp_path, data={"as_of": "2024-02-10", "window": "10d"})
    prepared = prepare(dated, sales())
    script = write_script(prepared, lay_out(prepared))
    prepared.registry.end_run(script.run_id, "interrupted", "the test stopped it")
    resume(script.run_id, mm.Registry(tmp_path / "store"), NoProgress())
    run = mm.train(dated, sales(), progress=False)
    assert run.summary["reused"] == 3
    again = mm.train(dated, sales(), only="all", progress=False).outcomes()
    assert again["rows"].tolist() == [10, 10, 10]


def test_a_replay_sees_the_rows_of_the_run(tmp_path: Path) -> None:
    dated = job(tmp_path, data={"window": "10d"})
    run = mm.train(dated, sales(), as_of="2024-02-10", progress=False)
    registry = mm.Registry(tmp_path / "store")
    outcome = replay_key(registry, registry.run(run.id), key="store=1", key_id=None)
    assert outcome.rows == 10
    assert outcome.cutoff == DAYS[40].value // 1000
    seen = json.loads(registry.run(run.id).job)["data"]
    assert (seen["as_of"], seen["window"]) == ("2024-02-10", "10d")


def test_a_window_of_a_key_leaves_others_alone_and_older_rows_are_no_cause(tmp_path: Path) -> None:
    windowed = job(tmp_path, data={"window": 20})
    first = mm.train(windowed, sales(), progress=False)
    assert first.outcomes()["rows"].tolist() == [20, 20, 20]
    older = sales()
    older.loc[(older["store"] == 1) & (older["day"] == DAYS[5]), "sales"] = 99.0
    longer = pd.concat([older, pd.DataFrame({"store": 2, "day": [DAYS[59] + DAYS.freq], "sales": 10.0})])
    again = mm.train(windowed, longer, progress=False)
    assert (again.summary["trained"], again.summary["reused"]) == (1, 2)


@pytest.mark.parametrize("field", ["as_of", "window"])
def test_it_takes_a_time_column(field: str) -> None:
    with pytest.raises(JobError, match=f"`data.{field}` needs `data.time`"):
        mm.Job(
            name="sales",
            task="regression",
            data={"partition_by": ["store"], "target": "sales", field: 3},
            models=["sklearn.linear_model.Ridge"],
        )


def test_the_flag_and_the_environment_say_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from manymodels.cli.app import app

    sales().to_parquet(tmp_path / "sales.parquet")
    path = tmp_path / "job.yaml"
    path.write_text(
        f"""
name: sales
task: forecast
data: {{path: {tmp_path}/sales.parquet, partition_by: [store], time: day, target: sales}}
models: [naive]
forecast: {{horizon: 5}}
compute: serial
store: {tmp_path}/store
"""
    )
    flagged = CliRunner().invoke(app, ["train", str(path), "--as-of", "2024-02-10", "--json"])
    assert flagged.exit_code == 0, flagged.output
    run = json.loads(flagged.stdout.splitlines()[-1])
    monkeypatch.setenv("MANYMODELS_DATA__AS_OF", "2024-02-10")
    planned = CliRunner().invoke(app, ["plan", str(path), "--json"])
    assert json.loads(planned.stdout.splitlines()[-1])["dataset"] == run["dataset"]
    wrong = CliRunner().invoke(app, ["plan", str(path), "--as-of", "soon"])
    assert wrong.exit_code == 2
