"""`manymodels plan` names the candidates, and which of them are for some keys only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from manymodels.cli.app import app


@pytest.fixture
def job(tmp_path: Path) -> Path:
    days = pd.date_range("2026-01-01", periods=40)
    frame = pd.DataFrame({"shop": np.repeat([1, 2], 40), "day": [*days, *days], "sales": np.arange(80.0) % 7})
    frame.to_parquet(tmp_path / "sales.parquet", index=False)
    fields = {
        "name": "sales",
        "task": "forecast",
        "data": {
            "path": str(tmp_path / "sales.parquet"),
            "partition_by": ["shop"],
            "time": "day",
            "target": "sales",
        },
        "models": ["drift", {"auto": {"allow": ["theta", "tsb"]}}],
        "store": str(tmp_path / "store"),
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return path


def test_the_plan_names_every_candidate_with_its_rule(job: Path) -> None:
    done = CliRunner().invoke(app, ["plan", str(job), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["candidates"] == [
        {"name": "drift", "family": "drift", "when": None},
        {"name": "theta", "family": "theta", "when": {"alive": True, "intermittent": False}},
        {"name": "tsb", "family": "tsb", "when": {"alive": True, "intermittent": True}},
    ]


def test_the_plan_says_which_candidates_are_for_some_keys_only(job: Path) -> None:
    done = CliRunner().invoke(app, ["plan", str(job)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "Tried on keys that their `when` is for: theta, tsb; on every key: drift." in said
