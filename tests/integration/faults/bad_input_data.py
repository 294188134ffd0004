"""Bad inputs 27 to 41: data."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_inputs import Place, bad_input, frame_of

import manymodels as mm
from manymodels.dataset.roles import resolve_roles
from manymodels.dataset.sources import open_source
from manymodels.exceptions import DataError
from manymodels.partitioning.split import split
from manymodels.storage import Storage

data = partial(bad_input, "Data")

LAG = {"lag_regression": {"estimator": "sklearn.linear_model.Ridge", "lags": [1, 2]}}
FAMILIES = [
    *(
        ("forecast", family, {})
        for family in (
            "mean",
            "naive",
            "seasonal_naive",
            "drift",
            "ets",
            "holt_winters",
            "theta",
            "croston",
            "tsb",
        )
    ),
    ("forecast", "sarimax", {"known_future": ["x"]}),
    ("forecast", LAG, {"known_future": ["x"]}),
    ("regression", "sklearn.linear_model.Ridge", {}),
    ("classification", "sklearn.linear_model.LogisticRegression", {}),
    ("ranking", "sklearn.linear_model.Ridge", {}),
    ("anomaly", "isolation_forest", {}),
    ("anomaly", "robust_zscore", {}),
    ("anomaly", "ewma", {}),
]


def edge_rows() -> pd.DataFrame:
    """A key of each kind that a model may choke on."""
    rng = np.random.default_rng(0)
    usual = rng.integers(8, 13, 30).astype(float)

    def of(key: str, y: object, x: object = None, rows: int = 30) -> pd.DataFrame:
        times = pd.date_range("2026-01-01", periods=rows)
        return pd.DataFrame({"key": key, "t": times, "x": rng.normal(size=rows) if x is None else x, "y": y})

    def with_infinity(values: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(values)) == 3, np.inf, values)

    return pd.concat(
        [
            of("usual", usual),
            of("one row", usual[:1], rows=1),
            of("constant", 11.0),
            of("missing", np.nan),
            of("infinite", with_infinity(usual)),
            of("infinite feature", usual, x=with_infinity(rng.normal(size=30))),
        ]
    )


def edge_fleets(place: Place) -> None:
    """Train every family on the edge rows; the states and reasons as JSON."""
    place.rows(edge_rows())
    found = []
    for number, (task, family, more) in enumerate(FAMILIES):
        place.job(
            task=task,
            data={"time": "t", **more},
            models=[family],
            evaluation={"holdout": 0.2},
            training={"max_failed": "100%"},
            fallback=["naive"],
            name=f"family-{number}",
        )
        found.append(place.outcomes(place.json("train", "job.yaml")["run_id"]))
    place.write("outcomes.json", json.dumps(found))


def edges(place: Place, key: str) -> list[tuple[str, str]]:
    """State and reason of one edge key under every family."""
    fleets = json.loads((place.once(edge_fleets).folder / "outcomes.json").read_text())
    assert len(fleets) == len(FAMILIES)
    assert all(fleet["usual"][0] == "trained" for fleet in fleets)
    return [tuple(fleet[key]) for fleet in fleets]


@data(
    27, "no-rows", "no rows, in the file or after `where`", "exit 2: no rows, in which file, by which filter"
)
def no_rows(place: Place) -> None:
    place.rows(frame_of(["a"]).head(0))
    place.job()
    assert "rows.parquet" in place.error("train", "job.yaml")
    place.rows(frame_of(["a"]))
    message = place.error("train", "job.yaml", "--set", "data.where=y > 99")
    assert "rows.parquet where y > 99" in message


@data(
    28,
    "one-row",
    "a key of one row",
    "`fallback: too few rows`; with `min_rows: 1` each family fits it or says why not",
)
def one_row(place: Place) -> None:
    for state, reason in edges(place, "one row"):
        assert state == "trained" or (state == "failed" and "needs at least" in reason)
    place.rows(frame_of(["a"], rows=1))
    place.job(data={"min_rows": 10})
    place.run("train", "job.yaml")
    assert place.outcomes() == {"a": ("fallback", "too few rows")}
    assert place.scores()[["prediction", "model_source", "status"]].to_numpy().tolist() == [
        [0.0, "naive", "fallback"]
    ]


@data(
    29,
    "constant",
    "a constant target",
    "trained by every family; why there is no metric, where there is none",
)
def constant(place: Place) -> None:
    for state, reason in edges(place, "constant"):
        assert state == "trained"
        assert not reason or any(why in reason for why in ("no scale", "one class", "needs at least"))


@data(29, "all-nan", "a target that is always missing", "`fallback: target is missing`")
def all_missing(place: Place) -> None:
    assert set(edges(place, "missing")) == {("fallback", "target is missing")}


@data(30, "infinite-target", "an infinite target", "`fallback: target is infinite`; the other keys train")
def infinite_target(place: Place) -> None:
    assert set(edges(place, "infinite")) == {("fallback", "target is infinite")}


@data(30, "infinite-feature", "an infinite feature", "taken as a missing value, in training and scoring")
def infinite_feature(place: Place) -> None:
    assert {state for state, _ in edges(place, "infinite feature")} == {"trained"}
    place.rows(frame_of(["a", "b"], rows=9).assign(x=[np.inf, -np.inf] * 9))
    place.job(models=["sklearn.linear_model.Ridge"])
    place.rows(frame_of(["a", "b"], rows=20))
    place.run("train", "job.yaml")
    place.rows(frame_of(["a", "b"]).assign(x=[np.inf, np.nan, -np.inf] * 2), "new.parquet")
    scores = place.scores("--data", "new.parquet")
    assert set(scores["status"]) == {"ok"}
    assert scores.groupby("key")["prediction"].nunique().tolist() == [1, 1]  # one value for what is missing


@data(
    31,
    "dtype-drift",
    "types that drift between files",
    "widened where nothing is lost, else exit 2 with both files and types",
)
def dtype_drift(place: Place) -> None:
    frame = frame_of(["a", "b"])
    place.rows(frame, "rows/1.parquet")
    place.rows(frame.assign(x=frame["x"].astype("float32"), y=frame["y"].astype("int8")), "rows/2.parquet")
    place.job(data={"path": "rows"})
    assert place.json("plan", "job.yaml")["keys"] == 2
    place.rows(frame.assign(x=frame["x"].astype(str)), "rows/2.parquet")
    message = place.error("train", "job.yaml")
    assert all(part in message for part in ("'x'", "rows/1.parquet", "rows/2.parquet", "float64", "string"))


@data(32, "duplicate-columns", "two columns of one name", "exit 2 with the column and the file")
def duplicate_columns(place: Place) -> None:
    place.write("rows.csv", "key,x,x,y\na,1,2,3\n")
    place.job(data={"path": "rows.csv"})
    assert "column 'x' occurs 2 times in" in place.error("train", "job.yaml")
    table = pa.table([["a"], [1.0], [2.0], [3.0]], names=["key", "x", "x", "y"])
    pq.write_table(table, place.folder / "rows.parquet")
    place.job()
    message = place.error("train", "job.yaml")
    assert "column 'x' occurs 2 times in" in message
    assert "rows.parquet" in message


@data(33, "truncated-parquet", "truncated or damaged Parquet", "exit 2 with the file; nothing is registered")
def truncated_parquet(place: Place) -> None:
    place.job()
    whole = place.rows(frame_of(range(200))).read_bytes()
    damaged = {
        "its end": whole[:-40],
        "a page header": whole[:4] + b"\xff" * 60 + whole[64:],
        "a page": whole[:200] + bytes(100) + whole[300:],
        "all": b"",
    }
    for content in damaged.values():
        place.write("rows.parquet", content)
        assert "rows.parquet" in place.error("train", "job.yaml")
    assert place.json("runs", "list")["runs"] == []


FIT = """
import os
import numpy as np

