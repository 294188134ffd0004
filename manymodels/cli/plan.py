"""``manymodels plan``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manymodels.cli.app import app
from manymodels.cli.verb import Call, JobFile, Sets, verb

KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="COLUMN=VALUE", help="Only this key; several columns with commas. Repeatable.",
                 show_default=False),
]  # fmt: skip
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="At most so many keys: a seeded sample.", show_default=False),
]
OnlyOption = Annotated[
    str | None,
    typer.Option(
        "--only", metavar="changed|all|failed|listed", help="Which keys to train.", show_default=False
    ),
]


AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE", help="As if it were then: later rows are not seen. `data.as_of` for short.",
                 show_default=False),
]  # fmt: skip


def overridden(overrides: list[str] | None, as_of: str | None) -> list[str]:
    """The overrides of the job, with ``--as-of`` as the one that it is."""
    return [*(overrides or ()), *([] if as_of is None else [f"data.as_of={as_of}"])]


def selected(only: str | None, keys: list[str] | None, limit: int | None) -> Any:
    """The keys that the options choose."""
    from manymodels.partitioning.listing import parse_pairs
    from manymodels.training.prepare import Selection

    return Selection(only, [parse_pairs(key) for key in keys] if keys else None, limit)


@verb(app, "plan")
def plan(
    call: Call,
    job: JobFile,
    keys: KeyOption = None,
    limit: LimitOption = None,
    only: OnlyOption = None,
    as_of: AsOfOption = None,
    each: Annotated[bool, typer.Option("--each", help="List every key with its action and reason.")] = False,
    overrides: Sets = None,
) -> None:
    """Show what would train, be reused or skipped, and why; with the time, memory and disk that it would take.

    Nothing is registered. The rows are split by key if they were not yet.
    """
    from manymodels.compute.here import small_words
    from manymodels.job.loading import load_job
    from manymodels.partitioning.listing import displays
    from manymodels.planning.speed import slowness
    from manymodels.training.layout import lay_out
    from manymodels.training.prepare import prepare

    loaded = load_job(job, overrides=overridden(overrides, as_of))
    prepared = prepare(loaded, selection=selected(only, keys, limit))
    made = prepared.plan
    expected = lay_out(prepared, slow=1.0 if prepared.past else slowness()).estimate
    names = displays(prepared.resolved.store) if each else []
    payload: dict[str, Any] = {
        "model_set": loaded.name,
        "dataset": prepared.resolved.store.fingerprint,
        "keys": len(made.table),
        "train": len(made.training),
        "actions": made.counts(),
        "vanished": len(made.vanished),
        "candidates": [
            {
                "name": candidate.name,
                "family": candidate.family,
                "when": None if candidate.when is None else candidate.when.model_dump(exclude_none=True),
            }
            for candidate in prepared.resolved.candidates
        ],
        "estimate": {
            "seconds": expected.seconds,
            "workers": expected.workers,
            "in_process": expected.here,
            "work_seconds": expected.work,
            "memory_bytes": expected.memory,
            "disk_bytes": expected.disk,
        },
        "warnings": list(prepared.resolved.warnings),
    }
    if each:
        lines = zip(names, made.table["action"], made.table["reason"], made.table["rows"], strict=True)
        payload["plan"] = [
            {"key": key, "action": str(action), "reason": str(reason), "rows": int(rows)}
            for key, action, reason, rows in lines
        ]

    def text(console: Any) -> None:
        from manymodels.cli.tables import size, span, table

        rows = [
            (action, reason, f"{number:,}")
            for action, reasons in payload["actions"].items()
            for reason, number in reasons.items()
        ]
        console.print(
            table(
                f"Plan for {loaded.name}: {len(made.table):,} keys",
                [("action", ""), ("reason", ""), ("keys", "right")],
                rows,
            )
        )
        if len(made.training) == 0:
            console.print("Nothing to train: no key has a cause to.")
        else:
            where = "in this process" if expected.here else f"on {expected.workers} workers"
            console.print(
                f"About {span(expected.seconds)} {where}, {size(expected.memory)} of memory{' each' * (not expected.here)}, "
                f"{size(expected.disk)} on disk."
            )
            if expected.here and loaded.compute.target == "local":
                console.print(small_words(expected.work).capitalize() + ".")
        always = [line["name"] for line in payload["candidates"] if not line["when"]]
        ruled = [line["name"] for line in payload["candidates"] if line["when"]]
        if ruled:
            console.print(
                f"Tried on keys that their `when` is for: {', '.join(ruled)}"
                + (f"; on every key: {', '.join(always)}." if always else "."),
                markup=False,
            )
        for warning in payload["warnings"]:
            console.print(f"warning: {warning}", markup=False)
        if each:
            columns = [("key", ""), ("action", ""), ("reason", ""), ("rows", "right")]
            console.print(table("", columns, [tuple(line.values()) for line in payload["plan"]]))

    call.emit(payload, text)
