"""The sandbox: whatever runs in the child, the caller learns what became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import gone, here_on_path, until

from manymodels.compute.sandbox import (
    Died,
    InProcess,
    Raised,
    Runner,
    Sandbox,
    Started,
    spare_sandbox,
    warm_sandbox,
)
from manymodels.exceptions import ComputeError

GIB = 2**30


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One sandbox for all tests: that it goes on after each of them is part of what they test."""
    with Sandbox() as sandbox:
        yield sandbox


def run(
    runner: Runner, function: str, payload: object = None, timeout: float = 20, memory: int = GIB
) -> list[object]:
    return list(runner.run(f"compute_work:{function}", payload, timeout=timeout, memory=memory))


# The contract of both runners


@pytest.fixture(params=["in process", pytest.param("sandbox", marks=pytest.mark.integration)])
def runner(request: pytest.FixtureRequest) -> Runner:
    return InProcess() if request.param == "in process" else request.getfixturevalue("shared")


def test_values_arrive_in_order_with_their_markers(runner: Runner) -> None:
    assert run(runner, "echo", [1, None, "x"]) == [
        Started(1), 1, Started(None), None, Started("x"), "x"
    ]  # fmt: skip


def test_an_exception_ends_the_run_and_is_told_in_full(runner: Runner) -> None:
    started, error = run(runner, "fail", "bad rows")
    assert started == Started("bad rows")
    assert isinstance(error, Raised)
    assert (error.error, error.message) == ("ValueError", "bad rows")
    assert "raise ValueError(how)" in error.traceback


def test_an_exception_without_a_text_is_told_all_the_same(runner: Runner) -> None:
    error = run(runner, "fail", "rude")[-1]
    assert isinstance(error, Raised)
    assert error.error == "RudeError"
    assert "RuntimeError" in error.message


@pytest.mark.parametrize(
    "function", ["no_such_module:run", "compute_work:no_such_name", "compute_work:surroundings"]
)
def test_a_function_that_cannot_be_called_is_an_error_of_the_run(runner: Runner, function: str) -> None:
    (error,) = runner.run(function, None, timeout=20, memory=GIB)
    assert isinstance(error, Raised)
    assert error.error in {"ModuleNotFoundError", "AttributeError", "TypeError"}


def test_in_process_lets_the_user_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(InProcess(), "fail", "interrupt")


def test_in_process_may_be_left_early() -> None:
    values = InProcess().run("compute_work:count", 3, timeout=1, memory=1)
    assert next(values) == (0, "a short text")
    values.close()  # type: ignore[attr-defined]
    assert list(values) == []


# Faults