class Mean:
    def __init__(self, value):
        self.value = value
    def predict(self, frame):
        return np.full(len(frame), self.value)

def fit(frame, spec):
    {act}
    return Mean(frame["y"].mean())
"""


def mid_run(place: Place, act: str) -> str:
    """Train with a model whose code does something to the input; what stderr says."""
    place.rows(frame_of(["a", "b", "c"]))
    place.write("meddling.py", FIT.format(act=act))
    place.job(models=["meddling:fit"])
    result = place.run("train", "job.yaml")
    assert place.json("runs", "show", "latest")["trained"] == 3
    return str(result.stderr)


@data(
    34,
    "vanishing-file",
    "a file that vanishes in mid-run",
    "before its rows are split: exit 2 with the file; later: a warning with the file, the run ends as planned",
)
def vanishing_file(place: Place) -> None:
    job = place.job(data={"path": str(place.rows(frame_of(["a"])))})
    source = open_source(job.data)
    roles = resolve_roles(source, job.data, job.task)
    (place.folder / "rows.parquet").unlink()
    with pytest.raises(DataError, match=r"rows\.parquet vanished while it was read"):
        split(source, job.data, roles, Storage.at(place.folder / "other"))
    said = mid_run(place, "os.path.exists('rows.parquet') and os.unlink('rows.parquet')")
    assert "rows.parquet vanished during the run" in said
    assert "no file matches" in place.error("plan", "job.yaml")


@data(
    35,
    "changing-input",
    "input that changes during the run",
    "before its rows are split: exit 2 with the file; later: a warning with the file, models are of the rows at the start",
)
def changing_input(place: Place) -> None:
    path = place.rows(frame_of(["a"]))
    job = place.job(data={"path": str(path)})
    source = open_source(job.data)
    roles = resolve_roles(source, job.data, job.task)
    place.rows(frame_of(["a", "b"]))
    with pytest.raises(DataError, match=r"rows\.parquet changed while it was read"):
        split(source, job.data, roles, Storage.at(place.folder / "other"))
    said = mid_run(place, "os.truncate('rows.parquet', 9)")
    assert "rows.parquet changed during the run" in said
    assert (
        place.scores("--data", str(place.rows(frame_of(["a"]), "new.parquet")))["prediction"].tolist()
        == [0.0] * 3
    )


@data(
    36,
    "unsorted-times",
    "unsorted and duplicate timestamps",
    "sorted; duplicates of a forecast: exit 2 with the count and the first key, or combined as the job says",
)
def unsorted_times(place: Place) -> None:
    times = pd.Series(pd.date_range("2026-01-01", periods=10))
    rows = pd.DataFrame({"key": "a", "t": times, "y": np.arange(10.0)}).sample(frac=1, random_state=0)
    place.rows(pd.concat([rows, rows.head(2)]))
    place.job(task="forecast", data={"time": "t"}, models=["naive"], forecast={"horizon": 2})
    assert "2 rows have the same `t` as another row of their key, first in key=a" in place.error(
        "train", "job.yaml"
    )
    place.run("train", "job.yaml", "--set", "data.on_duplicate_time=last")
    scores = place.scores()
    assert scores["prediction"].tolist() == [9.0, 9.0]  # the last in time, not in the file
    assert scores["t"].astype(str).tolist() == ["2026-01-11 00:00:00", "2026-01-12 00:00:00"]


@data(37, "leak", "a feature that equals the target", "warned of by `plan` and `train`, with the feature")
def leak(place: Place) -> None:
    frame = frame_of(["a", "b", "c"])
    place.rows(frame.assign(copy=frame["y"], line=3 - 2 * frame["y"]))
    place.job()
    warned = place.json("plan", "job.yaml")["warnings"]
    assert [
        any(f"'{name}' gives the target 'y' away" in line for line in warned)
        for name in ("copy", "line", "x")
    ] == [
        True,
        True,
        False,
    ]
    assert "'copy' gives the target 'y' away" in place.run("train", "job.yaml", "--json").stderr


@data(38, "ragged-csv", "a ragged CSV", "exit 2 with the file, the line, and the fields expected and found")
def ragged_csv(place: Place) -> None:
    place.job(data={"path": "rows.csv"})
    for line, found in (("b,1", 2), ("b,1,2,3", 4)):
        place.write("rows.csv", f"key,x,y\na,1,2\n{line}\n")
        message = place.error("train", "job.yaml")
        assert f"rows.csv, line 3: expected 3 fields as in the header, found {found}" in message


@data(
    39, "encoding", "the wrong encoding", "exit 2 with the file and `data.csv.encoding`; nothing is guessed"
)
def encoding(place: Place) -> None:
    place.job(data={"path": "rows.csv"})
    for encoding in ("cp1252", "utf-16"):
        place.write("rows.csv", "key,x,y\ncafé,1,2\n".encode(encoding))
        message = place.error("plan", "job.yaml")
        assert "rows.csv: the text is not utf-8; set `data.csv.encoding`" in message
        plan = place.json("plan", "job.yaml", "--each", "--set", f"data.csv.encoding={encoding}")
        assert plan["plan"][0]["key"] == "key=café"


@data(40, "mixed-zones", "mixed time zones", "instants, in UTC; a time without a zone is UTC")
def mixed_zones(place: Place) -> None:
    place.write(
        "rows.csv",
        "key,t,y\na,2026-01-01T00:00:00Z,1\na,2026-01-02T01:00:00+01:00,2\na,2026-01-03T00:00:00,3\n",
    )
    place.job(
        task="forecast", data={"path": "rows.csv", "time": "t"}, models=["naive"], forecast={"horizon": 1}
    )
    place.run("train", "job.yaml")
    assert place.scores()["t"].astype(str).tolist() == ["2026-01-04 00:00:00"]
    stamps = [
        pd.Timestamp("2026-01-01", tz="UTC"),
        pd.Timestamp("2026-01-02 01:00", tz="Europe/Berlin"),
        pd.Timestamp("2026-01-03"),
    ]
    frame = pd.DataFrame({"key": "a", "t": pd.Series(stamps, dtype=object), "y": [1, 2, 3]})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        assert mm.plan(mm.Job.from_yaml("job.yaml"), frame).counts() == {"reuse": {"unchanged": 1}}


@data(
    41,
    "text-times",
    "a time column of strings",
    "parsed as ISO 8601; anything else: exit 2 with the value and the file",
)
def text_times(place: Place) -> None:
    place.job(task="forecast", data={"path": "rows.csv", "time": "t"}, models=["naive"])
    for value in ("01/02/2026", "soon"):
        place.write("rows.csv", f"key,t,y\na,2026-01-01,1\na,{value},2\n")
        message = place.error("train", "job.yaml")
        assert f"found '{value}' in" in message
        assert "rows.csv" in message
        assert "ISO 8601" in message
    place.write("rows.csv", "key,t,y\na,2026-01-01,1\na,2026-01-02,2\n")
    assert place.json("train", "job.yaml")["trained"] == 1
