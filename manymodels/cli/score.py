"""``manymodels score``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manymodels.cli.app import app
from manymodels.cli.train import GATE
from manymodels.cli.verb import Call, JobFile, Sets, TrustOption, verb


@verb(app, "score")
def score(
    call: Call,
    job: JobFile,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="OUT", help="A folder, or a file ending in .parquet or .csv.")
    ],
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NEW", help="New rows; for forecasts newer history.", show_default=False),
    ] = None,
    future: Annotated[
        str | None,
        typer.Option("--future", metavar="FUTURE", help="Forecasts: periods to forecast, with known-future columns.",
                     show_default=False),
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="Whose models; the job's promotion.alias.", show_default=False)
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="A past run's models instead.", show_default=False)] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", min=1, help="Periods ahead, at most the job's.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="CSV: do not escape texts that look like formulas.")] = False,
    overrides: Sets = None,
    trust: TrustOption = None,
) -> int:  # fmt: skip
    """Bring each key's rows to its own model, in bulk; every row says who served it.

    Keys without a usable model go down the job's fallback ladder; keys that nobody can serve keep their rows, with the reason.
    A scoring that was stopped is continued by the same command, as long as rows and models are the same.
    """
    from manymodels.api import score_summary
    from manymodels.job.loading import load_job
    from manymodels.progress import progress_for
    from manymodels.scoring.engine import score as execute
    from manymodels.scoring.preparation import ScoreRequest

    request = ScoreRequest(output, data, future, alias, run, horizon, overwrite, raw, trust)
    with progress_for(quiet=call.quiet) as progress:
        result = execute(load_job(job, overrides=overrides or ()), request, progress)

    def text(console: Any) -> None:
        from manymodels.cli.tables import span, table

        console.print(
            f"Scoring {result.score_id} {result.state}: {result.keys:,} keys = {result.scored:,} by their own model, "
            f"{result.fallback:,} by a fallback, {result.failed:,} failed; {result.rows:,} rows in {result.output}; "
            f"{span(result.seconds)} (+ {span(result.startup_seconds)} start-up)",
            markup=False,
        )
        if result.reasons:
            rows = [(reason, f"{keys:,}") for reason, keys in list(result.reasons.items())[:10]]
            console.print(
                table("Not served by a good model of their own", [("reason", ""), ("keys", "right")], rows)
            )

    call.emit(score_summary(result), text)
    return GATE if result.state == "failed_gate" else 0
