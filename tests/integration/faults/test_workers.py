"""Workers and schedulers that are killed: what has finished is not done again, and a run without them can be resumed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from dask_clusters import DaskCluster
from processes import local_workers, until
from wells import Wells

import manymodels as mm
from manymodels.compute import executor
from manymodels.exceptions import RunError

pytestmark = pytest.mark.integration

WELLS = 40
HERE = "training.isolation=none"  # the sandboxes of killed workers are test_sandbox.py's business


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return Wells(tmp_path_factory.mktemp("calm"), WELLS, "serial").trained_calmly()


def test_no_finished_batch_runs_again_however_often_workers_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[int, float]
) -> None:
    monkeypatch.chdir(tmp_path)
    wells = Wells(tmp_path, WELLS, "{target: local, workers: 2}")
    for well in range(WELLS):
        wells.ask(well, "pause")
    kills: list[tuple[set[int], Counter[int]]] = []
    over = threading.Event()

    def kill_after_receipts() -> None:
        receipts = 0
        while not over.wait(0.02) and len(kills) < 4:
            if wells.journalled() > receipts and (workers := local_workers()):
                receipts = wells.journalled()
                with suppress(FileNotFoundError):  # the run has just ended, and tidied up
                    kills.append((wells.done(), wells.started()))
                    workers[len(kills) % len(workers)].kill()

    killer = threading.Thread(target=kill_after_receipts)
    killer.start()
    try:
        run = mm.train(wells.job(HERE), progress=False)
    finally:
        over.set()
        killer.join()
    assert (run.summary["trained"], run.summary["failed"]) == (WELLS, 0)
    assert len(kills) >= 2
    for done, started in kills:
        assert not done & (wells.started() - started).keys()
    assert wells.models() == undisturbed


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    (tmp_path / "cluster").mkdir()
    with DaskCluster(tmp_path / "cluster") as started:
        yield started


def test_without_workers_or_scheduler_a_run_ends_in_bounded_time_and_is_resumed_when_they_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: DaskCluster, undisturbed: dict[int, float]
) -> None:
    monkeypatch.setattr(executor, "PATIENCE", 4.0)
    folder = tmp_path / "wells"
    folder.mkdir()
    monkeypatch.chdir(folder)
    wells = Wells(folder, WELLS, cluster.compute)
    workers = cluster.start_workers(2)
    hold = wells.ask(20, "wait")

    def strike(*victims: str) -> threading.Thread:
        def kill() -> None:
            assert until(lambda: wells.started()[20] > 0 and wells.journalled() > 0, 60)
            for victim in victims:
                cluster.kill(cluster.scheduler if victim == "scheduler" else workers)

        thread = threading.Thread(target=kill)
        thread.start()
        return thread

    # Every worker, with its nanny.
    striker = strike("workers")
    with pytest.raises(
        RunError, match=r"no workers at tcp://\S+ for 4 s; start workers; .*runs resume wells-000001"
    ):
        mm.train(wells.job(HERE), progress=False)
    striker.join()
    first = wells.done()
    with wells.registry() as registry:
        assert registry.run("latest").state == "failed"
        assert registry.model_sets()[0].models == 0

    # The scheduler, while the resumed run is at the same well.
    workers = cluster.start_workers(2)
    wells.forget_starts()
    striker = strike("scheduler")
    with pytest.raises(RunError, match=r"lost the .*scheduler at tcp://\S+.*runs resume wells-000001"):
        wells.resume()
    striker.join()
    assert not first & wells.started().keys()
    second = wells.done()
    assert first <= second

    cluster.kill(workers)
    cluster.start_scheduler(cluster.address.rpartition(":")[2])
    cluster.start_workers(2)
    hold.unlink()
    wells.forget_starts()
    assert wells.resume()["trained"] == WELLS
    assert not second & wells.started().keys()
    assert wells.models() == undisturbed
