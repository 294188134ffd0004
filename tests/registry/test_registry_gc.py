from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from registry_content import content
from registry_fleet import Fleet, Place

from manymodels.exceptions import ConflictError, NotFoundError, RegistryError, StoreError, UsageError
from manymodels.registry import Registry, rebuild

NAME = "store-sales"
DAY = 86_400.0


@pytest.fixture
def fleet(registry: Registry) -> Fleet:
    return Fleet(registry, real=True)


def retain(registry: Registry, **settings: object) -> None:
    lines = "".join(f"  {name}: {value}\n" for name, value in settings.items())
    registry.storage.write("settings.yaml", f"retention:\n{lines}".encode())


def segments(registry: Registry) -> dict[str, list[str]]:
    """Run to the segment files that are there."""
    found: dict[str, list[str]] = {}
    for path in registry.storage.listing("runs"):
        if "/segments/" in path:
            found.setdefault(path.split("/")[1], []).append(path)
    return found


def age(registry: Registry, path: str = "", days: float = 3) -> None:
    """Make files look as if they had been written days ago."""
    moment = time.time() - days * DAY
    for file in registry.storage.files(path):
        os.utime(registry.storage.absolute(file.path), (moment, moment))


def test_nothing_of_a_store_that_only_trained_is_garbage(registry: Registry, fleet: Fleet) -> None:
    for gain in range(3):
        fleet.train({"a": 3.0 - gain, "b": 1.0}, rungs=["pooled"])
    age(registry)
    before = registry.storage.listing("")
    report = registry.gc(apply=True, grace=0.0)
    assert (report.retired["segments"], dict(report.removed), report.paths) == (0, {}, ())
    assert registry.storage.listing("") == before


def test_models_beyond_retention_are_given_up_and_their_files_removed(
    registry: Registry, fleet: Fleet
) -> None:
    runs = [fleet.train({"a": 5.0 - gain}) for gain in range(4)]
    retain(registry, versions=2)
    planned = registry.gc(grace=0.0)
    assert not planned.applied
    assert planned.retired["models"] == 2
    assert len(segments(registry)) == 4
    assert fleet.served(run_id=runs[0].id) == {"a": 1}

    report = registry.gc(apply=True, grace=0.0)
    assert report.retired["models"] == 2
    assert report.removed["segments"]["files"] == 2
    assert report.paths[0].startswith(f"runs/{runs[0].id}/segments/")
    assert sorted(segments(registry)) == [run.id for run in runs[2:]]
    assert fleet.served() == {"a": 4}
    assert registry.load(NAME, store="a").version == 4
    versions = registry.model_history(NAME, fleet.key_id("a")).versions
    assert [(line.version, line.retired is None) for line in versions] == [
        (4, True),
        (3, True),
        (2, False),
        (1, False),
    ]
    assert registry.verify(deep=True).damaged == ()


def test_a_model_that_was_given_up_is_refused_by_name(registry: Registry, fleet: Fleet) -> None:
    runs = [fleet.train({"a": 5.0 - gain}) for gain in range(3)]
    retain(registry, versions=1)
    registry.gc(apply=True, grace=0.0)
    for refused in (
        lambda: registry.load(NAME, version=1, store="a"),
        lambda: registry.served(NAME, run_id=runs[0].id),
        lambda: registry.promote(NAME, version=1),
        lambda: registry.promote(NAME, run=runs[0].id),
        lambda: registry.rollback(NAME, steps=2),
    ):
        with pytest.raises(NotFoundError, match=r"store gc"):
            refused()
    assert fleet.served() == {"a": 3}
    registry.rollback(NAME)
    assert fleet.served() == {"a": 2}
    assert registry.load(NAME, store="a").version == 2


def test_what_any_alias_points_at_stays(registry: Registry, fleet: Fleet) -> None:
    for gain in range(4):
        fleet.train({"a": 5.0 - gain, "b": 5.0 + gain}, rungs=["pooled"])
    registry.promote(NAME, alias="shadow", version=1, key_ids=[fleet.key_id("a")])
    retain(registry, versions=1)
    registry.gc(apply=True, grace=0.0)
    assert fleet.served("shadow") == {"a": 1}
    assert fleet.served() == {"a": 4, "b": 1, "pooled": 4}
    assert registry.load(NAME, alias="shadow", store="a").version == 1
    assert registry.load(NAME, store="b").version == 1
    assert registry.verify(deep=True).unusable == ()


