"""The contract of executors: one suite over every one of them, against real processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compute_work as work
import pytest
from dask_clusters import DaskCluster
from processes import here_on_path

from manymodels.compute.executor import Completion, Executor, open_executor, together
from manymodels.compute.spec import ComputeSpec
from manymodels.exceptions import ComputeError


@pytest.fixture(scope="module")
def serial() -> Iterator[Executor]:
    with open_executor(ComputeSpec(target="serial")) as executor:
        yield executor


@pytest.fixture(scope="module")
def local() -> Iterator[Executor]:
    with open_executor(ComputeSpec(workers=2)) as executor:
        yield executor


@pytest.fixture(scope="module")
def external(dask_cluster: DaskCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    store = tmp_path_factory.mktemp("store")
    spec = ComputeSpec(target="dask", address=dask_cluster.address)
    with open_executor(spec, storage_root=str(store)) as executor:
        assert not any(path.is_file() for path in store.rglob("*"))  # the check of the store left nothing
        yield executor


@pytest.fixture(
    params=[
        "serial",
        pytest.param("local", marks=pytest.mark.integration),
        pytest.param("external", marks=pytest.mark.integration),
    ]
)
def executor(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def numbered(payloads: Any) -> Iterator[tuple[str, Any]]:
    return ((f"task-{number}", payload) for number, payload in enumerate(payloads))


def test_every_task_completes_once_under_its_name(executor: Executor) -> None:
    completions = list(executor.run(work.square, numbered(range(50))))
    assert sorted(c.name for c in completions) == sorted(f"task-{number}" for number in range(50))
    assert {c.name: c.value for c in completions} == {f"task-{n}": n * n for n in range(50)}
    assert {(c.error, c.attempts) for c in completions} == {(None, 1)}


def test_what_has_ended_meanwhile_comes_together(executor: Executor) -> None:
    names = []
    for completions in together(executor.run(work.square, numbered(range(20)))):
        assert [c.more for c in completions] == [True] * (len(completions) - 1) + [False]
        names += [c.name for c in completions]
        time.sleep(0.05)  # as long as a commit; others end
    assert len(names) == len(set(names)) == 20


def test_completions_are_together_until_one_has_to_be_waited_for() -> None:
    ones = [Completion(name, None, None, 1, more=name in "ac") for name in "abcde"]
    assert [[c.name for c in some] for some in together(ones)] == [["a", "b"], ["c", "d"], ["e"]]


def test_an_executor_says_what_it_is(executor: Executor) -> None:
    assert (executor.name, executor.workers) in {("serial", 1), ("local", 2), ("dask", 2)}
    assert executor.startup_seconds >= 0
    assert executor.dashboard is None or executor.dashboard.startswith("http://127.0.0.1:")


def test_no_tasks_are_no_completions(executor: Executor) -> None:
    assert list(executor.run(work.square, [])) == []


def test_tasks_are_consumed_as_workers_become_free(executor: Executor) -> None:
    taken = itertools.count()
    source = ((f"task-{number}", number) for number in taken)
    completions = executor.run(work.square, source)
    for _ in range(20):
        next(completions)
    completions.close()  # type: ignore[attr-defined]
    assert next(taken) <= 20 + 3 * executor.workers + 1


def test_an_exception_fails_its_task_alone(executor: Executor) -> None:
    completions = {c.name: c for c in executor.run(work.work_or_fail, numbered([1, -2, 3]))}
    failed = completions.pop("task-1")
    assert sorted(c.value for c in completions.values()) == [1, 3]
    assert isinstance(failed.error, ComputeError)
    assert failed.error.message == "task task-1 failed: ValueError: negative: -2"
    assert failed.value is None
    assert "in work_or_fail" in failed.error.__notes__[0]


def test_sys_exit_fails_its_task_and_ends_no_worker(executor: Executor) -> None:
    completions = {c.name: c for c in executor.run(work.work_or_fail, numbered([13, 1]))}
    assert "SystemExit: 13" in str(completions["task-0"].error)
    assert completions["task-1"].value == 1
    assert completions["task-1"].attempts == 1


@pytest.mark.parametrize("function", [work.unpicklable_result, work.poisoned_result])
def test_a_value_that_cannot_travel_is_an_error_of_its_task(executor: Executor, function: Any) -> None:
    (completion,) = executor.run(function, [("task", 1)])
    assert isinstance(completion.error, ComputeError)
    assert completion.value is None


def test_functions_defined_on_the_spot_travel(executor: Executor) -> None:
    offset = 40
    assert [c.value for c in executor.run(lambda number: number + offset, [("task", 2)])] == [42]


def test_tasks_with_equal_payloads_each_run(executor: Executor, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    for _ in range(2):  # the second time under the same names
        list(executor.run(work.mark_and_sleep, numbered([(str(mark), 0.0)] * 5)))
    assert len(mark.read_text().splitlines()) == 10


def test_closing_early_cancels_what_has_not_begun(executor: Executor, tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(12)]
    completions = executor.run(work.mark_and_sleep, numbered((str(mark), 0.1) for mark in marks))
    next(completions)
    completions.close()  # type: ignore[attr-defined]
    assert [c.value for c in executor.run(work.square, numbered([3]))] == [9]
    assert sum(mark.exists() for mark in marks) <= 2 * executor.workers + 1


def test_an_error_in_the_source_of_tasks_is_raised(executor: Executor) -> None:
    def source() -> Iterator[tuple[str, int]]:
        yield "first", 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(executor.run(work.square, source()))


def test_every_worker_answers_questions_while_it_works(executor: Executor, tmp_path: Path) -> None:
    completions = executor.run(work.mark_and_sleep, numbered([(str(tmp_path / "mark"), 0.05)] * 6))
    pids = {next(completions).value}
    answers = executor.ask(os.getpid)
    pids |= {completion.value for completion in completions}
    assert len(answers) == executor.workers
    assert pids <= set(answers.values())


def test_what_the_check_raises_ends_the_run(executor: Executor, tmp_path: Path) -> None:
    def check() -> None:
        if next(looks) > 1:
            raise LookupError("enough")

    looks = itertools.count()
    tasks = numbered((str(tmp_path / str(number)), 0.05) for number in itertools.count())
    with pytest.raises(LookupError, match="enough"):
        list(executor.run(work.mark_and_sleep, tasks, check=check))
    assert [c.value for c in executor.run(work.square, numbered([3]))] == [9]


@pytest.mark.integration
def test_a_worker_keeps_one_warm_sandbox_from_batch_to_batch(executor: Executor) -> None:
    pids = {c.value[1:] for c in executor.run(work.sandboxed_pid, numbered(["batch"] * 6))}
    assert len(pids) <= executor.workers
    assert all(worker != child for worker, child in pids)


@pytest.mark.integration
def test_a_task_that_gives_way_ends_beside_the_next_one_which_has_its_sandbox(tmp_path: Path) -> None:
    first, second, third = (str(tmp_path / name) for name in "abc")
    tasks = numbered([(first, second), (second, third), (third, third)])
    with open_executor(ComputeSpec(workers=1)) as executor:
        seen = [completion.value for completion in executor.run(work.gives_way, tasks)]
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_a_task_that_gives_way_where_tasks_run_one_by_one_goes_on(serial: Executor, tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    assert [c.error for c in serial.run(work.gives_way, numbered([(path, path)] * 2))] == [None, None]


def test_the_contract_is_imported_without_heavy_packages() -> None:
    code = (
        "import sys, manymodels.compute.executor, manymodels.compute.sandbox\n"
        "heavy = {'dask', 'distributed', 'pandas', 'numpy', 'pyarrow', 'psutil'} & sys.modules.keys()\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=here_on_path())
