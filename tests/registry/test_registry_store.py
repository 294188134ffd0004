from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from registry_fleet import Fleet, Place

from manymodels.exceptions import (
    JobError,
    NotFoundError,
    RegistryError,
    StoreError,
    StoreFormatError,
    UsageError,
)
from manymodels.registry import Registry, schema
from manymodels.registry.database import network_file_system, parse_url
from manymodels.registry.migrations import revision_of, upgrade

Partition = namedtuple("Partition", "device mountpoint fstype opts")


def marker(place: Place) -> dict[str, object]:
    content = json.loads((Path(place.path) / "store.json").read_text())
    assert isinstance(content, dict)
    return content


def execute(registry: Registry, statement: sa.Executable) -> None:
    registry._db.write(lambda connection: connection.execute(statement))


def test_a_store_is_made_once_and_found_again(place: Place) -> None:
    with pytest.raises(NotFoundError, match="store init"):
        Registry.open(place)
    assert not Path(place.path).exists()
    with Registry.open(place, create=True) as made:
        Fleet(made).train({"a": 1.0})
    before = marker(place)
    with Registry.open(place, create=True) as again:
        assert Fleet(again).served() == {"a": 1}
    assert marker(place) == before
    assert before["format"] == 1


def test_a_store_is_opened_by_its_path_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry.open(place, create=True).close()
    if place.registry is not None:
        password = sa.make_url(place.registry).password
        monkeypatch.setenv("PGPASSWORD", str(password))
    with Registry(place.path) as registry:
        assert registry.runs() == []
    with Registry.open(Path(place.path)) as registry:
        assert registry.storage.root == place.path


def test_a_password_is_nowhere_in_the_store_and_in_no_message(
    place: Place, postgres_url: str, tmp_path: Path
) -> None:
    password = str(sa.make_url(postgres_url).password)
    with Registry.open(Place(str(tmp_path / "s"), postgres_url), create=True) as registry:
        assert password not in (tmp_path / "s" / "store.json").read_text()
        assert password not in repr(registry)
        execute(registry, sa.insert(schema.model_sets).values(name="twice"))
        with pytest.raises(RegistryError) as caught:
            execute(registry, sa.insert(schema.model_sets).values(name="twice"))
        assert "manymodels:***@127.0.0.1" in caught.value.message
        assert password not in caught.value.message


def test_a_placeholder_is_kept_and_filled_when_it_is_used(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = str(sa.make_url(postgres_url).password)
    place = Place(str(tmp_path / "s"), postgres_url.replace(password, "${REGISTRY_PASSWORD}"))
    with pytest.raises(JobError, match="REGISTRY_PASSWORD"):
        Registry.open(place, create=True)
    monkeypatch.setenv("REGISTRY_PASSWORD", password)
    Registry.open(place, create=True).close()
    assert marker(place)["registry"] == place.registry
    Registry(place.path).close()


def test_a_store_of_a_newer_format_is_refused_and_not_touched(place: Place) -> None:
    folder = Path(place.path)
    folder.mkdir()
    (folder / "store.json").write_text('{"format": 2, "something": "else"}')
    for create in (False, True):
        with pytest.raises(StoreFormatError, match="format 2"):
            Registry.open(place, create=create)
    assert [path.name for path in folder.iterdir()] == ["store.json"]


def test_a_registry_of_another_schema_is_refused_and_not_touched(place: Place) -> None:
    table = sa.table("alembic_version", sa.column("version_num"))
    with Registry.open(place, create=True) as registry:
        execute(registry, sa.update(table).values(version_num="9999"))
    for create in (False, True):
        with pytest.raises(StoreFormatError, match="schema 9999"):
            Registry.open(place, create=create)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "null"])
