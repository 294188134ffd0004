"""The list of bad inputs: a number, what goes in, what the user gets, and the check that it is so.

The cases stand in ``bad_input_*.py``, a module a section; ``test_bad_inputs.py`` runs them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from typer.testing import CliRunner

from manymodels import Job, Registry
from manymodels.cli.app import app

SECTIONS = ("Keys", "Data", "Job file", "Artifacts", "Command line", "Models")
ITEMS = 71


@dataclass(frozen=True)
class BadInput:
    """One case.

    Attributes:
        item: Its number in the list.
        name: Tells it from the item's other cases.
        section: Of the list.
        given: What goes in.
        gets: What the user gets.
        check: Raises when that is not so.
    """

    item: int
    name: str
    section: str
    given: str
    gets: str
    check: Callable[[Place], None]

    @property
    def id(self) -> str:
        return f"{self.item:02}-{self.name}"


CASES: list[BadInput] = []


def bad_input(
    section: str, item: int, name: str, given: str, gets: str
) -> Callable[[Callable[[Place], None]], Callable[[Place], None]]:
    """Put a check on the list."""

    def register(check: Callable[[Place], None]) -> Callable[[Place], None]:
        CASES.append(BadInput(item, name, section, given, gets, check))
        return check

    return register


def job_fields(**sections: Any) -> dict[str, Any]:
    """The fields of a small job, with sections put over or (mappings) merged into its own."""
    fields: dict[str, Any] = {
        "name": "wells",
        "task": "regression",
        "data": {"path": "rows.parquet", "partition_by": ["key"], "target": "y", "min_rows": 1},
        "models": ["sklearn.dummy.DummyRegressor"],
        "evaluation": {"holdout": 0},
        "training": {"isolation": "none"},
        "fallback": ["naive"],
        "compute": "serial",
    }
    for name, value in sections.items():
        both = isinstance(value, Mapping) and isinstance(fields.get(name), Mapping)
        fields[name] = {**fields[name], **value} if both else value
    return fields


def frame_of(keys: Sequence[Any], rows: int = 3) -> pd.DataFrame:
    """Rows of some keys; ``y`` is the key's place in the list, so that a prediction tells whose model made it."""
    places = np.repeat(np.arange(len(keys)), rows)
    noise = np.random.default_rng(0).normal(size=len(places))
    column = pd.Series(list(keys), dtype=object).take(places).infer_objects().reset_index(drop=True)
    return pd.DataFrame({"key": column, "x": noise, "y": places.astype(float)})


@dataclass
class Place:
    """A folder with rows and a job file in it, and the command in that folder.

    Attributes:
        folder: The folder.
        new_folder: Makes another one.
        shared: What ``once`` has built, for the whole session.
    """

    folder: Path
    new_folder: Callable[[], Path] = field(repr=False)
    shared: dict[Callable[[Place], None], Place] = field(repr=False)

    def once(self, build: Callable[[Place], None]) -> Place:
        """A place that ``build`` has filled, the same for every case: only look at it."""
        if build not in self.shared:
            place = Place(self.new_folder(), self.new_folder, self.shared)
            build(place)
            self.shared[build] = place
        return self.shared[build]

    def rows(self, frame: pd.DataFrame, name: str = "rows.parquet") -> Path:
        """Write rows as Parquet, or as CSV by the name."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
        return path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def job(self, **sections: Any) -> Job:
        """Write ``job.yaml``: ``job_fields`` of the sections."""
        self.write("job.yaml", yaml.safe_dump(job_fields(**sections), allow_unicode=True))
        with contextlib.chdir(self.folder):
            return Job.from_yaml("job.yaml")

    def run(self, *words: str, code: int = 0) -> Any:
        """Run a verb in this process; its result, with ``stdout`` and ``stderr``."""
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr, result.exception)
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        """The one JSON object that a verb prints."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def error(self, *words: str, code: int = 2) -> str:
        """What is wrong, by a verb that refuses: one line on stderr, nothing on stdout."""
        result = self.run(*words, code=code)
        lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == lines[0]  # one line, and the last
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        return lines[0].removeprefix("error: ")

    def scores(self, *words: str, code: int = 0) -> pd.DataFrame:
        """Score, and read the result."""
        self.run("score", "job.yaml", "-o", "scores.parquet", "--overwrite", *words, code=code)
        return pd.read_parquet(self.folder / "scores.parquet", dtype_backend="pyarrow")

    def outcomes(self, run: str = "latest") -> dict[Any, tuple[str, str]]:
        """Key to its state and reason in a run."""
        from manymodels.api import run_outcomes

        with self.registry() as registry:
            table = run_outcomes(registry, registry.run(run))
        return {
            key: (state, reason or "") for key, state, reason in table[["key", "state", "reason"]].to_numpy()
        }

    def registry(self) -> Registry:
        """The registry of the folder's store."""
        return Registry(self.folder / ".manymodels")

    def files(self) -> dict[str, bytes]:
        """Every file of the store with its content."""
        root = self.folder / ".manymodels"
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    def segments(self, run: str) -> list[Path]:
        """The segments of a run."""
        return sorted((self.folder / ".manymodels" / "runs" / run / "segments").iterdir())

    def shell(self, command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run a shell command in a process of its own, where ``manymodels`` is the command; stdin is empty."""
        path = os.pathsep.join(path for path in sys.path if path)
        python = f"{sys.executable} -W error::ResourceWarning -m manymodels"
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; manymodels() {{ {python} \"$@\"; }}; {command}"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )  # fmt: skip


def table() -> str:
    """The list as the documents have it: a Markdown table a section."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += [f"### {section}", "", "| | what goes in | what you get |", "| --- | --- | --- |"]
        for case in sorted(CASES, key=lambda case: case.item):
            if case.section == section:
                cells = (str(case.item), case.given, case.gets)
                lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)
