"""Bad inputs 1 to 26: keys."""

from __future__ import annotations

import datetime as dt
import re
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_inputs import Place, bad_input, frame_of

import manymodels as mm
from manymodels.artifacts.export import load_exported
from manymodels.exceptions import DataError, NotFoundError
from manymodels.partitioning.keys import make_key

keys = partial(bad_input, "Keys")

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "in\0side",
    "long" * 2560,
    "",
    "   ",
    "A",
    "a",
    COMPOSED,
    DECOMPOSED,
    "\u202e\u05d0\u05d1",
    "\U0001f600",
    "CON",
    "trailing.",
    "'; DROP TABLE runs; --",
    "%2e%2e",
    "<script>alert(1)</script>",
    "[red]x[/red]",
]
OPAQUE = "opaque data: trained, served and exported as its own key; never part of a path, URL or SQL"


def hostile_fleet(place: Place) -> None:
    place.rows(frame_of(HOSTILE))
    place.job()
    place.run("train", "job.yaml")
    place.scores()
    place.run("models", "export", "wells", "-o", "exported")


def serves(place: Place, *values: object) -> None:
    """Each key has its own model and its own rows, exactly as it was written; no file is named after it."""
    fleet = place.once(hostile_fleet)
    scores = pd.read_parquet(fleet.folder / "scores.parquet", dtype_backend="pyarrow")
    with fleet.registry() as registry:
        for value in values:
            rows = scores[scores["key"] == value]
            assert rows["prediction"].tolist() == [float(HOSTILE.index(str(value)))] * 3
            assert set(rows["model_source"]) == {"key"}
            model = registry.load("wells", key=value)
            assert model.describe() == load_exported(fleet.folder / "exported", key=value).describe()
            history = registry.model_history("wells", make_key([value]).key_id)
            assert history.key.isprintable()
    assert all(re.fullmatch(r"[\w.=/-]+", name, re.ASCII) for name in fleet.files())


def text_key(item: int, name: str, given: str, *values: str, gets: str = OPAQUE) -> None:
    keys(item, name, given, gets)(lambda place: serves(place, *values))


text_key(1, "path-traversal", "`../../etc/passwd`", HOSTILE[0])
text_key(2, "absolute-path", "an absolute path", HOSTILE[1])
text_key(3, "nul", "a NUL inside", HOSTILE[2])
text_key(4, "ten-kilobytes", "10 KB long", HOSTILE[3])
text_key(5, "empty", "empty text", "", gets="a key like any other, not a null")
text_key(6, "spaces", "only spaces", "   ", gets="a key like any other, not a null")
text_key(7, "case", "`A` and `a`", "A", "a", gets="two keys, on every file system")
text_key(8, "nfc-and-nfd", "NFC and NFD twins", COMPOSED, DECOMPOSED, gets="two keys: text is not normalised")
text_key(9, "right-to-left-and-emoji", "right-to-left text and emoji", *HOSTILE[10:12])
text_key(11, "device-names", "`CON`, a trailing dot", "CON", "trailing.")
text_key(12, "sql", "`'; DROP TABLE runs; --`", HOSTILE[14])
text_key(13, "percent-encoding", "`%2e%2e`", "%2e%2e")


@keys(
    10, "lone-surrogate", "a lone surrogate", "a data error (exit 2): it is no text, and Arrow cannot hold it"
)
def lone_surrogate(place: Place) -> None:
    job = place.job(store=str(place.folder / ".manymodels"))
    frame = pd.DataFrame({"key": pd.Series(["lone \ud800"] * 3, dtype=object), "x": 1.0, "y": 1.0})
    with pytest.raises(DataError, match=r"key.*surrogate"):
        mm.train(job, frame, progress=False)


