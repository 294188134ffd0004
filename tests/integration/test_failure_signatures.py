"""Thousands of errors are the few that they are, and one command shows one of them again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import manymodels as mm
from manymodels.api import run_outcomes
from manymodels.cli.app import app

pytestmark = pytest.mark.integration

MODEL = """
import numpy as np

NAMES = ["Ada", "Berta", "Carl", "Dora", "Emil", "Frieda", "Georg", "Hanna", "Ida", "Jakob", "Karla"]


class Draw:
    def __init__(self, value):
        self.value = value

    def predict(self, frame):
        return np.full(len(frame), self.value)


def fit(frame, spec):
    well = int(frame["well"].iloc[0])
    rng = np.random.default_rng(spec.seed)
    kind = well % 10
    if kind == 0:
        raise ValueError(f"well {well}: pressure {rng.normal()} at {hex(id(frame))}, see /data/w{well}/log.txt")
    if kind == 1:
        raise KeyError(f"column_{well}")
    if kind == 2:
        one, two = NAMES[well // 10 % 11], NAMES[well // 110 % 11]
        raise RuntimeError(f"the owner {one} of {two} is away")
    if kind == 3:
        np.linalg.inv(np.zeros((2, 2)))
    return Draw(rng.normal())
"""

WELLS = 2_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("signatures")
    wells = np.repeat(np.arange(WELLS), 10)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"well": wells, "x": 1.0, "y": rng.normal(size=len(wells))})
    (place / "wells_with_errors.py").write_text(MODEL)
    job = mm.Job.from_dict(
        {
            "name": "wells",
            "task": "regression",
            "data": {"partition_by": ["well"], "target": "y"},
            "models": ["wells_with_errors:fit"],
            "training": {"isolation": "none", "max_failed": "100%"},
            "fallback": [],
            "compute": {"target": "serial"},
            "store": str(place / "store"),
        },
        folder=str(place),
    )
    run = mm.train(job, data=frame, progress=False)
    assert (run.summary["trained"], run.summary["failed"]) == (WELLS * 6 // 10, WELLS * 4 // 10)
    return place


def shell(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_thousands_of_errors_are_four(folder: Path) -> None:
    registry = mm.Registry(folder / "store")
    found = {(line.error, line.message): line for line in registry.failures("wells-000001")}
    assert {name: line.count for name, line in found.items()} == {
        ("ValueError", "well #: pressure # at #, see <path>"): 200,
        ("KeyError", "'…'"): 200,
        ("RuntimeError", "the owner … is away"): 200,
        ("LinAlgError", "Singular matrix"): 200,
    }
    assert all(line.frame == "wells_with_errors.py:fit" for line in found.values())
    assert found["LinAlgError", "Singular matrix"].keys[:2] == ("well=3", "well=13")


def test_the_table_is_readable_and_its_commands_replay_the_errors(folder: Path) -> None:
    shown = shell("runs", "failures", "latest", "--store", str(folder / "store"))
    assert shown.exit_code == 0
    assert "800 keys failed in wells-000001, in 4 ways." in shown.stdout
    assert "keys well=3; well=13; well=23; well=33; well=43; and 195 more" in shown.stdout
    commands = [line.strip() for line in shown.stdout.splitlines() if "manymodels replay" in line]
    assert len(commands) == 4
    errors = set()
    for command in commands:
        words = shlex.split(command)
        assert words[3] == "--key"
        replayed = shell(*words[1:], "--quiet")
        assert replayed.exit_code == 1
        errors.add(replayed.stdout.strip().splitlines()[-1].partition(":")[0])
    assert errors == {"ValueError", "KeyError", "RuntimeError", "numpy.linalg.LinAlgError"}


def test_a_replay_has_the_rows_and_the_seed_of_the_run(folder: Path) -> None:
    from manymodels.training.replay import replay_key

    registry = mm.Registry(folder / "store")
    record = registry.run("wells-000001")
    outcomes = run_outcomes(registry, record).set_index("well")
    for well in (4, 1_999):
        again = replay_key(registry, record, key=f"well={well}", key_id=None)
        assert (again.metric, again.seed, again.rows) == tuple(outcomes.loc[well, ["metric", "seed", "rows"]])
    message = replay_key(registry, record, key="well=10", key_id=None).failure
    assert message is not None
    # The same draw from the same seed; only the address differs.
    assert message.message.split(" at ")[0] == outcomes.loc[10, "message"].split(" at ")[0]
