"""A dataset is split once per content: whatever the order of its rows, its files, or what it comes from."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError, StoreError
from manymodels.partitioning import ordering
from manymodels.partitioning import split as split_module
from manymodels.partitioning.keys import make_key
from manymodels.partitioning.split import split
from manymodels.partitioning.store import USED, PartitionStore
from manymodels.storage import Storage


def rows(keys: int = 20, each: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "store": np.repeat(np.arange(keys), each),
            "region": np.repeat(np.where(np.arange(keys) % 2, "N", "S"), each),
            "day": np.tile(pd.date_range("2026-01-01", periods=each), keys),
            "sales": rng.normal(100, 10, keys * each),
        }
    )


def done(store: Path, frame: Any = None, *, levels: list[str] | None = None, **data: Any) -> PartitionStore:
    spec = DataSpec(**{"partition_by": ["store"], "time": "day", "target": "sales", **data})
    source = open_source(spec, frame)
    roles = resolve_roles(source, spec, "forecast", levels=["region"] if levels is None else levels)
    return split(source, spec, roles, Storage.at(store))


def tree(folder: Path) -> dict[Path, int]:
    """Every file of a folder, with its time; but for those that say when the rows were last asked for."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != USED)
    return {file: file.stat().st_mtime_ns for file in files}


def assert_same(one: PartitionStore, other: PartitionStore) -> None:
    places = ["file", "row_group", "row_offset"]
    assert one.fingerprint == other.fingerprint
    assert one.manifest.drop_columns(places).equals(other.manifest.drop_columns(places))
    pd.testing.assert_frame_equal(one.read(one.manifest)[0], other.read(other.manifest)[0])


def test_rows_are_sorted_by_key_and_time_and_every_row_is_there(tmp_path: Path) -> None:
    frame = rows()
    store = done(tmp_path, frame.sample(frac=1, random_state=1))
    found, offsets = store.read(store.manifest)
    assert found["sales"].tolist() == frame["sales"].tolist()
    assert offsets.tolist() == list(range(0, 601, 30))
    assert store.details.keys == 20


def test_fingerprints_do_not_depend_on_row_order_files_or_format(tmp_path: Path) -> None:
    frame = rows()
    shuffled = frame.sample(frac=1, random_state=2)[["sales", "day", "region", "store"]]
    table = pa.Table.from_pandas(shuffled, preserve_index=False)
    for name in ("parquet", "csv", "arrow", "narrow"):
        (tmp_path / name).mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(shuffled)), 5)):
        piece = table.take(pa.array(part))
        pq.write_table(piece, tmp_path / "parquet" / f"{number}.parquet", row_group_size=37)
        pa.csv.write_csv(piece, tmp_path / "csv" / f"{number}.csv")
        with pa.ipc.new_file(tmp_path / "arrow" / f"{number}.arrow", piece.schema) as writer:
            writer.write_table(piece)
        small = pa.schema([("sales", pa.float64()), ("day", pa.timestamp("ms")), ("region", pa.large_string()),
                           ("store", pa.int8())])  # fmt: skip
        pq.write_table(piece.cast(small), tmp_path / "narrow" / f"{number}.parquet")
    whole = done(tmp_path / "a", frame)
    assert_same(whole, done(tmp_path / "b", shuffled))
    assert_same(whole, done(tmp_path / "c", table))
    for name in ("parquet", "csv", "arrow", "narrow"):
        assert_same(whole, done(tmp_path / "d" / name, path=str(tmp_path / name)))


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(-9, 9)), min_size=2, max_size=40),
    st.randoms(use_true_random=False),
    st.sets(st.integers(1, 39), max_size=3),
)
def test_fingerprints_do_not_depend_on_order_or_on_where_files_are_cut(
    drawn: list[tuple[int, int, int]], random: Any, cuts: set[int]
) -> None:
    def table(lines: list[tuple[int, int, int]]) -> pa.Table:
        stores, days, sales = (pa.array(values, pa.int64()) for values in zip(*lines, strict=True))
        return pa.table({"store": stores, "region": ["N"] * len(lines), "day": days, "sales": sales})

    with tempfile.TemporaryDirectory() as folder:
        whole = done(Path(folder) / "a", table(drawn))
        random.shuffle(drawn)
        (Path(folder) / "rows").mkdir()
        ends = [*sorted(cut for cut in cuts if cut < len(drawn)), len(drawn)]
        for start, stop in zip([0, *ends], ends, strict=False):
            pq.write_table(table(drawn[start:stop]), Path(folder) / "rows" / f"{start}.parquet")
        assert_same(whole, done(Path(folder) / "b", path=f"{folder}/rows"))
        # And on nothing less than every value.
        store, day, sales = drawn[0]
        changed = done(Path(folder) / "c", table([(store, day, sales + 100), *drawn[1:]]))
        assert changed.fingerprint != whole.fingerprint


