"""Drivers that are killed, interrupted, cancelled or out of time: the run stops where it is, and can be resumed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from dask_clusters import DaskCluster
from processes import gone, here_on_path, until
from wells import Listener, Wells

import manymodels as mm
from manymodels.exceptions import RunInterrupted

pytestmark = pytest.mark.integration

WELLS = 40
SERIAL = "serial"
HERE = "training.isolation=none"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """What the models of an undisturbed run predict."""
    return Wells(tmp_path_factory.mktemp("calm"), WELLS, SERIAL).trained_calmly()


def assert_every_fit_began_once(wells: Wells) -> None:
    assert wells.started() == dict.fromkeys(range(WELLS), 1)


def test_a_cancelled_run_finishes_its_batch_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[int, float]
) -> None:
    wells = Wells(tmp_path, WELLS, SERIAL)
    monkeypatch.chdir(tmp_path)
    hold = wells.ask(0, "wait")

    def cancel() -> None:
        assert until(lambda: wells.started()[0] == 1)
        wells.verb("runs", "cancel", "latest")

    other = threading.Thread(target=cancel)
    other.start()
    with pytest.raises(RunInterrupted, match=r"cancelled; `manymodels runs resume wells-000001`") as caught:
        mm.train(wells.job(HERE), progress=Listener({"stopping, it was cancelled": hold.unlink}))
    other.join()
    assert caught.value.exit_code == 130
    with wells.registry() as registry:
        record = registry.run("latest")
        assert (record.state, record.reason) == ("interrupted", "it was cancelled")
        assert 0 < registry.journalled(record.id).num_rows < record.batches
        assert registry.model_sets()[0].models == 0  # nothing of half a run is seen
    assert wells.resume()["trained"] == WELLS
    assert_every_fit_began_once(wells)
    assert wells.models() == undisturbed


def test_a_run_past_its_deadline_finishes_its_batch_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[int, float]
) -> None:
    wells = Wells(tmp_path, WELLS, SERIAL)
    monkeypatch.chdir(tmp_path)
    hold = wells.ask(0, "wait")
    listener = Listener({"stopping, it reached its deadline": hold.unlink})
    with pytest.raises(RunInterrupted, match=r"training\.deadline.*runs resume"):
        mm.train(wells.job(HERE, "training.deadline=300ms"), progress=listener)
    with wells.registry() as registry:
        assert registry.run("latest").state == "interrupted"
    result = None
    for _ in range(WELLS):  # a resumed run has as much time again: for at least one batch
        try:
            result = wells.resume()
            break
        except RunInterrupted:
            continue
    assert result is not None
    assert result["trained"] == WELLS
    assert_every_fit_began_once(wells)
    assert wells.models() == undisturbed


# On a terminal, where Ctrl-C goes to every process in the foreground.

_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "manymodels", *sys.argv[1:]])
"""


def test_a_second_ctrl_c_stops_at_once_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[int, float]
) -> None:
    wells = Wells(tmp_path, WELLS, "{target: local, workers: 2}")
    hold = wells.ask(0, "wait")
    terminal, end = os.openpty()
    said = bytearray()
    driver = subprocess.Popen(
        [sys.executable, "-c", _TERMINAL, "train", "job.yaml"], cwd=tmp_path, env=here_on_path(),
        stdin=end, stdout=end, stderr=end, start_new_session=True,
    )  # fmt: skip
    os.close(end)

    def listen() -> None:
        while True:
            try:
                said.extend(os.read(terminal, 4096))
            except OSError:  # the other end is closed
                return

    ear = threading.Thread(target=listen)
    ear.start()
    try:
        assert until(lambda: wells.started()[0] == 1, 60)
        family = [member.pid for member in psutil.Process(driver.pid).children(recursive=True)]
        os.write(terminal, b"\x03")
        assert until(lambda: b"stopping, the user stopped it" in said)
        assert driver.poll() is None
        assert wells.started()[0] == 1
        os.write(terminal, b"\x03")
        assert driver.wait(30) == 130
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
        ear.join()
        os.close(terminal)
    assert len(family) >= 4  # two workers, each with its sandbox
    assert until(lambda: all(map(gone, family)))
    assert b"runs resume wells-000001" in said
    hold.unlink()
    monkeypatch.chdir(tmp_path)
    assert wells.resume()["trained"] == WELLS
    assert wells.models() == undisturbed


# On somebody's scheduler, which outlives the driver.


def test_a_driver_killed_in_training_on_a_cluster_is_resumed_and_one_killed_in_scoring_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dask_cluster: DaskCluster, undisturbed: dict[int, float]
) -> None:
    wells = Wells(tmp_path, WELLS, dask_cluster.compute)
    monkeypatch.chdir(tmp_path)
    hold = wells.ask(20, "wait")
    with wells.start("train", "job.yaml", "--set", HERE) as driver:
        assert until(lambda: wells.started()[20] == 1 and wells.journalled() > 0, 60)
        driver.kill()
    # What waits there is of no use to anybody any more, and is dropped.
    assert until(lambda: dask_cluster.tasks() == 0)
    with wells.registry() as registry:
        assert registry.run("latest").state == "running"
        assert registry.model_sets()[0].models == 0
    before, done = wells.started(), wells.done()
    assert done
    hold.unlink()
    result = wells.resume()
    assert (result["trained"], result["promoted"]) == (WELLS, WELLS)
    assert wells.models() == undisturbed
    again = wells.started() - before
    assert not done & again.keys()

    hold = wells.hold_predictions()
    with wells.start("score", "job.yaml", "-o", "scores", "--data", "wells.parquet") as driver:
        assert until(wells.predicting, 60)
        driver.kill()
    assert not (tmp_path / "scores").exists()
    hold.unlink()
    assert len(mm.score(wells.job(), "wells.parquet", output="scores", progress=False)) > 0
    assert (tmp_path / "scores" / "_manifest.json").exists()
