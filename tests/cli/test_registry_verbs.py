"""`models promote`, `rollback` and `history`, and `runs compare`, on a small fleet that really trained twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import manymodels as mm
from manymodels.cli.app import app


def call(*words: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == code, done.output
    payload: dict[str, Any] = json.loads(done.stdout)
    return payload


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of six stores in two regions: a mean, then a ridge regression, which is not promoted."""
    folder = tmp_path_factory.mktemp("fleet")
    rng = np.random.default_rng(0)
    store = np.repeat(np.arange(6), 40)
    x = rng.normal(size=len(store))
    rows = pd.DataFrame({"region": np.where(store % 2, "N", "S"), "store": store, "x": x, "y": store * x})
    job = {
        "name": "shops",
        "task": "regression",
        "data": {"partition_by": ["region", "store"], "target": "y"},
        "evaluation": {"metric": "r2"},
        "training": {"isolation": "none"},
        "compute": "serial",
        "store": str(folder / "store"),
    }
    for models, rule in (("sklearn.dummy.DummyRegressor", "better"), ("sklearn.linear_model.Ridge", "never")):
        mm.train(mm.Job(**job, models=[models], promotion={"rule": rule}), rows, progress=False)
    return folder


@pytest.fixture(autouse=True)
def _there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYMODELS_STORE", str(trained / "store"))


def live() -> dict[str, int]:
    return {line["key"]: line["version"] for line in call("models", "list", "shops")["models"]}


def test_runs_are_compared_in_the_direction_of_their_metric() -> None:
    ahead = call("runs", "compare", "shops-000001", "shops-000002")
    assert ahead["counts"] == {"better": 5, "same": 1}  # store 0 is all zeros
    back = call("runs", "compare", "shops-000002", "shops-000001")
    assert back["counts"] == {"worse": 5, "same": 1}
    assert [line["verdict"] for line in back["keys"]] == ["worse"] * 5 + ["same"]
    assert (ahead["run_a"], ahead["run_b"]) == ("shops-000001", "shops-000002")


def test_a_filter_promotes_and_rolls_back_its_keys_and_is_in_the_log(trained: Path) -> None:
    assert set(live().values()) == {1}
    moved = call("models", "promote", "shops", "--version", "2", "--where", "region = 'N'", "--why", "trial")
    assert moved["moved"] == 3
    assert {key: version for key, version in live().items() if version == 2}.keys() == {
        "region=N, store=1",
        "region=N, store=3",
        "region=N, store=5",
    }
    event = mm.Registry.open(str(trained / "store")).events()[0]
    assert (event.kind, event.filter, event.why) == ("promote", "region = 'N'", "trial")
    assert call("models", "rollback", "shops", "--where", "store = 3")["moved"] == 1
    assert live()["region=N, store=3"] == 1
    assert call("models", "rollback", "shops", "--key", "region=N,store=5")["moved"] == 1
    assert mm.Registry.open(str(trained / "store")).events()[0].filter == "region=N,store=5"
    nobody = call("models", "promote", "shops", "--version", "2", "--where", "region = 'X'", code=2)
    assert "no key of 'shops' is one with region = 'X'" in nobody["error"]["message"]


def test_the_history_of_a_key_has_the_decisions_on_it() -> None:
    found = call("models", "history", "shops", "--key", "region=S,store=4")
    (decision,) = found["decisions"]
    assert decision["promoted"]
    assert (decision["challenger"], decision["champion"], decision["rule"]) == (1, None, "better")
    text = CliRunner().invoke(app, ["models", "history", "shops", "--key", "region=S,store=4"]).stdout
    assert "promoted" in text
