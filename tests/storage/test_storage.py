"""Both kinds of storage behave alike; and an object store that fails in passing is not noticed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import Proxy

from manymodels.exceptions import NotFoundError, StoreError
from manymodels.storage import Storage, remote


@pytest.fixture(params=["folder", "s3", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage.at(tmp_path / "store")
    if request.param == "memory":
        return Storage.at(f"memory://{tmp_path.name}")
    return Storage.at(request.getfixturevalue("s3_url"))


def test_files_are_written_read_listed_moved_and_removed(storage: Storage, tmp_path: Path) -> None:
    assert storage.listing("") == []
    assert not storage.exists("a/one")
    storage.write("a/one", b"1")
    storage.write("a/b/two", b"22")
    storage.write("a/one", b"111", lasting=False)
    assert storage.read("a/one") == b"111"
    assert storage.exists("a/one")
    assert storage.exists("a")
    assert storage.size("a/one") == 3
    assert [(file.path, file.bytes) for file in storage.files()] == [("a/b/two", 2), ("a/one", 3)]
    assert storage.listing("a/b") == ["a/b/two"]
    assert all(file.modified > 1_600_000_000_000_000 for file in storage.files())
    storage.move("a/one", "c/three")
    assert storage.listing("") == ["a/b/two", "c/three"]
    (tmp_path / "local").write_bytes(b"from a file")
    storage.upload(tmp_path / "local", "a/four")
    assert storage.read("a/four") == b"from a file"
    storage.delete("a")
    storage.delete("nothing/there")
    storage.delete("c/three")
    assert storage.listing("") == []
    with pytest.raises(NotFoundError, match="c/three"):
        storage.read("c/three")


def test_a_folder_is_published_once_its_last_file_is_there(storage: Storage) -> None:
    for content in (b"first", b"second"):
        folder = storage.scratch()
        (folder / "rows").write_bytes(content)
        (folder / "manifest").write_bytes(content)
        storage.publish_folder(folder, "datasets/x", last="manifest")
        assert not folder.exists()
    assert storage.read("datasets/x/rows") == b"first"
    storage.delete("datasets/x/manifest")  # a removal that was cut short
    folder = storage.scratch()
    (folder / "rows").write_bytes(b"third")
    (folder / "manifest").write_bytes(b"third")
    storage.publish_folder(folder, "datasets/x", last="manifest")
    assert storage.read("datasets/x/rows") == b"third"


def test_readers_that_seek_find_a_file(storage: Storage) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2]}), sink)
    storage.write("t/a.parquet", sink.getvalue().to_pybytes())
    filesystem, path = pickle.loads(pickle.dumps(storage)).locate("t/a.parquet")
    assert pq.read_table(path, filesystem=filesystem).column("a").to_pylist() == [1, 2]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\0", "a\\b"])
def test_no_path_leaves_the_root(storage: Storage, path: str) -> None:
    storage.write("x", b"")
    for use in (
        storage.read, storage.exists, storage.size, storage.files, storage.delete, storage.locate,
        lambda p: storage.write(p, b""), lambda p: storage.move("x", p), lambda p: storage.move(p, "x"),
    ):  # fmt: skip
        with pytest.raises(StoreError, match="inside it"):
            use(path)


def test_what_others_write_is_seen_at_once(s3_url: str) -> None:
    mine, theirs = Storage.at(s3_url), Storage.at(s3_url)
    assert mine.listing("") == []
    assert not mine.exists("a/b")
    theirs.write("a/b", b"x")
    assert mine.exists("a/b")
    assert mine.listing("a") == ["a/b"]
    theirs.delete("a")
    assert mine.listing("") == []


@pytest.mark.parametrize("kind", ["503", "500", "stall", "cut"])
def test_requests_that_fail_in_passing_are_not_noticed(faulty_url: str, s3_proxy: Proxy, kind: str) -> None:
    storage = Storage.at(faulty_url)
    content = bytes(range(256)) * 4000
    storage.write("a/zero", b"")
    # One request in four goes wrong, whatever it was; stalls cost time.
    s3_proxy.fault = lambda method, path, number: (
        kind if number % (4 if kind != "stall" else 9) == 0 else None
    )
    for number in range(4):
        storage.write(f"a/{number}", content)
        assert storage.read(f"a/{number}") == content
        assert storage.exists(f"a/{number}")
    assert len(storage.listing("a")) == 5
    storage.move("a/0", "b/0")
    assert storage.read("b/0") == content
    storage.delete("a")
    assert storage.listing("") == ["b/0"]
    assert set(s3_proxy.injected) == {kind}
    assert len(s3_proxy.injected) >= 2


def test_an_outage_ends_in_an_error_that_says_what_and_where(
    faulty_url: str, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 1.0)
    storage = Storage.at(faulty_url)
    storage.write("a", b"before")
    s3_proxy.fault = lambda method, path, number: "503"
    for use in (lambda: storage.read("a"), lambda: storage.listing(""), lambda: storage.delete("a")):
        with pytest.raises(StoreError, match=f"could not .*{faulty_url}"):
            use()
    with pytest.raises(StoreError, match=r"write .* \(5 bytes\)"):
        storage.write("b", b"after")
    s3_proxy.fault = lambda method, path, number: None
    assert storage.listing("") == ["a"]


def test_what_is_not_there_or_not_allowed_is_said_at_once(faulty_url: str, s3_proxy: Proxy) -> None:
    s3_proxy.seen.clear()
    with pytest.raises(NotFoundError):
        Storage.at(faulty_url).read("nothing")
    with pytest.raises(StoreError, match="nobody-has-this"):
        Storage.at("s3://nobody-has-this-bucket/x").write("a", b"")
    assert len(s3_proxy.seen) < 10
    with pytest.raises(StoreError, match="nowhere"):
        Storage.at("nowhere://x").read("a")
