"""Keys are typed, come back exactly, stay distinct, and are the same one by one and in bulk."""

from __future__ import annotations

import datetime as dt
import unicodedata
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manymodels.exceptions import DamagedError, DataError
from manymodels.partitioning.keys import (
    canonical,
    canonical_array,
    cast_keys,
    column_kind,
    decode,
    display,
    display_array,
    key_ids,
    key_order,
    make_key,
    parse_key,
    parse_value,
    show,
)

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "nul\0inside",
    "long" * 2560,
    "",
    "   ",
    "A",
    "a",
    "caf\u00e9",
    "cafe\u0301",
    "\u202eright to left \u05d0",
    "\U0001f600",
    "CON",
    "trailing.",
    "'; DROP TABLE runs; --",
    "%2e%2e",
    "<script>alert(1)</script>",
    "007",
    "7",
    "null",
    "a|b",
    "a,b=c",
]

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**127), 2**127 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(max_size=40),
    st.dates(),
    st.datetimes(),
    st.decimals(allow_nan=False, allow_infinity=False),
)


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


@settings(deadline=None)
@given(st.lists(values, max_size=4))
def test_decode_inverts_canonical(key: list[Any]) -> None:
    assert all(same(a, b) for a, b in zip(decode(canonical(key)), key, strict=True))


@settings(deadline=None)
@given(st.lists(values, max_size=3), st.lists(values, max_size=3))
def test_two_keys_share_a_canonical_form_only_when_kinds_and_values_are_equal(
    one: list[Any], other: list[Any]
) -> None:
    equal = len(one) == len(other) and all(map(same, one, other))
    assert (canonical(one) == canonical(other)) == equal


def test_hostile_texts_are_opaque_and_stay_distinct() -> None:
    made = [make_key([text]) for text in HOSTILE]
    assert [key.values for key in made] == [(text,) for text in HOSTILE]
    assert len({key.key_id for key in made}) == len(HOSTILE)
    assert key_ids(pa.table({"k": HOSTILE}), ["k"]).to_pylist() == [key.key_id for key in made]


def test_hostile_texts_come_back_from_what_people_are_shown_as_one_line_each() -> None:
    shown = [show(text) for text in HOSTILE]
    assert len(set(shown)) == len(HOSTILE)
    assert all(text.isprintable() for text in shown)


@pytest.mark.parametrize("text", ["lone \ud800", "\udfff"])
def test_a_lone_surrogate_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        make_key([text])


def test_one_as_integer_text_float_and_boolean_are_four_keys() -> None:
    assert len({canonical([value]) for value in (1, "1", 1.0, True)}) == 4


def test_columns_do_not_run_into_each_other() -> None:
    assert canonical(["a|b", "c"]) != canonical(["a", "b|c"])
    assert canonical(["ab", ""]) != canonical(["a", "b"]) != canonical(["", "ab"])


