"""Content fingerprints see values, columns and duplicates, and nothing else."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manymodels.exceptions import DataError
from manymodels.partitioning.content import (
    canonical_columns,
    dataset_fingerprint,
    key_contents,
    row_hashes,
    stored_type,
)
from manymodels.partitioning.encoding import canonical, column_kind


def content(table: pa.Table) -> bytes:
    """The fingerprint of all rows, as those of one key."""
    schema = pa.schema([(field.name, stored_type(field.name, field.type)) for field in table.schema])
    first, second = row_hashes(canonical_columns(table, schema), table.column_names)
    counts = np.array([table.num_rows])
    found: bytes = key_contents(first, second, np.array([0]), counts)[0].as_py()
    return found


def of(array: Any, **types: Any) -> bytes:
    return content(pa.table({"x": array if isinstance(array, pa.Array) else pa.array(array, **types)}))


numbers = st.one_of(st.none(), st.floats(width=32), st.integers(-5, 5).map(float))


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, st.sampled_from(["a", "b", None])), min_size=1, max_size=30), st.randoms())
def test_the_order_of_rows_and_columns_does_not_matter(rows: list[Any], random: Any) -> None:
    table = pa.table(
        {"x": pa.array([r[0] for r in rows], pa.float64()), "s": pa.array([r[1] for r in rows], pa.string())}
    )
    order = list(range(len(rows)))
    random.shuffle(order)
    assert content(table.take(pa.array(order)).select(["s", "x"])) == content(table)


def test_every_value_counts() -> None:
    base = {"x": [1.0, 2.0], "y": [1, 2], "s": ["a", "b"], "t": [dt.date(2026, 1, 1), dt.date(2026, 1, 2)]}
    seen = {content(pa.table(base))}
    for name, value in (("x", 3.0), ("y", 3), ("s", "c"), ("t", dt.date(2026, 1, 3))):
        for row in (0, 1):
            changed = {column: list(values) for column, values in base.items()}
            changed[name][row] = value  # type: ignore[index]
            seen.add(content(pa.table(changed)))
    assert len(seen) == 9


def test_duplicates_count() -> None:
    assert len({of([1.0]), of([1.0, 1.0]), of([1.0, 1.0, 1.0]), of([1.0] * 5)}) == 4


def test_values_that_change_places_between_rows_change_the_content() -> None:
    one = pa.table({"x": [1, 2], "y": [10, 20]})
    crossed = pa.table({"x": [1, 2], "y": [20, 10]})
    assert content(one) != content(crossed)
    assert content(one) != content(one.rename_columns(["y", "x"]))


def test_nan_is_null_and_both_zeros_are_one() -> None:
    assert of([1.0, float("nan")]) == of([1.0, None])
    assert of([0.0]) == of([-0.0])
    assert of([None], type=pa.float64()) != of([0.0])
    assert of([None, ""], type=pa.string()) != of(["", ""])


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (pa.array([1, None], pa.int8()), pa.array([1, None], pa.int64())),
        (pa.array([1, None], pa.uint16()), pa.array([1, None], pa.int64())),
        (pa.array([1.5, None], pa.float32()), pa.array([1.5, None])),
        (pa.array(["a", None]).dictionary_encode(), pa.array(["a", None])),
        (pa.array(["a", None], pa.large_string()), pa.array(["a", None])),
        (pa.array([b"a", None], pa.binary(1)), pa.array([b"a", None])),
        (pa.array([10**6, None], pa.timestamp("us")), pa.array([10**9, None], pa.timestamp("ns"))),
        (pa.array([1, None], pa.timestamp("s")), pa.array([10**6, None], pa.timestamp("us", "Asia/Tokyo"))),
        (pa.array([Decimal("1.1")], pa.decimal128(4, 1)), pa.array([Decimal("1.10")], pa.decimal128(9, 2))),
    ],
)
def test_width_unit_and_encoding_do_not_matter(narrow: pa.Array, wide: pa.Array) -> None:
    assert of(narrow) == of(wide)


def test_kinds_are_kept_apart() -> None:
    arrays = [
        [1],
        [1.0],
        ["1"],
        [b"1"],
        [True],
        [dt.date(1970, 1, 2)],
        [Decimal(1)],
        [dt.datetime(1970, 1, 2)],
    ]
    assert len({of(array) for array in arrays}) == len(arrays)


def test_unsigned_and_negative_integers_of_the_same_bits_differ() -> None:
    assert of([2**64 - 1], type=pa.uint64()) != of([-1])


def test_nanoseconds_count() -> None:
    assert of(pa.array([1001], pa.timestamp("ns"))) != of(pa.array([1000], pa.timestamp("ns")))
    assert of(pa.array([-1], pa.timestamp("ns"))) != of(pa.array([-1000], pa.timestamp("ns")))


def test_the_hash_is_pinned() -> None:
    table = pa.table({"x": [1.5, None], "s": ["a", "ü"], "n": [1, -1], "b": [True, None]})
    assert content(table).hex() == "08ca48ecb6aba09a0bcc371250a7c1af"


def test_the_hash_is_what_its_description_says_value_by_value() -> None:
    rng = np.random.default_rng(5)
    table = pa.table(
        {
            "x": pa.array(rng.normal(size=50), mask=rng.random(50) < 0.2),
            "n": pa.array(rng.integers(-9, 9, 50), mask=rng.random(50) < 0.2),
            "t": pa.array(rng.integers(-(10**9), 10**9, 50), pa.timestamp("us")),
            "s": pa.array([None if i % 7 == 0 else f"s{i % 5}" for i in range(50)]),
        }
    )
    assert content(table) == by_hand(table)


def by_hand(table: pa.Table) -> bytes:
    """The fingerprint in plain Python integers."""
    bits, odd = 2**64 - 1, 0x94D049BB133111EB

    def mixed(word: int) -> int:
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & bits
        word = ((word ^ (word >> 27)) * odd) & bits
        return word ^ (word >> 31)

    sums = [0, 0]
    for row in table.to_pylist():
        lanes = [0, 0]
        for name, value in row.items():
            kind, word = word_of(value, table.schema.field(name).type)
            seed = blake2b(canonical((name, kind)), digest_size=16, person=b"manymodels col").digest()
            first = mixed(word ^ int.from_bytes(seed[:8], "little"))
            second = ((first ^ int.from_bytes(seed[8:], "little")) * 0x2545F4914F6CDD1D) & bits
            second = ((second ^ (second >> 29)) * 0xBF58476D1CE4E5B9) & bits
            lanes = [(lanes[0] + first) & bits, (lanes[1] + second) & bits]
        one = mixed(lanes[0])
        sums = [(sums[0] + one) & bits, (sums[1] + mixed((lanes[1] + one) & bits)) & bits]
    one = mixed((sums[0] + table.num_rows * odd) & bits)
    other = mixed(((sums[1] ^ one) + table.num_rows) & bits)
    return one.to_bytes(8, "little") + other.to_bytes(8, "little")


def word_of(value: Any, type_: pa.DataType) -> tuple[str, int]:
    """Kind and 64-bit word of a value."""
    kind = column_kind(type_)
    if value is None:
        return kind, 0x9E3779B97F4A7C15
    if kind == "float":
        return kind, int.from_bytes(struct.pack("<d", value), "little")
    if kind == "timestamp":
        value = (value - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    if kind == "string":
        return kind, int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "little")
    return kind, value % 2**64


def test_row_hashes_do_not_collide_over_many_similar_rows() -> None:
    grid = np.arange(300_000)
    table = pa.table({"a": (grid % 1000).astype(float), "b": grid // 1000})
    first, second = row_hashes(table, ["a", "b"])
    assert len(np.unique(first)) == len(np.unique(second)) == len(grid)


def test_a_value_that_does_not_fit_names_the_column() -> None:
    schema = pa.schema([("x", pa.int64())])
    with pytest.raises(DataError, match="'x'"):
        canonical_columns(pa.table({"x": ["seven"]}), schema)
    with pytest.raises(DataError, match=r"'x'.*list"):
        stored_type("x", pa.list_(pa.int64()))


def test_the_dataset_fingerprint_covers_keys_content_kinds_roles_and_format() -> None:
    manifest = pa.table({"key_id": ["b", "a"], "content": pa.array([b"1" * 16, b"2" * 16], pa.binary(16))})
    schema = pa.schema([("k", pa.int64()), ("x", pa.float64())])

    def made(
        manifest: pa.Table = manifest, schema: pa.Schema = schema, version: int = 1, role: str = "k"
    ) -> str:
        return dataset_fingerprint(manifest, schema, version=version, roles=[[role], ["x"]])

    swapped = pa.table({"key_id": ["b", "a"], "content": manifest.column("content").take(pa.array([1, 0]))})
    assert made(manifest.take(pa.array([1, 0]))) == made()
    assert made(schema=pa.schema([("x", pa.float64()), ("k", pa.int64())])) == made()
    others = [
        made(swapped),
        made(manifest.slice(1)),
        made(schema=pa.schema([("k", pa.int64()), ("x", pa.int64())])),
        made(schema=pa.schema([("k", pa.int64()), ("y", pa.float64())])),
        made(version=2),
        made(role="x"),
    ]
    assert len({made(), *others}) == 7
