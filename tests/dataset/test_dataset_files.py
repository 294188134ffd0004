"""Which files a path means, and what is said when it means none."""

from __future__ import annotations

import gzip
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from manymodels.dataset.files import find_files
from manymodels.dataset.sources import Source, open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError

ROWS = pa.table({"store": [1, 2], "sales": [10.0, 20.0]})


def opened(path: str | list[str], **fields: object) -> Source:
    return open_source(DataSpec(path=path, partition_by=["store"], **fields))  # type: ignore[arg-type]


def rows(source: Source) -> list[tuple[object, ...]]:
    return sorted((tuple(row.values()) for row in source.read().to_pylist()), key=repr)


def parquet(path: Path, table: pa.Table = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    feather.write_feather(ROWS, tmp_path / "a.feather")
    feather.write_feather(ROWS, tmp_path / "a.arrow", compression="zstd")
    text = b"store,sales\n1,10.0\n2,20.0\n"
    (tmp_path / "a.csv").write_bytes(text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text))
    found = [
        opened(str(tmp_path / name)) for name in ("a.parquet", "a.feather", "a.arrow", "a.csv", "b.csv.gz")
    ]
    assert [source.format for source in found] == ["parquet", "arrow", "arrow", "csv", "csv"]
    assert [rows(source) for source in found] == [[(1, 10.0), (2, 20.0)]] * 5
    assert all(source.columns == {"store": pa.int64(), "sales": pa.float64()} for source in found)


def test_relative_paths_are_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(tmp_path / "in" / "a.parquet")
    monkeypatch.chdir(tmp_path)
    assert [file.path for file in opened("in").files] == [str(tmp_path / "in" / "a.parquet")]


