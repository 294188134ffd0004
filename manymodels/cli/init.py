"""``manymodels init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from manymodels.cli.app import app
from manymodels.cli.verb import Call, verb


@verb(app, "init")
def init(
    call: Call,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="File, folder, glob or URL.", show_default=False)
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="JOB", help="The job file to write.")
    ] = "job.yaml",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing job file.")] = False,
) -> None:
    """Look at the data and write a commented job file: keys, time, target and task are proposed, with the reasons."""
    from manymodels.dataset.inspect import propose, render_job
    from manymodels.dataset.sources import open_source
    from manymodels.dataset.spec import DataSpec
    from manymodels.exceptions import UsageError

    target = Path(output)
    if target.exists() and not overwrite:
        raise UsageError(f"{output} exists; pass --overwrite to replace it, or -o with another name")
    # The key columns are what is being looked for; a source is opened without them.
    proposal = propose(open_source(DataSpec.model_construct(path=data, partition_by=[])))
    target.write_text(render_job(proposal, data), encoding="utf-8")
    payload = {"job": output, "task": proposal.task, "reasons": list(proposal.reasons)}

    def text(console: Any) -> None:
        for reason in proposal.reasons:
            console.print(f"- {reason}", markup=False)
        console.print(f"Wrote {output}. Read it, then: manymodels plan {output}", markup=False)

    call.emit(payload, text)
