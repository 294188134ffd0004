"""``manymodels models …``."""

from __future__ import annotations

import getpass
import json
from typing import Annotated, Any

import typer

from manymodels.cli.app import models
from manymodels.cli.verb import Call, StoreOption, TrustOption, verb

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The model set's name.", show_default=False)
]
KeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="COLUMN=VALUE",
        help="A key; several columns with commas. Repeatable.",
        show_default=False,
    ),
]
KeyIdOption = Annotated[
    list[str] | None, typer.Option("--key-id", help="A key by its id. Repeatable.", show_default=False)
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="Keys by an expression over the key columns: \"region = 'N'\".",
                 show_default=False),
]  # fmt: skip
AliasOption = Annotated[str, typer.Option("--alias", help="The alias.")]
WhyOption = Annotated[str, typer.Option("--why", help="Kept in the alias log.")]


@verb(models, "list")
def list_models(
    call: Call,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this model set's keys.", show_default=False)
    ] = None,
    alias: Annotated[str, typer.Option("--alias", help="Which version to show.")] = "champion",
    where: WhereOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Keys on a page.")] = 50,
    page: Annotated[int, typer.Option("--page", min=1, help="The page.")] = 1,
    store: StoreOption = ".manymodels",
) -> None:
    """List model sets, or the keys of one with the version that an alias points at."""
    from manymodels.registry import Registry

    registry = Registry.open(store)
    if name is None:
        sets = registry.model_sets()

        def overview(console: Any) -> None:
            from manymodels.cli.tables import table

            headings = [("name", ""), ("task", ""), ("runs", "right"), ("models", "right"), ("champions", "right"),
                        ("latest run", "")]  # fmt: skip
            rows = [
                (s.name, s.task, f"{s.runs:,}", f"{s.models:,}", f"{s.champions:,}", s.latest_run)
                for s in sets
            ]
            console.print(table("", headings, rows) if rows else "No models yet.")

        call.emit({"model_sets": [vars(s) for s in sets]}, overview)
        return
    lines = registry.models(
        name, alias=alias, where=where, limit=limit, offset=(page - 1) * limit
    ).to_pylist()

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, span, table

        headings = [("key", ""), ("version", "right"), ("candidate", ""), ("metric", "right"), ("time", "right"),
                    ("stale since", ""), ("key id", "")]  # fmt: skip
        rows = [
            (
                line["key"],
                line["version"],
                line["candidate"],
                number(line["metric"]),
                span(line["seconds"]),
                line["stale_since"],
                line["key_id"],
            )
            for line in lines
        ]
        console.print(table(f"{name}: {alias}, page {page}", headings, rows))

    call.emit({"model_set": name, "alias": alias, "page": page, "models": lines}, text)


@verb(models, "show")
def show(
    call: Call,
    name: NameArgument,
    key: KeyOption = None,
    key_id: KeyIdOption = None,
    alias: AliasOption = "champion",
    store: StoreOption = ".manymodels",
    trust: TrustOption = None,
) -> None:
    """Show one key's model: what it is, how good, from which rows."""
    from manymodels.exceptions import NotFoundError
    from manymodels.registry import Registry

    registry = Registry.open(store, trust=trust)
    history = registry.model_history(name, _one(registry, name, key, key_id))
    live = [row for row in history.versions if alias in row.aliases]
    if not live:
        raise NotFoundError(
            f"{history.key} has no {alias}; `manymodels models history {name}` lists its versions"
        )
    row = live[0]
    model = registry.load(name, version=row.version, key_id=history.key_id)
    params = dict(registry.parameters(name, key_id=history.key_id, version=row.version))
    payload = {"key": history.key, "key_id": history.key_id, "stale_since": history.stale_since, **vars(row),
               "params": params, "model": dict(model.describe())}  # fmt: skip

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, pairs, span

        lines: list[tuple[str, Any]] = [
            ("key", history.key),
            ("key id", history.key_id),
            ("version", row.version),
        ]
        lines += [("run", row.run_id), ("aliases", ", ".join(row.aliases)), ("candidate", row.candidate)]
        lines += [("parameters", json.dumps(params))] if params else []
        lines += [("metric", number(row.metric)), ("training time", span(row.seconds))]
        lines += _staleness(history.stale_since)
        lines += [(str(field), value) for field, value in model.describe().items()]
        console.print(pairs(lines))

    call.emit(payload, text)


