"""Rot and truncation of what a run left: named with the key and the file, and everybody else is served."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from wells import Wells

import manymodels as mm
from manymodels.exceptions import DamagedError

pytestmark = pytest.mark.integration

WELLS = 20
HERE = "training.isolation=none"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Wells:
    wells = Wells(tmp_path_factory.mktemp("damage"), WELLS, "serial")
    wells.trained_calmly()
    return wells


@pytest.fixture
def wells(trained: Wells, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wells:
    """The trained wells, in a store of one's own to damage."""
    shutil.copytree(trained.folder / ".manymodels", tmp_path / ".manymodels")
    monkeypatch.chdir(trained.folder)
    return trained


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, truncate])
def test_keys_of_a_damaged_segment_are_named_and_the_others_are_served(
    wells: Wells, tmp_path: Path, damage: Any
) -> None:
    store = tmp_path / ".manymodels"
    segments = sorted((store / "runs" / "wells-000001" / "segments").iterdir())
    assert len(segments) > 2
    job = wells.job(HERE, f"store={store}")
    whole = mm.score(job, "wells.parquet", progress=False)
    damage(segments[1])
    scores = mm.score(job, "wells.parquet", progress=False)
    lost = set(scores.loc[scores["status"] == "failed", "well"])
    assert 0 < len(lost) < WELLS
    reasons = scores.loc[scores["well"].isin(lost), "reason"]
    assert reasons.str.contains(segments[1].name, regex=False).all()
    kept = ~scores["well"].isin(lost)
    assert scores.loc[kept, "prediction"].equals(whole.loc[kept, "prediction"])
    with mm.Registry(store) as registry:
        victim = min(lost)
        with pytest.raises(DamagedError, match=segments[1].name) as caught:
            registry.load("wells", well=victim)
        assert caught.value.key == f"well={victim}"
        assert registry.load("wells", well=min(set(range(WELLS)) - lost)) is not None
    report = wells.verb("store", "verify", "--store", str(store), code=1)
    assert [entry["path"] for entry in report["damaged"]] == [str(segments[1].relative_to(store))]


def test_damaged_rows_are_named_before_anything_trains_on_them(wells: Wells, tmp_path: Path) -> None:
    store = tmp_path / ".manymodels"
    (part,) = store.glob("datasets/*/part-*.parquet")
    flip(part)
    with pytest.raises(DamagedError, match=part.name):
        mm.train(wells.job(HERE, f"store={store}"), only="all", progress=False)
    with mm.Registry(store) as registry:
        assert registry.load("wells", well=3) is not None  # the champions stay


def test_rows_that_are_gone_are_split_again(wells: Wells, tmp_path: Path) -> None:
    store = tmp_path / ".manymodels"
    shutil.rmtree(store / "datasets")
    run = mm.train(wells.job(HERE, f"store={store}"), only="all", progress=False)
    assert run.summary["trained"] == WELLS
