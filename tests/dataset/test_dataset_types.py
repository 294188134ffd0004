"""What files of different types have in common, and in which types rows leave."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manymodels.dataset.pieces import pieces, to_dask
from manymodels.dataset.sources import Source, open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError

UTC = dt.UTC
NOON = dt.datetime(2024, 1, 1, 12)


def written(folder: Path, *columns: Any, key: str = "k", **fields: Any) -> Source:
    """A source over one file per array, each with a key column and the array as column ``x``."""
    folder.mkdir(exist_ok=True)
    for number, column in enumerate(columns):
        table = (
            pa.table({"x": column}) if key == "x" else pa.table({"k": [number] * len(column), "x": column})
        )
        pq.write_table(table, folder / f"{'abcdefgh'[number]}.parquet")
    return open_source(DataSpec(path=str(folder), partition_by=[key], **fields))


def values(source: Source) -> list[Any]:
    return sorted(source.read(["x"]).column("x").to_pylist(), key=repr)


@pytest.mark.parametrize(
    ("one", "other", "type", "found"),
    [
        (pa.array([1], pa.int32()), pa.array([2]), pa.int64(), [1, 2]),
        (pa.array([1], pa.uint8()), pa.array([2], pa.uint32()), pa.int64(), [1, 2]),
        (pa.array([0.5], pa.float32()), pa.array([2.5]), pa.float64(), [0.5, 2.5]),
        (pa.array([1]), pa.array([2.5]), pa.float64(), [1.0, 2.5]),
        (pa.nulls(1), pa.array(["a"]), pa.string(), ["a", None]),
        (pa.nulls(1), pa.nulls(1), pa.float64(), [None, None]),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string()), pa.string(), ["a", "b"]),
        (pa.array([Decimal("1.5")]), pa.array([2.5]), pa.float64(), [1.5, 2.5]),
        (
            pa.array([dt.date(2024, 1, 1)]),
            pa.array([NOON]),
            pa.timestamp("us"),
            [dt.datetime(2024, 1, 1), NOON],
        ),
        (
            pa.array([NOON], pa.timestamp("s")),
            pa.array([NOON], pa.timestamp("ns")),
            pa.timestamp("us"),
            [NOON, NOON],
        ),
        (
            pa.array([NOON.replace(tzinfo=UTC)], pa.timestamp("ms", "Europe/Berlin")),
            pa.array([NOON.replace(tzinfo=UTC)], pa.timestamp("us", "America/New_York")),
            pa.timestamp("us"),
            [NOON, NOON],
        ),
    ],
)
def test_types_that_hold_the_same_kind_of_values_meet(
    tmp_path: Path, one: Any, other: Any, type: pa.DataType, found: list[Any]
) -> None:
    source = written(tmp_path, one, other)
    assert source.columns["x"] == type
    assert source.schema == source.read().schema
    assert values(source) == sorted(found, key=repr)


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (pa.array([1]), pa.array(["a"]), ("int64", "string")),
        (pa.array([True]), pa.array([1.5]), ("bool", "float64")),
        (pa.array([NOON]), pa.array([NOON.replace(tzinfo=UTC)]), ("timestamp", "timestamp[us, tz=UTC]")),
        (pa.array([[1]]), pa.array([1]), ("list<", "int64")),
    ],
)
def test_types_that_have_drifted_apart_name_both_files_and_types(
    tmp_path: Path, one: Any, other: Any, names: tuple[str, str]
) -> None:
    with pytest.raises(DataError) as caught:
        written(tmp_path, one, one, other)
    message = str(caught.value)
    assert "column 'x' is " in message
    assert f"{names[0]}" in message
    assert f"{names[1]} in {tmp_path / 'c.parquet'}" in message
    assert f"in {tmp_path / 'a.parquet'} and" in message


def test_a_declared_type_settles_drift(tmp_path: Path) -> None:
    source = written(tmp_path, pa.array([7]), pa.array(["007"]), types={"x": "string"})
    assert values(source) == ["007", "7"]
    source = written(tmp_path, pa.array([7]), pa.array(["007"]), types={"x": "int64"})
    assert values(source) == [7, 7]


def test_an_ignored_column_may_drift_or_be_missing_from_some_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"k": [1], "x": [1], "only_here": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"k": [1], "x": ["a"]}), tmp_path / "b.parquet")
    source = open_source(DataSpec(path=str(tmp_path), partition_by=["k"], ignore=["x", "only_here"]))
    assert list(source.columns) == ["k"]
    assert source.left_out == ("only_here", "x")
    assert source.read().num_rows == 2


def test_a_column_missing_from_some_file_names_the_file_and_a_near_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"k": [1], "price": [1.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"k": [1], "prize": [1.0]}), tmp_path / "b.parquet")
    with pytest.raises(
        DataError, match=r"column 'price' is missing from .*b\.parquet, but .*a\.parquet has it.*'prize'"
    ):
        open_source(DataSpec(path=str(tmp_path), partition_by=["k"]))


def test_the_order_of_columns_may_differ_between_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"k": [1], "x": [10], "y": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": ["b"], "x": pa.array([20], pa.int16()), "k": [2]}), tmp_path / "b.parquet")
    source = open_source(DataSpec(path=str(tmp_path), partition_by=["k"]))
    found = sorted(tuple(row.values()) for row in source.read(["k", "x", "y"]).to_pylist())
    assert found == [(1, 10, "a"), (2, 20, "b")]


def test_duplicate_names_are_refused_with_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2], [3]], names=["k", "x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'x' occurs 2 times in .*a\.parquet"):
        open_source(DataSpec(path=str(tmp_path), partition_by=["k"]))
    pq.write_table(pa.table([[1], [2], [3]], names=["k", "X", "x"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"columns 'X' and 'x' in .*a\.parquet differ only in case"):
        open_source(DataSpec(path=str(tmp_path), partition_by=["k"]))


@pytest.mark.parametrize(
    ("array", "type"),
    [
        (pa.array([2**63 + 1], pa.uint64()), pa.uint64()),
        (pa.array([2**53 + 1, 2**53]), pa.int64()),
        (pa.array([Decimal("1.50"), Decimal("1.5")], pa.decimal128(9, 2)), pa.decimal128(9, 2)),
        (pa.array([1, 2], pa.timestamp("ns")), pa.timestamp("ns")),
        (pa.array([-1, 2], pa.timestamp("ns", "Asia/Tokyo")), pa.timestamp("ns")),
        (pa.array([b"\x00\xff", b"\x00"]), pa.binary()),
        (pa.array([0.1, -0.0]), pa.float64()),
        (pa.array(["", " ", "A", "a", "e\u0301", "\u00e9", "a\x00b"]), pa.string()),
    ],
)
def test_keys_are_never_changed(tmp_path: Path, array: pa.Array, type: pa.DataType) -> None:
    source = written(tmp_path, array, key="x")
    assert source.columns == {"x": type}
    assert source.read().column("x").combine_chunks().sort() == array.cast(type).sort()


def test_integer_keys_that_a_missing_value_made_floats_are_integers_again(tmp_path: Path) -> None:
    source = written(tmp_path, pa.array([1, 2]), pa.array([3.0, float("nan"), None]), key="x")
    assert values(source) == [1, 2, 3, None, None]
    broken = written(tmp_path, pa.array([1, 2]), pa.array([3.5]), key="x")
    with pytest.raises(DataError, match=r"column 'x' should be int64, found '3\.5' in .*b\.parquet"):
        broken.read()


def test_decimal_keys_of_different_scales_are_compared_by_value(tmp_path: Path) -> None:
    one, other = (
        pa.array([Decimal("1.5")], pa.decimal128(9, 1)),
        pa.array([Decimal("1.50")], pa.decimal128(9, 2)),
    )
    source = written(tmp_path, one, other, key="x")
    assert values(source) == [Decimal("1.50"), Decimal("1.50")]


def test_decimals_halves_and_times_are_what_models_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "k": [1],
            "decimal": pa.array([Decimal("2.5")]),
            "half": pa.array(np.array([1.5], np.float16)),
            "date": pa.array([dt.date(2024, 1, 1)], pa.date64()),
            "ns": pa.array([1_999], pa.timestamp("ns")),
            "zoned": pa.array([-1], pa.timestamp("ns", "Asia/Tokyo")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    for source in (
        open_source(DataSpec(path=str(tmp_path), partition_by=["k"])),
        open_source(DataSpec(partition_by=["k"]), table),
    ):
        assert source.read().to_pylist() == [
            {
                "k": 1,
                "decimal": 2.5,
                "half": 1.5,
                "date": dt.date(2024, 1, 1),
                "ns": dt.datetime(1970, 1, 1, 0, 0, 0, 1),
                "zoned": dt.datetime(1969, 12, 31, 23, 59, 59, 999_999),
            }
        ]


@pytest.mark.parametrize(
    ("array", "declared", "found"),
    [
        (["007", "+8", "9.0", None], "int64", [7, 8, 9, None]),
        ([1.0, 2.0], "int64", [1, 2]),
        ([7, 8], "string", ["7", "8"]),
        ([0, 1, None], "bool", [False, True, None]),
        (["20240131", "2024-02-01"], "date", [dt.date(2024, 1, 31), dt.date(2024, 2, 1)]),
        (
            ["2024-01", "2024-02-01T10:30Z"],
            "timestamp",
            [dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1, 10, 30)],
        ),
        ([dt.datetime(2024, 1, 1)], "date", [dt.date(2024, 1, 1)]),
        (["1.5", " 2 "], "float64", [1.5, 2.0]),
    ],
)
def test_declared_types_are_cast_without_loss(
    tmp_path: Path, array: Any, declared: str, found: list[Any]
) -> None:
    assert (
        written(tmp_path, pa.array(array), types={"x": declared}).read(["x"]).column("x").to_pylist() == found
    )


@pytest.mark.parametrize(
    ("array", "declared", "value"),
    [
        (["7", "7.5"], "int64", "7.5"),
        ([1.5], "int64", "1.5"),
        ([2], "bool", "2"),
        ([20241301], "date", "20241301"),
        (["2024-01-01 10:00"], "date", "2024-01-01 10:00"),
        ([NOON], "date", "2024-01-01 12:00:00"),
        (pa.array([86_400 * 10**9 - 1], pa.timestamp("ns")), "date", "1970-01-01 23:59:59.999999999"),
        (["12_3"], "float64", "12_3"),
        (["12-11-10"], "timestamp", "12-11-10"),
    ],
)
def test_a_declared_type_that_would_lose_something_names_the_value(
    tmp_path: Path, array: Any, declared: str, value: str
) -> None:
    source = written(tmp_path, pa.array(array), types={"x": declared})
    with pytest.raises(DataError, match=rf"column 'x' should be {declared}, found '{value}' in .*a\.parquet"):
        source.read()


def test_impossible_and_unknown_types_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"column 'x' is int64 in .*a\.parquet and cannot be read as timestamp"
    ):
        written(tmp_path, pa.array([1]), types={"x": "timestamp"})
    with pytest.raises(DataError, match=r"`data\.types\.x` is 'strng'; .*did you mean 'string'"):
        written(tmp_path, pa.array([1]), types={"x": "strng"})


def test_mixed_time_zones_become_utc(tmp_path: Path) -> None:
    texts = [
        "2024-07-01T12:00:00+02:00",
        "2024-07-01T06:00:00-0400",
        "2024-07-01 10:00:00Z",
        "2024-07-01T10:00",
    ]
    source = written(tmp_path, pa.array(texts), time="x")
    assert source.columns["x"] == pa.timestamp("us")
    assert set(values(source)) == {dt.datetime(2024, 7, 1, 10)}


def test_a_local_time_zone_of_the_process_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    source = written(tmp_path, pa.array(["2024-07-01T10:00", "2024-07-01T12:00+02:00"]), time="x")
    assert set(values(source)) == {dt.datetime(2024, 7, 1, 10)}


@pytest.mark.parametrize("text", ["01/02/2024", "yesterday", "2024-13-01", "infinity"])
def test_a_time_column_of_other_strings_names_one_of_them(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        DataError, match=rf"column 'x' should be timestamp, found '{text}' in .*; write it as ISO 8601"
    ):
        written(tmp_path, pa.array(["2024-01-01", text]), time="x")


def test_pieces_and_dask_give_what_the_whole_gives(tmp_path: Path) -> None:
    for number in range(2):
        rows = range(number * 5000, (number + 1) * 5000)
        table = pa.table(
            {
                "k": pa.array([row % 7 for row in rows], pa.int32() if number else pa.int64()),
                "when": [f"2024-01-01T00:00:{row % 60:02d}+01:00" for row in rows],
                "word": pa.array([f"w{row % 3}" for row in rows]).dictionary_encode(),
                "x": pa.array([None if row % 11 == 0 else row / 2 for row in rows], pa.float32()),
            }
        )
        folder = tmp_path / f"part={number:02d}"
        folder.mkdir()
        pq.write_table(table, folder / "a.parquet", row_group_size=1000)
    source = open_source(
        DataSpec(
            path=str(tmp_path), partition_by=["k"], time="when", where="x > 10 and part <> '01' or k = 1"
        )
    )
    order = [(name, "ascending") for name in source.columns]
    whole = source.read().sort_by(order)
    cut = pieces(source, size=20_000)
    assert len(cut) > 4
    assert pa.concat_tables([piece.read() for piece in cut]).sort_by(order) == whole
    assert pa.concat_tables([piece.read(["x", "k"]) for piece in cut]).schema.names == ["x", "k"]
    frame = to_dask(source).compute(scheduler="synchronous")
    assert pa.Table.from_pandas(frame, schema=whole.schema, preserve_index=False).sort_by(order) == whole