@verb(models, "history")
def history(
    call: Call,
    name: NameArgument,
    key: KeyOption = None,
    key_id: KeyIdOption = None,
    store: StoreOption = ".manymodels",
) -> None:
    """Show every version of one key's model, every move of its aliases, and every decision between challenger and champion."""
    from manymodels.registry import Registry

    registry = Registry.open(store)
    found = registry.model_history(name, _one(registry, name, key, key_id))
    payload = {
        "key": found.key,
        "key_id": found.key_id,
        "stale_since": found.stale_since,
        "versions": [vars(row) for row in found.versions],
        "moves": [vars(move) for move in found.moves],
        "decisions": [vars(decision) for decision in found.decisions],
    }

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, pairs, table, when

        console.print(pairs(_staleness(found.stale_since)))
        headings = [
            ("version", "right"),
            ("trained (UTC)", ""),
            ("candidate", ""),
            ("metric", "right"),
            ("aliases", ""),
        ]
        rows = [
            (row.version, when(row.trained), row.candidate, number(row.metric), ", ".join(row.aliases))
            for row in found.versions
        ]
        console.print(table(found.key, headings, rows))
        moves = [
            (when(move.at), move.alias, move.before or "-", move.after or "-", move.kind, move.by, move.why)
            for move in found.moves
        ]
        headings = [
            ("moved (UTC)", ""),
            ("alias", ""),
            ("from", "right"),
            ("to", "right"),
            ("by", ""),
            ("who", ""),
            ("why", ""),
        ]
        console.print(table("", headings, moves))
        decisions = [
            (
                when(decision.at),
                decision.alias,
                decision.challenger,
                number(decision.challenger_metric),
                decision.champion or "-",
                number(decision.champion_metric),
                "promoted" if decision.promoted else _kept(decision.as_of),
            )
            for decision in found.decisions
        ]
        headings = [("decided (UTC)", ""), ("alias", ""), ("challenger", "right"), ("metric", "right"),
                    ("champion", "right"), ("metric", "right"), ("decision", "")]  # fmt: skip
        console.print(table("", headings, decisions))

    call.emit(payload, text)


def _kept(as_of: str | int | None) -> str:
    return "kept the champion" if as_of is None else f"kept the champion (challenger as of {as_of})"


@verb(models, "promote")
def promote(
    call: Call,
    name: NameArgument,
    alias: AliasOption = "champion",
    run: Annotated[
        str | None, typer.Option("--run", help="To the versions of this run.", show_default=False)
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", help="To this version.", show_default=False)
    ] = None,
    from_alias: Annotated[
        str | None,
        typer.Option("--from", metavar="ALIAS", help="To where this alias points.", show_default=False),
    ] = None,
    key: KeyOption = None,
    key_id: KeyIdOption = None,
    where: WhereOption = None,
    why: WhyOption = "",
    store: StoreOption = ".manymodels",
) -> None:
    """Point an alias at other versions: of one key, of some, or of the whole fleet, in one transaction."""
    from manymodels.exceptions import UsageError
    from manymodels.registry import Registry

    registry = Registry.open(store)
    if sum(target is not None for target in (run, version, from_alias)) != 1:
        raise UsageError("say what to promote: one of --run, --version and --from")
    event = registry.promote(
        name,
        alias=alias,
        run=None if run is None else registry.run(run).id,
        version=version,
        from_alias=from_alias,
        key_ids=_selected(registry, name, key, key_id, where),
        every=where is None,
        by=getpass.getuser(),
        why=why,
        filter=_as_said(key, key_id, where),
    )
    _say_moved(call, event)


