"""``manymodels store …``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from manymodels.cli.app import store as group
from manymodels.cli.verb import Call, verb

PathArgument = Annotated[
    str,
    typer.Option("--store", metavar="PATH", envvar="MANYMODELS_STORE", help="The store: a folder or URL."),
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        help="The registry's database, where it is not in the store.",
        show_default=False,
    ),
]


@verb(group, "init")
def init(call: Call, store: PathArgument = ".manymodels", registry: RegistryOption = None) -> None:
    """Make an empty store and its registry; nothing happens to one that is there."""
    opened = _open(store, registry, create=True)
    call.emit(
        {"store": opened.storage.root},
        lambda console: console.print(f"Store {opened.storage.root} is ready.", markup=False),
    )


@verb(group, "verify")
def verify(call: Call, store: PathArgument = ".manymodels", registry: RegistryOption = None) -> int:
    """Hash every segment again and compare with the registry; damaged ones are named with their keys."""
    report = _open(store, registry).verify()

    def text(console: Any) -> None:
        from manymodels.cli.tables import size

        console.print(f"{report.segments:,} segments, {size(report.bytes)}: {len(report.damaged):,} damaged.")
        for damaged in report.damaged:
            console.print(f"  {damaged.path}: {damaged.problem}; {damaged.models:,} models", markup=False)
            console.print(
                f"    {'; '.join(damaged.keys[:5])}{' …' if len(damaged.keys) > 5 else ''}", markup=False
            )

    call.emit(asdict(report), text)
    return 1 if report.damaged else 0


@verb(group, "rebuild")
def rebuild(call: Call, store: PathArgument = ".manymodels", registry: RegistryOption = None) -> None:
    """Make the registry again from the segments and alias files alone; an SQLite one that is there is kept beside it."""
    from manymodels.registry import rebuild as execute
    from manymodels.storage import Storage

    report = execute(Storage.at(store), registry)

    def text(console: Any) -> None:
        console.print(
            f"{report.runs:,} runs, {report.versions:,} models and {report.events:,} alias events restored."
        )
        for path in report.damaged:
            console.print(f"  could not be read: {path}", markup=False)

    call.emit(asdict(report), text)


@verb(group, "migrate")
def migrate(call: Call, store: PathArgument = ".manymodels", registry: RegistryOption = None) -> None:
    """Bring the registry's tables to this version's form."""
    from manymodels.registry import migrate as execute
    from manymodels.storage import Storage

    storage = Storage.at(store)
    before = execute(storage, registry)
    call.emit(
        {"store": storage.root, "before": before},
        lambda console: console.print(f"The registry of {storage.root} is up to date.", markup=False),
    )


def _spec(store: str, registry: str | None) -> Any:
    from manymodels.job.spec import StoreSpec

    return StoreSpec(path=store, registry=registry)


def _open(store: str, registry: str | None, *, create: bool = False) -> Any:
    from manymodels.registry import Registry

    return Registry.open(_spec(store, registry), create=create)
