"""CSV: options, headers, types that do not depend on the cut into files, and lines that are wrong."""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manymodels.dataset import layouts
from manymodels.dataset.sources import Source, open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError


def opened(path: Path, *, key: str = "k", **fields: Any) -> Source:
    return open_source(DataSpec(path=str(path), partition_by=[key], **fields))


def column(folder: Path, *texts: str, **fields: Any) -> tuple[str, list[Any]]:
    """The type and values of column ``x`` over one file per text, whose lines are the values."""
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        lines = [f"k{number},{value}" for value in text.split("|")]
        (folder / f"{'abcd'[number]}.csv").write_text("\n".join(["k,x", *lines]) + "\n", encoding="utf-8")
    source = opened(folder, **fields)
    return str(source.columns["x"]), sorted(source.read(["x"]).column("x").to_pylist(), key=repr)


@pytest.mark.parametrize(
    ("text", "type", "found"),
    [
        ("1|-2|", "int64", [-2, 1, None]),
        ("1|2.5", "double", [1.0, 2.5]),
        ("1.0|2.0", "double", [1.0, 2.0]),
        ("1e3|-0.5", "double", [-0.5, 1000.0]),
        ("1|NA|null", "int64", [1, None, None]),
        (" 1 |  ", "int64", [1, None]),
        ("true|False", "bool", [False, True]),
        ("2024-01-31|2024-02-01", "date32[day]", [dt.date(2024, 1, 31), dt.date(2024, 2, 1)]),
        (
            "2024-01-31|2024-02-01T10:00",
            "timestamp[us]",
            [dt.datetime(2024, 1, 31), dt.datetime(2024, 2, 1, 10)],
        ),
        ("2024-01-31T10:00+02:00", "timestamp[us]", [dt.datetime(2024, 1, 31, 8)]),
        ("007|8", "string", ["007", "8"]),
        ("-01|8", "string", ["-01", "8"]),
        ("12_3|4", "string", ["12_3", "4"]),
        ("0x1F|2", "string", ["0x1F", "2"]),
        ("99999999999999999999|1", "string", ["1", "99999999999999999999"]),
        ("9007199254740993|1", "int64", [1, 9007199254740993]),
        ("12-11-10|13-11-10", "string", ["12-11-10", "13-11-10"]),
        ("NA|x", "string", ["NA", "x"]),
        ("|", "double", [None, None]),
        ("t|f", "string", ["f", "t"]),
    ],
)
def test_the_values_decide_the_type(tmp_path: Path, text: str, type: str, found: list[Any]) -> None:
    assert column(tmp_path, text) == (type, sorted(found, key=repr))


@pytest.mark.parametrize("text", ["1|2.5|", "2024-01-31|2024-02-01T10:00|", "true||false", "1|2|3"])
def test_the_type_does_not_depend_on_the_cut_into_files(tmp_path: Path, text: str) -> None:
    assert column(tmp_path / "cut", *text.split("|")) == column(tmp_path / "whole", text)


def test_files_whose_values_differ_in_kind_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"column 'x' is int64 in .*a\.csv and string in .*b\.csv.*`data\.types`: \{x: "
    ):
        column(tmp_path, "1|2", "closed")
    assert column(tmp_path, "1|2", "closed", types={"x": "string"}) == ("string", ["1", "2", "closed"])
    assert column(tmp_path, "1|2", "closed", csv={"null_values": ["closed"]}) == ("int64", [1, 2, None])


def test_keys_keep_their_text_whatever_other_files_hold(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,x\n7,1\nNA,2\n")
    (tmp_path / "b.csv").write_text("k,x\n007,1\nA1,1\n")
    source = opened(tmp_path)
    assert source.columns["k"] == pa.string()
    assert sorted(source.read(["k"]).column("k").to_pylist()) == ["007", "7", "A1", "NA"]


def test_integer_keys_that_were_written_as_floats_in_some_file_are_integers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,x\n7,1\n")
    (tmp_path / "b.csv").write_text("k,x\n7.0,1\n\n,2\n")
    assert opened(tmp_path).read(["k"]).column("k").to_pylist().count(7) == 2


KEYS = [
    "../../etc/passwd", "/etc/passwd", "nul\x00byte", "x" * 10_240, " ", "   ", "A", "a", "é", "e\u0301", "שלום", "🦆",
    "CON", "dot.", "'; DROP TABLE runs; --", "%2e%2e", "<script>", 'quo"te', "a,b", "a|b", "line\nbreak", "tab\t",
    "007", "=cmd()",
]  # fmt: skip


def test_hostile_keys_come_through_exactly(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["k", "x"])
        writer.writerows([key, number] for number, key in enumerate(KEYS))
    table = opened(tmp_path).read()
    assert dict(zip(table.column("x").to_pylist(), table.column("k").to_pylist(), strict=True)) == dict(
        enumerate(KEYS)
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1), min_size=1, max_size=20
    )
)
def test_keys_of_text_are_never_merged_or_lost(tmp_path: Path, keys: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [["k", "x"], ["word", -1], *([k, n] for n, k in enumerate(keys))]
    )
    (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    table = opened(tmp_path).read()
    found = dict(zip(table.column("x").to_pylist(), table.column("k").to_pylist(), strict=True))
    assert found == {-1: "word", **dict(enumerate(keys))}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("k;x\nA;1,5\n", {"decimal": ","}),
        ("k\tx\nA\t1.5\n", {}),
        ("k|x\n'A'|1.5\n", {"quote": "'"}),
        ("k:x\nA:1.5\n", {"separator": ":"}),
        ("k,x\r\nA,1.5\r\n", {}),
        ('k,x\n"A",1.5', {}),
        ("k,x\nA,1.5\nA,-\n", {"null_values": "-"}),
    ],
)
def test_dialects_are_found_or_set(tmp_path: Path, text: str, options: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    source = opened(tmp_path, csv=options)
    assert source.columns == {"k": pa.string(), "x": pa.float64()}
    assert source.read().to_pylist()[0] == {"k": "A", "x": 1.5}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "latin-1", "utf-16", "shift_jis"])