@verb(models, "rollback")
def rollback(
    call: Call,
    name: NameArgument,
    alias: AliasOption = "champion",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Moves to undo.")] = 1,
    key: KeyOption = None,
    key_id: KeyIdOption = None,
    where: WhereOption = None,
    why: WhyOption = "",
    store: StoreOption = ".manymodels",
) -> None:
    """Put an alias back to where it pointed before: of one key, of some, or of the whole fleet, in one transaction."""
    from manymodels.registry import Registry

    registry = Registry.open(store)
    key_ids = _selected(registry, name, key, key_id, where)
    event = registry.rollback(
        name,
        alias=alias,
        key_ids=key_ids,
        steps=steps,
        by=getpass.getuser(),
        why=why,
        filter=_as_said(key, key_id, where),
    )
    _say_moved(call, event)


@verb(models, "export")
def export(
    call: Call,
    name: NameArgument,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", help="A folder, or a file for one key's model.")
    ],
    alias: AliasOption = "champion",
    key: KeyOption = None,
    key_id: KeyIdOption = None,
    store: StoreOption = ".manymodels",
    trust: TrustOption = None,
) -> None:
    """Export one key's model as a file, or the whole fleet as a folder that loads without the registry."""
    from manymodels.api import export_models
    from manymodels.registry import Registry

    registry = Registry.open(store, trust=trust)
    chosen = _one(registry, name, key, key_id) if key or key_id else None
    count = export_models(registry, name, output, alias=alias, key_id=chosen)
    call.emit(
        {"model_set": name, "alias": alias, "models": count, "output": output},
        lambda console: console.print(f"{count:,} models in {output}", markup=False),
    )


def _staleness(run_id: str | None) -> list[tuple[str, Any]]:
    """A line that says why a key's models are stale; none when they are not."""
    return [("stale", f"training failed in {run_id}; its models are of before")] if run_id else []


def _selected(
    registry: Any, name: str, keys: list[str] | None, key_ids: list[str] | None, where: str | None
) -> list[str] | None:
    """The key ids that the options name; None is all."""
    from manymodels.exceptions import NotFoundError, UsageError
    from manymodels.partitioning.listing import chosen_key, parse_pairs

    if where is not None:
        if keys or key_ids:
            raise UsageError("choose keys with --where, or with --key and --key-id, not both")
        found = registry.models(name, alias="latest", where=where, limit=None)
        if found.num_rows == 0:
            raise NotFoundError(
                f"no key of {name!r} is one with {where}; `manymodels models list` lists them"
            )
        return [str(key_id) for key_id in found.column("key_id").to_pylist()]
    if not keys and not key_ids:
        return None
    kinds = registry.key_kinds(name)
    return [*(chosen_key(parse_pairs(key), kinds) for key in keys or ()), *(key_ids or ())]


def _as_said(keys: list[str] | None, key_ids: list[str] | None, where: str | None) -> str:
    """How the options chose keys, for the alias log."""
    return where if where is not None else "; ".join([*(keys or ()), *(key_ids or ())])


def _one(registry: Any, name: str, keys: list[str] | None, key_ids: list[str] | None) -> str:
    from manymodels.exceptions import UsageError

    chosen = _selected(registry, name, keys, key_ids, None) or []
    if len(chosen) != 1:
        raise UsageError("name one key with --key column=value, or with --key-id")
    return str(chosen[0])


def _say_moved(call: Call, event: Any) -> None:
    call.emit(
        {"event": event.number, "alias": event.alias, "moved": event.moved},
        lambda console: console.print(
            f"{event.alias}: {event.moved:,} keys moved (event {event.number}).", markup=False
        ),
    )
