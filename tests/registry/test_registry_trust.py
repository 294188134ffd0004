from __future__ import annotations

import json
import os
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from registry_content import content
from registry_fleet import Fleet, Place

from manymodels.artifacts.code import ensure_code
from manymodels.artifacts.codecs import CODECS
from manymodels.artifacts.trust import Trust, is_signed, sign
from manymodels.exceptions import DamagedError, ManyModelsError, StoreError, TrustError, UsageError
from manymodels.registry import Registry, adopt_store, migrate, rebuild, schema
from manymodels.storage import Storage

NAME = "store-sales"
KEY = "MANYMODELS_SIGNING_KEY"


@pytest.fixture
def fleet(registry: Registry) -> Fleet:
    return Fleet(registry, real=True)


@pytest.fixture(autouse=True)
def _nothing_is_adopted_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANYMODELS_ADOPTED")


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(KEY, "a key of thirty-two characters..")
    return os.environ[KEY]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another user opens the stores."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    monkeypatch.setattr("manymodels.registry.adoption._HERE", set())


def opened(place: Place, trust: str | None = None) -> Registry:
    return Registry(place.path, registry=place.registry, trust=trust)


def execute(registry: Registry, statement: sa.Executable) -> None:
    registry._db.write(lambda connection: connection.execute(statement))


# The policy


def test_the_policy_is_the_calls_then_the_environments_then_the_users_then_hashes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Trust.of_reader().policy == "hashes"
    (tmp_path / "manymodels").mkdir()
    (tmp_path / "manymodels/settings.yaml").write_text("trust: columns-only\n")
    assert Trust.of_reader().policy == "columns-only"
    monkeypatch.setenv("MANYMODELS_TRUST", "hashes")
    assert Trust.of_reader().policy == "hashes"
    assert Trust.of_reader("columns-only").policy == "columns-only"