ties = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "é"]),
        st.integers(0, 2),
        st.sampled_from([0.0, -0.0, 1.0, None, float("nan"), float("inf")]),
        st.sampled_from(["x", None]),
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=25)
@given(ties, st.randoms(use_true_random=False))
def test_rows_at_one_time_are_ordered_by_their_content(drawn: list[Any], random: Any) -> None:
    def table() -> pa.Table:
        stores, days, sales, words = zip(*drawn, strict=True)
        return pa.table(
            {
                "store": stores,
                "region": ["N"] * len(drawn),
                "day": pa.array(days, pa.int64()),
                "sales": pa.array(sales, pa.float64()),
                "word": pa.array(words, pa.string()),
            }
        )

    with tempfile.TemporaryDirectory() as folder:
        one = done(Path(folder) / "a", table())
        random.shuffle(drawn)
        assert_same(one, done(Path(folder) / "b", table()))
        found = one.read(one.manifest)[0]
        assert found[["store", "day"]].equals(found[["store", "day"]].sort_values(["store", "day"]))


def test_the_manifest_counts_times_nulls_and_infinities_per_key(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "store": ["b"] * 4 + ["a"] * 3,
            "region": "N",
            "day": pd.to_datetime(
                ["2026-01-02", "2026-01-01", "2026-01-02", "2026-01-02"] + ["1969-12-31"] * 3
            ),
            "sales": [1.0, np.nan, np.inf, -np.inf, np.nan, np.nan, 5.0],
        }
    )
    manifest = done(tmp_path, frame).manifest
    assert manifest.column("key:store").to_pylist() == ["a", "b"]
    assert manifest.column("level:region").to_pylist() == ["N", "N"]
    assert manifest.column("rows").to_pylist() == [3, 4]
    assert manifest.column("duplicate_times").to_pylist() == [2, 2]
    assert manifest.column("null_targets").to_pylist() == [2, 1]
    assert manifest.column("infinite_targets").to_pylist() == [0, 2]
    day = 86_400_000_000
    assert manifest.column("first_time").to_pylist() == [-day, 20454 * day]
    assert manifest.column("last_time").to_pylist() == [-day, 20455 * day]


@pytest.mark.parametrize(
    ("times", "kind", "expected"),
    [
        ([dt.date(1970, 1, 2)], "date", 86_400_000_000),
        ([7], "int", 7),
        ([dt.datetime(1970, 1, 1, 0, 0, 0, 5)], "timestamp", 5),
        (["1970-01-01T00:00:01+00:00"], "timestamp", 1_000_000),
    ],
)
def test_manifest_times_are_microseconds_or_positions(
    tmp_path: Path, times: list[Any], kind: str, expected: int
) -> None:
    store = done(tmp_path, pa.table({"store": [1], "region": ["N"], "day": times, "sales": [1.0]}))
    assert store.details.time_kind == kind
    assert store.manifest.column("first_time").to_pylist() == [expected]


def test_hostile_keys_come_back_exactly_and_stay_distinct(tmp_path: Path) -> None:
    keys = ["../../etc/passwd", "/etc", "nul\0", "x" * 10_240, "", " ", "A", "a", "caf\u00e9", "cafe\u0301",
            "\u202e\u05d0", "\U0001f600", "CON", "dot.", "'; DROP TABLE runs; --", "%2e", "<script>", "007", "7"]  # fmt: skip
    table = pa.table({"store": keys, "region": keys, "day": [1] * len(keys), "sales": [1.0] * len(keys)})
    store = done(tmp_path, table, partition_by=["store", "region"], levels=[])
    found = store.manifest.column("key:store").to_pylist()
    assert found == sorted(keys)
    assert len(set(store.manifest.column("key_id").to_pylist())) == len(keys)
    assert store.manifest.column("key_id").to_pylist() == [make_key([key, key]).key_id for key in found]
    assert store.read(store.manifest)[0]["store"].tolist() == found
    # User keys never name a file.
    assert {part for file in tree(tmp_path) for part in file.relative_to(tmp_path).parts}.isdisjoint(keys)


