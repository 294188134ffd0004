"""Small work begins in this process, and workers take over what turns out to be more."""

from __future__ import annotations

import os

import compute_work as work
import pytest

from manymodels.compute import here
from manymodels.compute.executor import Executor, open_executor
from manymodels.compute.here import HereFirst, is_small, may_run_here, small_words
from manymodels.compute.serial import SerialExecutor
from manymodels.compute.spec import ComputeSpec


class Workers(SerialExecutor):
    """Stands in for workers that took 3 s to start."""

    name = "local"
    workers = 2
    startup_seconds = 3.0
    closed = False

    def close(self) -> None:
        self.closed = True


TASKS = [(f"task-{number}", number) for number in range(5)]


def test_small_work_starts_no_workers() -> None:
    with open_executor(ComputeSpec(), here=2) as executor:
        assert sorted(c.value for c in executor.run(work.square, TASKS)) == [0, 1, 4, 9, 16]
        assert executor.ask(os.getpid) == {"this process": os.getpid()}
        assert (executor.name, executor.workers, executor.startup_seconds) == ("here", 2, 0.0)


def test_workers_take_over_when_it_takes_longer_than_starting_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 3))  # three seconds between looks at it
    monkeypatch.setattr(here.time, "monotonic", lambda: float(next(clock)))
    opened: list[Workers] = []

    def open_workers() -> Executor:
        opened.append(Workers())
        return opened[-1]

    names: list[str] = []
    executor = HereFirst(1, open_workers)
    for completion in executor.run(work.square, TASKS, check=lambda: names.append(executor.name)):
        assert completion.value == int(completion.name[-1]) ** 2
    assert names == ["here", "local", "local", "local", "local"]
    assert (executor.workers, executor.startup_seconds, len(opened)) == (2, 3.0, 1)
    executor.close()
    assert opened[0].closed


def test_work_is_small_when_workers_would_save_less_than_they_take_to_start() -> None:
    start = here.START_SECONDS
    assert is_small(1.9 * start, 0.1, workers=2)
    assert not is_small(2.1 * start, 0.1, workers=2)
    assert not is_small(1.9 * start, 0.1, workers=64)
    assert is_small(100 * start, 99.5 * start, workers=64)  # one task that nobody can share
    assert is_small(100 * start, 1.0, workers=1)
    assert is_small(5 * start, 0.1, workers=2, threads=2)
    assert not is_small(7 * start, 0.1, workers=2, threads=2)  # as soon done, but too much for the driver


@pytest.mark.parametrize(
    ("spec", "isolation", "isolated", "own_code", "may"),
    [
        ({}, "auto", True, True, True),
        ({}, "auto", False, False, True),
        ({}, "process", True, False, True),
        ({}, "auto", False, True, False),  # a metric of the user's own beside built-in models
        ({}, "none", False, False, False),
        ({"workers": 2}, "auto", True, False, False),
        ({"memory": "1GiB"}, "auto", True, False, False),
        ({"target": "dask", "address": "tcp://127.0.0.1:8786"}, "auto", True, False, False),
    ],
)
def test_what_workers_hold_in_check_does_not_run_here(
    spec: dict[str, object], isolation: str, isolated: bool, own_code: bool, may: bool
) -> None:
    assert (
        may_run_here(ComputeSpec.model_validate(spec), isolation, isolated=isolated, own_code=own_code) is may
    )


def test_users_are_told_of_small_work() -> None:
    assert small_words(2.2) == "in this process: ~2 s of work; workers would take longer to start"
    assert small_words(0.2).startswith("in this process: less than 1 s of work")
