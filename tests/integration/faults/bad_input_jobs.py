"""Bad inputs 42 to 52: the job file."""

from __future__ import annotations

import json
import sqlite3
from functools import partial

import fsspec
import pytest
import yaml
from bad_inputs import Place, bad_input, frame_of, job_fields

import manymodels as mm

jobs = partial(bad_input, "Job file")

TEXT = """\
name: wells
task: regression
data:
  path: rows.parquet
  partition_by: [key]
  target: y
  min_rows: 1
models: [sklearn.dummy.DummyRegressor]
evaluation: {holdout: 0}
training: {isolation: none}
compute: serial
"""


def refused(place: Place, old: str, new: str) -> str:
    """The error for the job file with one line changed."""
    assert old in TEXT
    place.write("job.yaml", TEXT.replace(old, new))
    return place.error("train", "job.yaml")


@jobs(42, "unknown-field", "an unknown field", "exit 2 with the line and the nearest name")
def unknown_field(place: Place) -> None:
    message = refused(place, "training: {isolation: none}", "training: {isolaton: none}")
    assert message == "job.yaml:10: unknown field `training.isolaton`; did you mean `isolation`?"


@jobs(
    43,
    "look-alikes",
    "`NO`, `010`, `1e3`",
    "strict types: text stays text, and where a number belongs exit 2 with the line",
)
def look_alikes(place: Place) -> None:
    for value in ("NO", "010", "1e3"):
        assert "job.yaml:7: `data.min_rows` must be a whole number" in refused(
            place, "min_rows: 1", f"min_rows: {value}"
        )
    place.write("job.yaml", TEXT.replace("name: wells", "name: NO"))
    assert mm.Job.from_yaml(place.folder / "job.yaml").name == "NO"


@jobs(44, "python-object", "`!!python/object`", "exit 2 with the line; nothing is constructed")
def python_object(place: Place) -> None:
    message = refused(place, "name: wells", "name: !!python/object/apply:os.mkdir [made]")
    assert message.startswith("job.yaml:1: the tag `!!python/object/apply:os.mkdir` is refused")
    assert not (place.folder / "made").exists()


@jobs(45, "billion-laughs", "billion laughs", "exit 2 with the line, at once")
def billion_laughs(place: Place) -> None:
    names = "abcdefghij"
    lines = [
        f"{name}: &{name} [{', '.join(['ha' if n == 0 else '*' + names[n - 1]] * 9)}]"
        for n, name in enumerate(names)
    ]
    assert "more than 10,000 values" in refused(place, "name: wells\n", "\n".join([*lines, "name: wells\n"]))


@jobs(46, "duplicate-key", "a YAML key given twice", "exit 2 with both lines")
def duplicate_key(place: Place) -> None:
    message = refused(place, "task: regression\n", "task: regression\ntask: ranking\n")
    assert message == "job.yaml:3: `task` is given twice, first in line 2; keep one"


@jobs(
    47,
    "impossible-numbers",
    "negative workers, zero timeout, NaN",
    "exit 2 with the line and what is expected",
)
def impossible_numbers(place: Place) -> None:
    for old, new, expected in (
        (
            "compute: serial",
            "compute: {target: local, workers: -1}",
            "`workers` must be `auto` or at least 1; found -1",
        ),
        ("isolation: none", "timeout: 0s", "a duration must be more than zero"),
        ("isolation: none", "timeout: .nan", "a duration must be more than zero, and finite; found nan"),
        ("isolation: none", "max_failed: .nan", "found nan"),
        ("holdout: 0", "holdout: .nan", "a fraction lies between 0 and 1; found nan"),
    ):
        message = refused(place, old, new)
        assert message.startswith("job.yaml:")
        assert expected in message


@jobs(
    48,
    "inline-secret",
    "a secret written into the job file",
    "works, and is `***` in errors, output, tracebacks and all that a run keeps",
)
def inline_secret(place: Place) -> None:
    secret_everywhere(place, "memory://me:hunter2@inline", "hunter2")


@jobs(
    48,
    "secret-from-the-environment",
    "`${TOKEN}` in `data.path`",
    "taken from the environment at use; stored and shown as `${TOKEN}`",
)
def secret_from_the_environment(place: Place) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAD_INPUT_TOKEN", "hunter2-and-more")
        secret_everywhere(place, "memory://${BAD_INPUT_TOKEN}", "hunter2-and-more")
    assert "environment variable BAD_INPUT_TOKEN, which is not set" in place.error("plan", "job.yaml")


def secret_everywhere(place: Place, bucket: str, secret: str) -> None:
    """Train, score and fail on data whose URL has a secret; look for it in all that is written."""
    memory = fsspec.filesystem("memory")
    place.rows(frame_of(["a", "b"]))
    folder = bucket.replace("${BAD_INPUT_TOKEN}", secret).removeprefix("memory:/")
    memory.pipe(f"{folder}/rows.parquet", (place.folder / "rows.parquet").read_bytes())
    memory.pipe(f"{folder}/ragged.csv", b"key,x,y\na,1,2\nb,1\n")
    try:
        place.job(data={"path": f"{bucket}/rows.parquet"})
        said = [
            place.run("train", "job.yaml"),
            place.run("score", "job.yaml", "-o", "scores"),
            place.run("runs", "show", "latest"),
        ]
        assert place.json("plan", "job.yaml")["train"] == 0
        for missing in ("rows.paquet", "ragged.csv"):
            for flags in ([], ["--json"], ["--debug"]):
                words = ["plan", "job.yaml", "--set", f"data.path={bucket}/{missing}", *flags]
                said.append(place.run(*words, code=2))
    finally:
        memory.rm(folder.rpartition("/")[0] or folder, recursive=True)
    written = [*place.files().values(), *(result.stdout.encode() + result.stderr.encode() for result in said)]
    assert [content for content in written if secret.encode() in content] == []
    assert any(b"rows.paquet" in content for content in written)


