"""What executors do when workers, the scheduler or the driver die, do not fit, or were never there."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import compute_work as work
import psutil
import pytest
from dask.delayed import delayed
from dask_clusters import DaskCluster
from processes import gone, here_on_path, local_workers, until

from manymodels.compute.executor import Executor, open_executor
from manymodels.compute.spec import ComputeSpec
from manymodels.exceptions import ComputeError

pytestmark = pytest.mark.integration


def family() -> list[psutil.Process]:
    """The local workers and what they have started."""
    workers = local_workers()
    children = []
    for worker in workers:
        with suppress(psutil.Error):
            children += worker.children(recursive=True)
    return [*workers, *children]


def starts(mark: Path) -> list[str]:
    return mark.read_text().splitlines() if mark.exists() else []


# Workers of this machine


@pytest.fixture(scope="module")
def local() -> Iterator[Executor]:
    with open_executor(ComputeSpec(workers=2), patience=20) as executor:
        yield executor


def test_a_task_whose_worker_dies_runs_again(local: Executor, tmp_path: Path) -> None:
    (completion,) = local.run(work.die_once, [("task", str(tmp_path / "mark"))])
    assert (completion.value, completion.attempts) == ("survived", 2)


def test_a_task_that_always_kills_its_worker_fails_and_the_others_finish(
    local: Executor, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    def kill_or_square(number: int) -> int:
        if number == 3:
            work.die_always(str(mark))
        return number * number

    completions = {c.name: c for c in local.run(kill_or_square, ((str(n), n) for n in range(20)))}
    failed = completions.pop("3")
    assert {int(name) ** 2 for name in completions} == {c.value for c in completions.values()}
    assert failed.error is not None
    assert "4 workers died" in str(failed.error)
    assert failed.attempts == len(starts(mark)) == 4


def test_only_what_was_in_flight_runs_again_when_a_worker_is_killed(local: Executor, tmp_path: Path) -> None:
    marks = {f"task-{number}": tmp_path / str(number) for number in range(12)}
    tasks = ((name, (str(mark), 0.1)) for name, mark in marks.items())
    done: dict[str, int] = {}
    for completion in local.run(work.mark_and_sleep, tasks):
        assert completion.value is not None
        done[completion.name] = completion.value
        if len(done) == 4:
            os.kill(completion.value, signal.SIGKILL)  # it may be at the next task already
    assert done.keys() == marks.keys()
    again = {name for name, mark in marks.items() if len(starts(mark)) > 1}
    assert len(again) <= 1
    assert not again & set(list(done)[:4])


def test_a_run_goes_on_after_all_workers_were_killed(local: Executor, tmp_path: Path) -> None:
    completions = local.run(
        work.mark_and_sleep, ((str(n), (str(tmp_path / str(n)), 0.05)) for n in range(10))
    )
    names = [next(completions).name]
    for process in family():
        process.kill()
    names += [completion.name for completion in completions]
    assert Counter(names) == Counter(map(str, range(10)))


def test_workers_have_one_blas_thread_fixed_hashes_and_no_other_interface(local: Executor) -> None:
    (completion,) = local.run(work.worker_surroundings, [("task", None)])
    assert completion.value == {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    listening = {
        connection.laddr.ip
        for process in (psutil.Process(), *family())
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_what_functions_print_on_workers_goes_nowhere(
    local: Executor, capfd: pytest.CaptureFixture[str]
) -> None:
    assert [c.value for c in local.run(work.shout_here, [("task", 100_000)])] == ["quiet"]
    assert capfd.readouterr() == ("", "")


def test_a_worker_past_its_memory_is_replaced_and_says_so() -> None:
    with open_executor(ComputeSpec(workers=1, memory=2**28)) as executor:
        completions = {c.name: c for c in executor.run(work_or_hold, [("hog", 2**28), ("good", 1)])}
    assert "4 workers died" in str(completions["hog"].error)
    assert "occupied more than 268,435,456 bytes" in str(completions["hog"].error)
    assert completions["good"].value == 1


def work_or_hold(number: int) -> int:
    if number > 1:
        work.hold(number)
    return number


def test_workers_that_cannot_live_end_the_opening_in_bounded_time() -> None:
    before = set(family())
    begin = time.monotonic()
    with pytest.raises(
        ComputeError, match=r"0 of 1 workers came to tcp://127.0.0.1:\d+ within 3 s; last words.*bytes"
    ):
        open_executor(ComputeSpec(workers=1, memory=2**20), patience=3)
    assert time.monotonic() - begin < 15
    assert until(lambda: set(family()) <= before)


def test_closing_leaves_no_process_and_this_one_as_it_was(tmp_path: Path) -> None:
    before = {process.pid for process in family()}
    variables, level = dict(os.environ), logging.getLogger("distributed").level
    warm = partial(work.import_all, ["json.tool", "no_such_module"])
    with open_executor(ComputeSpec(workers=1), warm=warm) as executor:
        pids = [c.value for c in executor.run(work.sandboxed_pid, [("task", "batch")])]
        assert {process.pid for process in family()} > before
        assert [c.value for c in executor.run(work.loaded, [("task", ["json.tool"])])] == [[True]]
        running = executor.run(
            work.mark_and_sleep,
            [("quick", (str(tmp_path / "quick"), 0.0)), ("slow", (str(tmp_path / "slow"), 1000.0))],
        )
        next(running)
        executor.close()
    executor.close()
    assert {process.pid for process in family()} == before
    assert pids[0] is not None
    assert until(lambda: gone(pids[0][2]))
    assert dict(os.environ) == variables
    assert logging.getLogger("distributed").level == level


UNGUARDED = """
    import os, sys
    print("once")
    from compute_work import mark_and_sleep, sandboxed_pid
    from manymodels.compute.executor import open_executor
    from manymodels.compute.spec import ComputeSpec
    def double(number):
        return 2 * number
    with open_executor(ComputeSpec(workers=1)) as executor:
        print([c.value for c in executor.run(double, [("task", 21)])])
        if len(sys.argv) > 1:
            (made,) = executor.run(sandboxed_pid, [("task", "")])
            for name in executor.run(mark_and_sleep, [("quick", (sys.argv[1], 0.0)), ("slow", (sys.argv[1], 1000.0))]):
                print(*made.value[1:], flush=True)
