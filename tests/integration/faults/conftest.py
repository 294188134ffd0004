"""A table of what every bad input gets, after the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MODULES = ["bad_inputs", *(path.stem for path in Path(__file__).parent.glob("bad_input_*.py"))]
pytest.register_assert_rewrite(*MODULES)

import bad_inputs  # noqa: E402 - after it was registered


@pytest.fixture(scope="session")
def shared_places() -> dict[Callable[[bad_inputs.Place], None], bad_inputs.Place]:
    return {}


@pytest.fixture
def place(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    shared_places: dict[Callable[[bad_inputs.Place], None], bad_inputs.Place],
    monkeypatch: pytest.MonkeyPatch,
) -> bad_inputs.Place:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    return bad_inputs.Place(tmp_path, lambda: tmp_path_factory.mktemp("shared"), shared_places)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = {
        report.nodeid.rpartition("[")[2].rstrip("]"): outcome
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if "test_bad_inputs.py" in report.nodeid
    }
    listed = [case for case in bad_inputs.CASES if case.id in ended]
    if not listed:
        return
    terminalreporter.section("bad inputs")
    for case in sorted(listed, key=lambda case: case.item):
        gets = case.gets if ended[case.id] == "passed" else "NOT what the documents say"
        terminalreporter.write_line(f"{case.item:2}  {case.given}  ->  {gets}")