def test_young_versions_stay(registry: Registry, fleet: Fleet) -> None:
    for gain in range(4):
        fleet.train({"a": 5.0 - gain})
    retain(registry, versions=1, age="1d")
    assert registry.gc().retired["models"] == 0


def test_a_file_stays_for_the_grace_period_after_its_models_were_given_up(
    registry: Registry, fleet: Fleet
) -> None:
    for gain in range(4):
        fleet.train({"a": 5.0 - gain})
    retain(registry, versions=1, grace="1h")
    age(registry)  # a segment's own age says nothing of when it fell out of use
    report = registry.gc(apply=True)
    assert (report.retired["segments"], dict(report.removed), report.waiting["files"]) == (2, {}, 2)
    assert len(segments(registry)) == 4
    assert registry.gc(apply=True).waiting["files"] == 2
    assert registry.gc(apply=True, grace=0.0).removed["segments"]["files"] == 2


def test_a_scoring_that_still_runs_holds_what_it_was_told_of(registry: Registry, fleet: Fleet) -> None:
    for gain in range(4):
        fleet.train({"a": 5.0 - gain})
    score = registry.start_score(model_set=NAME, input="i" * 32, output="/nowhere", alias="champion")
    retain(registry, versions=1)
    assert registry.gc(apply=True, grace=0.0).waiting["files"] == 2
    registry.end_score(score.id, state="completed", counts={}, seconds=1.0, startup_seconds=0.0)
    assert registry.gc(apply=True, grace=0.0).removed["segments"]["files"] == 2


def test_files_of_attempts_that_lost_are_removed_when_they_are_old(registry: Registry, fleet: Fleet) -> None:
    run = fleet.train({"a": 1.0})
    lost = fleet.receipt(run, {"a": 1.0}, attempt=2)
    registry.storage.write(lost.outcomes_path, b"outcomes")
    assert not registry.gc(apply=True).paths
    age(registry)
    report = registry.gc(apply=True)
    assert set(report.paths) == {lost.segments[0].path, lost.outcomes_path}
    assert report.removed["attempts"]["files"] == 2
    assert registry.verify().damaged == ()


def test_everything_of_a_run_that_is_driven_stays(registry: Registry, fleet: Fleet) -> None:
    run = fleet.start(["a", "b"], batches=2)
    assert registry.journal(fleet.receipt(run, {"a": 1.0}))
    unseen = fleet.receipt(run, {"b": 1.0}, batch=1)  # written, its receipt still on the way
    registry.storage.write(unseen.outcomes_path, b"")
    age(registry)
    assert registry.gc(apply=True, grace=0.0).paths == ()
    assert registry.journal(unseen)
    fleet.publish(run)
    assert registry.verify().damaged == ()


_DRIVE = """
import sys
sys.path.insert(0, sys.argv[3])
from registry_fleet import Fleet, Place
from manymodels.registry import Registry

with Registry.open(Place(sys.argv[1], sys.argv[2] or None)) as registry:
    fleet = Fleet(registry, real=True)
    run = fleet.start(["a", "b"], batches=2)
    registry.storage.write(f"runs/{run.id}/settings.json", b"{}")
    assert registry.journal(fleet.receipt(run, {"a": 1.0}))
    fleet.receipt(run, {"b": 1.0}, batch=1)
    score = registry.start_score(model_set="store-sales", input="i" * 32, output=sys.argv[1] + "-out", alias="champion")
    registry.storage.at(f"{sys.argv[1]}-out.{score.id}.partial").write("part-000000.parquet", b"part")
"""