@keys(14, "markup", "`<script>`", f"{OPAQUE}; escaped in HTML, and in the terminal too")
def markup(place: Place) -> None:
    serves(place, *HOSTILE[16:])
    listed = place.once(hostile_fleet).run("models", "list", "wells").stdout
    assert "<script>alert(1)</script>" in listed
    assert "[red]x[/red]" in listed  # no markup of the terminal either
    place.rows(frame_of(HOSTILE[16:]))
    place.write("angry.py", "def fit(frame, spec):\n    raise ValueError(frame['key'].iloc[0] + '</td>')\n")
    place.job(models=["angry:fit"], training={"max_failed": "100%"})
    place.run("train", "job.yaml")
    place.run("report", "latest", "-o", "page.html")
    page = (place.folder / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    assert "[red]x[/red]&lt;/td&gt;" in page


@keys(
    15,
    "kinds",
    '`1`, `"1"`, `1.0`',
    "three keys; scored rows are cast to the recorded kind without loss, or exit 2",
)
def kinds(place: Place) -> None:
    place.rows(frame_of([0, 1]))
    place.job()
    place.run("train", "job.yaml")
    with place.registry() as registry:
        assert registry.load("wells", key=1).describe()
        for other in ("1", 1.0, True):
            with pytest.raises(NotFoundError, match=r"key \(int\)"):
                registry.load("wells", key=other)
    place.rows(frame_of(["0", "1"]), "text.parquet")
    assert place.scores("--data", "text.parquet")["prediction"].tolist() == [0.0] * 3 + [1.0] * 3
    place.rows(frame_of(["0", "01"]), "lossy.parquet")
    assert "'01'" in place.error("score", "job.yaml", "-o", "x", "--data", "lossy.parquet")


@keys(16, "leading-zeros", "`007` in a CSV file", "text, zeros and all; `7` is another key")
def leading_zeros(place: Place) -> None:
    place.write("rows.csv", "key,x,y\n007,1,1\n7,1,2\n")
    place.job(data={"path": "rows.csv"})
    place.run("train", "job.yaml")
    scores = place.scores()
    assert dict(zip(scores["key"], scores["prediction"], strict=True)) == {"007": 1.0, "7": 2.0}


@keys(17, "large-integers", "integers over 2^53", "exact: neighbours are two keys")
def large_integers(place: Place) -> None:
    large = [2**53, 2**53 + 1, -(2**63), 2**63 - 1]
    place.rows(frame_of(large))
    place.job()
    assert place.json("train", "job.yaml")["trained"] == 4
    scores = place.scores()
    assert dict(zip(scores["key"], scores["prediction"], strict=True)) == {
        k: float(n) for n, k in enumerate(large)
    }


@keys(18, "both-zeros", "-0.0 and 0.0", "one key; float keys are warned of")
def both_zeros(place: Place) -> None:
    place.rows(frame_of([0.0, -0.0, 1.0]))
    place.job()
    plan = place.json("plan", "job.yaml")
    assert plan["keys"] == 2
    assert "float" in plan["warnings"][0]


@keys(
    19, "zones", "equal instants in two zones", "one key: instants are compared, a text without a zone is UTC"
)
def zones(place: Place) -> None:
    stamps = [
        "2026-01-01T12:00:00Z",
        "2026-01-01T13:00:00+01:00",
        "2026-01-01T12:00:00",
        "2026-01-01T13:00:00Z",
    ]
    place.rows(frame_of(stamps), "rows.csv")
    place.job(data={"path": "rows.csv", "types": {"key": "timestamp"}})
    assert place.json("train", "job.yaml")["keys"] == 2
    with place.registry() as registry:
        berlin = dt.datetime(2026, 1, 1, 13, tzinfo=dt.timezone(dt.timedelta(hours=1)))
        assert registry.load("wells", key=berlin).describe()


@keys(20, "booleans", "booleans", "keys of their own kind: `true` is not 1")
def booleans(place: Place) -> None:
    place.rows(frame_of([False, True]))
    place.job()
    place.run("train", "job.yaml")
    assert place.json("models", "show", "wells", "--key", "key=true")["key"] == "key=true"
    with place.registry() as registry, pytest.raises(NotFoundError, match=r"key \(bool\)"):
        registry.load("wells", key=1)


@keys(
    21, "null-and-nan", "null and NaN", "an error with the count (exit 2); `on_null_key` drops or groups them"
)
def null_and_nan(place: Place) -> None:
    table = pa.table(
        {"key": pa.array([None, float("nan"), 1.0, 1.0]), "x": [1.0] * 4, "y": [0.0, 0.0, 1.0, 1.0]}
    )
    pq.write_table(table, place.folder / "rows.parquet")
    place.job()
    assert "found 2 rows with a null" in place.error("train", "job.yaml")
    assert place.json("plan", "job.yaml", "--set", "data.on_null_key=drop")["keys"] == 1
    assert place.json("train", "job.yaml", "--set", "data.on_null_key=group")["keys"] == 2
    assert place.json("models", "show", "wells", "--key", "key=null")["key"] == "key=null"


@keys(22, "separators", '`("a|b", "c")` and `("a", "b|c")`', "two keys: columns do not run into each other")
def separators(place: Place) -> None:
    place.rows(frame_of(["a|b", "a"]).assign(part=["c"] * 3 + ["b|c"] * 3))
    place.job(data={"partition_by": ["key", "part"]})
    place.run("train", "job.yaml")
    scores = place.scores()
    assert scores.groupby(["key", "part"])["prediction"].unique().explode().to_dict() == {
        ("a|b", "c"): 0.0,
        ("a", "b|c"): 1.0,
    }


@keys(23, "unused-category", "a category that no row has", "no key: only rows make keys")
def unused_category(place: Place) -> None:
    frame = frame_of(["a", "b"])
    place.rows(frame.assign(key=pd.Categorical(frame["key"], ["a", "b", "ghost"])))
    place.job()
    assert place.json("train", "job.yaml")["keys"] == 2


@keys(
    24,
    "absent-column",
    "a key column that is not there",
    "exit 2 with the nearest name and the columns there are",
)
def absent_column(place: Place) -> None:
    place.rows(frame_of(["a"]))
    place.job(data={"partition_by": ["kye"]})
    message = place.error("train", "job.yaml")
    assert "did you mean 'key'?" in message
    assert "it has key, x, y" in message


@keys(25, "lonely-keys", "every row its own key", "warned of, with the estimate of `plan`")
def lonely_keys(place: Place) -> None:
    place.rows(frame_of(range(1500), rows=1))
    place.job()
    plan = place.json("plan", "job.yaml")
    assert "every row is a key of its own: 1,500 keys" in plan["warnings"][0]
    assert plan["estimate"]["seconds"] > 0
    assert plan["estimate"]["disk_bytes"] > 0


@keys(26, "skewed-key", "one key with 90 % of the rows", "a batch of its own")
def skewed_key(place: Place) -> None:
    place.rows(pd.concat([frame_of(range(100), rows=200), frame_of([100], rows=180_000)]))
    place.job(
        models=[{"sklearn.ensemble.HistGradientBoostingRegressor": {"max_iter": 10}}],
        compute={"target": "local", "workers": 2},
    )
    place.run("train", "job.yaml")
    plan = pq.read_table(place.folder / ".manymodels" / "runs" / "wells-000001" / "plan.parquet").to_pandas()
    batch = plan.set_index("key_id")["batch"]
    assert (batch == batch[make_key([100]).key_id]).sum() == 1
    assert batch.nunique() < 50  # the others share theirs
