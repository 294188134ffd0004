"""Rows are read back exactly, each row group once; damage and newer formats are refused."""

from __future__ import annotations

import datetime as dt
import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DamagedError, DataError, NotFoundError, StoreFormatError
from manymodels.partitioning import parts
from manymodels.partitioning import store as store_module
from manymodels.partitioning.split import split
from manymodels.partitioning.store import MANIFEST_COLUMNS, PartitionStore
from manymodels.storage import Storage


def split_table(folder: Path, table: Any, task: str = "regression", **data: Any) -> PartitionStore:
    spec = DataSpec(**{"partition_by": ["k"], "target": "y", **data})
    source = open_source(spec, table)
    return split(source, spec, resolve_roles(source, spec, task), Storage.at(folder))


@pytest.fixture
def many_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PartitionStore:
    """40 keys of 1 to 40 rows, in row groups of about 100 rows."""
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 100)
    counts = np.arange(1, 41)
    keys = np.repeat(np.arange(40), counts)
    frame = pd.DataFrame(
        {"k": keys, "t": np.concatenate([np.arange(c) for c in counts]), "y": keys * 1.5, "x": keys}
    )
    return split_table(tmp_path / "store", frame, time="t")


def part_files(store: PartitionStore) -> list[Path]:
    return sorted((Path(store.storage.root) / "datasets" / store.fingerprint).glob("part-*.parquet"))


def test_the_manifest_has_the_documented_columns_in_key_order(many_groups: PartitionStore) -> None:
    manifest = many_groups.manifest
    assert manifest.column_names == [*MANIFEST_COLUMNS, "key:k"]
    assert [manifest.schema.field(name).type for name in MANIFEST_COLUMNS] == list(MANIFEST_COLUMNS.values())
    assert manifest.column("key:k").to_pylist() == list(range(40))
    assert manifest.column("rows").to_pylist() == list(range(1, 41))
    assert manifest.column("last_time").to_pylist() == list(range(40))


def test_row_groups_hold_whole_keys_and_are_where_the_manifest_says(many_groups: PartitionStore) -> None:
    (path,) = part_files(many_groups)
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) <= 100
    places = many_groups.manifest.to_pandas().groupby("row_group")
    for group, keys in places:
        assert keys["row_offset"].tolist() == [0, *np.cumsum(keys["rows"])[:-1]]
        assert keys["rows"].sum() == sizes[group]


def test_slices_in_any_order_come_back_in_that_order(many_groups: PartitionStore) -> None:
    order = np.random.default_rng(0).permutation(40)
    frame, offsets = many_groups.read(many_groups.manifest.take(pa.array(order)))
    assert np.diff(offsets).tolist() == (order + 1).tolist()
    assert frame.index.equals(pd.RangeIndex(820))
    for place, key in enumerate(order):
        part = frame.iloc[offsets[place] : offsets[place + 1]]
        assert (part["k"] == key).all()
        assert part["t"].tolist() == list(range(key + 1))
        assert (part["y"] == key * 1.5).all()


def test_a_slice_asked_for_twice_comes_twice(many_groups: PartitionStore) -> None:
    frame, _ = many_groups.read(many_groups.manifest.take(pa.array([3, 1, 3])), ["k"])
    assert frame["k"].tolist() == [3, 3, 3, 3, 1, 1, 3, 3, 3, 3]


def test_no_slice_is_an_empty_frame(many_groups: PartitionStore) -> None:
    frame, offsets = many_groups.read(many_groups.manifest.slice(0, 0), ["y", "k"])
    assert frame.empty
    assert list(frame.columns) == ["y", "k"]
    assert offsets.tolist() == [0]


def test_each_needed_row_group_is_read_once_and_no_other(
    many_groups: PartitionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []
    plain = store_module._row_group

    def counted(storage: Storage, path: str, group: int, names: list[str]) -> pa.Table:
        read.append((path, group))
        return plain(storage, path, group, names)

    monkeypatch.setattr(store_module, "_row_group", counted)
    slices = many_groups.manifest.take(pa.array([39, 0, 20, 1, 38, 2]))
    many_groups.read(slices)
    groups = set(slices.column("row_group").to_pylist())
    assert 1 < len(groups) < 6
    assert sorted(group for _, group in read) == sorted(groups)


def test_a_key_larger_than_a_row_group_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 100)
    frame = pd.DataFrame({"k": [0] * 10 + [1] * 250 + [2] * 10, "y": np.arange(270.0), "x": 0})
    store = split_table(tmp_path, frame)
    assert store.manifest.column("row_group").to_pylist() == [0, 1, 2]
    assert store.manifest.column("row_offset").to_pylist() == [0, 0, 0]


def test_files_are_cut_at_their_size_and_all_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROW_GROUP_ROWS", 100)
    monkeypatch.setattr(parts, "_PART_BYTES", 2000)
    values = np.random.default_rng(0).normal(size=1000)
    frame = pd.DataFrame({"k": np.repeat(np.arange(50), 20), "y": values, "x": 0})
    store = split_table(tmp_path, frame)
    assert len(part_files(store)) > 3
    assert store.manifest.column("file").unique().to_pylist() == [path.name for path in part_files(store)]
    found = store.read(store.manifest)[0].groupby("k")["y"].sum()
    assert found.to_numpy() == pytest.approx(frame.groupby("k")["y"].sum().to_numpy())


