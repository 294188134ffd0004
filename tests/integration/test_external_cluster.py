"""A job on somebody's scheduler: split, trained and scored there, with the models of a serial run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dask_clusters import DaskCluster
from wells import Wells

import manymodels as mm
from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.exceptions import DataError
from manymodels.job.splitting import split_rows
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage

pytestmark = pytest.mark.integration

WELLS = 40
PLACES = ["file", "row_group", "row_offset"]


@pytest.fixture
def wells(dask_cluster: DaskCluster, tmp_path: Path) -> Wells:
    return Wells(tmp_path, WELLS, dask_cluster.compute)


def split_of(folder: Path, run: str = "latest", store: str = ".manymodels") -> PartitionStore:
    with mm.Registry(folder / store) as registry:
        return PartitionStore.open(registry.storage, registry.run(run).dataset)


def test_a_job_is_split_trained_and_scored_there_with_the_models_of_a_serial_run(
    wells: Wells, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = wells.verb("train", "job.yaml")
    assert (trained["trained"], trained["promoted"], trained["keys"]) == (WELLS, WELLS, WELLS)
    scored = wells.verb("score", "job.yaml", "-o", "scores", "--data", "wells.parquet")
    assert (scored["scored"], scored["rows"]) == (WELLS, 12 * WELLS)

    monkeypatch.chdir(wells.folder)
    serial = mm.Job.from_yaml("job.yaml", overrides=["compute=serial", "store=.serial"])
    assert mm.train(serial, progress=False).summary["dataset"] == trained["dataset"]
    assert wells.models() == wells.models(".serial")
    one, other = pd.read_parquet("scores"), mm.score(serial, "wells.parquet", progress=False)
    pd.testing.assert_frame_equal(one, other)

    here, there = split_of(wells.folder, store=".serial"), split_of(wells.folder)
    assert (here.details.sorted_by, there.details.sorted_by) == ("numpy", "dask")
    assert here.manifest.drop_columns(PLACES).equals(there.manifest.drop_columns(PLACES))
    pd.testing.assert_frame_equal(here.read(here.manifest)[0], there.read(there.manifest)[0])


def test_an_unchanged_dataset_needs_no_cluster_to_plan(wells: Wells, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wells.folder)
    assert len(mm.plan(mm.Job.from_yaml("job.yaml")).training) == WELLS
    away = mm.Job.from_yaml("job.yaml", overrides=["compute.address=tcp://127.0.0.1:1"])
    assert len(mm.plan(away).training) == WELLS


def read_bytes() -> int:
    """Bytes that this process has read so far, from files and connections alike."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar"))
    return int(line.split()[1])


def test_the_driver_of_a_split_reads_a_small_part_of_the_rows(
    wells: Wells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wells.folder)
    job = mm.Job.from_yaml("job.yaml")
    storage = Storage.at(wells.folder / "other")

    def split_there() -> PartitionStore:
        source = open_source(job.data)
        return split_rows(job, source, job.data, resolve_roles(source, job.data, job.task), storage)

    split_there()  # what is imported is read as well
    rng = np.random.default_rng(1)
    rows = 1_000_000
    columns = {"well": rng.integers(0, 50, rows), "x": rng.normal(size=rows), "y": rng.normal(size=rows)}
    pd.DataFrame(columns).to_parquet("wells.parquet", index=False, row_group_size=100_000)
    size = Path("wells.parquet").stat().st_size
    before = read_bytes()
    store = split_there()
    read = read_bytes() - before
    assert (store.details.rows, store.details.sorted_by) == (rows, "dask")
    assert read < size / 10, f"the driver read {read:,} of {size:,} bytes"


def test_a_table_in_memory_is_split_here_and_trained_there(
    wells: Wells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wells.folder)
    job = mm.Job.from_yaml("job.yaml", overrides=["training.isolation=none"])
    run = mm.train(job, pd.read_parquet("wells.parquet"), progress=False)
    assert run.summary["trained"] == WELLS
    assert split_of(wells.folder).details.sorted_by == "numpy"


def test_rows_that_do_not_fit_are_named_by_a_split_there(
    wells: Wells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wells.folder)
    rows = pd.read_parquet("wells.parquet")
    rows["well"] = rows["well"].astype("Int64").mask(rows["well"] == 3)
    rows.to_parquet("wells.parquet", index=False)
    with pytest.raises(DataError, match="12 rows with a null"):
        mm.plan(mm.Job.from_yaml("job.yaml"))
    rows.dropna().to_parquet("wells.parquet", index=False)
    shutil.rmtree(".manymodels")
    assert len(mm.plan(mm.Job.from_yaml("job.yaml")).training) == WELLS - 1
