"""The command's tree of verbs."""

from __future__ import annotations

from typing import Annotated

import typer

import manymodels

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="One model per key: split a dataset by key, train every key's model, register them all, score them in bulk.",
    epilog="A first job: [bold]manymodels init DATA -o job.yaml[/bold], then [bold]plan[/bold], [bold]train[/bold] and "
    "[bold]score[/bold] it.",
)
runs = typer.Typer(no_args_is_help=True, help="Runs: list them, look into one, continue or stop it.")
models = typer.Typer(no_args_is_help=True, help="The registry: models by key, their versions, what is live.")
store = typer.Typer(no_args_is_help=True, help="The store: make, check and rebuild it.")
app.add_typer(runs, name="runs")
app.add_typer(models, name="models")
app.add_typer(store, name="store")


def _version(value: bool) -> None:
    if value:
        print(manymodels.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a verb."""


# Each module registers its verbs on the groups above.
from manymodels.cli import (  # noqa: E402, F401
    init,
    models_verbs,
    monitor,
    plan,
    replay,
    report,
    runs_backtests,
    runs_verbs,
    score,
    store_verbs,
    train,
)