def test_integers_beyond_the_floats_stay_distinct() -> None:
    numbers = [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
    assert [make_key([number]).values[0] for number in numbers] == numbers
    assert len({canonical([number]) for number in numbers}) == len(numbers)


def test_both_zeros_are_one_key_and_nan_is_null() -> None:
    assert canonical([-0.0]) == canonical([0.0])
    missing: list[Any] = [
        None,
        float("nan"),
        np.nan,
        pd.NA,
        pd.NaT,
        np.datetime64("NaT"),
        Decimal("NaN"),
    ]
    assert {canonical([value]) for value in missing} == {canonical([None])}


def test_composed_and_decomposed_text_are_two_keys() -> None:
    composed = "Zürich"
    assert canonical([composed]) != canonical([unicodedata.normalize("NFD", composed)])


def test_equal_instants_in_two_zones_are_one_key_and_no_zone_is_utc() -> None:
    berlin = dt.datetime(2026, 1, 1, 13, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    utc = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    bare = dt.datetime(2026, 1, 1, 12)
    assert canonical([berlin]) == canonical([utc]) == canonical([bare])
    assert decode(canonical([berlin])) == (bare,)
    columns = pa.table({"k": pa.array([berlin], pa.timestamp("ms", "Europe/Berlin"))})
    assert canonical_array(columns, ["k"]).to_pylist() == [canonical([utc])]


def test_timestamps_keep_their_nanoseconds_and_their_unit_does_not_matter() -> None:
    fine = pd.Timestamp("2026-01-01T12:00:00.000000001")
    assert decode(canonical([fine])) == (fine,)
    assert canonical([fine]) != canonical([fine.floor("us")])
    assert canonical([np.datetime64("2026-01-01", "s")]) == canonical([np.datetime64("2026-01-01", "ns")])
    assert canonical([np.datetime64(fine.value, "ns")]) == canonical([fine])
    before = pd.Timestamp("1969-12-31T23:59:59.999999999")
    assert decode(canonical([before])) == (before,)


def test_decimals_are_compared_by_value() -> None:
    assert canonical([Decimal("1.10")]) == canonical([Decimal("1.1")])
    assert canonical([Decimal("-0.00")]) == canonical([Decimal(0)])
    assert canonical([Decimal("1E+2")]) == canonical([Decimal("100.0")])
    assert decode(canonical([Decimal("1234567890123456789012345678.9")])) == (
        Decimal("1234567890123456789012345678.9"),
    )


@pytest.mark.parametrize(
    "value", [2**127, Decimal("Infinity"), [1], {"a": 1}, 1j, dt.timedelta(1), dt.time(1)]
)
def test_values_of_no_kind_are_refused(value: Any) -> None:
    with pytest.raises(DataError):
        make_key([value])


def test_a_rung_is_another_key_than_a_key_with_its_values() -> None:
    key, rung, other = make_key(["N"]), make_key(["N"], "level:region"), make_key(["N"], "level:area")
    assert len({key.key_id, rung.key_id, other.key_id}) == 3
    assert rung.values == ("N",)
    assert decode(rung.canonical) == ("N",)
    assert make_key([], "pooled").values == ()


def test_the_encoding_is_pinned() -> None:
    key = make_key([7, "é", None, True, 1.5, b"\0", dt.date(2026, 1, 2), Decimal("1.10")])
    assert key.canonical.hex() == (
        "4900000008000000000000000753000000 02c3a9 4e00000000 420000000101 46000000083ff8000000000000"
        " 590000000100 440000000400004fe7 4d0000000531 31452d31".replace(" ", "")
    )
    assert key.key_id == "275569c60bd85ed459a55310023f3f69"


COLUMNS = {
    "int8": pa.array([1, None, -3], pa.int8()),
    "int64": pa.array([2**62, None, -(2**63)], pa.int64()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "float32": pa.array([1.5, float("nan"), -0.0], pa.float32()),
    "float64": pa.array([1.1, None, float("-inf")]),
    "string": pa.array(["é", None, ""]),
    "large_string": pa.array(["x" * 300, None, "\0"], pa.large_string()),
    "binary": pa.array([b"\xff\0", None, b""]),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "bool": pa.array([True, None, False]),
    "date32": pa.array([dt.date(1969, 12, 31), None, dt.date(9999, 1, 1)]),
    "seconds": pa.array([dt.datetime(2026, 1, 1), None, dt.datetime(1900, 1, 1)], pa.timestamp("s")),
    "nanoseconds": pa.array([1, None, -1], pa.timestamp("ns")),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-5.00")], pa.decimal128(9, 2)),
    "null": pa.nulls(3),
    "category": pa.array(["b", None, "a"]).dictionary_encode(),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_bulk_encoding_is_that_of_each_value(name: str) -> None:
    table = pa.table({"k": COLUMNS[name], "other": [1, 2, 3]})
    expected = [
        canonical([value, other]) for value, other in zip(COLUMNS[name].to_pylist(), [1, 2, 3], strict=True)
    ]
    assert canonical_array(table, ["k", "other"]).to_pylist() == expected
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert canonical_array(chunked, ["k", "other"]).to_pylist() == expected
    assert canonical_array(table.slice(1), ["k", "other"]).to_pylist() == expected[1:]
    assert key_ids(table, ["k", "other"]).to_pylist() == [
        make_key([value, other]).key_id
        for value, other in zip(COLUMNS[name].to_pylist(), [1, 2, 3], strict=True)
    ]


def test_width_unit_and_dictionary_encoding_do_not_matter() -> None:
    def ids(array: pa.Array) -> list[str]:
        found: list[str] = key_ids(pa.table({"k": array}), ["k"]).to_pylist()
        return found

    assert ids(pa.array([7], pa.int8())) == ids(pa.array([7], pa.int64())) == ids(pa.array([7], pa.uint64()))
    assert ids(pa.array([1.5], pa.float32())) == ids(pa.array([1.5]))
    moment = [dt.datetime(2026, 1, 1)]
    assert ids(pa.array(moment, pa.timestamp("s"))) == ids(pa.array(moment, pa.timestamp("ns")))
    assert ids(pa.array(["a"])) == ids(pa.array(["a"]).dictionary_encode())
    assert ids(pa.array([Decimal("1.1")])) == ids(pa.array([Decimal("1.100")]))
    assert len({*ids(pa.array([7])), *ids(pa.array(["7"])), *ids(pa.array([7.0]))}) == 3


def test_no_keys_have_no_ids() -> None:
    assert len(key_ids(pa.table({"k": pa.array([], pa.string())}), ["k"])) == 0


def test_kinds_of_columns() -> None:
    assert {name: column_kind(array.type) for name, array in COLUMNS.items()} == {
        "int8": "int",
        "int64": "int",
        "uint64": "int",
        "float32": "float",
        "float64": "float",
        "string": "string",
        "large_string": "string",
        "binary": "bytes",
        "fixed": "bytes",
        "bool": "bool",
        "date32": "date",
        "seconds": "timestamp",
        "nanoseconds": "timestamp",
        "decimal": "decimal",
        "null": "null",
        "category": "string",
    }


@pytest.mark.parametrize("type_", [pa.list_(pa.int64()), pa.duration("s"), pa.time32("s"), pa.struct([])])
def test_a_column_of_no_kind_is_refused(type_: pa.DataType) -> None:
    with pytest.raises(DataError, match="ignore"):
        column_kind(type_)
    with pytest.raises(DataError, match="'k'"):
        key_ids(pa.table({"k": pa.nulls(1, type_)}), ["k"])


@pytest.mark.parametrize("damaged", [b"I\0\0\0\x08\0", b"X\0\0\0\0", b"S\0\0\0\1\xff", b"I", b"M\0\0\0\2zz"])
def test_what_is_no_canonical_form_is_damage(damaged: bytes) -> None:
    with pytest.raises(DamagedError):
        decode(damaged)


def test_the_order_of_keys_has_nulls_first_and_is_stable() -> None:
    table = pa.table({"a": [2, None, 1, None, 2], "b": ["x", "y", None, None, "x"]})
    assert key_order(table, ["a", "b"]).tolist() == [3, 1, 2, 0, 4]
    assert key_order(pa.table({"b": ["b", "B", "é", "a"]}), ["b"]).tolist() == [1, 3, 0, 2]


# What people read and write


def test_display_is_plain_where_it_can_be() -> None:
    key = [17, "N", 2.5, True, None, dt.date(2026, 1, 2), Decimal("1.50"), b"\x01", "a b"]
    assert display(key, list("abcdefghi")) == (
        "a=17, b=N, c=2.5, d=true, e=null, f=2026-01-02, g=1.50, h=0x01, i=a b"
    )
    assert display(["line\nbreak", "", "null", "x=1"], list("abcd")) == (
        'a="line\\nbreak", b="", c="null", d="x=1"'
    )


def test_keys_are_shown_alike_one_by_one_and_in_bulk() -> None:
    columns: dict[str, list[Any]] = {
        "number": [17, None, -3],
        "text": ["N", 'say "no"', None],
        "float": [2.5, float("nan"), None],
        "flag": [True, None, False],
        "day": [dt.date(2026, 1, 2), None, dt.date(1969, 12, 31)],
        "at": [dt.datetime(2026, 1, 2, 3, 4, 5, 6), None, dt.datetime(1969, 12, 31)],
        "price": [Decimal("1.50"), None, Decimal("-2.00")],
        "raw": [b"\x01", b"", None],
    }
    table = pa.table({**columns, "coded": pa.array(["x", None, "x"]).dictionary_encode()})
    names = table.column_names
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert display_array(table, names).to_pylist() == [display(row, names) for row in rows]
    assert display_array(table.slice(0, 0), names).to_pylist() == []


KINDS = {
    "bool": (True, "true"),
    "int": (-7, "-7"),
    "float": (7.0, "7.0"),
    "string": ("7", "7"),
    "bytes": (b"\xff", "0xff"),
    "date": (dt.date(2026, 1, 2), "2026-01-02"),
    "timestamp": (dt.datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
    "decimal": (Decimal("1.5"), "1.5"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_parsed_by_the_recorded_kind_and_what_is_shown_can_be_typed(kind: str) -> None:
    value, text = KINDS[kind]
    assert parse_key({"k": text}, {"k": kind}).values == (value,)
    assert show(value) == text


def test_null_is_typed_as_null_but_for_texts() -> None:
    assert parse_key({"k": "null"}, {"k": "int"}).values == (None,)
    assert parse_key({"k": "null"}, {"k": "string"}).values == ("null",)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "string"] + ["null"])
def test_text_of_another_kind_is_refused_with_an_example(kind: str) -> None:
    with pytest.raises(DataError, match=r"'store'.*'17 km'"):
        parse_value("17 km", kind, "store")


def test_a_key_needs_exactly_its_columns() -> None:
    with pytest.raises(DataError, match="did you mean 'store'"):
        parse_key({"stroe": "1"}, {"store": "int"})
    with pytest.raises(DataError, match="missing: region"):
        parse_key({"store": "1"}, {"store": "int", "region": "string"})


# Casts


def cast(array: pa.Array, kind: str) -> list[Any]:
    table = cast_keys(pa.table({"k": array, "other": pa.nulls(len(array))}), ["k"], {"k": kind})
    assert column_kind(table.column("k").type) == kind
    found: list[Any] = table.column("k").to_pylist()
    return found


@pytest.mark.parametrize(
    ("found", "kind", "expected"),
    [
        ([7, None], "float", [7.0, None]),
        ([7], "string", ["7"]),
        ([7], "decimal", [Decimal(7)]),
        ([7.0, float("nan")], "int", [7, None]),
        (["7", "-7"], "int", [7, -7]),
        ([str(2**63)], "int", [2**63]),
        (["1.5", "2"], "float", [1.5, 2.0]),
        (["true", "False"], "bool", [True, False]),
        (["2026-01-02"], "date", [dt.date(2026, 1, 2)]),
        (["2026-01-02T01:00:00+01:00"], "timestamp", [dt.datetime(2026, 1, 2)]),
        (["1.10"], "decimal", [Decimal("1.10")]),
        (["ü"], "bytes", ["ü".encode()]),
        ([b"abc"], "string", ["abc"]),
        ([Decimal("7.00")], "int", [7]),
        ([Decimal("1.1")], "float", [1.1]),
        ([1.1], "decimal", [Decimal("1.1")]),
        ([dt.date(2026, 1, 2)], "string", ["2026-01-02"]),
        ([dt.date(2026, 1, 2)], "timestamp", [dt.datetime(2026, 1, 2)]),
        ([dt.datetime(2026, 1, 2)], "date", [dt.date(2026, 1, 2)]),
        ([None], "int", [None]),
    ],
)
def test_casts_that_lose_nothing(found: list[Any], kind: str, expected: list[Any]) -> None:
    assert cast(pa.array(found), kind) == expected


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([1, 2**53 + 1], "float"),
        ([7.5], "int"),
        ([float("inf")], "int"),
        (["007"], "int"),
        (["7.0"], "int"),
        (["+7"], "int"),
        (["seven"], "float"),
        (["1"], "bool"),
        ([True], "int"),
        ([1], "bool"),
        ([1.5], "string"),
        (["2026-01"], "date"),
        ([dt.datetime(2026, 1, 2, 3)], "date"),
        ([dt.datetime(2026, 1, 2)], "string"),
        ([b"\xff"], "string"),
        ([Decimal("7.5")], "int"),
        ([7], "null"),
    ],
)
def test_casts_that_would_lose_something_name_the_column_and_the_value(found: list[Any], kind: str) -> None:
    with pytest.raises(DataError, match="'k'") as caught:
        cast(pa.array(found), kind)
    assert repr(found[-1]) in caught.value.message


def test_keys_of_the_recorded_kinds_are_left_as_they_are() -> None:
    table = pa.table({"k": pa.array([1, 2], pa.int8())})
    assert cast_keys(table, ["k"], {"k": "int"}) is table


def test_two_ways_to_write_one_key_are_refused() -> None:
    with pytest.raises(DataError, match="several ways"):
        cast(pa.array(["2026-01-02", "2026-01-02T00:00:00"]), "timestamp")