def test_a_dead_run_can_be_resumed_until_it_is_given_up(registry: Registry, place: Place) -> None:
    fleet = Fleet(registry, real=True)
    fleet.train({"a": 1.0})
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", _DRIVE, place.path, place.registry or "", here]
    subprocess.run(command, check=True)
    age(registry)
    staged = Path(f"{place.path}-out.{NAME}-score-000001.partial")
    run = registry.run("latest")
    report = registry.gc(apply=True, grace=0.0)
    assert [path for path in report.paths if f"{run.id}/segments/000001" not in path] == []
    assert len(segments(registry)[run.id]) == 1
    assert staged.exists()

    retain(registry, unfinished="1ms")
    report = registry.gc(apply=True, grace=0.0)
    assert report.removed["runs"]["files"] == 2
    assert report.removed["scores"]["files"] == 1
    assert run.id not in segments(registry)
    assert not Path(registry.storage.absolute(f"runs/{run.id}")).exists()
    assert not staged.exists()
    with pytest.raises(ConflictError, match="store gc"):
        registry.mark_running(run.id)
    assert fleet.served() == {"a": 1}


def test_temporary_files_go_and_unknown_ones_stay(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    storage = registry.storage
    name = "0123456789abcdef" * 2
    gone = [
        f"runs/.plan.parquet.{name}.tmp",
        f"tmp/{name}/part-00000.parquet",
        "registry.db.new-01234567-wal",
    ]
    for path in [*gone, "notes.txt", "registry.db.before-01234567"]:
        storage.write(path, b"?")
    assert registry.gc(apply=True).paths == ()
    age(registry)
    assert sorted(registry.gc(apply=True).paths) == sorted(gone)
    assert storage.exists("notes.txt")
    assert storage.exists("registry.db.before-01234567")
    assert not storage.exists(f"tmp/{name}")


def test_rows_that_no_run_needs_are_removed_and_recently_used_ones_stay(
    registry: Registry, fleet: Fleet
) -> None:
    names = [letter * 32 for letter in "abcd"]
    for name in names:
        registry.storage.write(f"datasets/{name}/manifest.parquet", b"manifest")
        registry.storage.write(f"datasets/{name}/part-0.parquet", b"rows")
        registry.storage.write(f"datasets/sources/{name}.json", f'{{"fingerprint": "{name}"}}'.encode())
    for name in names[:3]:
        fleet.train({"a": 1.0}, dataset=name)
    age(registry)
    retain(registry, datasets=1)
    report = registry.gc(grace=60.0)
    assert {path.split("/")[1] for path in report.paths} == {names[3]}  # the runs were there a minute ago
    registry.storage.write(f"datasets/{names[3]}/used", b"")
    assert registry.gc(grace=60.0).paths == ()
    report = registry.gc(apply=True, grace=0.0)
    assert {path.split("/")[1] for path in report.paths} == {names[0], names[1], names[3]}
    left = {path.split("/")[1] for path in registry.storage.listing("datasets")}
    assert left == {names[2], "sources"}
    registry.gc(apply=True, grace=0.0)
    assert registry.storage.listing("datasets/sources") == [f"datasets/sources/{names[2]}.json"]


def test_a_registry_older_than_the_store_is_refused(registry: Registry, fleet: Fleet) -> None:
    fleet.train({"a": 1.0})
    registry.storage.write("aliases/2.json", b"{}")
    with pytest.raises(RegistryError, match="store rebuild"):
        registry.gc(apply=True)


@pytest.mark.parametrize(
    "text",
    [
        "retention: {versions: 0}",
        "retention: {version: 1}",
        "retention: {grace: soon}",
        "keep: 1",
        "a: [",
        "\xff",
    ],
)
def test_settings_that_cannot_be_meant_are_refused(registry: Registry, text: str) -> None:
    registry.storage.write("settings.yaml", text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"settings\.yaml"):
        registry.gc()


def test_nothing_is_removed_while_the_record_of_it_cannot_be_written(
    registry: Registry, fleet: Fleet
) -> None:
    for gain in range(3):
        fleet.train({"a": 5.0 - gain})
    retain(registry, versions=1)
    folder = Path(registry.storage.absolute("aliases"))
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("in the way")
    with pytest.raises(StoreError):
        registry.gc(apply=True, grace=0.0)
    assert len(segments(registry)) == 3
    folder.unlink()
    aside.rename(folder)
    assert registry.gc(apply=True, grace=0.0).removed["segments"]["files"] == 1


def test_compaction_keeps_exactly_the_models_that_stay(registry: Registry, fleet: Fleet) -> None:
    first = fleet.train({f"k{n}": 1.0 for n in range(20)} | {"failing": 1.0}, rungs=["pooled"])
    for gain in range(2):
        fleet.train({f"k{n}": 0.5 - gain / 10 for n in range(18)}, rungs=["pooled"])
    retain(registry, versions=1)
    planned = registry.compact()
    assert (planned.segments, planned.models, planned.given_up, planned.into) == (1, 3, 18, None)
    served = fleet.served()
    report = registry.compact(apply=True)
    assert (report.segments, report.into, report.models, report.given_up) == (1, 1, 3, 18)
    assert report.into_bytes < report.bytes
    assert fleet.served() == served
    assert registry.load(NAME, store="k18").version == 1
    assert registry.load(NAME, store="k19").value == "k19"
    with pytest.raises(NotFoundError, match="store gc"):
        registry.load(NAME, version=1, store="k0")
    assert registry.compact(apply=True).segments == 0
    assert len(segments(registry)[first.id]) == 3  # the old one stays for those who read it
    assert registry.gc(apply=True, grace=0.0).removed["segments"]["files"] == 2  # and run 1's rung
    assert len(segments(registry)[first.id]) == 1
    assert registry.verify(deep=True).loaded == 3 + 18 * 2 + 2


def test_a_reader_in_the_middle_of_a_compaction_reads_on(registry: Registry, fleet: Fleet) -> None:
    from manymodels.artifacts.reader import SegmentReader

    fleet.train({f"k{n}": 1.0 for n in range(10)})
    for gain in range(2):
        fleet.train({f"k{n}": 0.5 - gain / 10 for n in range(9)})
    told = registry.served(NAME)
    retain(registry, versions=1)
    registry.compact(apply=True)
    registry.gc(apply=True)
    reader = SegmentReader(registry.storage)
    for line in told.to_pylist():
        assert reader.load(line["segment"], line["sha256"], line["segment_row"]).version == line["version"]


def test_an_alias_that_moves_during_a_compaction_wins(
    registry: Registry, fleet: Fleet, other: Registry
) -> None:
    fleet.train({f"k{n}": 1.0 for n in range(10)})
    for gain in range(2):
        fleet.train({f"k{n}": 0.5 - gain / 10 for n in range(9)})
    retain(registry, versions=1)
    write = registry._db.write

    def overtaken(work):  # type: ignore[no-untyped-def]
        registry._db.write = write  # type: ignore[method-assign]
        other.promote(NAME, alias="shadow", version=1, key_ids=[fleet.key_id("k0")])
        return write(work)

    registry._db.write = overtaken  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="try again"):
        registry.compact(apply=True)
    assert registry.load(NAME, alias="shadow", store="k0").version == 1
    assert registry.compact(apply=True).models == 2