def test_pairs_that_would_run_together_are_two_keys(tmp_path: Path) -> None:
    table = pa.table({"store": ["a|b", "a"], "region": ["c", "b|c"], "day": [1, 1], "sales": [1.0, 1.0]})
    store = done(tmp_path, table, partition_by=["store", "region"], levels=[])
    assert len(set(store.manifest.column("key_id").to_pylist())) == 2


def test_both_zeros_are_one_key_and_large_integers_are_not(tmp_path: Path) -> None:
    def keys(values: Any) -> list[Any]:
        table = pa.table({"store": values, "region": ["N"] * len(values), "day": [1] * len(values),
                          "sales": [1.0] * len(values)})  # fmt: skip
        found: list[Any] = done(tmp_path, table).manifest.column("key:store").to_pylist()
        return found

    assert keys([0.0, -0.0]) == [0.0]
    assert keys([2**53 + 1, 2**53]) == [2**53, 2**53 + 1]
    assert keys(pa.array([2**64 - 1, 2**63], pa.uint64())) == [2**63, 2**64 - 1]
    noon, one = "2026-01-01T12:00:00+00:00", "2026-01-01T13:00:00+01:00"
    stamps = pa.array(
        [dt.datetime.fromisoformat(noon), dt.datetime.fromisoformat(one)], pa.timestamp("us", "UTC")
    )
    assert keys(stamps) == [dt.datetime(2026, 1, 1, 12)]


def test_a_dask_frame_gives_the_same_manifest_and_rows(tmp_path: Path) -> None:
    import dask
    import dask.dataframe as dd

    frame = rows()
    whole = done(tmp_path / "a", frame)
    with dask.config.set(scheduler="threads"):
        spread = done(tmp_path / "b", dd.from_pandas(frame.sample(frac=1, random_state=4), npartitions=4))
    assert spread.fingerprint == whole.fingerprint
    assert spread.read(spread.manifest)[0].equals(whole.read(whole.manifest)[0])


def test_only_the_changed_key_has_another_content(tmp_path: Path) -> None:
    frame = rows()
    before = done(tmp_path, frame)
    frame.loc[frame.index[frame["store"] == 7][3], "sales"] += 1
    after = done(tmp_path, frame)
    changed = [
        n
        for n, (a, b) in enumerate(
            zip(before.manifest.column("content"), after.manifest.column("content"), strict=True)
        )
        if a != b
    ]
    assert changed == [7]


def test_an_unchanged_dataset_is_not_split_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    first = done(tmp_path / "store", path=str(path))
    files = tree(tmp_path / "store")
    with monkeypatch.context() as patched:
        patched.setattr(split_module, "sort_rows", None)
        again = done(tmp_path / "store", path=str(path))
    assert again == first
    assert tree(tmp_path / "store") == files
    assert not list((tmp_path / "store" / "tmp").iterdir())


