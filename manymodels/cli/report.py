"""``manymodels report``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manymodels.cli.app import app
from manymodels.cli.verb import Call, StoreOption, verb


@verb(app, "report")
def report(
    call: Call,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run's id, or `latest`; or a scoring's id.", show_default=False
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="The page.")] = "report.html",
    tables: Annotated[
        str | None,
        typer.Option(
            "--tables",
            metavar="FOLDER",
            help="Write its tables too, as Parquet and JSON.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = ".manymodels",
) -> None:
    """Make the fleet report: one HTML page that needs no network, on what became of every key and what the models are worth.

    States, skill against the naive baseline, errors, winners, the worst and the best keys, interval coverage, time, failures
    with the command that replays them, and what changed since the previous run.
    """
    from manymodels.registry import Registry
    from manymodels.report import report as make

    made = make(Registry.open(store), run)
    size = made.write(output)
    written = made.write_tables(tables) if tables is not None else []
    payload = {"id": made.id, "output": output, "bytes": size, "tables": tables, **made.summary}

    def text(console: Any) -> None:
        from manymodels.cli.tables import size as bytes_text

        console.print(f"{made.id}: {output} ({bytes_text(size)})", markup=False)
        if tables is not None:
            console.print(f"{len(written)} tables in {tables}", markup=False)

    call.emit(payload, text)
