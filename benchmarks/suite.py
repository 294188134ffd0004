"""manymodels beside what a user would pick instead, in one run, alternating.

    make bench                                                  # everything, at the documented sizes
    python benchmarks/suite.py --peers PYTHON [--work ridge --keys 10000 --rows 365 --repeats 3 --only ours,joblib_files]

Everyone does the same: shuffled Parquet in, one model per store fitted and kept on disk, 14 new rows a store scored from
what was kept, Parquet out. Imports and cluster start are shown apart. A row whose predictions are not those of the plain
loop is void; for Holt-Winters, where everybody optimises by themselves, the squared error on the new rows is shown instead.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from options import sized
from peaks import process_tree
from sales import write_sales

HERE = Path(__file__).parent
NEW = 14
ENGINES = {
    "ours": "manymodels",
    "ours_process": "manymodels, isolation: process",
    "loop": "plain loop, a joblib file a model",
    "joblib_files": "joblib, 2 processes, a file a model",
    "dask_tasks": "Dask, a task per key",
    "dask_groupby": "Dask groupby-apply",
    "ray_tasks": "Ray, a task per key",
    "ray_groups": "Ray Data map_groups",
    "spark": "Spark applyInPandas",
    "nixtla": "statsforecast",
    "mlforecast_files": "mlforecast, an object and a file a key",
}
WORKS = {"mean", "ridge", "forest", "holt_winters", "lag_ridge"}
FEATURELESS = {"mean", "holt_winters", "lag_ridge"}
MOST_KEYS = {
    "dask_tasks": 2_000,
    "dask_groupby": 2_000,
    "ray_tasks": 2_000,
    "ray_groups": 1_000,
    "spark": 2_000,
    "mlforecast_files": 2_000,
}
"""Engines that would take an hour: they do fewer keys, and are compared by keys a second."""
ONE_BY_ONE = 100
"""Keys of those that fit Holt-Winters with statsmodels, which takes a tenth of a second a key."""
ONLY = {
    "nixtla": {"mean", "holt_winters"},
    "mlforecast_files": {"lag_ridge"},
    "ours_process": {"ridge", "mean"},
}


@dataclass
class Measured:
    """What one engine took, a value a repeat."""

    keys: int
    train: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    startup: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    bytes: int = 0
    files: int = 0
    error: float = float("nan")
    fitting: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    """Bytes of each file of ours that holds models, with their metrics and fingerprints."""
    """Share of the workers' seconds that is inside fit and predict, while all workers run."""
    again: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def seconds(self) -> float:
        """Training and scoring, the median."""
        return statistics.median(map(sum, zip(self.train, self.score, strict=True)))


def main() -> None:
    parser = sized(__doc__, keys=10_000, rows=365)
    parser.add_argument(
        "--peers", required=True, help="Python of the environment with peers/requirements.txt"
    )
    parser.add_argument("--work", choices=sorted(WORKS), action="append")
    parser.add_argument("--only", help="engines, with commas", default=",".join(ENGINES))
    parser.add_argument("--table", type=Path, help="append the tables to this Markdown file")
    asked = parser.parse_args()
    for work in asked.work or ["ridge", "mean"]:
        engines = [name for name in asked.only.split(",") if work in ONLY.get(name, WORKS)]
        with tempfile.TemporaryDirectory() as folder:
            found = measure(work, asked.keys, asked.rows, asked.repeats, engines, asked.peers, Path(folder))
        text = report(work, asked.keys, asked.rows, asked.repeats, found)
        print(text)
        if asked.table:
            with asked.table.open("a") as file:
                file.write(text + "\n")


def measure(
    work: str, keys: int, rows: int, repeats: int, engines: list[str], peers: str, folder: Path
) -> dict[str, Measured]:
    """Run every engine as often as asked, one after the other in each repeat."""
    found: dict[str, Measured] = {}
    inputs: dict[int, tuple[Path, Path]] = {}
    for repeat in range(repeats):
        for name in engines:
            count = min(keys, _most_keys(name, work))
            if count not in inputs:
                inputs[count] = _inputs(folder, count, rows, features=0 if work in FEATURELESS else 5)
            measured = found.setdefault(name, Measured(count))
            if measured.note:
                continue
            place = folder / f"{name}{repeat}"
            place.mkdir()
            python, script = (sys.executable, "ours") if name.startswith("ours") else (peers, name)
            train, new = inputs[count]
            command = [python, str(HERE / "peers" / f"{script}.py"), "--work", work, "--train", str(train)]
            command += ["--new", str(new), "--models", str(place / "models"), "--out", str(place / "out")]
            if name == "ours_process":
                command += ["--isolation", "process"]
            _run(command, measured)
            if not measured.note:
                _look(place, measured, new)
                print(
                    f"{work} {ENGINES[name]}: {measured.train[-1]:.2f} + {measured.score[-1]:.2f} s",
                    file=sys.stderr,
                )
            if repeat or name != "loop":
                shutil.rmtree(place)
    return found


def _most_keys(engine: str, work: str) -> int:
    if work == "holt_winters" and engine not in ("ours", "nixtla"):
        return ONE_BY_ONE
    return MOST_KEYS.get(engine, sys.maxsize)