def test_what_the_split_depends_on_splits_again(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    first = done(tmp_path / "store", path=str(path))
    assert done(tmp_path / "store", path=str(path), where="store < 5").details.keys == 5
    assert done(tmp_path / "store", path=str(path), levels=[]).fingerprint != first.fingerprint
    assert done(tmp_path / "store", path=str(path), partition_by=["region"], levels=[]).details.keys == 2
    rows(21).to_parquet(path, index=False)
    assert done(tmp_path / "store", path=str(path)).details.keys == 21


def test_a_dataset_whose_folder_was_deleted_is_split_again(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    first = done(tmp_path / "store", path=str(path))
    shutil.rmtree(tmp_path / "store" / "datasets" / first.fingerprint)
    again = done(tmp_path / "store", path=str(path))
    assert again.fingerprint == first.fingerprint
    assert len(again.read(again.manifest)[0]) == 600


def test_a_damaged_note_costs_a_split_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    first = done(tmp_path / "store", path=str(path))
    (note,) = (tmp_path / "store" / "datasets" / "sources").iterdir()
    note.write_text("{")
    assert done(tmp_path / "store", path=str(path)).fingerprint == first.fingerprint
    assert json.loads(note.read_text())["fingerprint"] == first.fingerprint


def test_a_frame_lands_on_the_fingerprint_of_its_file_and_says_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    from_file = done(tmp_path / "store", path=str(path))
    files = tree(tmp_path / "store" / "datasets" / from_file.fingerprint)
    from_frame = done(tmp_path / "store", rows())
    assert from_frame.fingerprint == from_file.fingerprint
    assert tree(tmp_path / "store" / "datasets" / from_file.fingerprint) == files
    assert from_file.details.sources == (str(path),)
    assert from_frame.details.sources == ()


@pytest.mark.parametrize("change", ["changed", "vanished"])
def test_a_file_that_changes_during_the_split_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = tmp_path / "sales.parquet"
    rows().to_parquet(path, index=False)
    plain = split_module.sort_rows

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        if change == "changed":
            made = plain(*arguments, **options)
            rows(3).to_parquet(path, index=False)
            return made
        path.unlink()
        return plain(*arguments, **options)

    monkeypatch.setattr(split_module, "sort_rows", meanwhile)
    with pytest.raises(DataError, match=rf"sales\.parquet {change}"):
        done(tmp_path / "store", path=str(path))
    assert tree(tmp_path / "store") == {}


def test_data_larger_than_the_memory_limit_is_sorted(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    count = 2_500_000
    frame = pd.DataFrame(
        {"store": rng.integers(0, 500, count), "x": rng.normal(size=count), "y": rng.normal(size=count)}
    )
    for name in "abcdefgh":
        frame[name] = rng.normal(size=count)
    assert frame.memory_usage(index=False).sum() > 200 * 2**20
    path = tmp_path / "big.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=100_000)
    spec = DataSpec(path=str(path), partition_by=["store"], target="y")
    source = open_source(spec)
    store = split(
        source,
        spec,
        resolve_roles(source, spec, "regression"),
        Storage.at(tmp_path / "s"),
        memory=128 * 2**20,
    )
    assert (store.details.rows, store.details.sorted_by) == (count, "duckdb")
    assert store.manifest.column("rows").to_numpy().tolist() == frame.groupby("store").size().tolist()


def test_text_that_outgrows_the_estimate_of_its_memory_is_sorted_out_of_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "_MOST_IN_MEMORY", 200_000)
    frame = rows().assign(note="x" * 1000)
    store = done(tmp_path / "a", frame.sample(frac=1, random_state=1))
    assert store.details.sorted_by == "duckdb"
    assert done(tmp_path / "b", frame.drop(columns="note")).details.sorted_by == "numpy"


@pytest.mark.parametrize(
    "changed", [{}, {"where": "store <> 3"}, {"types": {"sales": "string"}}, {"as_of": "2026-01-15"}]
)
def test_rows_sorted_in_memory_and_by_duckdb_are_the_same_store(
    tmp_path: Path, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "ROW_GROUP_ROWS", 100)
    table = pa.Table.from_pandas(rows().sample(frac=1, random_state=5), preserve_index=False)
    missing = pa.array(np.arange(table.num_rows) % 7 == 0)
    for name in ("sales", "region"):
        place = table.schema.names.index(name)
        table = table.set_column(place, name, pc.if_else(missing, None, table.column(name)))
    target = "store" if "types" in changed else "sales"
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=77)
    data = {"path": str(tmp_path / "in.parquet"), "levels": [], "target": target, **changed}
    here = done(tmp_path / "a", **data)
    monkeypatch.setattr(ordering, "_MOST_IN_MEMORY", 0)
    there = done(tmp_path / "b", **data)
    assert (here.details.sorted_by, there.details.sorted_by) == ("numpy", "duckdb")
    assert_same(here, there)
    assert here.manifest.column("file").unique().to_pylist() != here.manifest.column("file")[:1].to_pylist()


def test_too_little_memory_is_one_clear_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({f"c{i}": rng.normal(size=300_000) for i in range(20)}).assign(
        store=1, region="N", sales=1.0
    )
    frame["day"] = rng.integers(0, 10**6, len(frame))
    spec = DataSpec(partition_by=["store"], time="day", target="sales")
    source = open_source(spec, frame)
    roles = resolve_roles(source, spec, "forecast")
    with pytest.raises(StoreError, match=r"compute\.memory"):
        split(source, spec, roles, Storage.at(tmp_path), memory=2 * 2**20)
    assert tree(tmp_path) == {}


def test_null_keys_are_an_error_with_the_count_or_as_the_job_says(tmp_path: Path) -> None:
    frame = rows().astype({"store": "Int64"})
    frame.loc[[3, 4], "store"] = pd.NA
    with pytest.raises(DataError, match=r"2 rows.*on_null_key"):
        done(tmp_path / "a", frame)
    dropped = done(tmp_path / "b", frame, on_null_key="drop")
    assert (dropped.details.rows, dropped.details.dropped_null_keys) == (598, 2)
    grouped = done(tmp_path / "c", frame, on_null_key="group")
    assert grouped.details.keys == 21
    assert grouped.manifest.column("key:store")[0].as_py() is None
    assert grouped.manifest.column("rows")[0].as_py() == 2


def test_nan_is_a_null_key(tmp_path: Path) -> None:
    frame = rows().astype({"store": float})
    frame.loc[[3, 4, 5], "store"] = np.nan
    with pytest.raises(DataError, match="3 rows"):
        done(tmp_path / "a", pa.table({name: pa.array(frame[name].to_numpy(object)) for name in frame}))
    table = pa.table(
        {**{name: pa.array(frame[name]) for name in frame}, "store": pa.array(frame["store"].to_numpy())}
    )
    assert done(tmp_path / "b", table, on_null_key="group").details.keys == 21


def test_dropping_every_row_leaves_none_to_split(tmp_path: Path) -> None:
    frame = rows(1).astype({"store": "Int64"})
    frame["store"] = pd.NA
    with pytest.raises(DataError, match=r"expected rows.*30 were dropped"):
        done(tmp_path, frame.astype({"store": "Int64"}), on_null_key="drop")


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected rows.*where sales > 1e9"):
        done(tmp_path, rows(), where="sales > 1e9")
    assert tree(tmp_path) == {}


def test_rows_without_a_time_are_counted(tmp_path: Path) -> None:
    frame = rows()
    frame.loc[[3, 50, 51], "day"] = pd.NaT
    with pytest.raises(DataError, match=r"3 rows.*'day'"):
        done(tmp_path, frame)
    assert tree(tmp_path) == {}


def test_a_level_that_varies_within_a_key_is_refused_with_the_key(tmp_path: Path) -> None:
    for value in ("X", None):
        frame = rows()
        frame.loc[95, "region"] = value
        with pytest.raises(DataError, match="'region'") as caught:
            done(tmp_path, frame)
        assert caught.value.key == "store=3"


def test_every_row_its_own_key_is_warned_of(tmp_path: Path) -> None:
    assert "1,001 keys" in done(tmp_path / "a", rows(1001, 1)).details.warnings[0]
    assert done(tmp_path / "b", rows(1001, 2)).details.warnings == ()
    assert done(tmp_path / "c", rows(50, 1)).details.warnings == ()


def test_an_unused_category_is_no_ghost_key(tmp_path: Path) -> None:
    frame = rows(3)
    frame["store"] = pd.Categorical(
        frame["store"].map({0: "a", 1: "b", 2: "c"}), categories=["ghost", "c", "b", "a"]
    )
    assert done(tmp_path, frame).manifest.column("key:store").to_pylist() == ["a", "b", "c"]


def test_values_that_cannot_be_read_stop_the_split_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    text = rows().to_csv(index=False)
    path.write_text(text + "seven,N,2026-01-01,5\n")
    with pytest.raises(DataError, match=r"'store'.*'seven'.*sales\.csv"):
        done(tmp_path / "store", path=str(path), types={"store": "int64"})
    assert tree(tmp_path / "store") == {}


def test_two_splits_at_once_land_on_one_dataset(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(
            pool.map(lambda seed: done(tmp_path, rows().sample(frac=1, random_state=seed)), range(8))
        )
    assert len({store.fingerprint for store in stores}) == 1
    assert all(len(store.read(store.manifest)[0]) == 600 for store in stores)
    assert len(list((tmp_path / "datasets").iterdir())) == 2  # the dataset, and what became of which source
