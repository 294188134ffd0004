"""Rows that need no cast and no filter come from Arrow, the same that DuckDB would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manymodels.dataset.plain import is_plain, plain_tables
from manymodels.dataset.sources import Source, open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError

COLUMNS = ["day", "store", "y", "word"]


def table(rows: int = 30) -> pa.Table:
    return pa.table(
        {
            "store": pa.array([row % 4 for row in range(rows)]),
            "day": pa.array(range(rows), pa.timestamp("us")),
            "y": pa.array([None if row == 3 else row / 2 for row in range(rows)]),
            "word": pa.array([None if row == 5 else f"w{row}" for row in range(rows)]),
        }
    )


def source(path: Any, **data: Any) -> Source:
    spec = {"path": str(path), "partition_by": ["store"], "time": "day", "target": "y", **data}
    return open_source(DataSpec(**spec))


def test_plain_files_give_the_rows_as_they_lie(tmp_path: Path) -> None:
    for number in range(3):
        pq.write_table(table().slice(number * 10, 10), tmp_path / f"{number}.parquet", row_group_size=4)
    found = source(tmp_path)
    assert is_plain(found, COLUMNS)
    rows = pa.concat_tables(plain_tables(found, COLUMNS))
    assert rows.equals(table().select(COLUMNS))
    assert rows.sort_by("day").equals(found.read(COLUMNS).sort_by("day"))


def test_a_plain_table_in_memory_is_not_copied() -> None:
    frame = table()
    found = open_source(DataSpec(partition_by=["store"], time="day", target="y"), frame)
    assert is_plain(found, COLUMNS)
    (rows,) = plain_tables(found, COLUMNS)
    assert rows.column("y").chunk(0).buffers()[1].address == frame.column("y").chunk(0).buffers()[1].address


@pytest.mark.parametrize("data", [{"where": "y > 1"}, {"as_of": "1970-01-01"}, {"types": {"y": "string"}}])
def test_rows_that_are_filtered_or_cast_are_not_plain(tmp_path: Path, data: dict[str, Any]) -> None:
    pq.write_table(table(), tmp_path / "in.parquet")
    assert not is_plain(source(tmp_path / "in.parquet", **data), COLUMNS)


def test_other_types_folders_and_formats_are_not_plain(tmp_path: Path) -> None:
    narrow = table().set_column(0, "store", table().column("store").cast(pa.int8()))
    narrow = narrow.set_column(3, "word", narrow.column("word").cast(pa.large_string()))
    pq.write_table(narrow, tmp_path / "narrow.parquet")
    assert is_plain(source(tmp_path / "narrow.parquet"), COLUMNS)
    coarse = table().set_column(1, "day", table().column("day").cast(pa.timestamp("ns")))
    pq.write_table(coarse, tmp_path / "coarse.parquet")
    assert not is_plain(source(tmp_path / "coarse.parquet"), COLUMNS)
    assert is_plain(source(tmp_path / "coarse.parquet"), ["store", "y"])
    (tmp_path / "hive" / "store=1").mkdir(parents=True)
    pq.write_table(table().drop_columns("store"), tmp_path / "hive" / "store=1" / "1.parquet")
    assert not is_plain(source(tmp_path / "hive"), COLUMNS)
    assert is_plain(source(tmp_path / "hive"), ["day", "y"])
    pd.DataFrame({"store": [1], "day": ["2026-01-01"], "y": [1.5], "word": "a"}).to_csv(
        tmp_path / "in.csv", index=False
    )
    assert not is_plain(source(tmp_path / "in.csv"), COLUMNS)


def test_a_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(table(10_000), path, compression="zstd")
    found = source(path)
    content = bytearray(path.read_bytes())
    content[100:200] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"in\.parquet"):
        list(plain_tables(found, COLUMNS))
