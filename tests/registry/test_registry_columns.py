"""Columns on their way between Arrow and SQL."""

from __future__ import annotations

from hashlib import blake2b

import pyarrow as pa
import pytest

from manymodels.registry.columns import digest_column, hex_ids, repeated


def test_ids_survive_both_ways_wherever_the_column_is_cut() -> None:
    ids = [blake2b(bytes([n]), digest_size=16).hexdigest() for n in range(50)]
    column = pa.chunked_array([ids[:20], ids[20:]]).slice(3, 40)
    bytes_ = digest_column(column)
    assert [value.hex() for value in bytes_.to_pylist()] == ids[3:43]
    assert hex_ids(bytes_.slice(2)).to_pylist() == ids[5:43]
    assert hex_ids(bytes_.cast(pa.binary())).to_pylist() == ids[3:43]
    assert len(digest_column(column.slice(0, 0))) == len(hex_ids(bytes_.slice(0, 0))) == 0


def test_an_id_of_another_length_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        digest_column(pa.chunked_array([["0" * 31]]))


def test_what_rows_share_is_held_once() -> None:
    found = repeated(pa.chunked_array([[1, 2], [3, 9, None]]), {1: "a", 2: "b", 3: "a"})
    assert found.to_pylist() == ["a", "b", "a", None, None]
    assert found.chunk(0).dictionary.to_pylist() == ["a", "b"]
