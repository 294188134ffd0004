from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from artifacts_fleet import META, StoreModel, manifest, outcome, write

from manymodels.artifacts import reader as reading
from manymodels.artifacts import segments
from manymodels.artifacts.reader import SegmentReader
from manymodels.artifacts.segments import FORMAT, write_segment
from manymodels.exceptions import DamagedError, StoreError, StoreFormatError
from manymodels.models.contract import FittedModel
from manymodels.storage import Storage

A, B = "runs/1/segments/a.parquet", "runs/1/segments/b.parquet"


def load_many(
    reader: SegmentReader, path: str, sha256: str, rows: Iterable[int]
) -> Iterator[tuple[int, FittedModel | StoreError]]:
    for row in rows:
        try:
            yield row, reader.load(path, sha256, row)
        except StoreError as error:
            yield row, error


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage.at(tmp_path)
    return Storage.at(f"memory://{tmp_path.name}")


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path)


def change(storage: Storage, path: str, edit: Callable[[bytes], bytes]) -> None:
    storage.write(path, edit(storage.read(path)))


def flip(place: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_models_come_back_by_row(storage: Storage) -> None:
    info = write(storage, A, range(600))
    assert (info.path, info.rows, info.codec) == (A, 600, "pickle")
    assert info.bytes == storage.size(A)
    reader = SegmentReader(storage)
    for row in (599, 0, 255, 256, 511, 512):
        assert reader.load(A, info.sha256, row) == StoreModel(row)
    assert list(load_many(reader, A, info.sha256, [3, 300, 1])) == [
        (3, StoreModel(3)),
        (300, StoreModel(300)),
        (1, StoreModel(1)),
    ]


def test_a_segment_is_plain_parquet_that_says_what_each_model_is(local: Storage) -> None:
    write(local, A, [5, 6])
    row = pq.read_table(local.absolute(A)).to_pylist()[1]
    assert row.pop("artifact") == outcome(6).artifact
    assert row == {
        "model_set": "sales",
        "run": "run-1",
        "version": 3,
        "level": "",
        "key:store": 6,
        "key_id": outcome(6).key_id,
        "candidate": "ridge",
        "params": '{"alpha": 1.0}',
        "metric": 6.1,
        "rows": 40,
        "cutoff": 1_700_000_000_000_000,
        "seed": 2**32 - 1,
        "content": bytes([1]) * 16,
        "fit_seconds": 0.5,
        "seconds": 0.75,
        "codec": "pickle",
    }


def test_a_segment_describes_itself(storage: Storage) -> None:
    info = write(storage, A, [5, 6])
    assert SegmentReader(storage).describe(A) == (info, META)
    assert SegmentReader(storage).meta(A, info.sha256) == META


def test_columns_are_read_for_all_models_at_once(storage: Storage) -> None:
    info = write(storage, A, range(300))
    table = SegmentReader(storage).read_table(A, ["key_id", "version"], sha256=info.sha256)
    assert table.column_names == ["key_id", "version"]
    assert table.num_rows == 300
    assert "artifact" in SegmentReader(storage).read_table(A, sha256=info.sha256).column_names


def test_rungs_have_no_key_columns(storage: Storage) -> None:
    info = write_segment(storage, A, [outcome("all", level="pooled")], None, META)
    table = SegmentReader(storage).read_table(A, sha256=info.sha256)
    assert not [name for name in table.column_names if name.startswith("key:")]
    assert table.column("content").null_count == 1
    assert SegmentReader(storage).load(A, info.sha256, 0) == StoreModel("all")


@pytest.mark.parametrize(
    "stores",
    [
        ["../../etc/passwd", "a\0b", "'; DROP TABLE runs; --", "", "A", "a"],
        [dt.date(2024, 1, 1), dt.date(1969, 12, 31)],
        [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
        [b"\xff\x00"],
        [None, True],
    ],
)
def test_keys_of_every_kind_are_kept(local: Storage, stores: list[Any]) -> None:
    info = write(local, A, stores)
    assert (
        SegmentReader(local).read_table(A, ["key:store"], sha256=info.sha256).column(0).to_pylist() == stores
    )


def test_a_key_column_may_be_called_anything(local: Storage) -> None:
    keys = manifest([1]).rename_columns(["key:a.b", "key_id", "content", "rows"])
    info = write_segment(local, A, [outcome(1)], keys, META)
    assert SegmentReader(local).read_table(A, ["key:a.b"], sha256=info.sha256).to_pylist() == [{"key:a.b": 1}]
    change(local, A, flip(20))
    with pytest.raises(DamagedError):
        SegmentReader(local).load(A, info.sha256, 0)


def test_row_groups_hold_256_models_or_one_mebibyte(local: Storage) -> None:
    sizes = [700_000, 700_000, 200_000, 3_000_000, 10, *[10] * 300]
    outcomes = [outcome(n, os.urandom(size)) for n, size in enumerate(sizes)]
    info = write_segment(local, A, outcomes, manifest(range(len(sizes))), META)
    file = pq.ParquetFile(local.absolute(A))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [1, 2, 1, 256, 45]
    reader = SegmentReader(local)
    for row in (0, 1, 2, 3, 4, 304):
        assert reader.artifact(A, info.sha256, row) == ("pickle", outcomes[row].artifact)


def test_models_that_are_not_those_of_the_keys_are_refused(local: Storage) -> None:
    with pytest.raises(ValueError, match="not those of its models"):
        write_segment(local, A, [outcome(1)], manifest([2]), META)
    assert not local.exists(A)


def test_two_codecs_do_not_share_a_segment(local: Storage) -> None:
    table = pa.concat_tables([manifest([1]), manifest([2])]).append_column(
        "codec", pa.array(["pickle", "columns"])
    )
    with pytest.raises(ValueError, match="one codec"):
        segments.write_table(local, A, table, META)


@pytest.mark.parametrize("place", [0, 20, 2000, -3000, -200, -6, -1])
def test_a_flipped_bit_anywhere_refuses_the_whole_segment(storage: Storage, place: int) -> None:
    info = write(storage, A, range(600))
    change(storage, A, flip(place % info.bytes))
    reader = SegmentReader(storage)
    with pytest.raises(
        DamagedError, match=rf"segment {A} is damaged: its SHA-256 is [0-9a-f]+…, recorded was"
    ):
        reader.load(A, info.sha256, 3)
    loaded = dict(load_many(reader, A, info.sha256, [3, 4]))
    assert all(isinstance(error, DamagedError) for error in loaded.values())
    assert len(loaded) == 2


def test_a_damaged_segment_names_its_keys_as_far_as_they_can_be_read(local: Storage) -> None:
    info = write(local, A, range(600))
    artifacts = pq.ParquetFile(local.absolute(A)).metadata.row_group(0).column(16)
    assert artifacts.path_in_schema == "artifact"
    change(local, A, flip(artifacts.data_page_offset + 50))
    with pytest.raises(
        DamagedError, match=r"models of store=0; store=1; store=2; store=3; store=4 and 595 more"
    ):
        SegmentReader(local).load(A, info.sha256, 3)


def test_keys_in_a_damaged_row_group_are_left_out(local: Storage) -> None:
    info = write(local, A, range(600))
    keys = pq.ParquetFile(local.absolute(A)).metadata.row_group(0).column(4)
    assert keys.path_in_schema == "key:store"
    change(local, A, flip(keys.data_page_offset + 50))
    with pytest.raises(DamagedError, match=r"models of store=256; store=257"):
        SegmentReader(local).load(A, info.sha256, 3)


@pytest.mark.parametrize("left", [0, 4, 500, -1])
def test_a_truncated_segment_is_refused(storage: Storage, left: int) -> None:
    info = write(storage, A, range(10))
    change(storage, A, lambda content: content[:left])
    with pytest.raises(DamagedError, match="its keys cannot be read"):
        SegmentReader(storage).load(A, info.sha256, 3)


def test_swapped_segments_are_refused_and_each_says_where_its_content_belongs(storage: Storage) -> None:
    a, b = write(storage, A, range(10)), write(storage, B, range(10, 20))
    first, second = storage.read(A), storage.read(B)
    storage.write(A, second)
    storage.write(B, first)
    reader = SegmentReader(storage)
    with pytest.raises(DamagedError, match=f"it has the content of {B}"):
        reader.load(A, a.sha256, 0)
    with pytest.raises(DamagedError, match=f"it has the content of {A}"):
        reader.load(B, b.sha256, 0)


def test_a_missing_segment_is_damage(storage: Storage) -> None:
    reader = SegmentReader(storage)
    with pytest.raises(DamagedError, match=f"segment {A} is missing"):
        reader.load(A, "0" * 64, 0)
    with pytest.raises(DamagedError, match=f"segment {A} is missing"):
        reader.describe(A)


@pytest.mark.parametrize("row", [10, -1, 10**9])
def test_a_row_past_the_end_is_refused_and_the_others_are_served(storage: Storage, row: int) -> None:
    info = write(storage, A, range(10))
    reader = SegmentReader(storage)
    with pytest.raises(DamagedError, match=f"has 10 models, row {row} was asked for"):
        reader.load(A, info.sha256, row)
    loaded = dict(load_many(reader, A, info.sha256, [row, 9]))
    assert isinstance(loaded[row], DamagedError)
    assert loaded[9] == StoreModel(9)


def test_one_model_that_cannot_be_made_leaves_the_others_alone(local: Storage) -> None:
    bad = outcome(1)
    outcomes = [outcome(0), type(bad)(**{**vars(bad), "artifact": b"rotten"}), outcome(2)]
    info = write_segment(local, A, outcomes, manifest(range(3)), META)
    loaded = dict(load_many(SegmentReader(local), A, info.sha256, range(3)))
    assert isinstance(loaded[1], DamagedError)
    assert f"segment {A}, row 1: a model could not be loaded" in str(loaded[1])
    assert (loaded[0], loaded[2]) == (StoreModel(0), StoreModel(2))


def test_nothing_is_unpickled_before_the_segment_is_verified(
    local: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = write(local, A, range(3))
    change(local, A, flip(info.bytes - 100))
    monkeypatch.setattr(reading, "decode", lambda *_: pytest.fail("unpickled"))
    with pytest.raises(DamagedError):
        SegmentReader(local).load(A, info.sha256, 0)


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    hashed: list[str] = []
    real = reading.hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        hashed.append(file.name)
        return real(file, name)

    monkeypatch.setattr(reading.hashlib, "file_digest", counting)
    return hashed


def test_a_file_is_hashed_once_per_process(local: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = count_hashes(monkeypatch)
    info = write(local, A, range(3))
    for reader in (SegmentReader(local), SegmentReader(local)):
        for row in range(3):
            reader.load(A, info.sha256, row)
    assert len(hashed) == 1


def test_a_damaged_file_is_hashed_once_too(local: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = count_hashes(monkeypatch)
    write(local, A, range(3))
    reader = SegmentReader(local)
    for row in range(3):
        with pytest.raises(DamagedError, match="models of store=0; store=1; store=2; restore"):
            reader.load(A, "0" * 64, row)
    assert len(hashed) == 1


def test_a_file_that_changed_since_is_verified_again(local: Storage) -> None:
    info = write(local, A, range(3))
    reader = SegmentReader(local)
    assert reader.load(A, info.sha256, 0) == StoreModel(0)
    change(local, A, flip(50))
    with pytest.raises(DamagedError, match="is damaged"):
        reader.load(A, info.sha256, 0)
    change(local, A, flip(50))
    assert reader.load(A, info.sha256, 0) == StoreModel(0)


def test_verify_hashes_again_what_no_date_gives_away(local: Storage) -> None:
    info = write(local, A, range(3))
    reader = SegmentReader(local)
    reader.verify(A, info.sha256)
    file = Path(local.absolute(A))
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    with file.open("r+b") as rotting:
        rotting.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedError):
        reader.verify(A, info.sha256)


def test_rot_after_the_check_is_caught_by_the_page_checksum(local: Storage) -> None:
    info = write(local, A, range(600))
    reader = SegmentReader(local)
    reader.load(A, info.sha256, 0)
    file = Path(local.absolute(A))
    before = file.stat()
    place = pq.ParquetFile(file).metadata.row_group(1).column(16).data_page_offset + 50
    content = flip(place)(file.read_bytes())
    with file.open("r+b") as rotting:
        rotting.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedError, match="changed after it was verified"):
        reader.load(A, info.sha256, 300)


def test_many_segments_do_not_keep_as_many_files_open(
    local: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_OPEN_FILES", 2)
    reader = SegmentReader(local)
    infos = [write(local, f"s/{n}.parquet", [n]) for n in range(5)]
    for _ in range(2):
        for n, info in enumerate(infos):
            assert reader.load(info.path, info.sha256, 0) == StoreModel(n)
    assert len(reader._open) == 2


def test_remote_segments_are_fetched_once_and_kept_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.at("memory://kept")
    infos = [write(storage, f"s/{n}.parquet", [n]) for n in range(3)]
    fetched: list[str] = []
    filesystem = fsspec.filesystem("memory")
    real = type(filesystem).cat_file
    monkeypatch.setattr(
        type(filesystem),
        "cat_file",
        lambda self, path, **more: fetched.append(path) or real(self, path, **more),
    )
    reader = SegmentReader(storage)
    for _ in range(3):
        reader.load(infos[0].path, infos[0].sha256, 0)
    assert len(fetched) == 1
    monkeypatch.setattr(reading, "_HELD_BYTES", infos[0].bytes + 1)
    for info in infos:
        reader.load(info.path, info.sha256, 0)
    assert list(reader._open) == [infos[2].path]


def test_threads_share_a_reader(local: Storage) -> None:
    info = write(local, A, range(1000))
    reader = SegmentReader(local)
    wrong: list[int] = []

    def work(start: int) -> None:
        for row in range(start, 1000, 7):
            if reader.load(A, info.sha256, row) != StoreModel(row):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_segment_of_a_newer_format_is_refused_not_guessed_at(local: Storage) -> None:
    write(local, A, [1])
    table = pq.read_table(local.absolute(A))
    entry = json.loads(table.schema.metadata[b"manymodels.segment"]) | {"format": FORMAT + 1}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"manymodels.segment": json.dumps(entry)}), sink)
    local.write(A, sink.getvalue().to_pybytes())
    with pytest.raises(
        StoreFormatError, match=f"has format {FORMAT + 1}, this version of manymodels reads up to"
    ):
        SegmentReader(local).describe(A)


def test_other_files_are_no_segments(local: Storage) -> None:
    local.write(A, b"hello")
    with pytest.raises(DamagedError, match="no readable Parquet"):
        SegmentReader(local).describe(A)
    sink = pa.BufferOutputStream()
    pq.write_table(manifest([1]), sink)
    local.write(B, sink.getvalue().to_pybytes())
    with pytest.raises(StoreFormatError, match="no segment of models"):
        SegmentReader(local).describe(B)


def test_a_segment_that_cannot_be_read_is_an_error_of_the_store(local: Storage) -> None:
    local.write("file", b"")
    Path(local.absolute("folder.parquet")).mkdir()
    for path in ("file/a.parquet", "folder.parquet"):
        with pytest.raises(StoreError, match=f"segment {path} could not be read"):
            SegmentReader(local).load(path, "0" * 64, 0)


def test_a_segment_path_cannot_leave_the_store(local: Storage) -> None:
    with pytest.raises(StoreError, match="must stay inside"):
        SegmentReader(local).load("../outside.parquet", "0" * 64, 0)


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_segments_of_every_format_ever_written_are_read(number: int) -> None:
    """Each was written by the version that brought its format; those of the first hold plain dictionaries."""
    storage = Storage.at(Path(__file__).parent)
    path = f"segment_{number}.parquet"
    info, meta = SegmentReader(storage).describe(path)
    assert (meta.model_set, meta.run_id, meta.version) == ("sales", "run-1", 3)
    model = SegmentReader(storage).load(path, info.sha256, 1)
    if number == 1:
        assert (info.rows, info.codec, model) == (2, "pickle", {"store": 2})
    else:
        assert (info.rows, info.codec) == (2, "columns")
        assert (model.describe()["family"], model.describe()["mean"]) == ("mean", 2.5)
    table = SegmentReader(storage).read_table(path, ["key:store", "metric"], sha256=info.sha256)
    assert table.to_pydict() == {"key:store": [1, 2], "metric": [1.1, 2.1]}