def test_a_rebuilt_registry_equals_the_original(place: Place, postgres_url: str) -> None:
    with Registry.open(place, create=True) as registry:
        fleet = Fleet(registry, real=True)
        fleet.train({f"k{n}": 1.0 for n in range(10)}, failed={"bad": "no 17"}, rungs=["pooled"])
        for gain in range(3):
            fleet.train(
                {f"k{n}": 0.5 - gain / 10 for n in range(9)}, failed={"k9": "no 18"}, rungs=["pooled"]
            )
        registry.promote(NAME, alias="shadow", version=2, key_ids=[fleet.key_id("k3")], why="a try")
        registry.rollback(NAME, key_ids=[fleet.key_id("k4")])
        before = content(registry)
        retain(registry, versions=2)
        assert registry.compact(apply=True).segments > 0
        registry.gc(apply=True, grace=0.0)
        retain(registry, versions=1)
        registry.gc(apply=True, grace=0.0)
        collected = content(registry)
    assert collected != before
    # From either database to the other.
    target = postgres_url if place.registry is None else f"sqlite:///{place.path}/again.db"
    report = rebuild(fleet.registry.storage, target)
    assert report.damaged == ()
    with Registry(place.path, registry=target) as rebuilt:
        assert content(rebuilt) == collected
        assert rebuilt.verify(deep=True).unusable == ()
        assert Fleet(rebuilt, real=True).train({"k0": 0.1}).number == 5
