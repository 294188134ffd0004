"""A job of the tests' own: one model per well, which does to itself, or to its process, what a test asks of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from processes import here_on_path

from manymodels.api import run_summary, train
from manymodels.job.job import Job
from manymodels.partitioning.keys import make_key
from manymodels.progress import NoProgress, Progress
from manymodels.records import Rows
from manymodels.registry import Registry
from manymodels.training.engine import resume

# With "ensemble" in the module's name, the first guess of a fit's cost is high: a few keys make a batch.
_MODEL = """
    import ctypes, os, pathlib, sys, time

    import numpy as np

    NOTES = pathlib.Path({folder!r})


    class Mean:
        def __init__(self, value):
            self.value = value
            self.ballast = np.random.default_rng(0).bytes(int(os.environ.get("BALLAST", "0")))

        def predict(self, frame):
            hold = NOTES / "predict.do"
            if hold.exists():
                (NOTES / "predicting").touch()
            while hold.exists():
                time.sleep(0.01)
            return np.full(len(frame), self.value)


    def fit(frame, spec):
        well = int(frame["well"].iloc[0])
        with open(NOTES / "started", "a") as file:
            file.write(f"{{well}}\\n")
        action = NOTES / f"{{well}}.do"
        if action.exists():
            do(action.read_text(), action)
        return Mean(frame["y"].mean())


    def do(what, action):
        if what == "raise":
            raise ValueError("this well is cursed")
        if what == "segfault":
            ctypes.string_at(0)
        if what == "die once":
            action.unlink()
            os._exit(7)
        if what == "os._exit":
            os._exit(7)
        if what == "sys.exit":
            sys.exit(7)
        if what == "hang":
            ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the interpreter lock
        if what == "memory":
            hoard = []
            while True:
                hoard.append(np.ones(2**22))
        if what == "pause":
            time.sleep(0.03)
        while what == "wait" and action.exists():  # until the test goes on
            time.sleep(0.01)
"""

_JOB = """
    name: wells
    task: regression
    data: {path: wells.parquet, partition_by: [well], target: y}
    models: ["ensemble_model:fit"]
    evaluation: {holdout: 0}
    training: {timeout: 60s, retries: 0, max_failed: 50%}
    fallback: []
"""


class Listener(NoProgress):
    """Hears what a run says, and does something about it.

    Args:
        reactions: Part of a message to what happens when it is said.
    """

    def __init__(self, reactions: Mapping[str, Callable[[], object]] = MappingProxyType({})) -> None:
        self.heard: list[str] = []
        self._reactions = reactions

    def say(self, message: str) -> None:
        self.heard.append(message)
        for part, reaction in self._reactions.items():
            if part in message:
                reaction()


def _prediction(model: Any) -> float:
    rows = Rows(pd.DataFrame({"x": [0.0]}))
    return float(model.predict(rows)["prediction"][0])


class Wells:
    """A folder with a job, its data and its model.

    Args:
        folder: An empty one.
        count: Wells.
        compute: The job's ``compute`` section, YAML.
    """

    def __init__(self, folder: Path, count: int, compute: str) -> None:
        self.folder = folder
        self.count = count
        rng = np.random.default_rng(0)
        columns = {"well": np.arange(count).repeat(12), "x": 0.0, "y": rng.normal(size=12 * count)}
        rows = pd.DataFrame(columns)
        rows.sample(frac=1, random_state=0).to_parquet(folder / "wells.parquet", index=False)
        (folder / "ensemble_model.py").write_text(textwrap.dedent(_MODEL).format(folder=str(folder)))
        (folder / "job.yaml").write_text(textwrap.dedent(_JOB) + f"compute: {compute}\n")

    def ask(self, well: int, what: str) -> Path:
        """Have the fit of a well do something; ``wait`` ends when the file that is returned is removed."""
        action = self.folder / f"{well}.do"
        action.write_text(what)
        return action

    def hold_predictions(self) -> Path:
        """Have predictions wait until the file that is returned is removed."""
        hold = self.folder / "predict.do"
        hold.touch()
        return hold

    def predicting(self) -> bool:
        """Whether a prediction waits."""
        return (self.folder / "predicting").exists()

    def started(self) -> Counter[int]:
        """How often the fit of each well began."""
        notes = self.folder / "started"
        return Counter(map(int, notes.read_text().split()) if notes.exists() else ())

    def registry(self, store: str = ".manymodels") -> Registry:
        return Registry(self.folder / store)

    def journalled(self) -> int:
        """Batches of the first run that have a receipt."""
        if not (self.folder / ".manymodels" / "store.json").exists():
            return 0
        with self.registry() as registry:
            return registry.journalled("wells-000001").num_rows if registry.runs() else 0

    def done(self) -> set[int]:
        """The wells whose batches have a receipt in the newest run."""
        wells = {make_key([well]).key_id: well for well in range(self.count)}
        with self.registry() as registry:
            paths = registry.journalled(registry.run("latest").id).column("outcomes_path").to_pylist()
            tables = [pq.read_table(self.folder / ".manymodels" / path, columns=["key_id"]) for path in paths]
        return {wells[key_id] for table in tables for key_id in table.column("key_id").to_pylist()}

    def models(self, store: str = ".manymodels") -> dict[int, float]:
        """What the live model of each well predicts; wells without one are left out."""
        with self.registry(store) as registry:
            keys = registry.models("wells", limit=None).column("key").to_pylist()
            wells = sorted(int(key.removeprefix("well=")) for key in keys)
            return {well: _prediction(registry.load("wells", well=well)) for well in wells}

    def job(self, *overrides: str) -> Job:
        """The job; its paths are relative to the folder."""
        return Job.from_yaml(self.folder / "job.yaml", overrides=overrides)

    def trained_calmly(self) -> dict[int, float]:
        """Train, here and undisturbed; the models."""
        with contextlib.chdir(self.folder):
            train(self.job("training.isolation=none"), progress=False)
        return self.models()

    def forget_starts(self) -> None:
        """Count the starts of fits anew."""
        (self.folder / "started").unlink(missing_ok=True)

    def resume(self, store: str = ".manymodels", progress: Progress | None = None) -> dict[str, Any]:
        """Resume the newest run, here; its summary."""
        with self.registry(store) as registry:
            run = registry.run("latest").id
            resume(run, registry, progress or NoProgress())
            return run_summary(registry.run(run))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A verb, begun in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "manymodels", *words, "--json"], cwd=self.folder, env=here_on_path(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def verb(self, *words: str, code: int = 0) -> Any:
        """A verb's JSON."""
        with self.start(*words) as process:
            output, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        return json.loads(output)
