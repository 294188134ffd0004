"""Tables that come one by one are one table afterwards, whatever is in them, and only as many as there is room for."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal

import pyarrow as pa
import pytest

from manymodels.partitioning.collecting import collect

VALUES = pa.table(
    {
        "int": [1, None, 3, 4, None, 6],
        "float": [1.5, float("nan"), None, 2.0, -0.0, 1.0],
        "text": ["a", None, "", "b", "c", "d"],
        "bool": [True, False, None, True, False, True],
        "day": [None, *[dt.date(2026, 1, day) for day in range(1, 6)]],
        "money": [Decimal("1.10"), None, *[Decimal("2.00")] * 4],
        "nothing": pa.nulls(6),
    }
)


@pytest.mark.parametrize("cuts", [[0, 6], [0, 1, 4, 6], [0, 0, 2, 2, 6]])
@pytest.mark.parametrize("most", [6, 9])
def test_tables_are_joined(cuts: list[int], most: int) -> None:
    tables = [VALUES.slice(begin, end - begin) for begin, end in itertools.pairwise(cuts)]
    found = collect(iter(tables), most, 10**6)
    assert found is not None
    found.validate(full=True)
    assert str(found.to_pydict()) == str(VALUES.to_pydict())  # NaN is not equal to itself
    assert found.schema == VALUES.schema
    assert all(column.num_chunks == 1 for column in found.columns)


def test_tables_for_which_there_is_no_room_are_not_kept() -> None:
    assert collect(iter([VALUES, VALUES]), 12, VALUES.nbytes * 2 - 1) is None
    assert collect(iter([VALUES, VALUES]), 12, VALUES.nbytes * 2) is not None
    assert collect(iter([]), 12, 10**6) is None
