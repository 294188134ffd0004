"""Input that lies by key already is not sorted again, and what only looks so is sorted all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.partitioning import ordering, parts, presorted
from manymodels.partitioning.chunks import Layout
from manymodels.partitioning.split import split
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage


def frame(keys: int = 30, each: int = 40) -> pd.DataFrame:
    """Keys and times in order."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "store": np.repeat(np.arange(keys), each),
            "day": np.tile(pd.date_range("2026-01-01", periods=each).astype("datetime64[us]"), keys),
            "x": rng.normal(size=keys * each),
            "y": rng.normal(size=keys * each),
        }
    )


def split_path(folder: Path, path: Path | None = None, table: Any = None, **data: Any) -> PartitionStore:
    given = {"partition_by": ["store"], "time": "day", "target": "y", **data}
    spec = DataSpec(path=None if path is None else str(path), **given)
    source = open_source(spec, table)
    return split(source, spec, resolve_roles(source, spec, "regression"), Storage.at(folder))


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 200)
    monkeypatch.setattr(ordering, "ROW_GROUP_ROWS", 200)
    monkeypatch.setattr(ordering, "_BATCH_ROWS", 2048)


@pytest.fixture
def sorts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each reading of rows by DuckDB asked it to sort."""
    asked: list[bool] = []
    plain = ordering.stream

    def seen(source: Any, connection: Any, layout: Layout, *, sort: bool) -> Any:
        asked.append(sort)
        return plain(source, connection, layout, sort=sort)

    monkeypatch.setattr(ordering, "stream", seen)
    return asked


def write_groups(path: Path, rows: pd.DataFrame, size: int = 300) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=size)


def test_parquet_in_key_order_is_not_sorted(tmp_path: Path, sorts: list[bool]) -> None:
    rows = frame()
    half = len(rows) // 2
    write_groups(tmp_path / "in" / "1.parquet", rows.iloc[:half])
    write_groups(tmp_path / "in" / "2.parquet", rows.iloc[half:])
    store = split_path(tmp_path / "a", tmp_path / "in")
    assert store.details.sorted_by == "input order"
    assert sorts == [False]
    shuffled = split_path(tmp_path / "b", table=rows.sample(frac=1, random_state=0))
    assert shuffled.details.sorted_by == "numpy"
    assert store.fingerprint == shuffled.fingerprint
    assert store.read(store.manifest)[0].equals(shuffled.read(shuffled.manifest)[0])


def test_times_out_of_order_within_keys_in_order_need_no_sort_of_the_whole(
    tmp_path: Path, sorts: list[bool]
) -> None:
    rows = frame()
    mixed = rows.sample(frac=1, random_state=1).sort_values("store", kind="stable")
    write_groups(tmp_path / "in.parquet", mixed)
    store = split_path(tmp_path / "a", tmp_path / "in.parquet")
    assert sorts == [False]
    assert store.read(store.manifest)[0]["x"].tolist() == rows["x"].tolist()


def test_key_order_is_that_of_every_key_column(tmp_path: Path, sorts: list[bool]) -> None:
    rows = frame(keys=12).assign(region=lambda f: (f["store"] % 3).map({0: "a", 1: "b", 2: "c"}))
    ordered = rows.sort_values(["region", "store", "day"])
    write_groups(tmp_path / "in.parquet", ordered)
    both = split_path(tmp_path / "a", tmp_path / "in.parquet", partition_by=["region", "store"])
    assert both.details.sorted_by == "input order"
    write_groups(tmp_path / "by-region.parquet", ordered.sort_values(["region", "day"], kind="stable"))
    again = split_path(tmp_path / "b", tmp_path / "by-region.parquet", partition_by=["region", "store"])
    assert again.details.sorted_by == "numpy"
    assert sorts == [False, False]
    assert again.fingerprint == both.fingerprint


@pytest.mark.parametrize("where", ["start", "end"])
def test_rows_that_only_looked_sorted_are_sorted(tmp_path: Path, sorts: list[bool], where: str) -> None:
    rows = frame()
    place = slice(0, 300) if where == "start" else slice(-300, None)
    lying = rows.copy()
    lying.iloc[place] = lying.iloc[place].sample(frac=1, random_state=3).to_numpy()
    write_groups(tmp_path / "in.parquet", lying.astype(rows.dtypes))
    store = split_path(tmp_path / "a", tmp_path / "in.parquet")
    assert sorts == [False]
    assert store.details.sorted_by == "numpy"
    assert store.fingerprint == split_path(tmp_path / "b", table=rows).fingerprint
    named = set(store.manifest.column("file").to_pylist())
    assert {p.name for p in (tmp_path / "a" / "datasets" / store.fingerprint).glob("part*")} == named


def test_statistics_that_contradict_the_order_spare_the_attempt(tmp_path: Path, sorts: list[bool]) -> None:
    write_groups(tmp_path / "in.parquet", frame().sample(frac=1, random_state=2))
    assert split_path(tmp_path / "a", tmp_path / "in.parquet").details.sorted_by == "numpy"
    assert sorts == []


def write_hive(folder: Path, rows: pd.DataFrame, by: list[str], files: int = 1) -> None:
    for key, part in rows.groupby(by, dropna=False):
        names = [f"{name}={value}" for name, value in zip(by, key, strict=True)]
        for number in range(files):
            write_groups(
                folder.joinpath(*names, f"{number}.parquet"), part.drop(columns=by).iloc[number::files]
            )


@pytest.mark.parametrize("files", [1, 3])
def test_a_folder_per_key_is_not_sorted_over_the_whole(
    tmp_path: Path, sorts: list[bool], files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presorted, "_GROUP_BYTES", 20_000)
    rows = frame()
    write_hive(tmp_path / "in", rows, ["store"], files)
    store = split_path(tmp_path / "a", tmp_path / "in")
    assert store.details.sorted_by == "hive"
    assert len(sorts) > 3
    assert store.manifest.column("key:store").to_pylist() == list(range(30))
    whole = split_path(tmp_path / "b", table=rows)
    assert store.fingerprint == whole.fingerprint
    assert store.read(store.manifest)[0].equals(whole.read(whole.manifest)[0])


def test_folders_in_key_order_are_read_as_they_lie(tmp_path: Path, sorts: list[bool]) -> None:
    rows = frame().assign(store=lambda f: f["store"].map("s{:02d}".format))
    write_hive(tmp_path / "in", rows.sample(frac=1, random_state=0), ["store"])
    store = split_path(tmp_path / "a", tmp_path / "in")
    assert set(sorts) == {False}
    assert store.fingerprint == split_path(tmp_path / "b", table=rows).fingerprint


def test_folders_of_other_columns_around_the_keys(tmp_path: Path) -> None:
    rows = frame().assign(month=lambda f: f["day"].dt.month)
    write_hive(tmp_path / "in", rows, ["month", "store"])
    store = split_path(tmp_path / "a", tmp_path / "in")
    assert store.details.sorted_by == "hive"
    assert store.fingerprint == split_path(tmp_path / "b", table=rows).fingerprint


def test_folders_that_do_not_tell_the_whole_key_are_sorted(tmp_path: Path) -> None:
    rows = frame().assign(region=lambda f: f["store"] % 2)
    write_hive(tmp_path / "in", rows, ["region"])
    store = split_path(tmp_path / "a", tmp_path / "in", partition_by=["region", "store"])
    assert store.details.sorted_by == "numpy"
    assert store.details.keys == 30
