"""The example jobs fit their data, and every candidate in them can be built."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.job import load_job
from manymodels.models.families import build

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted((ROOT / "configs").glob("*.yaml"))
NEW_ROWS = {
    "store_sales": "store_sales_future.parquet",
    "predictive_maintenance": "wells_new.parquet",
    "predictive_maintenance_anomaly": "wells_new.parquet",
    "personalization": "candidates.parquet",
}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_an_example_job_fits_its_data(path):
    job = load_job(path, environ={})
    levels = [column for rung in job.fallback if not isinstance(rung, str) for column in rung.level]
    roles = resolve_roles(open_source(job.data), job.data, job.task, levels, job.evaluation.label)
    assert list(roles.features) == job.data.features
    assert roles.warnings == ()
    for candidate in job.models:
        assert build(candidate, job.task).name


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_the_new_rows_of_an_example_have_what_scoring_needs(path):
    job = load_job(path, environ={})
    columns = pq.read_schema(ROOT / "sample_data" / NEW_ROWS[path.stem]).names
    needed = [
        *job.data.partition_by,
        *(job.data.known_future if job.task == "forecast" else job.data.features),
    ]
    assert set(needed) <= set(columns)
    assert job.data.target not in columns


@pytest.mark.parametrize("target", ["local", "serial", "dask"])
def test_an_example_job_runs_on_every_example_target(target):
    job = load_job(JOBS[0], overrides=[f"compute=configs/compute/{target}.yaml"], environ={})
    assert job.compute.target == target


def test_every_example_task_of_the_product_is_there():
    assert {load_job(path, environ={}).task for path in JOBS} == {
        "forecast",
        "regression",
        "anomaly",
        "ranking",
    }
