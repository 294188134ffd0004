"""Garbage collection and compaction beside trainings and scorings of other processes: nobody is hurt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import manymodels as mm
from manymodels.registry import Registry

pytestmark = pytest.mark.integration

KEYS = 30
ROUNDS = 3

_JOB = """
import json, sys
from pathlib import Path
import pandas as pd
import manymodels as mm

folder = Path(sys.argv[1])

def job(variant):
    return mm.Job.from_dict({
        "name": "wells", "task": "regression",
        "data": {"path": str(folder / f"wells-{variant}.parquet"), "partition_by": ["well"], "target": "y"},
        "models": ["sklearn.linear_model.LinearRegression"], "evaluation": {"holdout": 0.25},
        "training": {"isolation": "none", "only": "all"}, "promotion": {"rule": "always"},
        "compute": {"target": "serial"}, "store": str(folder / "store"),
    })
"""

TRAIN = """
for round in range(int(sys.argv[2])):
    keys = None if round % 2 else [{"well": well} for well in range(round, 30, 3)]
    run = mm.train(job("abc"[round % 3]), keys=keys, progress=False)
    assert run.state == "completed" and run.summary["failed"] == 0, run
"""

SCORE = """
for round in range(int(sys.argv[2])):
    out = folder / "out" / f"{round}.parquet"
    mm.score(job("a"), str(folder / f"wells-{'abc'[round % 3]}.parquet"), output=str(out), progress=False)
    scored = pd.read_parquet(out)
    assert set(scored["status"]) == {"ok"}, scored[scored["status"] != "ok"][["status", "reason"]]
    assert scored["well"].nunique() == 30
"""

COLLECT = """
from manymodels.registry import Registry
reports = []
while not (folder / "stop").exists():
    with Registry(folder / "store") as registry:
        reports.append(registry.gc(apply=True, grace=3600.0))
        reports.append(registry.compact(apply=True, below=0.9))
(folder / "collected.json").write_text(json.dumps([
    sum(r.retired["models"] for r in reports[::2]), sum(len(r.paths) for r in reports[::2]),
    sum(r.segments for r in reports[1::2]),
]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, variant in enumerate("abc"):
        rng = np.random.default_rng(number)
        frames = [
            pd.DataFrame({"well": well, "x": rng.normal(size=20), "y": rng.normal(well, 1, 20)})
            for well in range(KEYS)
        ]
        pd.concat(frames).to_parquet(tmp_path / f"wells-{variant}.parquet", index=False)
    (tmp_path / "out").mkdir()
    return tmp_path


def start(folder: Path, script: str, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", _JOB + script, str(folder), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def test_collection_and_compaction_hurt_no_training_and_no_scoring(folder: Path) -> None:
    first = start(folder, TRAIN, 3)
    assert finished(first) == (0, "")
    store = folder / "store"
    (store / "settings.yaml").write_text("retention: {versions: 1, datasets: 1}\n")
    (store / "runs/wells-000001/segments/000000-lost.parquet").write_bytes(b"of an attempt that lost")
    yesterday = time.time() - 86_400
    for path in store.rglob("*"):
        if path.is_file() and not path.name.startswith("registry.db"):
            os.utime(path, (yesterday, yesterday))

    collector = start(folder, COLLECT, 0)
    others = [start(folder, TRAIN, ROUNDS), start(folder, SCORE, ROUNDS)]
    try:
        for process in others:
            assert finished(process) == (0, "")
        (folder / "stop").touch()
        assert finished(collector) == (0, "")
    finally:
        for process in (collector, *others):
            process.kill()
            process.communicate()
    given_up, removed, compacted = json.loads((folder / "collected.json").read_text())
    assert given_up > 0
    assert removed > 0
    assert compacted > 0

    with Registry(store) as registry:
        report = registry.verify(deep=True)
        assert (report.damaged, report.unusable) == ((), ())
        assert report.loaded
        served = registry.served("wells")
        assert served.num_rows == KEYS + 2  # and the ladder's
        newest = registry.served("wells", run_id=registry.run("latest").id)
        assert newest.column("version").to_pylist() == served.column("version").to_pylist()
        registry.gc(apply=True, grace=0.0)
        assert registry.verify(deep=True).damaged == ()
        assert not [path for path in registry.storage.listing("runs") if path.endswith("-lost.parquet")]
    assert isinstance(mm.Registry(store).load("wells", well=7).describe(), dict)
