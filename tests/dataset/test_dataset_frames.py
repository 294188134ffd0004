"""Rows in memory: pandas, Arrow and Dask in place of files."""

from __future__ import annotations

import datetime as dt
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dask.dataframe as dd
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manymodels.dataset.pieces import pieces, to_dask
from manymodels.dataset.sources import Source, open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError


def opened(frame: object, key: str = "k", **fields: Any) -> Source:
    return open_source(DataSpec(partition_by=[key], **fields), frame)


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "k": pd.Categorical(["a", "b", "a"], categories=["a", "b", "ghost"]),
            "n": [1, 2, 3],
            "x": [1.5, None, 2.5],
            "when": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
            "flag": [True, False, True],
            "word": ["p", None, "r"],
        }
    )


def test_a_pandas_frame_leaves_in_canonical_types() -> None:
    source = opened(frame())
    assert source.kind == "table"
    assert source.columns == {
        "k": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "when": pa.timestamp("us"),
        "flag": pa.bool_(),
        "word": pa.string(),
    }
    assert source.categories == {"k"}
    table = source.read()
    assert table.schema == source.schema
    assert table.column("k").to_pylist() == ["a", "b", "a"]
    assert table.column("x").to_pylist() == [1.5, None, 2.5]


def test_the_identity_of_a_frame_is_its_content() -> None:
    assert opened(frame()).identity == opened(frame()).identity
    assert opened(frame()).identity != opened(frame().assign(n=[1, 2, 4])).identity
    assert opened(frame()).identity != opened(frame(), where="n > 1").identity
    table = pa.table({"k": ["a", "b", "c"]})
    assert opened(table.slice(0, 2)).identity != opened(table.slice(1, 2)).identity


def test_a_named_index_becomes_a_column_but_no_default_feature() -> None:
    indexed = frame().set_index(["when", "k"])
    source = opened(indexed, time="when")
    assert source.index == {"when", "k"}
    assert source.columns["when"] == pa.timestamp("us")
    assert source.read().num_rows == 3
    assert list(opened(frame()).columns) == list(frame().columns)


def test_index_columns_that_pandas_wrote_to_parquet_are_known(tmp_path: Path) -> None:
    shifted = frame()
    shifted.index = pd.Index([5, 6, 9])
    shifted.to_parquet(tmp_path / "a.parquet")
    source = open_source(DataSpec(path=str(tmp_path / "a.parquet"), partition_by=["k"]))
    assert source.index == {"__index_level_0__"}
    pq.write_table(pa.Table.from_pandas(frame().set_index("when")), tmp_path / "b.parquet")
    source = open_source(DataSpec(path=str(tmp_path / "b.parquet"), partition_by=["k"]))
    assert source.index == {"when"}


def test_datetimes_of_several_zones_become_utc() -> None:
    noon = dt.datetime(2024, 7, 1, 12)
    times = [
        noon.replace(tzinfo=ZoneInfo("Europe/Berlin")),
        noon.replace(tzinfo=ZoneInfo("America/New_York")),
    ]
    source = opened(pd.DataFrame({"k": [1, 2], "when": pd.Series(times, dtype=object)}), time="when")
    assert source.read(["when"]).column("when").to_pylist() == [
        dt.datetime(2024, 7, 1, 10),
        dt.datetime(2024, 7, 1, 16),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["ok", "\ud800"], r"column 'x' has text with a lone surrogate"),
        ([1, "a"], r"column 'x' has values of several types"),
        ([object(), object()], r"column 'x' has values of several types"),
    ],
)
def test_values_that_arrow_cannot_hold_name_the_column(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(pd.DataFrame({"k": [1, 2], "x": pd.Series(values, dtype=object)}))


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(DataError, match=r"pandas or Dask DataFrame, an Arrow table.*found dict"):
        opened({"k": [1]})
    with pytest.raises(DataError, match="the data has no rows"):
        opened(frame().iloc[:0])
    with pytest.raises(DataError, match="several levels of column names"):
        opened(pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])))
    with pytest.raises(DataError, match="column 'k' occurs 2 times in the data"):
        opened(pd.DataFrame([[1, 2]], columns=["k", "k"]))


def test_a_table_is_cut_into_pieces_by_rows() -> None:
    table = pa.table({"k": list(range(1000)), "x": [float(i) for i in range(1000)]})
    cut = pieces(opened(table, where="x < 500"), size=4000)
    assert len(cut) > 3
    assert sorted(v for piece in cut for v in piece.read(["k"]).column("k").to_pylist()) == list(range(500))


def test_a_relation_lives_on_the_connection_that_asked_for_it() -> None:
    source = opened(frame())
    with duckdb.connect() as connection:
        first, second = source.relation(connection), source.relation(connection, ["n"])
        assert first != second
        assert connection.execute(f"SELECT sum(n) FROM {second}").fetchall() == [(6,)]
        assert connection.execute(f"SELECT count(*) FROM {first}").fetchall() == [(3,)]


def test_a_source_of_files_pickles_small_and_reads_elsewhere(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "a.parquet")
    source = open_source(DataSpec(path=str(tmp_path / "a.parquet"), partition_by=["k"]))
    pickled = pickle.dumps(source)
    assert len(pickled) < 3000
    assert pickle.loads(pickled).read() == source.read()


def test_a_dask_frame_gives_what_the_same_pandas_frame_gives() -> None:
    whole = frame()
    lazy = dd.from_pandas(whole, npartitions=2)
    source = opened(lazy, where="n <> 2")
    assert source.kind == "dask"
    assert source.identity is None
    assert source.columns == opened(whole).columns
    got = pa.Table.from_pandas(
        to_dask(source).compute(scheduler="synchronous"), schema=source.schema, preserve_index=False
    )
    assert got.sort_by("n") == opened(whole, where="n <> 2").read().sort_by("n")
    assert list(to_dask(source, ["x", "k"]).columns) == ["x", "k"]


def test_a_dask_frame_cannot_be_read_by_duckdb() -> None:
    with pytest.raises(DataError, match="a Dask DataFrame is split by Dask"):
        opened(dd.from_pandas(frame(), npartitions=1)).read()


def test_a_dask_partition_that_is_not_what_was_promised_is_an_error() -> None:
    def broken(part: pd.DataFrame) -> pd.DataFrame:
        return part.assign(n=["a"] * len(part))

    lazy = dd.from_pandas(frame(), npartitions=1)
    lazy = lazy.map_partitions(broken, meta=lazy._meta)
    with pytest.raises(DataError, match="column 'n' should be int64, found 'a'"):
        to_dask(opened(lazy)).compute(scheduler="synchronous")


def test_decimals_of_256_bits_are_read() -> None:
    table = pa.table({"k": pa.array([Decimal("1.50")], pa.decimal256(50, 2)), "x": [1]})
    assert opened(table).read().to_pylist() == [{"k": Decimal("1.50"), "x": 1}]
