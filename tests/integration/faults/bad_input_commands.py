"""Bad inputs 59 to 64: the command line."""

from __future__ import annotations

import json
import sys
from functools import partial

import pandas as pd
from bad_inputs import Place, bad_input, frame_of

commands = partial(bad_input, "Command line")


VERBS = """
import json
from typer.testing import CliRunner
from manymodels.cli.app import app

reading = ["models list wells", "runs show latest", "models show wells --key key=a", "store verify"]
writing = ["train job.yaml --only all", "score job.yaml -o scores", "models promote wells --run latest"]
results = [CliRunner().invoke(app, verb.split()) for verb in [*reading, *writing]]
print(json.dumps([(result.exit_code, result.stderr) for result in results]))
"""


def small_store(place: Place) -> None:
    place.rows(frame_of(["a", "\u65e5\u672c \U0001f600"]))
    place.job()
    place.run("train", "job.yaml")


@commands(59, "no-such-store", "no such store", "exit 2 with the path and what makes one; nothing is made")
def no_such_store(place: Place) -> None:
    place.rows(frame_of(["a"]))
    place.job()
    for verb in (
        "runs list",
        "models list",
        "store verify",
        "score job.yaml -o out",
        "models list --store other/place",
    ):
        assert "no store at " in place.error(*verb.split())
    assert place.json("runs", "list", code=2)["error"]["type"] == "NotFoundError"
    assert sorted(path.name for path in place.folder.iterdir()) == ["job.yaml", "rows.parquet"]


@commands(
    60,
    "read-only-store",
    "a read-only store",
    "verbs that read work; those that write: exit 1 with what cannot be written",
)
def read_only_store(place: Place) -> None:
    small_store(place)
    place.write("verbs.py", VERBS)
    done = place.shell(
        "unshare -Urm bash -c 'mount --bind .manymodels .manymodels && mount -o remount,bind,ro .manymodels && "
        f"! touch .manymodels/made 2> touched.txt && exec {sys.executable} verbs.py'"
    )
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    reading, writing = told[:4], told[4:]
    assert [(code, errors) for code, errors in reading] == [(0, "")] * 4
    assert len(writing) == 3
    for code, errors in writing:
        error = errors.splitlines()[-1]
        assert code == 1
        assert error.startswith("error: ")
        assert ".manymodels" in error
        assert "read-only" in error.lower()
        assert "unexpected" not in error


@commands(61, "head", "`| head`", "quiet when the reader has gone: no error, no traceback")
def piped_into_head(place: Place) -> None:
    place.rows(frame_of(range(3000), rows=1))
    place.job()
    done = place.shell("manymodels plan job.yaml --each | head -n 1; exit ${PIPESTATUS[0]}")
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


@commands(
    62, "no-terminal", "no terminal", "no prompt, no colour, no cut lines; progress as plain lines on stderr"
)
def no_terminal(place: Place) -> None:
    place.rows(frame_of(["a", "b"]))
    place.job()
    done = place.shell(
        "manymodels train job.yaml; manymodels train nothing.yaml",
        TERM="xterm-256color",
    )
    assert done.returncode == 2
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"training: 2 of 2 keys, 0 failed" in done.stderr
    assert b"sklearn.dummy.DummyRegressor" in done.stdout


@commands(
    63,
    "ascii-locale",
    "a non-UTF-8 locale",
    "job files and data are read as UTF-8 all the same; what cannot be written is escaped",
)
def ascii_locale(place: Place) -> None:
    small_store(place)
    place.job(data={"where": "key <> 'caf\u00e9'"})
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = place.shell(
        "manymodels plan job.yaml; manymodels models list wells",
        **ascii_only,
    )
    assert done.returncode == 0, done
    assert done.stderr == b""
    assert rb"key=\u65e5\u672c \U0001f600" in done.stdout
    assert done.stdout.isascii()


@commands(
    64,
    "formulas",
    "a CSV export with `=cmd()`",
    "texts and column names that a spreadsheet would run get a leading `'`; `--raw` leaves them",
)
def formulas(place: Place) -> None:
    risky = ["=cmd()", "+1", "-2", "@x", "\tx", "\rx"]
    place.rows(frame_of([*risky, "plain=1"]).assign(**{"=name": "=1+1"}))
    place.job(data={"ignore": ["=name"]})
    place.run("train", "job.yaml")
    for flags, mark in (([], "'"), (["--raw"], "")):
        place.run("score", "job.yaml", "-o", "scores.csv", "--overwrite", *flags)
        scores = pd.read_csv(place.folder / "scores.csv", dtype=str, lineterminator="\n")
        assert set(scores["key"]) == {*(mark + text for text in risky), "plain=1"}
        assert set(scores[f"{mark}=name"]) == {f"{mark}=1+1"}
