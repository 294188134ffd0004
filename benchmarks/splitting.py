"""The split of a shuffled file into the partition store, beside DuckDB's own sorted copy of it.

    python benchmarks/splitting.py [--keys 100000] [--rows 120] [--repeats 3]

Both read the same Parquet file and write Parquet that is sorted by store and date, in turns. The split also hashes every
row, makes the fingerprints of keys and dataset, checks times and targets, and writes the manifest; what it writes is synced
to the disk, DuckDB's copy is not.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import duckdb
from options import sized
from sales import write_sales

import manymodels as mm
from manymodels.job.resolve import resolve
from manymodels.storage import Storage


def main() -> None:
    parser = sized(__doc__, keys=100_000, rows=120)
    asked = parser.parse_args()
    ours: list[float] = []
    copies: dict[str, list[float]] = {"snappy": [], "zstd": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = write_sales(folder / "small.parquet", 10, 10)
        _split(small, folder / "warm")  # imports
        data = write_sales(folder / "sales.parquet", asked.keys, asked.rows)
        for repeat in range(asked.repeats):
            ours.append(_split(data, folder / f"store{repeat}"))
            for compression, seconds in copies.items():
                seconds.append(_copy(data, folder / f"copy{repeat}.parquet", compression))
    split = statistics.median(ours)
    print(f"{asked.keys * asked.rows:,} rows, {asked.keys:,} keys, median of {asked.repeats}:")
    print(f"  split into the partition store   {split:.2f} s")
    for compression, seconds in copies.items():
        copy = statistics.median(seconds)
        print(
            f"  DuckDB's sorted copy, {compression:<7}    {copy:.2f} s; the split takes {split / copy:.2f} times as long"
        )


def _split(data: Path, store: Path) -> float:
    job = mm.Job.from_dict(
        {
            "name": "split",
            "task": "regression",
            "data": {"path": str(data), "partition_by": ["store"], "time": "date", "target": "sales"},
            "models": ["sklearn.linear_model.Ridge"],
            "store": str(store),
        }
    )
    began = time.perf_counter()
    resolve(job, None, Storage.at(str(store)))
    return time.perf_counter() - began


def _copy(data: Path, to: Path, compression: str) -> float:
    began = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet('{data}') ORDER BY store, date) TO '{to}' "
            f"(FORMAT parquet, COMPRESSION {compression})"
        )
    seconds = time.perf_counter() - began
    to.unlink()
    return seconds


if __name__ == "__main__":
    main()
