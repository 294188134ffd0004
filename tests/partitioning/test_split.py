"""A dataset is split once per content: whatever the order of its rows, its files, or what it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError
from manymodels.partitioning.split import split
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage


def rows(keys: int = 20, each: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "store": np.repeat(np.arange(keys), each),
            "region": np.repeat(np.where(np.arange(keys) % 2, "N", "S"), each),
            "day": np.tile(pd.date_range("2026-01-01", periods=each), keys),
            "sales": rng.normal(100, 10, keys * each),
        }
    )


def done(store: Path, frame: Any = None, **data: Any) -> PartitionStore:
    spec = DataSpec(**{"partition_by": ["store"], "time": "day", "target": "sales", **data})
    source = open_source(spec, frame)
    roles = resolve_roles(source, spec, "forecast", levels=["region"])
    return split(source, spec, roles, Storage.at(store))


def test_rows_are_sorted_by_key_and_time_and_every_row_is_there(tmp_path: Path) -> None:
    frame = rows()
    store = done(tmp_path, frame.sample(frac=1, random_state=1))
    found, offsets = store.read(store.manifest)
    assert found["sales"].tolist() == frame["sales"].tolist()
    assert offsets.tolist() == list(range(0, 601, 30))
    assert store.details.keys == 20


def test_fingerprints_do_not_depend_on_row_order_files_or_format(tmp_path: Path) -> None:
    frame = rows()
    shuffled = frame.sample(frac=1, random_state=2)
    (tmp_path / "cut").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(shuffled)), 5)):
        shuffled.iloc[part].to_parquet(tmp_path / "cut" / f"{number}.parquet", index=False)
    whole = done(tmp_path / "a", frame)
    others = [
        done(tmp_path / "b", shuffled),
        done(tmp_path / "c", path=str(tmp_path / "cut")),
        done(tmp_path / "d", pa.Table.from_pandas(shuffled, preserve_index=False)),
    ]
    for other in others:
        assert other.fingerprint == whole.fingerprint
        assert other.manifest.select(["key_id", "content"]).equals(
            whole.manifest.select(["key_id", "content"])
        )


def test_a_dask_frame_gives_the_same_manifest_and_rows(tmp_path: Path) -> None:
    import dask
    import dask.dataframe as dd

    frame = rows()
    whole = done(tmp_path / "a", frame)
    with dask.config.set(scheduler="threads"):
        spread = done(tmp_path / "b", dd.from_pandas(frame.sample(frac=1, random_state=4), npartitions=4))
    assert spread.fingerprint == whole.fingerprint
    assert spread.read(spread.manifest)[0].equals(whole.read(whole.manifest)[0])


def test_only_the_changed_key_has_another_content(tmp_path: Path) -> None:
    frame = rows()
    before = done(tmp_path, frame)
    frame.loc[frame.index[frame["store"] == 7][3], "sales"] += 1
    after = done(tmp_path, frame)
    changed = [
        n
        for n, (a, b) in enumerate(
            zip(before.manifest.column("content"), after.manifest.column("content"), strict=True)
        )
        if a != b
    ]
    assert changed == [7]


def test_an_unchanged_dataset_is_not_split_again(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    first = done(tmp_path / "store", path=str(path))
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert done(tmp_path / "store", path=str(path)).fingerprint == first.fingerprint
    assert {
        file: file.stat().st_mtime_ns for file in (tmp_path / "store").rglob("*") if file.is_file()
    } == files


def test_data_larger_than_the_memory_limit_is_sorted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    count = 2_500_000
    frame = pd.DataFrame(
        {"store": rng.integers(0, 500, count), "x": rng.normal(size=count), "y": rng.normal(size=count)}
    )
    for name in "abcdefgh":
        frame[name] = rng.normal(size=count)
    assert frame.memory_usage(index=False).sum() > 200 * 2**20
    path = tmp_path / "big.parquet"
    frame.to_parquet(path, index=False)
    spec = DataSpec(path=str(path), partition_by=["store"], target="y")
    source = open_source(spec)
    store = split(
        source,
        spec,
        resolve_roles(source, spec, "regression"),
        Storage.at(tmp_path / "s"),
        memory=160 * 2**20,
    )
    assert store.details.rows == count
    assert store.manifest.column("rows").to_numpy().tolist() == frame.groupby("store").size().tolist()


def test_null_keys_are_an_error_with_the_count_or_as_the_job_says(tmp_path: Path) -> None:
    frame = rows().astype({"store": "Int64"})
    frame.loc[[3, 4], "store"] = pd.NA
    with pytest.raises(DataError, match="2 rows"):
        done(tmp_path / "a", frame)
    assert done(tmp_path / "b", frame, on_null_key="drop").details.rows == 598
    assert done(tmp_path / "c", frame.iloc[:5], on_null_key="group").details.keys == 2


def test_a_level_that_varies_within_a_key_is_refused(tmp_path: Path) -> None:
    frame = rows()
    frame.loc[0, "region"] = "X"
    with pytest.raises(DataError, match="region"):
        done(tmp_path, frame)


def test_an_unused_category_is_no_ghost_key(tmp_path: Path) -> None:
    frame = rows(3)
    frame["store"] = pd.Categorical(
        frame["store"].map({0: "a", 1: "b", 2: "c"}), categories=["a", "b", "c", "ghost"]
    )
    assert done(tmp_path, frame).details.keys == 3