def test_a_damaged_marker_is_an_error(place: Place, content: str) -> None:
    Registry.open(place, create=True).close()
    (Path(place.path) / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        Registry.open(place, create=True)


def test_a_store_that_was_made_by_half_is_finished(place: Place) -> None:
    with Registry.open(place, create=True) as registry:
        before = registry._db.read(
            lambda connection: connection.execute(sa.select(schema.store.c.store_id)).scalar()
        )
    (Path(place.path) / "store.json").unlink()
    Registry.open(place, create=True).close()
    assert marker(place)["store_id"] == before


def test_a_missing_database_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    Registry.open(tmp_path, create=True).close()
    (tmp_path / "registry.db").unlink()
    for create in (False, True):
        with pytest.raises(RegistryError, match="store rebuild"):
            Registry.open(tmp_path, create=create)
    assert not (tmp_path / "registry.db").exists()


def test_an_empty_database_is_not_taken_for_the_registry(tmp_path: Path, postgres_url: str) -> None:
    Registry.open(tmp_path, create=True).close()
    with pytest.raises(RegistryError, match="holds no registry"):
        Registry(tmp_path, registry=postgres_url)


def test_a_database_serves_one_store(tmp_path: Path, postgres_url: str) -> None:
    with Registry.open(Place(str(tmp_path / "one"), postgres_url), create=True) as registry:
        Fleet(registry).start(["a"])
    with pytest.raises(StoreError, match="another store"):
        Registry.open(Place(str(tmp_path / "two"), postgres_url), create=True)
    Registry.open(tmp_path / "three", create=True).close()
    with pytest.raises(StoreError, match="another store"):
        Registry(tmp_path / "three", registry=postgres_url)


def test_a_damaged_database_is_an_error(tmp_path: Path) -> None:
    Registry.open(tmp_path, create=True).close()
    (tmp_path / "registry.db").write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(RegistryError, match=r"damaged.*store rebuild"):
        Registry(tmp_path)


def test_a_store_in_the_way_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Registry.open(tmp_path / "file" / "store", create=True)


def test_a_store_at_a_url_needs_a_database_and_works_with_one(postgres_url: str, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    with pytest.raises(StoreError, match="registry"):
        Registry.open(url, create=True)
    with Registry.open(Place(url, postgres_url), create=True) as registry:
        Fleet(registry).train({"a": 1.0})
        assert registry.storage.listing("aliases") == ["aliases/1.json"]
    with Registry(url, registry=postgres_url) as registry:
        assert Fleet(registry).served() == {"a": 1}


def test_a_new_schema_is_what_the_migrations_make(registry: Registry) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), schema.metadata))

    def migrate(connection: sa.Connection) -> None:
        schema.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        upgrade(connection)

    made = registry._db.read(_tables)
    assert registry._db.read(differences) == []
    registry._db.write(migrate)
    assert registry._db.read(differences) == []
    assert registry._db.read(_tables) == made


def _tables(connection: sa.Connection) -> dict[str, object]:
    """Every table's columns, key and, on SQLite, whether it has row numbers."""
    found = sa.inspect(connection)
    text: dict[str, str] = {}
    if connection.dialect.name == "sqlite":
        rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        text = {row.name: row.sql for row in rows}
    return {
        name: (
            {
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in found.get_columns(name)
            },
            found.get_pk_constraint(name),
            "WITHOUT ROWID" in text.get(name, ""),
        )
        for name in found.get_table_names()
    }


def test_migrating_again_changes_nothing(registry: Registry) -> None:
    Fleet(registry).train({"a": 1.0})
    registry._db.write(upgrade)
    assert registry._db.read(revision_of) == schema.REVISION
    assert Fleet(registry).served() == {"a": 1}


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    from alembic.script import ScriptDirectory

    import manymodels.registry.migrations as migrations

    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_heads() == [schema.REVISION]