"""


def test_a_script_without_a_main_guard_works_and_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(UNGUARDED))
    done = subprocess.run(
        [sys.executable, str(script)],
        env=here_on_path(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "once\n[42]\n"
    assert done.stderr == ""


def test_workers_and_sandboxes_die_with_a_killed_driver(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(UNGUARDED))
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "mark")],
        env=here_on_path(),
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdout is not None
        assert [driver.stdout.readline() for _ in range(2)] == ["once\n", "[42]\n"]
        pids = list(map(int, driver.stdout.readline().split()))
        assert not any(map(gone, pids))
        driver.kill()
    assert until(lambda: all(map(gone, pids)))


# Somebody's scheduler


def at(cluster: DaskCluster) -> ComputeSpec:
    return ComputeSpec(target="dask", address=cluster.address)


def test_an_absent_scheduler_is_named(unused_port: int) -> None:
    address = f"tcp://127.0.0.1:{unused_port}"
    with pytest.raises(ComputeError, match=f"no Dask scheduler answered at {address} within 1 s"):
        open_executor(ComputeSpec(target="dask", address=address), patience=1)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_security_settings_that_do_not_exist_are_named() -> None:
    spec = ComputeSpec(target="dask", address="tls://127.0.0.1:1", security={"no_such_setting": 1})
    with pytest.raises(ComputeError, match=r"compute\.security.*no_such_setting"):
        open_executor(spec)


def fake_distribution(folder: Path, name: str, version: str) -> Path:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_a_cluster_that_does_not_fit_is_refused_with_the_reason(tmp_path: Path) -> None:
    with DaskCluster(tmp_path) as cluster:
        with pytest.raises(ComputeError, match=r"0 of 1 workers came to .* within 1 s"):
            open_executor(at(cluster), patience=1)
        cluster.start_workers(1)
        with pytest.raises(
            ComputeError, match=r"cannot use the store at memory://store.*tcp://127.0.0.1.*no file"
        ):
            open_executor(at(cluster), storage_root="memory://store")  # every process has its own
        with open_executor(at(cluster), storage_root=str(tmp_path / "store")) as executor:
            completions = executor.run(work.mark_and_sleep, endless(tmp_path / "mark"))
            assert next(completions).error is None
            cluster.start_workers(1)  # joins, fits, and is used
            pids = set()
            assert until(lambda: len(pids) == 2 or bool(pids.add(next(completions).value)))  # type: ignore[func-returns-value]
            cluster.start_workers(1, fake_distribution(tmp_path / "site", "pandas", "0.1"))
            with pytest.raises(ComputeError, match=r"pandas 0\.1 on tcp://127\.0\.0\.1:\d+, \S+ here"):
                list(completions)
        with pytest.raises(ComputeError, match=r"pandas 0\.1 on tcp://127\.0\.0\.1:\d+, \S+ here"):
            open_executor(at(cluster))


def endless(mark: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    while True:
        number += 1
        yield str(number), (str(mark), 0.05)


def test_workers_that_leave_end_the_run_in_bounded_time_and_may_come_back(tmp_path: Path) -> None:
    with DaskCluster(tmp_path) as cluster:
        workers = cluster.start_workers(1)
        with open_executor(at(cluster), patience=2) as executor:
            completions = executor.run(work.mark_and_sleep, endless(tmp_path / "mark"))
            next(completions)
            cluster.kill(workers)
            with pytest.raises(ComputeError, match=r"no workers at tcp://\S+ for 2 s; start workers"):
                list(completions)
            with pytest.raises(ComputeError, match=r"no workers at tcp://\S+ for 2 s; start workers"):
                executor.compute([delayed(work.square)(3)])  # type: ignore[attr-defined]
            cluster.start_workers(1)
            assert [c.value for c in executor.run(work.square, [("task", 3)])] == [9]
            assert executor.compute([delayed(work.square)(3)]) == [9]  # type: ignore[attr-defined]


def test_a_killed_scheduler_ends_the_run_in_bounded_time(tmp_path: Path) -> None:
    with DaskCluster(tmp_path) as cluster:
        cluster.start_workers(1)
        with open_executor(at(cluster), patience=3) as executor:
            completions = executor.run(work.mark_and_sleep, endless(tmp_path / "mark"))
            next(completions)
            begin = time.monotonic()
            cluster.scheduler.kill()
            with pytest.raises(ComputeError, match=r"lost the .*scheduler at tcp://\S+"):
                list(completions)
        assert time.monotonic() - begin < 20
