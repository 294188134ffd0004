from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError
from manymodels.partitioning.split import split
from manymodels.storage import Storage

DAYS = pd.date_range("2024-01-01", periods=60)


def rows() -> pd.DataFrame:
    """Key 2 ended long before key 1."""
    first = pd.DataFrame({"key": 1, "day": DAYS, "y": np.arange(60.0)})
    second = pd.DataFrame({"key": 2, "day": DAYS[:20], "y": np.arange(20.0)})
    return pd.concat([second, first.iloc[::-1]], ignore_index=True)


def store_of(folder: Any, frame: Any, **data: Any) -> Any:
    spec = DataSpec(partition_by=["key"], time="day", target="y", **data)
    source = open_source(spec, frame)
    return split(source, spec, resolve_roles(source, spec, "forecast"), Storage.at(str(folder)))


def kept(store: Any) -> dict[int, list[float]]:
    frame, offsets = store.read(store.manifest, ["y"])
    values = np.split(frame["y"].to_numpy(), offsets[1:-1])
    return {
        key: part.tolist() for key, part in zip(store.manifest["key:key"].to_pylist(), values, strict=True)
    }


@pytest.mark.parametrize("window", ["10d", 10])
def test_each_key_keeps_its_own_newest_rows(tmp_path: Any, window: Any) -> None:
    store = store_of(tmp_path, rows(), window=window)
    assert kept(store) == {1: list(range(50, 60)), 2: list(range(10, 20))}
    assert store.manifest["rows"].to_pylist() == [10, 10]
    assert store.details.rows == 20
    first = pd.Timestamp(store.manifest["first_time"][0].as_py(), unit="us")
    assert first == DAYS[50]


def test_a_number_counts_the_times_of_the_key_not_its_rows(tmp_path: Any) -> None:
    frame = pd.DataFrame({"key": 1, "day": DAYS[[0, 7, 9, 9, 30]], "y": [0.0, 7, 9, 9.5, 30]})
    store = store_of(tmp_path, frame, window=2)
    assert sorted(kept(store)[1]) == [9, 9.5, 30]


def test_the_fingerprint_of_a_key_is_that_of_the_rows_in_its_window(tmp_path: Any) -> None:
    before = store_of(tmp_path, rows(), window="10d").manifest["content"].to_pylist()
    older = rows()
    older.loc[older["day"] == DAYS[3], "y"] = -1.0
    assert store_of(tmp_path, older, window="10d").manifest["content"].to_pylist() == before
    newer = rows()
    newer.loc[(newer["key"] == 1) & (newer["day"] == DAYS[55]), "y"] = -1.0
    changed = store_of(tmp_path, newer, window="10d").manifest["content"].to_pylist()
    assert (changed[0] != before[0], changed[1] == before[1]) == (True, True)


def test_another_window_is_another_split_of_the_same_files(tmp_path: Any) -> None:
    rows().to_parquet(tmp_path / "rows.parquet")
    stores = [store_of(tmp_path / "store", None, path=str(tmp_path / "rows.parquet"), **data)
              for data in ({}, {"window": 5}, {"as_of": "2024-01-10"}, {"as_of": "2024-01-10", "window": 5}, {})]  # fmt: skip
    assert [store.details.rows for store in stores] == [80, 10, 20, 10, 80]
    assert kept(stores[3])[1] == [5, 6, 7, 8, 9]
    assert stores[0].fingerprint == stores[4].fingerprint


def test_dask_keeps_the_same_rows(tmp_path: Any) -> None:
    import dask
    import dask.dataframe as dd

    frame = dd.from_pandas(rows(), npartitions=3)
    data = {"as_of": "2024-01-30", "window": "1w", "where": "y <> 28"}
    with dask.config.set(scheduler="synchronous"):
        by_dask = store_of(tmp_path, frame, **data)
    by_duckdb = store_of(tmp_path, rows(), **data)
    assert kept(by_dask)[1] == [23, 24, 25, 26, 27, 29]
    assert by_dask.fingerprint == by_duckdb.fingerprint


def test_positions_have_no_length_of_time(tmp_path: Any) -> None:
    frame = rows().assign(day=1)
    with pytest.raises(DataError, match=r"`data\.window` is 2y.*positions"):
        store_of(tmp_path, frame, window="2y")


@pytest.mark.parametrize(
    ("times", "as_of", "seen"),
    [
        (pd.date_range("2024-01-01", periods=5, freq="12h"), "2024-01-02", 4),
        (pd.date_range("2024-01-01", periods=5, freq="12h"), "2024-01-02T00:00:00", 3),
        (pd.date_range("2024-01-01", periods=5, freq="12h"), "2024-01-02T01:00:00+01:00", 3),
        (pd.date_range("2024-01-01", periods=5, freq="12h").date, "2024-01-02", 4),
        (np.arange(5), 2, 3),
    ],
)
def test_as_of_a_day_is_to_its_end_and_as_of_a_moment_to_that_moment(
    tmp_path: Any, times: Any, as_of: Any, seen: int
) -> None:
    frame = pd.DataFrame({"key": 1, "day": times, "y": np.arange(5.0)})
    assert store_of(tmp_path, frame, as_of=as_of).details.rows == seen


@pytest.mark.parametrize(
    ("times", "as_of", "said"),
    [
        (DAYS, "yesterday", "write a date like"),
        (DAYS, 20240101, "write a date like"),
        (DAYS.date, "2024-01-01T06:00:00", "without a time of day"),
        (np.arange(60), "2024-01-01", "give a whole number"),
    ],
)
def test_what_is_no_moment_of_the_time_column_is_refused(
    tmp_path: Any, times: Any, as_of: Any, said: str
) -> None:
    frame = pd.DataFrame({"key": 1, "day": times, "y": 1.0})
    with pytest.raises(DataError, match=f"`data.as_of`.*{said}"):
        store_of(tmp_path, frame, as_of=as_of)


def test_rows_without_a_time_are_complained_about_as_ever(tmp_path: Any) -> None:
    frame = rows()
    frame.loc[0, "day"] = pd.NaT
    with pytest.raises(DataError, match="1 rows with a null in 'day'"):
        store_of(tmp_path, frame, as_of="2024-01-10")


def test_before_the_first_row_there_is_nothing(tmp_path: Any) -> None:
    with pytest.raises(DataError, match="found none in the table as of 2023-12-31"):
        store_of(tmp_path, rows(), as_of="2023-12-31")