def test_numbers_and_times_are_numpy_columns_and_types_never_depend_on_the_slices(tmp_path: Path) -> None:
    table = pa.table(
        {
            "k": ["a", "a", "b", "b"],
            "y": [1.0, 2.0, 3.0, None],
            "whole": [1, 2, 3, 4],
            "holes": [1, 2, None, 4],
            "flag": [True, False, None, True],
            "sure": [True, False, True, True],
            "day": [dt.date(2026, 1, 1)] * 3 + [None],
            "money": pa.array([Decimal("1.10"), None, None, None], pa.decimal128(9, 2)),
            "text": ["x", None, "y", "z"],
            "nothing": pa.nulls(4, pa.float64()),
        }
    )
    store = split_table(tmp_path, table)
    whole, _ = store.read(store.manifest)
    assert {name: str(kind) for name, kind in whole.dtypes.items() if name not in ("k", "text")} == {
        "y": "float64",
        "whole": "int64",
        "holes": "float64",
        "flag": "object",
        "sure": "bool",
        "day": "datetime64[us]",
        "money": "float64",
        "nothing": "float64",
    }
    for key in range(2):
        part, _ = store.read(store.manifest.slice(key, 1))
        assert part.dtypes.equals(whole.dtypes)
    assert whole["money"].iloc[0] + whole["money"].fillna(0).sum() == pytest.approx(2.2)


def test_a_store_pickles_small_and_reads_where_it_arrives(many_groups: PartitionStore) -> None:
    assert many_groups.manifest.num_rows == 40
    content = pickle.dumps(many_groups)
    assert len(content) < 2000
    there = pickle.loads(content)
    assert there.manifest.equals(many_groups.manifest)
    assert there.schema == many_groups.schema
    assert "40 keys" in repr(there)


def test_details_come_back_from_their_file(many_groups: PartitionStore) -> None:
    again = PartitionStore.open(many_groups.storage, many_groups.fingerprint)
    assert again.details == many_groups.details
    assert again.details.key_kinds == {"k": "int"}
    assert again.details.time_kind == "int"
    assert again.details.columns == {"k": "int", "t": "int", "x": "int", "y": "float"}


def test_a_part_that_is_missing_cut_short_or_has_a_flipped_byte_is_named(many_groups: PartitionStore) -> None:
    (path,) = part_files(many_groups)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    for damaged in (None, whole[: len(whole) // 2], bytes(flipped), b"PAR1"):
        store_module._metadata.cache_clear()
        path.unlink(missing_ok=True)
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(DamagedError, match=path.name):
            many_groups.read(many_groups.manifest)
    store_module._metadata.cache_clear()
    path.write_bytes(whole)
    assert len(many_groups.read(many_groups.manifest)[0]) == 820


def test_rows_past_the_end_of_a_row_group_are_damage(many_groups: PartitionStore) -> None:
    slices = many_groups.manifest.slice(0, 1)
    index = slices.schema.get_field_index("rows")
    with pytest.raises(DamagedError, match="expected at least"):
        many_groups.read(slices.set_column(index, "rows", pa.array([1000])))


def test_a_damaged_or_missing_manifest_is_named(many_groups: PartitionStore) -> None:
    path = part_files(many_groups)[0].with_name("manifest.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DamagedError, match=r"manifest\.parquet"):
        _ = PartitionStore.open(many_groups.storage, many_groups.fingerprint).manifest


def test_a_store_of_a_newer_format_is_refused_untouched(many_groups: PartitionStore) -> None:
    path = part_files(many_groups)[0].with_name("details.json")
    newer = {**json.loads(path.read_text()), "format": 99}
    path.write_text(json.dumps(newer))
    with pytest.raises(StoreFormatError, match="99"):
        PartitionStore.open(many_groups.storage, many_groups.fingerprint)
    assert json.loads(path.read_text()) == newer


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1}'])
def test_damaged_details_are_named(many_groups: PartitionStore, content: str) -> None:
    path = part_files(many_groups)[0].with_name("details.json")
    path.write_text(content)
    with pytest.raises(DamagedError, match=r"details\.json"):
        PartitionStore.open(many_groups.storage, many_groups.fingerprint)


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        PartitionStore.open(Storage.at(tmp_path), "0" * 32)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["no", "yes", None, "no"], ("no", "yes")),
        ([2, 1, None, 2], (1, 2)),
        ([True, False, True, None], (False, True)),
    ],
)
def test_classes_are_typed_and_sorted(tmp_path: Path, values: list[Any], classes: tuple[Any, ...]) -> None:
    store = split_table(tmp_path, pa.table({"k": [1, 1, 2, 2], "y": values, "x": [0] * 4}), "classification")
    again = PartitionStore.open(store.storage, store.fingerprint)
    for found in (store.classes, again.classes):
        assert found == classes
        assert [type(value) for value in found] == [type(value) for value in classes]
    assert store.manifest.column("null_targets").to_pylist() in ([0, 1], [1, 0])


def test_more_than_a_thousand_classes_are_refused_when_they_are_asked_for(tmp_path: Path) -> None:
    table = pa.table(
        {"k": np.arange(2002) % 3, "y": [f"c{i // 2}" for i in range(2002)], "x": np.zeros(2002)}
    )
    store = split_table(tmp_path, table, "classification")
    with pytest.raises(DataError, match="1,000 classes"):
        _ = store.classes
    assert len(split_table(tmp_path, table.slice(0, 2000), "classification").classes) == 1000
