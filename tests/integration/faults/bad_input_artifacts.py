"""Bad inputs 53 to 58: artifacts. Loading is verify first, construct after."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_inputs import Place, bad_input, frame_of

from manymodels.artifacts.export import load_exported
from manymodels.exceptions import DamagedError

artifacts = partial(bad_input, "Artifacts")

SERVED = "refused before anything in it is constructed, its keys named; they go down the ladder, all others are served"
VERSIONS = ("key", "naive")


class Evil:
    """Unpickling it makes a folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("pwned",)


def two_segments(place: Place) -> tuple[Path, Path]:
    """A fleet of two runs: ``a`` and ``b`` lie in the first one's segment, ``c`` and ``d`` in the second's."""
    place.rows(frame_of(["a", "b", "c", "d"]))
    place.job()
    place.run("train", "job.yaml", "--key", "key=a", "--key", "key=b")
    place.run("train", "job.yaml")
    return place.segments("wells-000001")[0], place.segments("wells-000002")[0]


def refused_and_served(place: Place, lost: str, why: str) -> None:
    """The lost keys are refused, with the reason, and fall down the ladder; the others are served."""
    scores = place.scores()
    for key, rows in scores.groupby("key"):
        expected = "naive" if key in lost else "key"
        assert set(rows["model_source"]) == {expected}
        if key in lost:
            assert why in rows["reason"].iloc[0]
        else:
            assert rows["prediction"].iloc[0] == float("abcd".index(key))
    with place.registry() as registry:
        for key in "abcd":
            if key in lost:
                with pytest.raises(DamagedError, match=why):
                    registry.load("wells", key=key)
            else:
                assert registry.load("wells", key=key).describe()


def verified(place: Place, lost: str) -> None:
    """``store verify`` names the damaged segment's keys, and exits with 1."""
    report = place.json("store", "verify", code=1)
    assert [damaged["keys"] for damaged in report["damaged"]] == [[f"key={key}" for key in lost]]


@artifacts(53, "evil-pickle", "a pickle that runs code", SERVED)
def evil_pickle(place: Place) -> None:
    segment, _ = two_segments(place)
    table = pq.read_table(segment)
    evil = pa.array([pickle.dumps(Evil())] * table.num_rows, pa.binary())
    table = table.set_column(table.schema.get_field_index("artifact"), "artifact", evil)
    pq.write_table(table, segment)
    refused_and_served(place, "ab", "is damaged: its SHA-256")
    verified(place, "ab")
    place.run("models", "export", "wells", "-o", "exported", code=1)
    assert not list(place.folder.rglob("pwned"))


@artifacts(54, "flipped-bit", "a flipped bit", SERVED)
def flipped_bit(place: Place) -> None:
    segment, _ = two_segments(place)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    refused_and_served(place, "ab", "is damaged: its SHA-256")
    verified(place, "ab")


@artifacts(
    54,
    "flipped-bit-in-an-export",
    "a flipped bit in an exported fleet",
    "refused, by the hash in the export's index",
)
def flipped_bit_in_an_export(place: Place) -> None:
    two_segments(place)
    place.run("models", "export", "wells", "-o", "exported")
    file = next((place.folder / "exported" / "models").iterdir())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedError, match="its SHA-256"):
        load_exported(place.folder / "exported", key="a")


@artifacts(55, "truncated-segment", "a truncated segment", SERVED)
def truncated_segment(place: Place) -> None:
    _, segment = two_segments(place)
    segment.write_bytes(segment.read_bytes()[:-100])
    refused_and_served(place, "cd", "is damaged: its SHA-256")
    verified(place, "cd")


@artifacts(
    56,
    "rows-past-the-end",
    "a row past the segment's end",
    "refused: the registry is damaged, `store rebuild` makes it anew; others are served",
)
def rows_past_the_end(place: Place) -> None:
    two_segments(place)
    with sqlite3.connect(place.folder / ".manymodels" / "registry.db") as database:
        database.execute(
            "UPDATE versions SET segment_row = 1000000 WHERE run = (SELECT min(run) FROM versions)"
        )
    database.close()
    refused_and_served(place, "ab", "row 1000000 was asked for")
    place.run("store", "rebuild")
    assert set(place.scores()["model_source"]) == {"key"}


@artifacts(
    57,
    "swapped-segments",
    "two segments swapped",
    "both refused, each with whose content it has; their keys go down the ladder",
)
def swapped_segments(place: Place) -> None:
    first, second = two_segments(place)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    refused_and_served(place, "abcd", "it has the content of")
    # Hashed in their own places again.
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    assert hashlib.sha256(first.read_bytes()).digest() != hashlib.sha256(second.read_bytes()).digest()
    assert set(place.scores()["model_source"]) == {"key"}


@artifacts(
    58,
    "other-versions",
    "a model of another scikit-learn version",
    "recorded with the run; loading and scoring warn with both versions",
)
def other_versions(place: Place) -> None:
    place.rows(frame_of(["a"]))
    place.job()
    place.run("train", "job.yaml")
    with sqlite3.connect(place.folder / ".manymodels" / "registry.db") as database:
        (recorded,) = database.execute("SELECT libraries FROM runs").fetchone()
        libraries = json.loads(recorded)
        libraries["scikit-learn"] = "0.1.2"
        database.execute("UPDATE runs SET libraries = ?", [json.dumps(libraries)])
    database.close()
    said = place.run("score", "job.yaml", "-o", "scores").stderr
    assert "warning: the models of wells-000001 were trained with scikit-learn 0.1.2, here it is" in said
    with place.registry() as registry:
        with pytest.warns(UserWarning, match="scikit-learn 0.1.2"):
            assert registry.load("wells", key="a").describe()
        assert registry.load("wells", key="a")  # said once
