"""A run never hangs without a word: it says what it is at, and ends when nothing happens any more."""

from __future__ import annotations

from pathlib import Path

import pytest
from wells import Listener, Wells

import manymodels as mm
from manymodels.exceptions import RunError
from manymodels.job import watch

pytestmark = pytest.mark.integration

WELLS = 12


@pytest.mark.parametrize(
    ("compute", "isolation", "worker"),
    [("serial", "none", "this process"), ("{target: local, workers: 1}", "auto", "tcp://127.0.0.1")],
)
def test_the_slowest_key_in_flight_is_named_when_nothing_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compute: str, isolation: str, worker: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "_QUIET", 0.3)
    wells = Wells(tmp_path, WELLS, compute)
    hold = wells.ask(3, "wait")
    listener = Listener({"slowest in flight is well=3 (ensemble_model:fit), for": hold.unlink})
    run = mm.train(wells.job(f"training.isolation={isolation}"), progress=listener)
    assert run.summary["trained"] == WELLS
    (said,) = (message for message in listener.heard if "well=3" in message)
    assert said.startswith("no batch finished for ")
    assert worker in said


def test_a_key_that_nobody_can_end_ends_the_run_which_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "_QUIET", 0.3)
    wells = Wells(tmp_path, WELLS, "{target: local, workers: 1}")
    # Without isolation nobody enforces the key's limit, and the worker cannot even answer.
    wells.ask(3, "hang")

    def lose_patience() -> None:
        if wells.started()[3]:
            monkeypatch.setattr(watch, "_PATIENCE", 0.1)

    settings = ("training.isolation=none", "training.timeout=500ms")
    with pytest.raises(
        RunError, match=r"nothing began or finished for \d+ s; no answer from tcp://127.0.0.1.*resume"
    ):
        mm.train(wells.job(*settings), progress=Listener({"no batch finished": lose_patience}))
    with wells.registry() as registry:
        assert registry.run("latest").state == "failed"
    (tmp_path / "3.do").unlink()
    monkeypatch.setattr(watch, "_PATIENCE", 300.0)
    assert wells.resume()["trained"] == WELLS
