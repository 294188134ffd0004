"""The job's row filter: one expression over the columns of a row, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.dataset.sql import check_where
from manymodels.exceptions import DataError

ROWS = pa.table(
    {
        "store": [1, 2, 3],
        "Sales": [10.0, None, 30.0],
        'od"d': ["a;b", "it's", "--"],
        "date": pa.array([0, 1, 2], pa.date32()),
        "tag": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
)


def kept(where: str) -> list[int]:
    source = open_source(DataSpec(partition_by=["store"], where=where), ROWS)
    return sorted(source.read(["store"]).column("store").to_pylist())


@pytest.mark.parametrize(
    ("where", "stores"),
    [
        ("store > 1", [2, 3]),
        ("sales IS NULL OR tag IN ('x')", [1, 2, 3]),
        ('"od""d" = \'a;b\'', [1]),
        ("\"od\"\"d\" LIKE '%''%' -- an apostrophe", [2]),
        ("date BETWEEN '1970-01-02' AND DATE '1970-01-03'", [2, 3]),
        ("CASE WHEN store % 2 = 1 THEN tag = 'x' ELSE false END", [1, 3]),
        ("store = 1) OR (store = 3", [1, 3]),
        ("date <= current_date", [1, 2, 3]),
    ],
)
def test_an_expression_filters_rows(where: str, stores: list[int]) -> None:
    assert kept(where) == stores


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("sale > 1", r"column \"sale\" not found .*did you mean 'Sales'"),
        ("store > 1; DROP TABLE x", "is no SQL expression"),
        ("true) UNION SELECT 1 FROM read_csv('x.csv'", "must be one expression"),
        ("true) GROUP BY (store", "must be one expression"),
        ("true) LIMIT (1", "must be one expression"),
        ("store IN (SELECT 1)", "has a subquery"),
        ("EXISTS (FROM read_text('/etc/passwd'))", "has a subquery"),
        ("read_text('/etc/passwd') IS NULL", "does not fit the columns"),
        ("random() < 0.5", r"may not call random\(\)"),
        ("store = $1", "has a parameter"),
        ("COLUMNS(*) > 1", "has a star"),
        ("max(store) = 1", "aggregates"),
        ("row_number() OVER () = 1", "has a window"),
        ("store", "must be true or false for each row, and is BIGINT"),
        ("date > 'someday'", "does not fit the columns"),
        ("store >", "is no SQL expression"),
        ("  ", "is empty"),
    ],
)
def test_anything_else_is_refused_with_the_reason(where: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kept(where)


def test_the_columns_that_it_reads_are_known() -> None:
    columns = {"store": pa.int64(), "Sales": pa.float64(), "x y": pa.string()}
    assert check_where("sales > 1 AND rows.\"x y\" <> 'store'", columns) == ("Sales", "x y")


def test_a_filter_may_read_columns_that_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("store,open\n1,true\n2,false\n")
    source = open_source(
        DataSpec(path=str(tmp_path / "a.csv"), partition_by=["store"], where="open", ignore=["open"])
    )
    assert source.read(["store"]).to_pylist() == [{"store": 1}]


def test_a_filter_cannot_reach_views_of_the_connection() -> None:
    with pytest.raises(DataError, match="does not fit the columns"):
        kept("secret.password = 'x'")


def test_a_value_that_fails_only_on_some_row_is_explained() -> None:
    with pytest.raises(DataError, match="could not read the table: Conversion Error"):
        kept('CAST("od""d" AS INTEGER) = 1')
