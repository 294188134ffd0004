"""``manymodels runs backtests``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from manymodels.cli.app import runs
from manymodels.cli.plan import KeyOption
from manymodels.cli.runs_verbs import RunArgument
from manymodels.cli.verb import Call, StoreOption, verb


@verb(runs, "backtests")
def backtests(
    call: Call,
    run: RunArgument,
    keys: KeyOption = None,
    sql: Annotated[
        str | None,
        typer.Option(
            "--sql",
            metavar="QUERY",
            help="A query over the table `backtests`, in DuckDB's SQL.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write all of it: .parquet or .csv.", show_default=False
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows to show.")] = 20,
    store: StoreOption = ".manymodels",
) -> None:
    """Query what a run predicted of held-out rows, and what happened there.

    The table `backtests` has key_id, the key columns, candidate, window, cutoff, time, step, row, actual, prediction and its
    bounds: --sql "SELECT step, avg(abs(actual - prediction)) AS mae FROM backtests GROUP BY step ORDER BY step".
    """
    from manymodels.api import run_backtests
    from manymodels.exceptions import UsageError
    from manymodels.partitioning.listing import parse_pairs
    from manymodels.registry import Registry

    if output is not None and not output.endswith((".parquet", ".csv")):
        raise UsageError(f"--output is a file that ends in .parquet or .csv; found {output}")
    registry = Registry.open(store)
    record = registry.run(run)
    found = run_backtests(registry, record, [parse_pairs(key) for key in keys] if keys else None, sql)
    if output is not None:
        _write(found, output)
    shown = found.head(limit)
    payload = {
        "run_id": record.id,
        "rows": len(found),
        "output": output,
        "backtests": json.loads(shown.to_json(orient="records", date_format="iso", date_unit="us")),
    }

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, table

        if output is None:
            sides = [(str(name), "right" if shown[name].dtype.kind in "if" else "left") for name in shown]
            lines = (
                [number(cell) if isinstance(cell, float) else cell for cell in line]
                for line in shown.to_numpy(dtype=object)
            )
            console.print(table("", sides, lines))
        more = len(found) - len(shown)
        if output is not None:
            console.print(f"{len(found):,} rows written to {output}.", markup=False)
        elif more:
            console.print(f"{more:,} more rows; --limit shows more, --output writes them all.")

    call.emit(payload, text)


def _write(found: Any, output: str) -> None:
    from manymodels.exceptions import UsageError

    try:
        if output.endswith(".csv"):
            found.to_csv(output, index=False)
        else:
            found.to_parquet(output, index=False)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from error