def _inputs(folder: Path, keys: int, rows: int, features: int) -> tuple[Path, Path]:
    whole = pd.read_parquet(write_sales(folder / "whole.parquet", keys, rows, features=features))
    last = whole["date"].max() - pd.Timedelta(days=NEW)
    train, new = folder / f"train{keys}.parquet", folder / f"new{keys}.parquet"
    whole[whole["date"] <= last].to_parquet(train, index=False)
    whole[whole["date"] > last].to_parquet(new, index=False)
    return train, new


def _run(command: list[str], measured: Measured) -> None:
    """Run an engine, watching the whole process tree: its CPU time and its peak of memory."""
    with tempfile.TemporaryFile("w+") as errors:
        # Spark's and Ray's workers import the peers' module too.
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE / "peers"), os.environ.get("PYTHONPATH", "")]),
        }
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables)
        spent: dict[int, float] = {}
        peak = 0
        while process.poll() is None:
            resident = 0
            for one in process_tree(process.pid):
                try:
                    used = one.cpu_times()
                    spent[one.pid] = used.user + used.system
                    resident += one.memory_info().rss
                except psutil.Error:
                    continue
            peak = max(peak, resident)
            time.sleep(0.1)
        output = process.stdout.read() if process.stdout else ""
        if process.returncode:
            errors.seek(0)
            measured.note = (errors.read().strip().splitlines() or ["failed"])[-1][:80]
            return
    times = json.loads(output.strip().splitlines()[-1])
    measured.train.append(times["train"])
    measured.score.append(times["score"])
    measured.startup.append(times["startup"])
    if "again" in times:
        measured.fitting.append(times["fitting"])
        measured.busy.append(times["fitting_while_all_run"] / times["workers_while_all_run"])
        measured.again.append(times["again"])
    measured.cpu.append(sum(spent.values()))
    measured.memory.append(peak)


def _look(place: Path, measured: Measured, new: Path) -> None:
    """What lies on disk, and how right it is."""
    kept = [path for path in (place / "models").rglob("*") if path.is_file() and "datasets" not in path.parts]
    measured.bytes, measured.files = sum(path.stat().st_size for path in kept), len(kept)
    measured.segments = [path.stat().st_size for path in kept if path.parent.name == "segments"]
    scores = pd.read_parquet(place / "out", columns=["store", "date", "prediction"])
    actual = pd.read_parquet(new, columns=["store", "date", "sales"])
    both = actual.merge(scores.astype({"date": actual["date"].dtype}), on=["store", "date"], how="left")
    if len(both) != len(actual) or both["prediction"].isna().any():
        measured.note = (
            f"void: {int(both['prediction'].isna().sum())} of {len(actual)} rows have no prediction"
        )
        return
    measured.error = float(np.sqrt(((both["sales"] - both["prediction"]) ** 2).mean()))


def report(work: str, keys: int, rows: int, repeats: int, found: dict[str, Measured]) -> str:
    """The table, with ratios of medians to ours."""
    ours = found.get("ours")
    truth = {m.keys: m.error for m in found.values() if m.train}
    lines = [
        f"### {work}, {keys:,} keys x {rows} rows ({NEW} of them scored), median of {repeats}",
        "",
        "| engine | keys | train s | score s | keys/s | slower than ours | to score | CPU ms a key | peak MiB "
        "| on disk, bytes a model | files | start-up s | RMSE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, m in found.items():
        if m.note:
            lines.append(f"| {ENGINES[name]} | {m.keys:,} | {m.note} | | | | | | | | | | |")
            continue
        void = work != "holt_winters" and not np.isclose(m.error, truth[m.keys], rtol=1e-6)
        ratio = scoring = ""
        if ours is not None and not ours.note:
            ratio = f"{m.seconds / m.keys / (ours.seconds / ours.keys):.1f}"
            scoring = f"{_median(m.score) / m.keys / (_median(ours.score) / ours.keys):.1f}"
        lines.append(
            f"| {ENGINES[name]}{' (void: other predictions)' if void else ''} | {m.keys:,} "
            f"| {_median(m.train):.2f} | {_median(m.score):.2f} | {m.keys / m.seconds:,.0f} | {ratio} | {scoring} "
            f"| {_median(m.cpu) / m.keys * 1e3:.2f} | {_median(m.memory) / 2**20:,.0f} "
            f"| {m.bytes / m.keys:,.0f} | {m.files:,} | {_median(m.startup):.1f} | {m.error:.4f} |"
        )
    for name in ("ours", "ours_process"):
        if name in found and not found[name].note:
            lines += ["", _own_figures(ENGINES[name], found[name])]
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("manymodels", "pandas", "scikit-learn", "dask")
    )
    return "\n".join([*lines, "", f"{platform.machine()}, {psutil.cpu_count()} CPUs; {versions}.", ""])


def _own_figures(engine: str, m: Measured) -> str:
    """What only we can say of ourselves."""
    workers = psutil.cpu_count() or 1
    whole = statistics.median(f / (workers * t) for f, t in zip(m.fitting, m.train, strict=True))
    share = _median(m.again) / _median(m.train)
    return (
        f"{engine}: efficiency {_median(m.busy):.2f} (seconds inside fit and predict, of the workers' seconds while all of "
        f"them run); of {workers} workers x the whole training, split and publication included, {whole:.2f}. "
        f"The unchanged rerun takes {_median(m.again):.2f} s, {share:.1%} of the first run. "
        f"Of what is on disk {sum(m.segments) / m.keys:,.0f} bytes a model are {len(m.segments)} segments."
    )


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
