"""Killed at every call that changes the store or the registry, and resumed, a job ends as if nothing had happened."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_actions import KEYS, MODULES

from manymodels.testing.crash import Crasher

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher(MODULES, [str(Path(__file__).parent)]) as running:
        yield running


def _done(crasher: Crasher, folder: Path, *actions: str) -> Path:
    crasher.attempt("crash_actions:prepare", str(folder))
    for action in actions:
        crasher.attempt(f"crash_actions:{action}", str(folder))
    return folder


def _seen(crasher: Crasher, folder: Path, look: str = "inspect") -> Any:
    return crasher.attempt(f"crash_actions:{look}", str(folder)).value


def _killed_everywhere(crasher: Crasher, before: Path, action: str, work: Path) -> Iterator[tuple[int, Path]]:
    """The folder after the action was killed at its n-th call and then done again, for every n."""
    call = 0
    while True:
        call += 1
        folder = work / f"{action}{call}"
        shutil.copytree(before, folder)
        if not crasher.attempt(f"crash_actions:{action}", str(folder), kill_at=call).killed:
            shutil.rmtree(folder)
            return
        crasher.attempt(f"crash_actions:{action}", str(folder))
        yield call, folder
        shutil.rmtree(folder)


def test_a_run_that_is_killed_anywhere_and_resumed_equals_an_undisturbed_one(
    crasher: Crasher, tmp_path: Path
) -> None:
    calm = _seen(crasher, _done(crasher, tmp_path / "calm", "train"))
    assert sum(calm["counts"].values()) == KEYS
    assert calm["counts"]["failed"] == 1
    assert calm["counts"]["fallback"] == 1
    assert calm["damaged"] == []
    before = _done(crasher, tmp_path / "before")
    calls = 0
    for call, folder in _killed_everywhere(crasher, before, "train", tmp_path):
        assert _seen(crasher, folder) == calm, f"killed at call {call}"
        calls = call
    assert calls > 30


def test_a_promotion_that_is_killed_anywhere_moves_all_keys_or_none(crasher: Crasher, tmp_path: Path) -> None:
    before = _done(crasher, tmp_path / "before", "train")
    calm = _seen(crasher, _done(crasher, tmp_path / "calm", "train", "promote"))
    assert calm["live"] == calm["champion"]
    calls = 0
    for call, folder in _killed_everywhere(crasher, before, "promote", tmp_path):
        assert _seen(crasher, folder) == calm, f"killed at call {call}"
        calls = call
    assert calls >= 2


def test_a_scoring_that_is_killed_anywhere_leaves_no_half_of_an_output(
    crasher: Crasher, tmp_path: Path
) -> None:
    before = _done(crasher, tmp_path / "before", "train")
    shutil.copytree(before, tmp_path / "calm")
    crasher.attempt("crash_actions:score", str(tmp_path / "calm"))
    calm = _seen(crasher, tmp_path / "calm", "read_scores")
    assert len(calm) == KEYS * 3
    calls = 0
    for call, folder in _killed_everywhere(crasher, before, "score", tmp_path):
        assert _seen(crasher, folder, "read_scores") == calm, f"killed at call {call}"
        calls = call
    assert calls >= 6


def test_a_killed_scoring_shows_the_old_output_or_the_new_one(crasher: Crasher, tmp_path: Path) -> None:
    before = _done(crasher, tmp_path / "before", "train", "score")
    old = _seen(crasher, before, "read_scores")
    call, killed = 0, True
    while killed:
        call += 1
        folder = tmp_path / str(call)
        shutil.copytree(before, folder)
        killed = crasher.attempt("crash_actions:score", str(folder), kill_at=call).killed
        assert _seen(crasher, folder, "read_scores") == old, f"killed at call {call}"
        shutil.rmtree(folder)
    assert call >= 6


def test_a_collection_that_is_killed_anywhere_and_done_again_leaves_what_is_needed(
    crasher: Crasher, tmp_path: Path
) -> None:
    before = _done(crasher, tmp_path / "before", "train", "retrain")
    kept = _seen(crasher, before, "inventory")
    shutil.copytree(before, tmp_path / "calm")
    crasher.attempt("crash_actions:collect", str(tmp_path / "calm"))
    calm = _seen(crasher, tmp_path / "calm", "inventory")
    assert {name: calm[name] for name in ("versions", "levels")} == {
        name: kept[name] for name in ("versions", "levels")
    }
    assert calm["segments"] < kept["segments"]
    assert calm["garbage"] == [0, 0]
    calls = 0
    for call, folder in _killed_everywhere(crasher, before, "collect", tmp_path):
        assert _seen(crasher, folder, "inventory") == calm, f"killed at call {call}"
        calls = call
    assert calls > 10


def test_what_goes_wrong_in_an_attempt_is_told(crasher: Crasher) -> None:
    with pytest.raises(Exception, match="no_such_action"):
        crasher.attempt("crash_actions:no_such_action")
    assert crasher.attempt("os:getpid").value > 0  # the server goes on
