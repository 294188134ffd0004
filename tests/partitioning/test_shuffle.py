"""Dask's split makes the same manifest, rows and fingerprints as DuckDB's, for every kind of key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import ComputeError, DataError
from manymodels.partitioning import ordering, shuffle
from manymodels.partitioning.split import split
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage

ROWS = 2000
_rng = np.random.default_rng(0)


def cycle(values: list[Any], type_: pa.DataType | None = None) -> pa.Array:
    return pa.array([values[i] for i in _rng.integers(0, len(values), ROWS)], type_)


DAYS = [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2026, 1, 1)]
KEYS = {
    "int": cycle([None, 0, 5, -3, 2**62]),
    "uint": cycle([None, 0, 2**63, 2**64 - 1], pa.uint64()),
    "float": cycle([None, float("nan"), 0.0, -0.0, 1.5, float("-inf"), float("inf")]),
    "text": cycle([None, "", " ", "a", "A", "caf\u00e9", "cafe\u0301", "\U0001f600", "nul\0", "007"]),
    "bytes": cycle([None, b"", b"\xff\0", b"a"]),
    "bool": cycle([None, True, False]),
    "date": cycle([None, *DAYS]),
    "timestamp": cycle([None, -1, 0, 10**15], pa.timestamp("us")),
    "nanoseconds": cycle([None, -1, 0, 1], pa.timestamp("ns")),
    "decimal": cycle([None, Decimal("1.10"), Decimal("-2.00")], pa.decimal128(9, 2)),
    "category": cycle([None, "b", "a"]).dictionary_encode(),
}
REST = {
    "day": pa.array(np.arange(ROWS) // 9, pa.timestamp("us")),
    "y": pa.array(_rng.normal(size=ROWS), mask=_rng.random(ROWS) < 0.1),
    "x": pa.array(_rng.integers(0, 9, ROWS), mask=_rng.random(ROWS) < 0.1),
    "word": cycle(["a", "b", None]),
}
PLACES = ["file", "row_group", "row_offset"]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "ROW_GROUP_ROWS", 150)
    monkeypatch.setattr(shuffle, "_RANGE_BYTES", 1)


@pytest.fixture
def threads() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def split_table(folder: Path | str, table: Any, keys: list[str], **options: Any) -> PartitionStore:
    given = {"partition_by": keys, "time": "day", "target": "y", "on_null_key": "group"}
    spec = DataSpec(**{**given, **options.pop("data", {})})
    source = open_source(spec, table)
    roles = resolve_roles(source, spec, options.pop("task", "regression"))
    return split(source, spec, roles, Storage.at(folder), **options)


@contextmanager
def threads_of_this_process() -> Iterator[Callable[[Sequence[Any]], list[Any]]]:
    """A cluster, as far as the split can tell."""
    yield lambda collections: list(dask.compute(*collections))


def in_pieces(table: pa.Table, pieces: int = 5) -> Any:
    """A Dask frame of the rows, shuffled."""
    order = pa.array(np.random.default_rng(1).permutation(table.num_rows))
    frame = table.take(order).to_pandas(types_mapper=pd.ArrowDtype)
    return dd.from_pandas(frame, npartitions=pieces, sort=False)


def assert_same(one: PartitionStore, other: PartitionStore) -> None:
    assert one.fingerprint == other.fingerprint
    assert one.manifest.drop_columns(PLACES).equals(other.manifest.drop_columns(PLACES))
    pd.testing.assert_frame_equal(one.read(one.manifest)[0], other.read(other.manifest)[0])
    assert one.details.classes == other.details.classes
    assert one.details.with_nulls == other.details.with_nulls


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "keys", [*([name] for name in KEYS), ["text", "float"], ["int", "bool"]], ids="+".join
)
def test_every_kind_of_key(tmp_path: Path, keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({**{name: KEYS[name] for name in keys}, **REST})
    one = split_table(tmp_path / "a", table, keys)
    other = split_table(tmp_path / "b", in_pieces(table), keys)
    monkeypatch.setattr(ordering, "_MOST_IN_MEMORY", 0)
    third = split_table(tmp_path / "c", table, keys)
    assert [store.details.sorted_by for store in (one, other, third)] == ["numpy", "dask", "duckdb"]
    assert_same(one, third)
    assert other.manifest.column("file").unique().to_pylist() != [other.manifest.column("file")[0].as_py()]
    assert_same(one, other)


@pytest.mark.usefixtures("threads")
def test_without_a_time_column_rows_are_in_the_order_of_their_content(tmp_path: Path) -> None:
    table = pa.table({"text": KEYS["text"], **REST})
    data = {"time": None}
    one = split_table(tmp_path / "a", table, ["text"], data=data)
    assert_same(one, split_table(tmp_path / "b", in_pieces(table), ["text"], data=data))
    turned = pa.concat_tables([table.slice(1000), table.slice(0, 1000)])
    assert_same(one, split_table(tmp_path / "c", turned, ["text"], data=data))


@pytest.mark.usefixtures("threads")
def test_few_rows_are_one_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "ROW_GROUP_ROWS", 10**6)
    table = pa.table({"int": KEYS["int"], **REST})
    other = split_table(tmp_path / "b", in_pieces(table), ["int"])
    assert len(other.manifest.column("file").unique()) == 1
    assert_same(split_table(tmp_path / "a", table, ["int"]), other)


@pytest.mark.usefixtures("threads")
def test_files_can_be_split_by_dask_with_their_filter(tmp_path: Path) -> None:
    table = pa.table({"int": KEYS["int"], **REST})
    for number in range(4):
        pa.csv.write_csv(table.slice(number * 500, 500), tmp_path / f"{number}.csv")
    data = {"path": str(tmp_path / "*.csv"), "where": "x > 3", "types": {"int": "int64"}}
    one = split_table(tmp_path / "a", None, ["int"], data=data)
    other = split_table(tmp_path / "b", None, ["int"], data=data, cluster=threads_of_this_process)
    assert 0 < one.details.rows < ROWS
    assert other.details.sorted_by == "dask"
    assert_same(one, other)


@pytest.mark.usefixtures("threads")
def test_a_key_with_most_of_the_rows_is_a_range_of_its_own(tmp_path: Path) -> None:
    keys = np.where(np.arange(ROWS) % 10 == 0, np.arange(ROWS) % 50, 1000)
    table = pa.table({"int": keys, **REST})
    other = split_table(tmp_path, in_pieces(table), ["int"])
    files = dict(
        zip(
            other.manifest.column("key:int").to_pylist(),
            other.manifest.column("file").to_pylist(),
            strict=True,
        )
    )
    assert [key for key, file in files.items() if file == files[1000]] == [1000]


@pytest.mark.usefixtures("threads")
def test_null_keys_are_counted_over_all_workers(tmp_path: Path) -> None:
    table = pa.table({"text": KEYS["text"], **REST})
    nulls = KEYS["text"].null_count
    with pytest.raises(DataError, match=f"{nulls:,} rows"):
        split_table(tmp_path / "a", in_pieces(table), ["text"], data={"on_null_key": "error"})
    store = split_table(tmp_path / "b", in_pieces(table), ["text"], data={"on_null_key": "drop"})
    assert store.details.dropped_null_keys == nulls
    assert store.details.rows == ROWS - nulls


@pytest.mark.usefixtures("threads")
def test_no_rows_are_refused(tmp_path: Path) -> None:
    table = pa.table({"int": KEYS["int"], **REST})
    with pytest.raises(DataError, match="expected rows"):
        split_table(tmp_path, in_pieces(table), ["int"], data={"where": "x > 100"})


@pytest.mark.usefixtures("threads")
def test_what_fails_in_the_users_graph_is_one_clear_error(tmp_path: Path) -> None:
    frame = in_pieces(pa.table({"int": KEYS["int"], **REST}))

    def broken(part: pd.DataFrame) -> pd.DataFrame:
        raise ZeroDivisionError("by the user")

    with pytest.raises(ComputeError, match="ZeroDivisionError: by the user"):
        split_table(tmp_path, frame.map_partitions(broken, meta=frame._meta), ["int"])
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.usefixtures("threads")
def test_a_store_at_a_url_gets_its_parts_from_the_workers(tmp_path: Path) -> None:
    table = pa.table({"int": KEYS["int"], **REST})
    one = split_table(tmp_path, table, ["int"])
    for name, cluster in (("dask", threads_of_this_process), ("numpy", None)):
        other = split_table(f"memory://{tmp_path.name}-{name}", table, ["int"], cluster=cluster)
        assert other.details.sorted_by == name
        assert_same(one, other)
        listed = other.storage.listing("")
        named = set(other.manifest.column("file").to_pylist()) | {"manifest.parquet", "details.json", "used"}
        assert {path.rpartition("/")[2] for path in listed if "/sources/" not in path} == named
        assert not [path for path in listed if path.startswith("tmp")]
