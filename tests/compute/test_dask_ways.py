"""Ways in which Dask really behaves that are answered elsewhere than in one executor's own tests; and TLS.

All of them, with their answers and tests, are listed in docs/cluster.md.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import compute_work as work
import dask
import pandas as pd
import pytest
from dask_clusters import Certificate, DaskCluster
from wells import Wells

from manymodels.compute.executor import open_executor
from manymodels.compute.spec import ComputeSpec
from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.exceptions import ComputeError
from manymodels.job.splitting import split_rows
from manymodels.partitioning.store import PartitionStore
from manymodels.storage import Storage

ROOT = Path(__file__).parents[2]
WELLS = 40


def split_there(wells: Wells, store: Path) -> PartitionStore:
    job = wells.job(f"data.path={wells.folder}/wells.parquet")
    source = open_source(job.data)
    return split_rows(job, source, job.data, resolve_roles(source, job.data, job.task), Storage.at(store))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.made(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[DaskCluster]:
    with DaskCluster(tmp_path_factory.mktemp("encrypted"), certificate) as cluster:
        cluster.start_workers(2)
        yield cluster


@pytest.mark.integration
class TestEncryption:
    def test_a_job_names_its_certificates(
        self, encrypted: DaskCluster, certificate: Certificate, tmp_path: Path
    ) -> None:
        assert encrypted.address.startswith("tls://")
        security = ", ".join(
            f"{name}: {str(value).lower() if value is True else value}"
            for name, value in certificate.settings.items()
        )
        wells = Wells(
            tmp_path, WELLS, f"{{target: dask, address: '{encrypted.address}', security: {{{security}}}}}"
        )
        assert split_there(wells, tmp_path / "store").details.sorted_by == "dask"
        with open_executor(wells.job().compute, storage_root=str(tmp_path / "store")) as executor:
            assert [c.value for c in executor.run(work.square, [("task", 3)])] == [9]

    def test_or_leaves_them_to_dasks_own_configuration(
        self, encrypted: DaskCluster, certificate: Certificate
    ) -> None:
        settings = {
            "distributed.comm.tls.ca-file": certificate.certificate,
            "distributed.comm.tls.client.cert": certificate.certificate,
            "distributed.comm.tls.client.key": certificate.key,
        }
        with (
            dask.config.set(settings),
            open_executor(ComputeSpec(target="dask", address=encrypted.address)) as executor,
        ):
            assert [c.value for c in executor.run(work.square, [("task", 3)])] == [9]

    def test_who_shows_none_or_another_is_refused(self, encrypted: DaskCluster, tmp_path: Path) -> None:
        none = ComputeSpec(target="dask", address=encrypted.address)
        with pytest.raises(ComputeError, match=rf"{encrypted.address} asks for certificates.*tls_ca_file"):
            open_executor(none, patience=2)
        stranger = none.model_copy(update={"security": Certificate.made(tmp_path).settings})
        refused = rf"no Dask scheduler answered at {encrypted.address}.*`compute\.security`"
        with pytest.raises(ComputeError, match=refused):
            open_executor(stranger, patience=2)

    def test_workers_that_die_with_a_task_do_not_cost_the_tasks_that_wait_beside_it(
        self, encrypted: DaskCluster, certificate: Certificate, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"

        def kill_or_square(number: int) -> int:
            if number == 3:
                work.die_always(str(mark))
            return number * number

        spec = ComputeSpec(target="dask", address=encrypted.address, security=certificate.settings)
        with open_executor(spec) as executor:
            tasks = ((str(number), number) for number in range(20))
            completions = {c.name: c for c in executor.run(kill_or_square, tasks)}
        failed = completions.pop("3")
        assert "4 workers died" in str(failed.error)
        assert {int(name) ** 2 for name in completions} == {c.value for c in completions.values()}
        assert len(mark.read_text().splitlines()) == 4


@pytest.mark.integration
def test_two_drivers_split_the_same_rows_on_one_scheduler_at_once(
    dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    wells = Wells(tmp_path, WELLS, dask_cluster.compute)
    made: list[PartitionStore] = []
    drivers = [
        threading.Thread(
            target=lambda store=tmp_path / f"store-{number}": made.append(split_there(wells, store))
        )
        for number in range(3)
    ]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len({store.fingerprint for store in made}) == 1
    rows = [store.read(store.manifest)[0] for store in made]
    assert len(rows) == len(drivers)
    for other in rows[1:]:
        pd.testing.assert_frame_equal(rows[0], other)


def test_every_way_has_an_answer_and_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text()
    ways = re.findall(r"^\| (\d+) \|.*\|$", text, re.MULTILINE)
    assert ways == [str(number) for number in range(1, 12)]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) >= len(ways)
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"
