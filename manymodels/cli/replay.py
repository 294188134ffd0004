"""``manymodels replay``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manymodels.cli.app import app
from manymodels.cli.verb import Call, StoreOption, TrustOption, verb


@verb(app, "replay")
def replay(
    call: Call,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or `latest`.", show_default=False)],
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="COLUMN=VALUE", help="The key; several columns with commas.", show_default=False
        ),
    ] = None,
    key_id: Annotated[
        str | None, typer.Option("--key-id", help="The key by its id.", show_default=False)
    ] = None,
    store: StoreOption = ".manymodels",
    trust: TrustOption = None,
) -> int:
    """Run one key of a run again: here, in this process, with the same rows, seed and code, for the debugger."""
    from dataclasses import asdict

    from manymodels.registry import Registry
    from manymodels.training.replay import replay_key

    registry = Registry.open(store, trust=trust)
    outcome = replay_key(registry, registry.run(run), key=key, key_id=key_id)
    payload = {**asdict(outcome), "artifact": len(outcome.artifact)}

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, pairs, span

        lines = [("state", outcome.state), ("reason", outcome.reason), ("candidate", outcome.candidate)]
        lines += [
            ("metric", number(outcome.metric)),
            ("rows", f"{outcome.rows:,}"),
            ("time", span(outcome.seconds)),
        ]
        console.print(pairs(lines))
        if outcome.failure is not None:
            console.print(outcome.failure.traceback or outcome.failure.message, markup=False)

    call.emit(payload, text)
    return 1 if outcome.state == "failed" else 0