def test_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    word = "日本" if encoding == "shift_jis" else "Zürich"
    (tmp_path / "a.csv").write_bytes(f'{word},x\n"{word}\n2",1\n'.encode(encoding))
    options = {} if encoding == "utf-8-sig" else {"encoding": encoding}
    source = opened(tmp_path, key=word, csv=options)
    assert source.read().to_pylist() == [{word: f"{word}\n2", "x": 1}]


def test_a_wrong_encoding_names_the_file_and_the_option(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("k,x\nA,Zürich\n".encode("cp1252"))
    with pytest.raises(
        DataError, match=r"a\.csv: the text is not utf-8; set `data\.csv\.encoding`, for example cp1252"
    ):
        opened(tmp_path)
    # Beyond what the header's buffer and the sample hold, it is found when it is read.
    lines = "A,1\n" * 200_000
    (tmp_path / "a.csv").write_bytes(f"k,x\n{lines}Zürich,2\n".encode("cp1252"))
    with pytest.raises(
        DataError, match=r"a\.csv, line 200002: the text is not utf-8; set `data\.csv\.encoding`"
    ):
        opened(tmp_path).read()


@pytest.mark.parametrize(("line", "found"), [("1,2", 2), ("1,2,3,4", 4)])
def test_a_ragged_line_is_named_with_its_number(tmp_path: Path, line: str, found: int) -> None:
    (tmp_path / "a.csv").write_text("k,x,y\n1,2,3\n")
    (tmp_path / "b.csv").write_text(f"k,x,y\n1,2,3\n{line}\n1,2,3\n")
    with pytest.raises(
        DataError, match=rf"b\.csv, line 3: expected 3 fields as in the header, found {found}"
    ):
        opened(tmp_path).read()


def test_a_ragged_line_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("k,x\nZürich,2\n1,2,3\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv.*Expected 2 columns, got 3"):
        opened(tmp_path, csv={"encoding": "latin-1"}).read()


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('k,x\n1,"open\n2,3\n')
    with pytest.raises(DataError, match=r"a\.csv, line 2: a quote is opened and never closed"):
        opened(tmp_path).read()


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"k,x\n1,2\n")
    with pytest.raises(DataError, match=r"could not read the CSV file .*a\.csv\.gz"):
        opened(tmp_path)


def test_headers_without_names_and_with_twins_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,,x\n1,2,3\n")
    with pytest.raises(DataError, match=r"column 2 of .*a\.csv has no name"):
        opened(tmp_path)
    (tmp_path / "a.csv").write_text("k,x,x\n1,2,3\n")
    with pytest.raises(DataError, match=r"column 'x' occurs 2 times in .*a\.csv"):
        opened(tmp_path)


def test_the_index_that_pandas_writes_without_a_name_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",k,x\n0,1,2\n")
    source = opened(tmp_path)
    assert source.index == {"Unnamed: 0"}
    assert source.read().to_pylist() == [{"Unnamed: 0": 0, "k": 1, "x": 2}]


def test_a_late_value_of_another_kind_is_named_and_never_rounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_CSV_WHOLE_BYTES", 0)
    monkeypatch.setattr(layouts, "_CSV_ROWS", 10)
    monkeypatch.setattr(layouts, "_CSV_ROWS_PER_FILE", 1)
    text = "".join(f"A,{number}\n" for number in range(20))
    (tmp_path / "a.csv").write_text(f"k,x\n{text}A,1.5\n")
    source = opened(tmp_path)
    assert source.columns["x"] == pa.int64()
    with pytest.raises(
        DataError, match=r"column 'x' should be int64, found '1\.5' in .*a\.csv; .*`data\.types`: \{x: …\}"
    ):
        source.read()


def test_every_layout_is_sampled_however_many_files_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_CSV_FILES", 1)
    (tmp_path / "a.csv").write_text("k,x\n1,2\n")
    (tmp_path / "b.csv").write_text("x,k\n2.5,1\n")
    assert opened(tmp_path).columns == {"k": pa.int64(), "x": pa.float64()}


def test_files_in_another_encoding_are_told_apart_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("k,x\nZürich,2\n".encode("cp1252"))
    (tmp_path / "b.csv").write_bytes("k,x\nZürich,zu\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"column 'x' is int64 in .*a\.csv and string in .*b\.csv"):
        opened(tmp_path, csv={"encoding": "cp1252"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seperator": ";"}, r"`data\.csv` has no option 'seperator'; .*did you mean 'separator'"),
        ({"separator": ";;"}, r"`data\.csv\.separator` is one character"),
        ({"decimal": 3}, r"`data\.csv\.decimal` is a text"),
        ({"encoding": "utf-9"}, r"`data\.csv\.encoding` is 'utf-9', which is no known encoding"),
        ({"null_values": [1]}, r"`data\.csv\.null_values` is a list of texts"),
    ],
)
def test_wrong_options_are_explained(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    (tmp_path / "a.csv").write_text("k,x\n1,2\n")
    with pytest.raises(DataError, match=message):
        opened(tmp_path, csv=options)