@pytest.mark.parametrize("text", ["trust: everyone", "trust: [", "trusted: hashes", "- hashes"])
def test_settings_of_the_user_that_cannot_be_meant_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "manymodels").mkdir()
    (tmp_path / "manymodels/settings.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"settings\.yaml"):
        Trust.of_reader()


def test_a_store_cannot_say_whom_to_trust(registry: Registry, place: Place) -> None:
    registry.storage.write("settings.yaml", b"trust: hashes")
    with pytest.raises(UsageError, match="trust"):
        registry.gc()
    assert opened(place, "columns-only").trust.policy == "columns-only"


def test_signing_needs_a_key_worth_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    assert sign("ab" * 32) == ""
    assert not is_signed("ab" * 32, "")
    with pytest.raises(UsageError, match=KEY):
        Trust.of_reader("signed")
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(UsageError, match="16 bytes"):
        Trust.of_reader("signed")


# Signed


def test_models_trained_with_the_key_are_loaded_and_others_refused(
    registry: Registry, fleet: Fleet, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.train({"a": 1.0})
    monkeypatch.setenv(KEY, "the key of our team, long enough")
    fleet.train({"b": 1.0}, rungs=["pooled"])
    reader = opened(place, "signed")
    assert reader.load(NAME, store="b").value == "b"
    for refused in (lambda: reader.load(NAME, store="a"), lambda: reader.served(NAME)):
        with pytest.raises(TrustError, match="is not signed"):
            refused()
    assert len(reader.verify().damaged) == 1
    assert opened(place).load(NAME, store="a").value == "a"

    monkeypatch.setenv(KEY, "the key of somebody else, as long")
    other = opened(place, "signed")
    with pytest.raises(TrustError, match="another key"):
        other.load(NAME, store="b")


def test_a_segment_put_in_place_by_whoever_can_write_store_and_registry_is_refused(
    registry: Registry, fleet: Fleet, place: Place, signing: str
) -> None:
    fleet.train({"a": 1.0})
    good, bad = (fleet.receipt(fleet.start(["a"]), {"a": 1.0}).segments[0] for _ in range(2))
    execute(registry, sa.update(schema.segments).values(path=bad.path, sha256=bytes.fromhex(bad.sha256)))
    assert good.sha256 != bad.sha256
    assert opened(place).load(NAME, store="a").value == "a"  # the registry knows it
    with pytest.raises(TrustError, match="another key, or changed"):
        opened(place, "signed").load(NAME, store="a")


def test_signatures_outlive_compaction_and_rebuild(
    registry: Registry,
    fleet: Fleet,
    place: Place,
    signing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet.train({f"k{n}": 1.0 for n in range(6)})
    for gain in range(2):
        fleet.train({f"k{n}": 0.5 - gain / 10 for n in range(5)})
    registry.storage.write("settings.yaml", b"retention: {versions: 1}")
    assert registry.compact(apply=True).segments == 1
    before = content(registry)
    monkeypatch.delenv(KEY)  # a rebuild signs nothing
    url = f"sqlite:///{tmp_path}/again.db"
    rebuild(registry.storage, url)
    monkeypatch.setenv(KEY, signing)
    with Registry(place.path, registry=url, trust="signed") as rebuilt:
        assert content(rebuilt) == before
        assert rebuilt.verify(deep=True).unusable == ()
        assert rebuilt.served(NAME).num_rows == 6


# Columns only


def test_nothing_is_unpickled_where_only_columns_are_trusted(
    registry: Registry, fleet: Fleet, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.train({"a": 1.0})
    monkeypatch.setitem(CODECS, "pickle", lambda *_: pytest.fail("unpickled"))
    reader = opened(place, "columns-only")
    with pytest.raises(TrustError, match="columns-only"):
        reader.load(NAME, store="a")
    assert [model.problem for model in reader.verify(deep=True).unusable]
    assert reader.served(NAME).num_rows == 1


# Stores from elsewhere


def test_a_store_from_elsewhere_can_be_read_and_not_written_until_it_is_adopted(
    registry: Registry, fleet: Fleet, place: Place, elsewhere: None
) -> None:
    fleet.train({"a": 1.0})
    before = registry.storage.listing("")
    theirs = opened(place)
    assert theirs.load(NAME, store="a").value == "a"
    assert theirs.runs()
    assert theirs.verify(deep=True).loaded == 1
    assert theirs.gc(grace=0.0).paths == ()
    writes = (
        lambda: Fleet(theirs, real=True).train({"a": 2.0}),
        lambda: theirs.promote(NAME, alias="shadow", version=1),
        lambda: theirs.start_score(model_set=NAME, input="i", output="o", alias="champion"),
        lambda: theirs.gc(apply=True),
        lambda: theirs.compact(apply=True) and theirs.storage.write("x", b""),
        lambda: theirs.storage.delete("store.json"),
        lambda: theirs.storage.move("store.json", "x"),
        lambda: theirs.storage.scratch(),
        lambda: migrate(theirs.storage, place.registry),
        lambda: rebuild(theirs.storage, place.registry),
        lambda: Registry.open(place, create=True).start_score(
            model_set=NAME, input="i", output="o", alias="champion"
        ),
    )
    for write in writes:
        with pytest.raises(TrustError, match="store adopt"):
            write()
    assert [path for path in registry.storage.listing("") if not path.endswith(("-wal", "-shm"))] == [
        path for path in before if not path.endswith(("-wal", "-shm"))
    ]
    adopt_store(theirs.storage)
    with opened(place) as ours:
        Fleet(ours, real=True).train({"a": 0.5})
        assert Fleet(ours).served() == {"a": 2}


def test_a_store_from_elsewhere_does_not_choose_the_database(
    tmp_path: Path, postgres_url: str, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    Registry.open(Place(str(store), postgres_url), create=True).close()
    adoptable = json.loads((store / "store.json").read_text())
    adoptable["registry"] = "postgresql://u:${HOME}@127.0.0.1:1/d"
    (store / "store.json").write_text(json.dumps({**adoptable, "store_id": "f" * 32}))
    with pytest.raises(TrustError, match="--registry"):
        Registry(store)
    (store / "store.json").write_text(json.dumps(adoptable))
    monkeypatch.setenv("MANYMODELS_ADOPTED", "something, " + adoptable["store_id"])
    with pytest.raises(ManyModelsError, match="could not be"):  # now it is tried
        Registry(store, wait=0.1)


def test_a_store_that_moved_is_adopted_anew(tmp_path: Path) -> None:
    with Registry.open(tmp_path / "here", create=True) as registry:
        Fleet(registry, real=True).train({"a": 1.0})
    shutil.move(tmp_path / "here", tmp_path / "there")
    with Registry(tmp_path / "there") as moved, pytest.raises(TrustError, match="store adopt"):
        moved.promote(NAME, alias="shadow", version=1)
    adopt_store(Storage.at(tmp_path / "there"))
    with Registry(tmp_path / "there") as moved:
        moved.promote(NAME, alias="shadow", version=1)


def test_a_registry_from_elsewhere_without_its_marker_is_not_taken_over(
    tmp_path: Path, elsewhere: None
) -> None:
    with Registry.open(tmp_path / "here", create=True) as registry:
        Fleet(registry, real=True).train({"a": 1.0})
    (tmp_path / "there").mkdir()
    shutil.copy(tmp_path / "here/registry.db", tmp_path / "there/registry.db")
    with pytest.raises(TrustError, match="made elsewhere"):
        Registry.open(tmp_path / "there", create=True)


def test_a_store_with_links_out_of_it_is_not_adopted(tmp_path: Path) -> None:
    Registry.open(tmp_path / "store", create=True).close()
    (tmp_path / "store/runs").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(StoreError, match="link"):
        adopt_store(Storage.at(tmp_path / "store"))


# Hostile rows and files

ESCAPES = [
    "../outside.parquet",
    "/etc/passwd",
    "runs/../../outside",
    "a\0b",
    "..\\outside",
    "runs/x/../../..",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_of_the_registry_leaves_the_store(registry: Registry, fleet: Fleet, path: str) -> None:
    run = fleet.train({"a": 1.0})
    (Path(registry.storage.root).parent / "outside.parquet").write_bytes(b"precious")
    stored = path if registry._db.is_sqlite else path.replace("\0", "\\")  # PostgreSQL takes no NUL
    execute(registry, sa.update(schema.segments).values(path=stored))
    execute(registry, sa.update(schema.runs).values(outcomes_path=stored, dataset=stored))
    with pytest.raises(StoreError):
        registry.load(NAME, store="a")
    assert len(registry.verify(deep=True).damaged) == 1
    with pytest.raises(StoreError):
        registry.storage.read(registry.run(run.id).outcomes_path)
    registry.storage.write("settings.yaml", b"retention: {versions: 1, datasets: 1, unfinished: 1ms}")
    registry.gc(apply=True, grace=0.0)
    assert (Path(registry.storage.root).parent / "outside.parquet").read_bytes() == b"precious"


@pytest.mark.parametrize("score_id", ["x/../../precious", "x-score-1", "../precious-score-000001"])
def test_the_id_of_a_hostile_scoring_removes_nothing(registry: Registry, fleet: Fleet, score_id: str) -> None:
    fleet.train({"a": 1.0})
    parent = Path(registry.storage.root).parent
    for folder in (
        parent / "precious.partial",
        parent / f"out.{Path(score_id).name}.partial",
        parent / "out.x",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part").write_bytes(b"precious")
    before = sorted(parent.rglob("part"))
    score = registry.start_score(model_set=NAME, input="i", output=str(parent / "out"), alias="champion")
    registry.end_score(score.id, state="failed", counts={}, seconds=0.0, startup_seconds=0.0)
    changed = sa.update(schema.scores).values(score_id=score_id, started=0, ended=0, heartbeat=0)
    execute(registry, changed)
    assert "scores" not in registry.gc(apply=True, grace=0.0).removed
    assert sorted(parent.rglob("part")) == before


def test_modules_that_the_registry_does_not_know_are_not_imported(
    registry: Registry, fleet: Fleet, tmp_path: Path
) -> None:
    import pickle

    run = fleet.train({"a": 1.0})
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("nowhere_module.py", f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()")
    digest = sha256(archive.read_bytes()).hexdigest()
    registry.storage.write(f"runs/{run.id}/code/{digest}.zip", archive.read_bytes())
    with pytest.MonkeyPatch.context() as patch:  # a model that needs a module that is not here
        patch.setattr(
            "registry_fleet._artifact", lambda *_: pickle.dumps(1).replace(b"K\x01", b"cnowhere_module\nX\n")
        )
        fleet.train({"a": 0.5})
    registry.storage.write(f"runs/{NAME}-000002/code/{digest}.zip", archive.read_bytes())
    with pytest.raises(DamagedError, match="nowhere_module"):
        registry.load(NAME, store="a")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../evil", "/etc", "", "A" * 64, "0" * 63])
def test_the_name_of_an_archive_is_a_checksum(tmp_path: Path, name: str) -> None:
    with pytest.raises(DamagedError, match="SHA-256"):
        ensure_code(Storage.at(tmp_path), "code.zip", name)


def test_names_from_a_store_are_no_sql(registry: Registry) -> None:
    hostile = "x'; DROP TABLE runs; --\""
    fleet = Fleet(registry, name=hostile, job={"data": {"partition_by": [hostile]}}, real=False)
    fleet.train({hostile: 1.0, 'a" OR 1=1': 2.0})
    found: Any = registry.models(hostile, where="metric > 1.5").to_pylist()
    assert len(found) == 1
    assert registry.runs(hostile)[0].published
    registry.promote(hostile, alias=hostile, version=1, why=hostile)
    assert registry.rollback(hostile, alias=hostile).moved == 2
    assert registry.gc(grace=0.0).retired["segments"] == 0