@pytest.mark.integration
class TestFaults:
    def test_a_segfault_blames_the_unit_that_had_begun(self, shared: Sandbox) -> None:
        *before, died = run(shared, "segfault")
        assert before == [Started("good"), "done with good", Started("bad")]
        assert isinstance(died, Died)
        assert (died.cause, died.error, died.started) == ("crash", "SIGSEGV", Started("bad"))
        assert "segfault" in died.message  # the function's name, from faulthandler
        assert "Extension modules" not in died.message

    @pytest.mark.parametrize(
        ("how", "error"),
        [("os._exit", "exit code 3"), ("sys.exit", "exit code 4"), ("sys.exit text", "exit code 1"),
         ("SIGTERM", "SIGTERM"), ("SIGABRT", "SIGABRT")],
    )  # fmt: skip
    def test_leaving_is_a_crash(self, shared: Sandbox, how: str, error: str) -> None:
        started, died = run(shared, "leave", how)
        assert isinstance(died, Died)
        assert (died.cause, died.error, died.started) == ("crash", error, started)
        if how.startswith("sys.exit"):
            assert "in leave" in died.message

    def test_a_kill_from_outside_hints_at_memory(self, shared: Sandbox) -> None:
        died = run(shared, "leave", "SIGKILL")[-1]
        assert isinstance(died, Died)
        assert died.error == "SIGKILL"
        assert "memory" in died.message

    @pytest.mark.parametrize("function", ["spin", "sleep_in_c"])
    def test_a_hang_is_killed_at_its_deadline_and_says_where(self, shared: Sandbox, function: str) -> None:
        run(shared, "echo", [])  # so that the child's start is not in the measure
        begin = time.monotonic()
        _, died = run(shared, function, timeout=0.3)
        assert time.monotonic() - begin < 5
        assert isinstance(died, Died)
        assert (died.cause, died.error) == ("timeout", "timeout 0.3 s")
        assert f"in {function}" in died.message

    def test_streaming_for_ever_does_not_escape_the_deadline(self, shared: Sandbox) -> None:
        begin = time.monotonic()
        *_, died = shared.run("compute_work:stream_for_ever", None, timeout=0.3, memory=GIB)
        assert isinstance(died, Died)
        assert died.cause == "timeout"
        assert time.monotonic() - begin < 10

    def test_each_unit_has_its_own_deadline(self, shared: Sandbox) -> None:
        run(shared, "echo", [])
        assert run(shared, "many_short_units", 0.1, timeout=0.5) == [Started(i) for i in range(8)]

    def test_time_in_which_the_caller_is_busy_does_not_count(self, shared: Sandbox) -> None:
        run(shared, "echo", [])
        got = []
        for value in shared.run("compute_work:many_short_units", 0.15, timeout=0.3, memory=GIB):
            got.append(value)
            if value == Started(0):
                threading.Event().wait(0.5)
        assert got == [Started(i) for i in range(8)]

    def test_importing_what_is_preloaded_does_not_count(self, tmp_path: Path) -> None:
        (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(0.5)\nloaded = True\n")
        with Sandbox(preload=("slow_to_import",), paths=(str(tmp_path),)) as sandbox:
            assert run(sandbox, "echo", [1], timeout=0.3) == [Started(1), 1]

    def test_a_memory_hog_is_killed_at_its_limit(self, shared: Sandbox) -> None:
        started, died = run(shared, "hog", 2**24, memory=2**28)
        assert isinstance(died, Died)
        assert (died.cause, died.error, died.started) == ("memory", "memory 256 MiB", started)

    def test_memory_of_grandchildren_counts(self, shared: Sandbox) -> None:
        died = run(shared, "hog_in_grandchild", memory=2**28)[-1]
        assert isinstance(died, Died)
        assert died.cause == "memory"

    def test_a_child_that_keeps_much_memory_is_not_reused(self, shared: Sandbox) -> None:
        (first,) = run(shared, "keep", 2**27, memory=2**28)
        (second,) = run(shared, "identity")
        assert first != second

    def test_grandchildren_die_with_a_hanging_child(self, shared: Sandbox) -> None:
        pids, _, died = run(shared, "grandchildren", timeout=0.3)
        assert isinstance(died, Died)
        assert isinstance(pids, list)
        assert until(lambda: all(map(gone, pids)))

    def test_a_crash_is_noticed_although_an_orphan_holds_the_pipe(self, shared: Sandbox) -> None:
        died = run(shared, "orphan_holds_pipe")[-1]
        assert isinstance(died, Died)
        assert died.error == "exit code 5"

    def test_a_forked_copy_of_the_child_cannot_speak(self, shared: Sandbox) -> None:
        assert run(shared, "forked_copy") == ["from the child"]

    def test_an_unpicklable_value_ends_the_run_and_names_its_class(self, shared: Sandbox) -> None:
        (before,) = run(shared, "identity")
        value, error = run(shared, "yield_unpicklable")
        assert value == "before"
        assert isinstance(error, Raised)
        assert error.error == "TypeError"
        assert "compute_work.Unpicklable" in error.message
        assert run(shared, "identity") == [before]

    def test_a_value_that_cannot_be_read_here_ends_the_run(self, shared: Sandbox) -> None:
        (error,) = run(shared, "yield_poisoned")
        assert isinstance(error, Raised)
        assert (error.error, error.message) == ("ValueError", "poison")

    def test_a_child_that_died_while_idle_is_replaced(self, shared: Sandbox) -> None:
        (child,) = run(shared, "identity")
        assert isinstance(child, int)
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert run(shared, "echo", [1]) == [Started(1), 1]

    def test_a_child_that_cannot_start_says_why(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        with Sandbox() as sandbox:
            monkeypatch.undo()
            (died,) = run(sandbox, "echo", [])
        assert isinstance(died, Died)
        assert "ModuleNotFoundError" in died.message
        assert died.started is None


# The child stays clean, quiet, warm and quick


@pytest.mark.integration
class TestWarmth:
    def test_runs_share_one_child(self, shared: Sandbox) -> None:
        assert run(shared, "identity") == run(shared, "identity") == [shared.pid]

    def test_an_exception_keeps_the_child(self, shared: Sandbox) -> None:
        (before,) = run(shared, "identity")
        run(shared, "fail", "interrupt")
        assert run(shared, "identity") == [before]

    def test_what_a_unit_changed_is_put_back_for_the_next(self, shared: Sandbox, tmp_path: Path) -> None:
        (before,) = run(shared, "look_around")
        folder = tmp_path / "vanishes"
        folder.mkdir()
        assert run(shared, "meddle", str(folder))[-1] == before
        assert run(shared, "look_around") == [before]
        assert shared.pid is not None

    def test_printing_costs_and_shows_nothing(
        self, shared: Sandbox, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert run(shared, "shout", 10_000_000) == ["quiet"]
        assert capfd.readouterr() == ("", "")

    def test_blas_has_the_given_number_of_threads(self) -> None:
        with Sandbox(preload=("numpy",), threads=1) as sandbox:
            (pools,) = run(sandbox, "blas_threads")
        assert pools
        assert set(pools) == {1}  # type: ignore[call-overload]

    def test_string_hashes_are_the_same_in_every_child(self, shared: Sandbox) -> None:
        with Sandbox() as other:
            assert run(shared, "string_hash") == run(other, "string_hash")

    def test_large_requests_and_values_pass(self, shared: Sandbox) -> None:
        payload = b"ab" * 10_000_000
        assert run(shared, "size_of", payload) == [len(payload), payload[::-1]]

    def test_functions_defined_on_the_spot_travel_in_the_payload(self, shared: Sandbox) -> None:
        assert run(shared, "call", lambda: 42) == [42]

    def test_ten_thousand_small_messages_are_cheap(self, shared: Sandbox) -> None:
        run(shared, "count", 10)
        begin = time.perf_counter()
        assert len(run(shared, "count", 10_000)) == 10_000
        assert time.perf_counter() - begin < 1.5  # 0.1 s on an idle machine

    def test_closing_the_iterator_ends_the_child(self, shared: Sandbox) -> None:
        values = shared.run("compute_work:stream_for_ever", None, timeout=20, memory=GIB)
        next(values)
        child = shared.pid
        assert child is not None
        values.close()  # type: ignore[attr-defined]
        assert gone(child)
        assert run(shared, "echo", [1]) == [Started(1), 1]

    def test_closing_the_sandbox_ends_its_run(self, shared: Sandbox) -> None:
        values = shared.run("compute_work:many_short_units", 0.1, timeout=20, memory=GIB)
        next(values)
        shared.close()
        *_, died = values
        assert isinstance(died, Died)
        assert died.error == "closed"

    def test_two_runs_at_once_are_refused(self, shared: Sandbox) -> None:
        values = shared.run("compute_work:count", 2, timeout=20, memory=GIB)
        next(values)
        with pytest.raises(ComputeError, match="one sandbox per thread"):
            run(shared, "identity")
        list(values)

    def test_close_leaves_no_process_and_no_descriptor(self) -> None:
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        sandbox = Sandbox()
        child, *_ = run(sandbox, "identity")
        values = sandbox.run("compute_work:grandchildren", None, timeout=20, memory=GIB)
        pids = next(values)
        values.close()  # type: ignore[attr-defined]
        sandbox.close()
        assert isinstance(child, int)
        assert isinstance(pids, list)
        assert until(lambda: all(map(gone, [child, *pids])))
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors

    def test_each_thread_has_its_warm_sandbox_and_leaves_none_behind(self) -> None:
        seen: list[tuple[str, int, int]] = []
        barrier = threading.Barrier(2)

        def work() -> None:
            from compute_work import sandboxed_pid

            first, second = sandboxed_pid(""), sandboxed_pid("")
            assert first == second
            seen.append(first)
            barrier.wait(20)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        children = {child for _, _, child in seen}
        assert len(children) == 2
        assert until(lambda: all(map(gone, children)))

    def test_a_spare_sandbox_goes_to_the_next_thread_that_asks_for_its_settings(self) -> None:
        spare = spare_sandbox(threads=3)
        found: list[Sandbox] = []
        for _ in range(2):
            thread = threading.Thread(target=lambda: found.append(warm_sandbox(threads=3)))
            thread.start()
            thread.join()
        assert found[0] is spare
        assert found[1] is not spare
        unwanted = spare_sandbox(threads=4)
        warm_sandbox(threads=5).close()
        assert unwanted.pid is None

    def test_other_settings_replace_the_warm_sandbox(self) -> None:
        first = warm_sandbox()
        assert warm_sandbox() is first
        second = warm_sandbox(threads=2)
        assert second is not first
        assert first.pid is None
        second.close()


# The child dies with its parent

PARENT = """
    import sys, threading, time
    from manymodels.compute.sandbox import Sandbox
    def work():
        sandbox = Sandbox()
        for value in sandbox.run(sys.argv[1], None, timeout=1000, memory=2**33):
            print(sandbox.pid, flush=True)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


@pytest.mark.integration
@pytest.mark.parametrize("function", ["spin", "sleep_in_c", "stream_for_ever"])
def test_a_busy_child_dies_when_its_parent_is_killed(function: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), f"compute_work:{function}"],
        stdout=subprocess.PIPE,
        env=here_on_path(),
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    assert until(lambda: gone(child))


@pytest.mark.integration
def test_a_child_outlives_the_thread_that_made_its_sandbox() -> None:
    made: list[Sandbox] = []
    thread = threading.Thread(target=lambda: made.append(Sandbox()))
    thread.start()
    thread.join()
    with made.pop() as sandbox:
        (child,) = run(sandbox, "identity")
        assert child == sandbox.pid
