"""Bad inputs 65 to 71: models. Their code runs in the child process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
from bad_inputs import Place, bad_input, frame_of

models = partial(bad_input, "Models")

KEYS = ["usual", "no pickle", "none", "children", "loud", "meddler", "witness", "nan", "short"]
CODE = '''
import os, pathlib, signal, subprocess, sys, threading, time

import numpy as np

COUNT = 0


class Value:
    def __init__(self, value, rows=None):
        self.value, self.rows = value, rows

    def predict(self, frame):
        return np.full(len(frame) if self.rows is None else self.rows, self.value)


def witness():
    """What is not as a fresh process has it."""
    changed = {
        "environment": "MEDDLED" in os.environ,
        "folder": os.getcwd() == "/",
        "path": "/meddled" in sys.path,
        "signals": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
    }
    return float(sum(changed.values()))


def fit(frame, spec):
    key = frame["key"].iloc[0]
    model = Value(float(frame["y"].iloc[0]))
    if key == "no pickle":
        model.lock = threading.Lock()
    elif key == "none":
        return None
    elif key == "children":
        child = subprocess.Popen(["sleep", "600"])
        threading.Thread(target=time.sleep, args=(600,)).start()
        pathlib.Path("started.txt").write_text(f"{os.getpid()} {child.pid}")
    elif key == "loud":
        line = "x" * 2**20
        for _ in range(1024):
            print(line)
            os.write(2, line.encode())
    elif key == "meddler":
        os.environ["MEDDLED"] = "1"
        os.chdir("/")
        sys.path.insert(0, "/meddled")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif key == "witness":
        model.value = witness()
    elif key == "nan":
        model.value = float("nan")
    elif key == "short":
        model.rows = 1
    return model
'''


def odd_fleet(place: Place) -> None:
    """A key for each odd model, trained and scored; what was said, as JSON."""
    place.rows(frame_of(KEYS))
    place.write("odd.py", CODE)
    place.job(models=["odd:fit"], training={"isolation": "process", "max_failed": "50%"})
    before = state_of_this_process()
    # In a thread of its own, with which its child ends.
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(place.run("train", "job.yaml", "--json").stdout))
    thread.start()
    thread.join()
    place.write("said.json", json.dumps({"stdout": said, "same": state_of_this_process() == before}))
    place.scores()


def state_of_this_process() -> list[object]:
    return [dict(os.environ), Path.cwd(), signal.getsignal(signal.SIGTERM), list(sys.path)]


def outcome(place: Place, key: str) -> tuple[str, str]:
    outcomes = place.once(odd_fleet).outcomes()
    assert len(outcomes) == len(KEYS)
    assert outcomes["usual"][0] == "trained"
    return outcomes[key]


def served(place: Place, key: str) -> tuple[str, float, str]:
    import pandas as pd

    scores = pd.read_parquet(place.once(odd_fleet).folder / "scores.parquet")
    row = scores[scores["key"] == key].iloc[0]
    return row["model_source"], row["prediction"], "" if pd.isna(row["reason"]) else row["reason"]


@models(
    65,
    "no-pickle",
    "cannot be pickled",
    "`failed`, with the attribute and its type; the ladder serves the key",
)
def cannot_be_pickled(place: Place) -> None:
    state, reason = outcome(place, "no pickle")
    assert state == "failed"
    assert "`model.lock` of the CustomModel is a _thread.lock, which cannot be pickled" in reason
    assert served(place, "no pickle")[0] == "naive"


@models(
    66,
    "large",
    "500 MB",
    "kept and served, where `training.memory` allows; else `failed: memory`, and the others go on",
)
def large(place: Place) -> None:
    code = "import numpy as np\n" + CODE[CODE.index("class Value") : CODE.index("def witness")]
    code += (
        "def fit(frame, spec):\n"
        "    model = Value(float(frame['y'].iloc[0]))\n"
        "    if frame['key'].iloc[0] == 'large':\n"
        "        model.weights = np.ones(500_000_000 // 8)\n"
        "    return model\n"
    )
    place.rows(frame_of(["small", "large"]))
    place.write("heavy.py", code)
    place.job(
        models=["heavy:fit"],
        training={"isolation": "process", "memory": "4GiB", "retries": 0, "max_failed": "50%"},
    )
    assert place.json("train", "job.yaml")["trained"] == 2
    assert place.scores()["prediction"].tolist() == [1.0] * 3 + [0.0] * 3
    tight = place.json("train", "job.yaml", "--set", "training.memory=600MiB", "--set", "store=.tight")
    assert (tight["trained"], tight["failed"]) == (1, 1)
    failures = place.json("runs", "failures", "latest", "--store", ".tight")["signatures"]
    assert [(entry["cause"], entry["keys"]) for entry in failures] == [("memory", ["key=large"])]


@models(67, "none", "returns None", "`failed`, with what was expected; the ladder serves the key")
def returns_none(place: Place) -> None:
    assert outcome(place, "none") == (
        "failed",
        "ModelError: odd:fit must return a model with `predict(frame)`; found None",
    )
    assert served(place, "none")[0] == "naive"


@models(
    68,
    "threads-and-children",
    "starts threads and children",
    "trained; they end with the child process, at the end of the run at the latest",
)
def threads_and_children(place: Place) -> None:
    assert outcome(place, "children")[0] == "trained"
    started = (place.once(odd_fleet).folder / "started.txt").read_text().split()
    assert [
        pid
        for pid in map(int, started)
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
    ] == []


@models(69, "loud", "prints gigabytes", "goes nowhere; `--json` prints one object all the same")
def prints_gigabytes(place: Place) -> None:
    assert outcome(place, "loud")[0] == "trained"
    (stdout,) = json.loads((place.once(odd_fleet).folder / "said.json").read_text())["stdout"]
    assert json.loads(stdout)["keys"] == len(KEYS)


@models(
    69,
    "loud-in-process",
    "prints, with `isolation: none`",
    "goes to stderr under `--json`, whose stdout has one object",
)
def prints_in_process(place: Place) -> None:
    place.rows(frame_of(["a"]))
    place.write("chatty.py", CODE.replace('key == "loud"', "True").replace("range(1024)", "range(1)"))
    place.job(models=["chatty:fit"])
    result = place.run("train", "job.yaml", "--json")
    assert json.loads(result.stdout)["trained"] == 1
    assert "x" * 2**20 in result.stderr


@models(
    70,
    "meddler",
    "changes environment, folder, import path, signal handlers",
    "the child is put back before the next key; the driver never sees it",
)
def meddler(place: Place) -> None:
    assert outcome(place, "meddler")[0] == "trained"
    assert served(place, "witness") == ("key", 0.0, "")
    assert json.loads((place.once(odd_fleet).folder / "said.json").read_text())["same"]


@models(71, "nan", "predicts NaN", "not its own model serves the key but the ladder, with the reason")
def predicts_nan(place: Place) -> None:
    assert outcome(place, "nan")[0] == "trained"  # nothing was held out
    source, prediction, reason = served(place, "nan")
    assert (source, prediction) == ("naive", float(KEYS.index("nan")))
    assert "all 3 predictions are NaN or infinite" in reason


@models(
    71,
    "wrong-length",
    "predicts the wrong length",
    "the same; where rows are held out the candidate is disqualified",
)
def wrong_length(place: Place) -> None:
    assert "found 1 values for 3 rows" in served(place, "short")[2]
    place.rows(frame_of(["short", "usual"], rows=10))
    place.write("odd.py", CODE)
    place.job(
        models=["odd:fit", "sklearn.dummy.DummyRegressor"],
        evaluation={"holdout": 0.2},
        training={"isolation": "process"},
    )
    place.run("train", "job.yaml")
    board = {
        line["candidate"]: line["failed"] for line in place.json("runs", "show", "latest")["leaderboard"]
    }
    assert board == {"odd:fit": 1, "sklearn.dummy.DummyRegressor": 0}
