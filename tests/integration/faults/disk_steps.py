"""What ``test_disk.py`` does inside a mount of one megabyte: run as a script, it prints what it saw as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from wells import Wells

import manymodels as mm
from manymodels.exceptions import ManyModelsError

SMALL = Path(sys.argv[1])
HERE = "training.isolation=none"


def resized(size: str, *, mounted: bool = True) -> None:
    option = f"remount,size={size}" if mounted else f"size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(SMALL)], check=True)


def attempt(action: Any) -> dict[str, str]:
    try:
        return {"result": str(action())}
    except ManyModelsError as error:
        return {"error": type(error).__name__, "message": error.message}


def files(under: Path) -> list[str]:
    return sorted(path.relative_to(under).as_posix() for path in under.rglob("*") if path.is_file())


def scores(rows: int) -> str:
    wells = Wells(SMALL.parent, 20, "serial")
    columns = {"well": np.arange(rows) % 20, "x": np.random.default_rng(0).normal(size=rows)}
    pd.DataFrame(columns).to_parquet("rows.parquet")
    return str(mm.score(wells.job(HERE), "rows.parquet", output=f"{SMALL}/scores", progress=False))


def steps() -> dict[str, Any]:
    seen: dict[str, Any] = {}
    store = f"store={SMALL}/store"
    wells = Wells(SMALL.parent, 20, "serial")

    # The split: rows that do not fit.
    resized("1m", mounted=False)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"well": np.arange(200_000) % 20, "x": 0.0, "y": rng.normal(size=200_000)})
    rows.to_parquet("large.parquet")
    seen["split"] = attempt(
        lambda: mm.train(wells.job(HERE, store, "data.path=large.parquet"), progress=False)
    )
    seen["split files"] = files(SMALL / "store")

    # A segment: models that do not fit.
    os.environ["BALLAST"] = "200000"
    seen["segment"] = attempt(lambda: mm.train(wells.job(HERE, store), progress=False))
    seen["segment files"] = files(SMALL / "store")
    with mm.Registry(SMALL / "store") as registry:
        record = registry.run("latest")
        seen["run"] = record.state
        seen["models"] = registry.model_sets()[0].models
        paths = {segment for segment in files(SMALL / "store") if "/segments/" in segment}
        seen["segments"] = sorted(paths)
        seen["receipts"] = registry.journalled(record.id).num_rows
    resized("30m")
    seen["resumed"] = wells.resume(str(SMALL / "store"))
    with mm.Registry(SMALL / "store") as registry:
        seen["served"] = registry.model_sets()[0].models

    # Scores that do not fit: the store is elsewhere.
    os.environ["BALLAST"] = "0"
    mm.train(wells.job(HERE), progress=False)
    subprocess.run(["umount", str(SMALL)], check=True)
    resized("1m", mounted=False)
    seen["scores"] = attempt(lambda: scores(200_000))
    seen["scores files"] = files(SMALL)
    seen["small scores"] = attempt(lambda: scores(200))
    return seen


os.chdir(SMALL.parent)
print(json.dumps(steps()))
