"""``manymodels store …``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from manymodels.cli.app import store as group
from manymodels.cli.verb import Call, TrustOption, verb

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


ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; else only say what would be done.")]


@verb(group, "init")
def init(call: Call, store: PathArgument = ".manymodels", registry: RegistryOption = None) -> None:
    """Make an empty store and its registry; nothing happens to one that is there."""
    opened = _open(store, registry, create=True)
    call.emit(
        {"store": opened.storage.root},
        lambda console: console.print(f"Store {opened.storage.root} is ready.", markup=False),
    )


@verb(group, "verify")
def verify(
    call: Call,
    store: PathArgument = ".manymodels",
    registry: RegistryOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Load every model too.")] = False,
    trust: TrustOption = None,
) -> int:
    """Hash every segment again and compare with the registry; damaged ones are named with their keys."""
    report = _open(store, registry, trust=trust).verify(deep=deep)

    def text(console: Any) -> None:
        from manymodels.cli.tables import size

        console.print(f"{report.segments:,} segments, {size(report.bytes)}: {len(report.damaged):,} damaged.")
        if report.loaded is not None:
            console.print(f"{report.loaded:,} models loaded, {len(report.unusable):,} could not be.")
        for model in report.unusable[:20]:
            row = "" if model.row is None else f", row {model.row}"
            console.print(f"  {model.key} ({model.path}{row}): {model.problem}", markup=False)
        for damaged in report.damaged:
            console.print(f"  {damaged.path}: {damaged.problem}; {damaged.models:,} models", markup=False)
            console.print(
                f"    {'; '.join(damaged.keys[:5])}{' …' if len(damaged.keys) > 5 else ''}", markup=False
            )

    call.emit(asdict(report), text)
    return 1 if report.damaged or report.unusable else 0


@verb(group, "gc")
def gc(
    call: Call,
    store: PathArgument = ".manymodels",
    registry: RegistryOption = None,
    apply: ApplyOption = False,
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            metavar="DURATION",
            help="How long files stay after they fell out of use, like 6h; 0 when nobody else uses the store. "
            "The store's retention.grace.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Give up the models that nothing keeps, and remove the files that nothing refers to any more.

    Models stay that an alias points at or would go back to, and those that the store's `retention` keeps. A model's file is
    removed a grace period after the model was given up, by a later call.
    """
    from manymodels.exceptions import UsageError
    from manymodels.specs import parse_duration

    try:
        seconds = None if grace is None else 0.0 if grace.strip() in ("0", "0s") else parse_duration(grace)
    except ValueError as error:
        raise UsageError(f"--grace: {error}") from None
    report = _open(store, registry).gc(apply=apply, grace=seconds)

    def text(console: Any) -> None:
        from manymodels.cli.tables import size, span, table

        retired, waiting = report.retired, report.waiting
        console.print(
            f"{retired['models']:,} models in {retired['segments']:,} segments ({size(retired['bytes'])}) "
            f"{'were' if apply else 'would be'} given up."
        )
        heading = "Removed" if apply else "Would be removed"
        rows = [(kind, f"{count['files']:,}", size(count["bytes"])) for kind, count in report.removed.items()]
        if rows:
            console.print(table(heading, [("kind", ""), ("files", "right"), ("size", "right")], rows))
        else:
            console.print(f"{heading}: nothing.")
        console.print(
            f"{waiting['files']:,} files ({size(waiting['bytes'])}) are out of use, and stay for {span(report.grace)}."
        )
        if not apply:
            console.print("Nothing was changed; `--apply` does it.")

    call.emit(asdict(report), text)


@verb(group, "compact")
def compact(
    call: Call,
    store: PathArgument = ".manymodels",
    registry: RegistryOption = None,
    apply: ApplyOption = False,
    below: Annotated[
        float,
        typer.Option(
            "--below", min=0.0, max=1.0, help="Rewrite segments of which a smaller part of the models stays."
        ),
    ] = 0.5,
) -> None:
    """Rewrite segments in which few models are still kept; `store gc` removes the old ones a grace period later."""
    report = _open(store, registry).compact(apply=apply, below=below)

    def text(console: Any) -> None:
        from manymodels.cli.tables import size

        into = size(report.into_bytes)
        into = f"{report.into:,} of {into}" if apply else f"about {into}"
        console.print(
            f"{report.segments:,} segments of {size(report.bytes)} {'became' if apply else 'would become'} {into}; "
            f"{report.models:,} models stay, {report.given_up:,} {'were' if apply else 'would be'} given up."
        )
        if not apply:
            console.print("Nothing was changed; `--apply` does it.")

    call.emit(asdict(report), text)


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


@verb(group, "adopt")
def adopt(call: Call, store: PathArgument = ".manymodels") -> None:
    """Make a store that came from elsewhere yours: it can be written, and the database that it names is used.

    Whoever wrote the store can run code here through the models in it: look at where it came from first.
    """
    from manymodels.registry import adopt_store
    from manymodels.storage import Storage

    storage = Storage.at(store)
    marker = adopt_store(storage)
    call.emit(
        {"store": storage.root, "store_id": marker.store_id, "registry": marker.registry},
        lambda console: console.print(
            f"Store {storage.root} ({marker.store_id}) is yours; its registry is {marker.registry or 'in its folder'}.",
            markup=False,
        ),
    )


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


def _open(store: str, registry: str | None, *, create: bool = False, trust: str | None = None) -> Any:
    from manymodels.registry import Registry

    return Registry.open(_spec(store, registry), create=create, trust=trust)
