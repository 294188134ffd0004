"""The first job that is proposed for data that nobody has described."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from manymodels.dataset.inspect import Proposal, propose, render_job
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError
from manymodels.job.job import Job
from manymodels.job.loading import load_job


def proposed(frame: pd.DataFrame) -> Proposal:
    return propose(open_source(DataSpec.model_construct(), frame))


def loaded(proposal: Proposal, folder: Path, path: str = "data/my sales.parquet") -> Job:
    file = folder / "job.yaml"
    file.write_text(render_job(proposal, path), encoding="utf-8")
    return load_job(file, environ={})


def panel(stores: int = 8, freq: str = "D", periods: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        pd.DataFrame(
            {
                "store": store,
                "region": "NS"[store % 2],
                "date": pd.date_range("2024-01-01", periods=periods, freq=freq),
                "sales": rng.poisson(20, periods).astype(float),
                "promo": rng.integers(0, 2, periods),
                "price": rng.normal(9, 1, periods).round(2),
            }
        )
        for store in range(stores)
    ]
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize(
    ("freq", "horizon"), [("D", 14), ("h", 24), ("W-SUN", 8), ("MS", 12), ("QS", 4), ("B", 14)]
)
def test_a_regular_panel_is_a_forecast_with_a_horizon_by_its_frequency(
    tmp_path: Path, freq: str, horizon: int
) -> None:
    proposal = proposed(panel(freq=freq))
    assert (proposal.task, proposal.partition_by, proposal.time, proposal.target) == (
        "forecast",
        ("store",),
        "date",
        "sales",
    )
    assert proposal.level == "region"
    assert proposal.planned == ("promo",)
    job = loaded(proposal, tmp_path)
    assert job.forecast.horizon == horizon
    assert job.data.path == "data/my sales.parquet"
    assert job.name == "my-sales"


def test_a_key_of_two_columns_is_found(tmp_path: Path) -> None:
    frame = panel(stores=4)
    both = pd.concat([frame.assign(item=item) for item in ("tea", "milk", "salt")], ignore_index=True)
    proposal = proposed(both.drop(columns="region"))
    assert set(proposal.partition_by) == {"store", "item"}
    assert proposal.task == "forecast"
    assert loaded(proposal, tmp_path).data.partition_by == list(proposal.partition_by)


def test_times_written_as_text_are_found(tmp_path: Path) -> None:
    frame = panel()
    frame["date"] = frame["date"].dt.strftime("%Y-%m-%d")
    proposal = proposed(frame)
    assert (proposal.time, proposal.task) == ("date", "forecast")


def test_irregular_events_are_no_forecast(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = 2000
    frame = pd.DataFrame(
        {
            "user": rng.integers(1, 30, rows),
            "item": rng.integers(1, 400, rows),
            "timestamp": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s"),
            "rating": rng.integers(1, 11, rows) / 2,
        }
    )
    proposal = proposed(frame)
    assert (proposal.task, proposal.partition_by, proposal.target) == ("ranking", ("user",), "rating")
    proposal = proposed(frame.rename(columns={"rating": "amount"}))
    assert proposal.task == "regression"
    assert "does not step regularly" in "\n".join(proposal.reasons)
    loaded(proposal, tmp_path)


def machines(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "machine": [f"M{i % 6}" for i in range(rows)],
            "temperature": rng.normal(size=rows),
            "unit_of_measure": "°C",
            "note": [f"note {i}" for i in range(rows)],
            "failure": rng.integers(0, 2, rows),
        }
    )


def test_few_values_are_classes_and_useless_columns_are_ignored(tmp_path: Path) -> None:
    proposal = proposed(machines())
    assert (proposal.task, proposal.target, proposal.partition_by) == (
        "classification",
        "failure",
        ("machine",),
    )
    assert proposal.ignore == ("unit_of_measure", "note")
    assert loaded(proposal, tmp_path).data.ignore == ["unit_of_measure", "note"]


def test_a_feature_that_gives_the_target_away_is_ignored() -> None:
    frame = machines()
    proposal = proposed(frame.assign(copy=frame["failure"]))
    assert "copy" in proposal.ignore
    assert "ignored: copy, which gives failure away" in proposal.reasons


def test_without_a_target_anomalies_are_looked_for(tmp_path: Path) -> None:
    frame = machines().drop(columns=["failure", "note"])
    frame["pressure"] = frame["temperature"] ** 2
    proposal = proposed(frame)
    assert (proposal.task, proposal.target) == ("anomaly", None)
    assert loaded(proposal, tmp_path).task == "anomaly"


def test_data_without_anything_that_repeats_is_explained() -> None:
    with pytest.raises(DataError, match="no column that could be a key"):
        proposed(pd.DataFrame({"x": np.arange(10) / 3, "y": np.arange(10) / 7}))


def test_hostile_names_stay_one_line_and_load(tmp_path: Path) -> None:
    frame = panel().rename(
        columns={"store": "no", "price": 'a: "b"\n- #\\c', "promo": "🦆\u2028,]", "region": "true"}
    )
    proposal = proposed(frame)
    job = loaded(proposal, tmp_path, path="weird: #[path]/*.parquet")
    assert job.data.path == "weird: #[path]/*.parquet"
    assert job.data.partition_by == list(proposal.partition_by)
    text = render_job(proposal, "x.csv")
    assert all(line.isprintable() for line in text.splitlines())


def test_nested_columns_are_ignored() -> None:
    table = pa.Table.from_pandas(machines(), preserve_index=False).append_column(
        "tags", pa.array([["a"]] * 600)
    )
    assert "tags" in propose(open_source(DataSpec.model_construct(), table)).ignore