def test_opening_a_registry_does_not_import_alembic(tmp_path: Path) -> None:
    Registry.open(tmp_path, create=True).close()
    code = (
        "import sys; from manymodels.registry import Registry; "
        f"Registry({str(tmp_path)!r}).runs(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sqlite_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    Registry.open(tmp_path, create=True).close()
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("fstype", "mount", "found"),
    [
        ("nfs4", "/", "nfs4"),
        ("cifs", "{parent}", "cifs"),
        ("fuse.sshfs", "{path}", "fuse.sshfs"),
        ("fuse.mergerfs", "{path}", None),
        ("ext4", "{path}", None),
        ("nfs4", "/somewhere/else", None),
        ("nfs4", "{path}er", None),
    ],
)
def test_a_network_file_system_is_told_by_its_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fstype: str, mount: str, found: str | None
) -> None:
    mount = mount.format(path=tmp_path, parent=tmp_path.parent)
    partitions = [Partition("disk", mount, fstype, "rw")]
    if mount != "/":
        partitions.append(Partition("root", "/", "ext4", "rw"))
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: partitions)
    assert network_file_system(tmp_path) == found


def test_sqlite_is_refused_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [Partition("server:/", "/", "nfs4", "rw")])
    with pytest.raises(RegistryError, match=r"network file system \(nfs4\).*PostgreSQL"):
        Registry.open(tmp_path / "store", create=True)


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "nonsense hunter2", "sqlite://", "sqlite:///:memory:", "://hunter2"]
)
def test_a_url_of_no_database_that_is_supported_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_reached_through_psycopg_3(scheme: str) -> None:
    assert parse_url(f"{scheme}://u@h/d").drivername == "postgresql+psycopg"


def test_a_missing_driver_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RegistryError, match=r"manymodels\[postgres\]"):
        Registry.open(Place(str(tmp_path), "postgresql://u@127.0.0.1:1/d"), create=True)


_READ_ONLY = """
import sys
from manymodels.exceptions import RegistryError
from manymodels.registry import Registry

registry = Registry(sys.argv[1])
assert registry.served("store-sales").num_rows == 1
try:
    registry.promote("store-sales", alias="challenger", version=1)
except RegistryError as error:
    print(error)
"""


def test_a_store_that_may_not_be_written_can_be_read(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Registry.open(store, create=True) as registry:
        Fleet(registry).train({"a": 1.0})
    for path in (store, store / "registry.db", store / "store.json"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        # Permissions bind root only without its capabilities.
        bound = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
        command = [*bound, sys.executable, "-W", "error", "-c", _READ_ONLY, str(store)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        store.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "read-only" in done.stdout


def test_a_registry_of_an_older_version_is_migrated_when_asked_and_not_before(place: Place) -> None:
    from alembic import command
    from alembic.config import Config

    import manymodels.registry.migrations as migrations
    from manymodels.registry import migrate
    from manymodels.registry.database import Database
    from manymodels.registry.store import database_url

    with Registry.open(place, create=True) as registry:
        pass
    database = Database(database_url(registry.storage, place.registry))

    def to_the_first(connection: sa.Connection) -> None:
        schema.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(sa.text("INSERT INTO store VALUES (1, :id)"), {"id": marker(place)["store_id"]})
        connection.execute(sa.text("INSERT INTO model_sets (name) VALUES ('old')"))
        connection.execute(
            sa.text(
                "INSERT INTO scores (id, score_id, model_set, number, token, input, output, state, reason, counts, started)"
                " VALUES (1, 'old-score-000001', 1, 1, 't', 'i', '/nowhere', 'running', '', '{}', 0)"
            )
        )

    database.write(to_the_first)
    database.close()
    with pytest.raises(StoreFormatError, match="store migrate"):
        Registry.open(place)
    assert migrate(registry.storage, place.registry) == "0001"
    with Registry.open(place) as again:
        assert [score.id for score in again.scores()] == ["old-score-000001"]
        Fleet(again).train({"a": 1.0})
        assert again.gc(grace=0.0).retired["segments"] == 0
    assert migrate(registry.storage, place.registry) == schema.REVISION
