from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from artifacts_fleet import META, StoreModel, manifest, outcome, write

from manymodels.artifacts import repack
from manymodels.artifacts.export import export_fleet, export_model, load_exported
from manymodels.artifacts.segments import SegmentMeta, write_segment
from manymodels.exceptions import DamagedError, NotFoundError, UsageError
from manymodels.partitioning.keys import make_key
from manymodels.records import SegmentInfo
from manymodels.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path / "store")


def refs(*parts: tuple[SegmentInfo, list[int], list[Any]]) -> pa.Table:
    """What the registry says of some rows of segments, which hold the models of some stores."""
    lines = [
        (info, row, store) for info, rows, stores in parts for row, store in zip(rows, stores, strict=True)
    ]
    return pa.table(
        {
            "key:store": [store for _, _, store in lines],
            "key_id": [make_key((store,)).key_id for _, _, store in lines],
            "level": [""] * len(lines),
            "version": pa.array([3] * len(lines), pa.int32()),
            "segment": [info.path for info, _, _ in lines],
            "sha256": [info.sha256 for info, _, _ in lines],
            "row": pa.array([row for _, row, _ in lines], pa.int32()),
        }
    )


def test_one_model_is_a_file_that_pickle_reads(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", range(10))
    export_model(storage, "a.parquet", info.sha256, 7, tmp_path / "model.pkl")
    assert pickle.loads((tmp_path / "model.pkl").read_bytes()) == StoreModel(7)


def test_one_model_of_a_damaged_segment_is_not_exported(storage: Storage, tmp_path: Path) -> None:
    write(storage, "a.parquet", range(10))
    with pytest.raises(DamagedError):
        export_model(storage, "a.parquet", "0" * 64, 7, tmp_path / "model.pkl")
    assert not (tmp_path / "model.pkl").exists()


def test_a_fleet_loads_without_the_store(storage: Storage, tmp_path: Path) -> None:
    a, b = write(storage, "a.parquet", range(10)), write(storage, "b.parquet", range(10, 20))
    served = refs((b, [9, 0], [19, 10]), (a, [3], [3]))
    assert export_fleet(storage, served, tmp_path / "fleet") == 3
    storage.delete("a.parquet")
    storage.delete("b.parquet")
    for store in (3, 10, 19):
        assert load_exported(tmp_path / "fleet", store=store) == StoreModel(store)


def test_a_fleet_is_a_few_files_with_nothing_but_what_was_asked_for(storage: Storage, tmp_path: Path) -> None:
    infos = [write(storage, f"{n}.parquet", [10 * n, 10 * n + 1]) for n in range(5)]
    served = refs(*((info, [1], [10 * n + 1]) for n, info in enumerate(infos)))
    export_fleet(storage, served, tmp_path / "fleet")
    found = sorted(
        path.relative_to(tmp_path / "fleet").as_posix() for path in (tmp_path / "fleet").rglob("*.*")
    )
    assert found == ["README.txt", "index.parquet", "models/00000.parquet"]
    models = pq.read_table(tmp_path / "fleet/models/00000.parquet").to_pydict()
    assert models["key:store"] == [1, 11, 21, 31, 41]
    assert models["run"] == ["run-1"] * 5


def test_the_index_says_what_the_registry_said(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", range(10))
    export_fleet(storage, refs((info, [4, 2], [4, 2])), tmp_path / "fleet")
    index = pq.read_table(tmp_path / "fleet/index.parquet").to_pydict()
    assert index["key:store"] == [4, 2]
    assert index["version"] == [3, 3]
    assert index["row"] == [1, 0]
    assert set(index) == {"key:store", "key_id", "level", "version", "file", "sha256", "row"}


def test_models_of_several_runs_and_large_ones_go_to_several_files(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repack, "_FILE_BYTES", 1)
    other = SegmentMeta("sales", "run-2", 4, python="3.12.1")
    parts = [(write(storage, f"{n}.parquet", [n], META if n < 2 else other), [0], [n]) for n in range(3)]
    export_fleet(storage, refs(*parts), tmp_path / "fleet")
    assert len(list((tmp_path / "fleet/models").iterdir())) == 3
    assert [load_exported(tmp_path / "fleet", store=n) for n in range(3)] == [StoreModel(n) for n in range(3)]
    assert "Python 3.11.7, 3.12.1" in (tmp_path / "fleet/README.txt").read_text()


def test_the_readme_shows_code_that_works(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", ["N"])
    export_fleet(storage, refs((info, [0], ["N"])), tmp_path / "fleet")
    readme = (tmp_path / "fleet/README.txt").read_text()
    assert "1 models of sales" in readme
    assert "numpy 2.1" in readme
    code = "\n".join(line.strip() for line in readme.splitlines() if line.startswith("    "))
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - this is the test
    assert names["model"] == StoreModel("N")


def test_rungs_of_the_ladder_are_found_by_their_level(storage: Storage, tmp_path: Path) -> None:
    info = write_segment(storage, "p.parquet", [outcome("all", level="pooled")], None, META)
    pooled = pa.table(
        {
            "key:store": pa.nulls(1, pa.int64()),
            "key_id": [make_key((), "pooled").key_id],
            "level": ["pooled"],
            "version": pa.array([3], pa.int32()),
            "segment": [info.path],
            "sha256": [info.sha256],
            "row": pa.array([0], pa.int32()),
        }
    )
    keyed = refs((write(storage, "a.parquet", range(3)), [0], [0]))
    export_fleet(storage, pa.concat_tables([pooled, keyed]), tmp_path / "fleet")
    assert load_exported(tmp_path / "fleet", "pooled") == StoreModel("all")
    assert load_exported(tmp_path / "fleet", store=0) == StoreModel(0)
    assert "store=0" in (tmp_path / "fleet/README.txt").read_text()
    export_fleet(storage, pooled, tmp_path / "rungs")
    assert "'pooled')" in (tmp_path / "rungs/README.txt").read_text()


def test_a_key_that_is_not_there_or_of_another_kind_is_not_found(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", [0, 1])
    export_fleet(storage, refs((info, [0, 1], [0, 1])), tmp_path / "fleet")
    for store in (2, "1", 1.0, True, None):
        with pytest.raises(NotFoundError, match="expected one exported model for store="):
            load_exported(tmp_path / "fleet", store=store)
    with pytest.raises(NotFoundError, match="for pooled in"):
        load_exported(tmp_path / "fleet", "pooled")


def test_other_key_columns_are_named(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", [0])
    export_fleet(storage, refs((info, [0], [0])), tmp_path / "fleet")
    for key in ({}, {"shop": 1}, {"store": 1, "region": 2}):
        with pytest.raises(UsageError, match="are found by store=…; found"):
            load_exported(tmp_path / "fleet", **key)


def test_the_null_key_is_found(storage: Storage, tmp_path: Path) -> None:
    info = write_segment(storage, "a.parquet", [outcome(None), outcome(5)], manifest([None, 5]), META)
    export_fleet(storage, refs((info, [0, 1], [None, 5])), tmp_path / "fleet")
    assert load_exported(tmp_path / "fleet", store=None) == StoreModel(None)


def test_a_changed_model_file_is_refused(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", range(10))
    export_fleet(storage, refs((info, [4], [4])), tmp_path / "fleet")
    file = tmp_path / "fleet/models/00000.parquet"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match=r"models/00000\.parquet is damaged"):
        load_exported(tmp_path / "fleet", store=4)


def test_a_folder_with_files_is_left_alone(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", [0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep me")
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        export_fleet(storage, refs((info, [0], [0])), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_damaged_segment_stops_the_export_before_there_is_an_index(
    storage: Storage, tmp_path: Path
) -> None:
    info = write(storage, "a.parquet", range(3))
    storage.write("a.parquet", storage.read("a.parquet")[:-1])
    with pytest.raises(DamagedError):
        export_fleet(storage, refs((info, [0], [0])), tmp_path / "fleet")
    with pytest.raises(NotFoundError, match=r"it has no index\.parquet"):
        load_exported(tmp_path / "fleet", store=0)


def test_a_row_past_the_end_of_its_segment_stops_the_export(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", range(3))
    with pytest.raises(DamagedError, match="has 3 models, row 3"):
        export_fleet(storage, refs((info, [3], [0])), tmp_path / "fleet")


def test_no_models_are_no_export(storage: Storage, tmp_path: Path) -> None:
    info = write(storage, "a.parquet", range(3))
    with pytest.raises(UsageError, match="no models"):
        export_fleet(storage, refs((info, [0], [0])).slice(0, 0), tmp_path / "fleet")