@jobs(
    49,
    "output-in-input",
    "output inside the input, or around it",
    "exit 2, also for `--overwrite`, globs and links; a store that the next run would read as data too",
)
def output_in_input(place: Place) -> None:
    place.rows(frame_of(["a"]), "in/a.parquet")
    (place.folder / "link").symlink_to("in")
    before = (place.folder / "in" / "a.parquet").read_bytes()
    place.job(data={"path": "in"})
    place.run("train", "job.yaml")
    for path in ("in", "in/*.parquet", "[in/a.parquet]", "link"):
        for output in ("in/new.parquet", "in/a.parquet", "link/a.parquet", "."):
            if (path, output) == ("[in/a.parquet]", "in/new.parquet"):
                continue  # beside a file is not inside
            message = place.error(
                "score",
                "job.yaml",
                "-o",
                output,
                "--overwrite",
                "--set",
                f"data.path={path}",
                "--set",
                "store=.manymodels",
            )
            assert "the input" in message
            assert "choose another place" in message
    assert "the store" in place.error("score", "job.yaml", "-o", ".manymodels/runs", "--overwrite")
    assert "lies inside the input in" in place.error("train", "job.yaml", "--set", "store=in/store")
    assert [path.name for path in (place.folder / "in").iterdir()] == ["a.parquet"]
    assert (place.folder / "in" / "a.parquet").read_bytes() == before


STOPS = """
import pathlib
from manymodels.exceptions import RunError

class Zero:
    def predict(self, frame):
        return [0.0] * len(frame)

def fit(frame, spec):
    if pathlib.Path("stop").exists():
        raise KeyboardInterrupt
    return Zero()
"""


@jobs(
    50,
    "changed-job",
    "a resume after the job file changed",
    "`runs resume --job` refuses with the fields that differ; without it the run is finished as it began",
)
def changed_job(place: Place) -> None:
    place.rows(frame_of(["a", "b"]))
    place.write("stops.py", STOPS)
    place.write("stop", "")
    place.job(models=["stops:fit"])
    place.run("train", "job.yaml", code=130)
    (place.folder / "stop").unlink()
    place.job(models=["stops:fit"], data={"min_rows": 7}, training={"seed": 1})
    message = place.error("runs", "resume", "latest", "--job", "job.yaml")
    assert "data.min_rows, training.seed" in message
    assert place.json("runs", "resume", "latest")["trained"] == 2
    with place.registry() as registry:
        assert json.loads(registry.run("latest").job)["training"]["seed"] == 0


@jobs(51, "newer-store", "a store of a newer format", "refused (exit 1), untouched, by every verb")
def newer_store(place: Place) -> None:
    place.rows(frame_of(["a"]))
    place.job()
    place.run("train", "job.yaml")
    verbs = [
        "train job.yaml",
        "plan job.yaml",
        "score job.yaml -o out",
        "runs list",
        "models list",
        "store verify",
    ]
    verbs += ["store init", "store migrate", "store rebuild"]
    marker = place.folder / ".manymodels" / "store.json"
    known = marker.read_text()
    marker.write_text(known.replace('"format": 1', '"format": 99'))
    before = place.files()
    for verb in verbs:
        assert "has format 99" in place.error(*verb.split(), code=1)
    assert place.files() == before
    marker.write_text(known)
    with sqlite3.connect(place.folder / ".manymodels" / "registry.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = place.files()
    for verb in verbs[:-1]:  # a rebuild makes a registry of this version beside it
        assert "has schema 9999" in place.error(*verb.split(), code=1)
    assert place.files() == before


@jobs(
    52,
    "bad-import",
    "an import path that does not exist, is no estimator, or fails on import",
    "exit 2 with the candidate, and where was looked or what was raised",
)
def bad_import(place: Place) -> None:
    place.rows(frame_of(["a"]))
    place.write("fails.py", "raise ValueError('no licence')\n")
    place.write("leaves.py", "import sys\nsys.exit(3)\n")
    place.write("broken.py", "def fit(:\n")
    place.write("lacking.py", "import not_installed_anywhere\n")
    for path, expected in {
        "sklearn.linear_model.Rigde": "did you mean",
        "nowhere.Model": "no module 'nowhere' among the installed packages",
        "nowhere:fit": "no module 'nowhere' beside the job file",
        "pathlib.Path": "is no estimator",
        "math:pi": "is a float",
        "os:getcwd": "must take the rows and the spec",
        "fails:fit": "importing fails failed: no licence",
        "leaves:fit": "importing leaves failed: SystemExit: 3",
        "broken:fit": "importing broken failed: SyntaxError",
        "lacking:fit": "No module named 'not_installed_anywhere'",
    }.items():
        place.write("job.yaml", yaml.safe_dump(job_fields(models=[path])))
        message = place.error("train", "job.yaml")
        assert expected in message
        assert path in message