def test_folders_are_searched_at_any_depth_without_hidden_and_underscored_files(tmp_path: Path) -> None:
    wanted = [parquet(tmp_path / "x" / "deep" / "b.parquet"), parquet(tmp_path / "x" / "a.parquet")]
    for name in ("x/_SUCCESS", "x/.a.parquet.crc", "x/_temporary/part.parquet", "x/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    assert [file.path for file in opened(str(tmp_path / "x")).files] == sorted(map(str, wanted))


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    parquet(tmp_path / "elsewhere" / "a.parquet")
    parquet(tmp_path / "d" / "b.parquet")
    (tmp_path / "d" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "d" / "circle").symlink_to(tmp_path / "d")
    assert [Path(file.path).name for file in opened(str(tmp_path / "d")).files] == ["b.parquet", "a.parquet"]


def test_globs_and_lists_give_every_file_once(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        parquet(tmp_path / f"{name}.parquet")
    assert len(opened(str(tmp_path / "a*.parquet")).files) == 2
    assert (
        len(
            opened(
                [str(tmp_path / "a*.parquet"), str(tmp_path / "a1.parquet"), str(tmp_path / "b1.parquet")]
            ).files
        )
        == 3
    )


def test_names_with_glob_characters_quotes_and_percent_signs_are_names(tmp_path: Path) -> None:
    for name in ("a[1]", "b*", "c?", "d'e", "f%20g", "h{i,j}", "k\\l", "é ü"):
        parquet(tmp_path / "odd" / f"{name}.parquet")
    source = opened(str(tmp_path / "odd"))
    assert source.read().num_rows == 16
    assert opened(str(tmp_path / "odd" / "a[1].parquet")).read().num_rows == 2


def test_folder_names_become_columns_with_decoded_typed_values(tmp_path: Path) -> None:
    parquet(tmp_path / "d" / "year=2023" / "city=S%C3%A3o%20P" / "a.parquet")
    parquet(tmp_path / "d" / "year=2024" / "city=__HIVE_DEFAULT_PARTITION__" / "a.parquet")
    source = opened(str(tmp_path / "d"))
    assert source.hive == ("year", "city")
    assert source.columns["year"] == pa.int64()
    assert [file.folders for file in source.files] == [("2023", "São P"), ("2024", None)]
    assert {row["city"]: row["year"] for row in source.read().to_pylist()} == {"São P": 2023, None: 2024}


def test_leading_zeros_in_folder_names_are_kept(tmp_path: Path) -> None:
    for value in ("007", "7"):
        parquet(tmp_path / "d" / f"code={value}" / "a.parquet")
    source = opened(str(tmp_path / "d"))
    assert source.columns["code"] == pa.string()
    assert set(source.read(["code"]).column("code").to_pylist()) == {"007", "7"}


def test_a_glob_over_folders_keeps_their_columns(tmp_path: Path) -> None:
    for day in ("2024-01-01", "2024-01-02"):
        parquet(tmp_path / "d" / f"day={day}" / "a.parquet")
    source = opened(str(tmp_path / "d" / "day=*"))
    assert source.columns["day"] == pa.date32()
    assert source.part(source.files[:1]).read().num_rows == 2


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_a_column_that_stands_in_the_files_too_has_their_type(tmp_path: Path, suffix: str) -> None:
    for store in ("1", "2"):
        table = pa.table({"store": [store], "sales": [float(store)]})
        file = parquet(tmp_path / "d" / f"store={store}" / "a.parquet", table)
        if suffix == "feather":
            feather.write_feather(table, file.with_suffix(".feather"))
            file.unlink()
    source = opened(str(tmp_path / "d"))
    assert source.columns["store"] == pa.string()
    assert rows(source) == [("1", 1.0), ("2", 2.0)]


@pytest.mark.parametrize("suffix", ["feather", "csv"])
def test_folder_columns_come_with_every_format(tmp_path: Path, suffix: str) -> None:
    for region in ("N", "S"):
        folder = tmp_path / "d" / f"region={region}"
        folder.mkdir(parents=True)
        if suffix == "csv":
            (folder / "a.csv").write_text("store,sales\n1,10\n")
        else:
            feather.write_feather(ROWS, folder / "a.feather")
    assert set(opened(str(tmp_path / "d")).read(["region"]).column("region").to_pylist()) == {"N", "S"}


def test_files_behind_a_url_are_read(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    local = parquet(tmp_path / "a.parquet")
    for day in (1, 2):
        memory.pipe(f"/dataset-test/day={day}/a[{day}].parquet", local.read_bytes())
    memory.pipe("/dataset-test-csv/a.csv.gz", gzip.compress(b"store,sales\n1,10.5\n"))
    source = opened("memory://dataset-test")
    assert source.hive == ("day",)
    assert source.read().num_rows == 4
    assert source.read(["day"]).column("day").to_pylist().count(2) == 2
    assert rows(opened("memory://dataset-test-csv/*.csv.gz")) == [(1, 10.5)]


def test_nothing_found_names_the_place_and_near_names(tmp_path: Path) -> None:
    parquet(tmp_path / "sales.parquet")
    with pytest.raises(DataError, match=r"no file matches .*sale\.parquet.* that folder has sales\.parquet"):
        opened(str(tmp_path / "sale.parquet"))
    with pytest.raises(DataError, match=rf"the folder {tmp_path} is the last of it that is there"):
        opened(str(tmp_path / "no" / "such" / "a.parquet"))
    with pytest.raises(DataError, match=r"no file matches .*\*\.csv"):
        opened(str(tmp_path / "*.csv"))
    with pytest.raises(DataError, match="empty list"):
        opened([])
    with pytest.raises(DataError, match=r"`data\.path` is missing"):
        open_source(DataSpec(partition_by=["store"]))


def test_a_folder_without_data_and_unknown_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .*empty holds no data file"):
        opened(str(tmp_path / "empty"))
    (tmp_path / "a.xlsx").write_bytes(b"?")
    with pytest.raises(DataError, match=r"unknown kind of file .*a\.xlsx; expected one of \.parquet"):
        opened(str(tmp_path / "a.xlsx"))
    (tmp_path / "a.parquet.gz").write_bytes(b"?")
    with pytest.raises(DataError, match=r"unknown kind of file .*a\.parquet\.gz"):
        opened(str(tmp_path / "a.parquet.gz"))
    parquet(tmp_path / "d" / "a.parquet")
    (tmp_path / "d" / "b.parquet.bak").write_bytes(b"?")
    with pytest.raises(DataError, match=r"unknown kind of file .*b\.parquet\.bak"):
        opened(str(tmp_path / "d"))


def test_one_dataset_has_one_format_and_one_kind_of_folders(tmp_path: Path) -> None:
    parquet(tmp_path / "a" / "a.parquet")
    (tmp_path / "a" / "b.csv").write_text("store\n1\n")
    with pytest.raises(
        DataError, match=r"one dataset has one format, found parquet \(.*a\.parquet\) and csv \(.*b\.csv\)"
    ):
        opened(str(tmp_path / "a"))
    parquet(tmp_path / "b" / "year=1" / "a.parquet")
    parquet(tmp_path / "b" / "b.parquet")
    with pytest.raises(DataError, match=r"same kind of folders, found no `name=value` folder .* and year=…"):
        opened(str(tmp_path / "b"))


def test_an_unknown_protocol_is_explained() -> None:
    with pytest.raises(DataError, match=r"could not open `data\.path` 'nope://x'"):
        find_files("nope://x")


def test_a_dataset_without_rows_is_an_error(tmp_path: Path) -> None:
    empty = ROWS.slice(0, 0)
    parquet(tmp_path / "p.parquet", empty)
    feather.write_feather(empty, tmp_path / "f.feather")
    (tmp_path / "c.csv").write_text("store,sales\n")
    for name in ("p.parquet", "f.feather", "c.csv"):
        with pytest.raises(DataError, match=rf"no rows: .*{name}"):
            opened(str(tmp_path / name))
    (tmp_path / "z.csv").write_text("")
    with pytest.raises(DataError, match=r"z\.csv is empty; expected a header"):
        opened(str(tmp_path / "z.csv"))


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_a_file_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    whole = parquet(tmp_path / "d" / "a.parquet") if suffix == "parquet" else tmp_path / "d" / "a.feather"
    if suffix == "feather":
        whole.parent.mkdir()
        feather.write_feather(ROWS, whole)
    cut = whole.with_name(f"b.{suffix}")
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"b\.{suffix} is damaged, cut short"):
        opened(str(tmp_path / "d"))


def test_damage_inside_a_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    table = pa.table({"store": list(range(50_000)), "text": [f"row {i}" for i in range(50_000)]})
    good = parquet(tmp_path / "a.parquet", table)
    content = bytearray(good.read_bytes())
    content[2000:60_000] = b"\xff" * 58_000
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"b\.parquet"):
        opened(str(tmp_path / "*.parquet")).read()


def test_the_identity_follows_files_and_reading_options(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("store,sales\n1,10\n")
    first = opened(str(file))
    assert opened(str(file)).identity == first.identity
    assert opened(str(file), types={"store": "string"}).identity != first.identity
    assert opened(str(file), csv={"null_values": ["-"]}).identity != first.identity
    assert opened(str(file), where="sales > 1").identity != first.identity
    file.write_text("store,sales\n1,100\n")
    assert opened(str(file)).identity != first.identity


def test_a_file_that_changes_or_vanishes_meanwhile_is_named(tmp_path: Path) -> None:
    a, b = parquet(tmp_path / "a.parquet"), parquet(tmp_path / "b.parquet")
    source = opened(str(tmp_path))
    source.check_unchanged()
    parquet(b, pa.concat_tables([ROWS, ROWS]))
    with pytest.raises(DataError, match=r"b\.parquet changed while it was read"):
        source.check_unchanged()
    a.unlink()
    with pytest.raises(DataError, match=r"a\.parquet vanished while it was read"):
        source.check_unchanged()
