"""``manymodels runs …``."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from manymodels.cli.app import runs
from manymodels.cli.train import GATE, show_result
from manymodels.cli.verb import Call, StoreOption, verb

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id, or `latest`.", show_default=False)
]


@verb(runs, "list")
def list_runs(
    call: Call,
    model_set: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this model set.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 20,
    store: StoreOption = ".manymodels",
) -> None:
    """List runs, newest first."""
    from manymodels.api import run_summary
    from manymodels.registry import Registry

    found = Registry.open(store).runs(model_set, limit=limit)
    payload = {"runs": [{**run_summary(run), "started": run.started.isoformat()} for run in found]}

    def text(console: Any) -> None:
        from manymodels.cli.tables import span, table, when

        headings = [("run", ""), ("state", ""), ("started (UTC)", ""), ("keys", "right"), ("trained", "right"),
                    ("reused", "right"), ("failed", "right"), ("promoted", "right"), ("time", "right")]  # fmt: skip
        rows = [
            (run.id, run.state, when(run.started), f"{sum(run.counts.values()):,}", f"{run.counts.get('trained', 0):,}",
             f"{run.counts.get('reused', 0):,}", f"{run.counts.get('failed', 0):,}", f"{run.promoted:,}", span(run.seconds))
            for run in found
        ]  # fmt: skip
        console.print(table("", headings, rows) if rows else "No runs yet.")

    call.emit(payload, text)


@verb(runs, "show")
def show(
    call: Call,
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Watch a running one until it ends.")] = False,
    store: StoreOption = ".manymodels",
) -> None:
    """Show one run: states, leaderboard, libraries."""
    from manymodels.api import leaderboard, run_summary
    from manymodels.progress import progress_for
    from manymodels.registry import Registry

    registry = Registry.open(store)
    record = registry.run(run)
    if follow and record.state == "running":
        with progress_for(quiet=call.quiet) as progress:
            progress.begin(f"{record.id} (batches)", record.batches)
            done = 0
            while record.state == "running":
                finished = registry.journalled(record.id).num_rows
                progress.advance(finished - done, 0)
                done = finished
                time.sleep(1.0)
                record = registry.run(record.id)
    board = leaderboard(registry, record) if record.outcomes_path else None
    overtaken = registry.overtaken(record.id)
    payload = {
        **run_summary(record),
        "started": record.started.isoformat(),
        "reason": record.reason,
        "overtaken": overtaken,
        "libraries": dict(record.libraries),
        "leaderboard": []
        if board is None
        else board.astype(object).where(board.notna(), None).to_dict("records"),
    }

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, pairs, percent, span, table, when

        lines: list[tuple[str, Any]] = [
            ("run", record.id),
            ("state", record.state),
            ("reason", record.reason),
        ]
        lines += [("started (UTC)", when(record.started)), ("ended (UTC)", when(record.ended))]
        lines += [(state, f"{count:,}") for state, count in record.counts.items()]
        lines += [
            ("promoted", f"{record.promoted:,}"),
            ("time", span(record.seconds)),
            ("dataset", record.dataset),
        ]
        lines += [("overtaken by", ", ".join(f"{run} ({keys:,} keys)" for run, keys in overtaken.items()))]
        lines += [("libraries", ", ".join(f"{name} {version}" for name, version in record.libraries.items()))]
        console.print(pairs(line for line in lines if line[1]))
        if board is not None and len(board):
            headings = [("candidate", ""), ("won", "right"), ("tried", "right"), ("failed", "right"),
                        ("median metric", "right"), ("median skill", "right"), ("mean time", "right")]  # fmt: skip
            rows = [
                (line.candidate, f"{line.won:,}", f"{line.tried:,}", f"{line.failed:,}", number(line.median_metric),
                 percent(line.median_skill), span(line.mean_seconds))
                for line in board.itertuples()
            ]  # fmt: skip
            console.print(table("", headings, rows))

    call.emit(payload, text)


@verb(runs, "failures")
def failures(call: Call, run: RunArgument, store: StoreOption = ".manymodels") -> None:
    """Group a run's failures into the few that they are, each with the line that replays it."""
    from manymodels.registry import Registry

    registry = Registry.open(store)
    record = registry.run(run)
    signatures = registry.failures(record.id)
    kinds = registry.key_kinds(record.model_set)
    entries = [
        {
            "cause": signature.cause,
            "error": f"{signature.error}: {signature.message}" if signature.message else signature.error,
            "count": signature.count,
            "keys": list(signature.keys),
            "replay": _replay(record.id, signature.keys[0], signature.key_ids[0], kinds, store),
        }
        for signature in signatures
    ]
    failed = sum(signature.count for signature in signatures)
    payload = {"run_id": record.id, "failed": failed, "signatures": entries}

    def text(console: Any) -> None:
        from rich.padding import Padding
        from rich.text import Text

        if not entries:
            console.print(f"No key failed in {record.id}.", markup=False)
            return
        ways = "one way" if len(entries) == 1 else f"{len(entries)} ways"
        console.print(f"{failed:,} keys failed in {record.id}, in {ways}.", markup=False)
        for entry, signature in zip(entries, signatures, strict=True):
            console.print()
            head = Text(f"{signature.count:,} x {signature.cause}  ", style="bold")
            console.print(head + Text(str(entry["error"]), style="not bold"))
            said = (signature.traceback.strip().splitlines() or [""])[-1]
            such = "" if said.endswith(str(entry["error"])) else said
            lines = [("in", signature.frame), ("such as", such)]
            left = signature.count - len(signature.keys)
            keys = "; ".join(signature.keys) + (f"; and {left:,} more" if left > 0 else "")
            for name, value in (*lines, ("keys", keys)):
                if value:
                    console.print(Padding(Text(f"{name} {value}", style="dim"), (0, 0, 0, 4)))
            # Never wrapped: it is there to be copied.
            console.print(Text(f"    {entry['replay']}"), soft_wrap=True)

    call.emit(payload, text)


def _replay(run_id: str, key: str, key_id: str, kinds: Any, store: str) -> str:
    """The command that runs a key again, as a shell takes it."""
    import shlex

    from manymodels.exceptions import ManyModelsError
    from manymodels.partitioning.listing import chosen_key, parse_pairs

    words = ["manymodels", "replay", run_id, "--key-id", key_id]
    try:
        if chosen_key(parse_pairs(key), kinds) == key_id:
            words[3:] = ["--key", key]
    except ManyModelsError:  # a key that no text of this form says, such as one with a null
        pass
    return shlex.join([*words, *(["--store", store] if store != ".manymodels" else [])])


@verb(runs, "resume")
def resume(
    call: Call,
    run: RunArgument,
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="JOB", help="Refuse if this job file is no longer what the run was started with.",
                     show_default=False),
    ] = None,
    store: StoreOption = ".manymodels",
) -> int:  # fmt: skip
    """Continue a run that was stopped: only batches without a receipt run."""
    from manymodels.api import run_summary
    from manymodels.job.loading import load_job
    from manymodels.progress import progress_for
    from manymodels.registry import Registry
    from manymodels.training.engine import refuse_changed_job
    from manymodels.training.engine import resume as execute

    registry = Registry.open(store)
    record = registry.run(run)
    if job is not None:
        refuse_changed_job(record, load_job(job))
    with progress_for(quiet=call.quiet) as progress:
        result = execute(record.id, registry, progress)
    show_result(call, registry, run_summary(registry.run(record.id)), result.failed_rungs)
    return GATE if result.state == "failed_gate" else 0


@verb(runs, "cancel")
def cancel(call: Call, run: RunArgument, store: StoreOption = ".manymodels") -> None:
    """Ask a running one to stop: batches in flight finish, and it can be resumed."""
    from manymodels.registry import Registry

    registry = Registry.open(store)
    record = registry.run(run)
    registry.request_cancel(record.id)
    call.emit(
        {"run_id": record.id, "state": record.state},
        lambda console: console.print(f"{record.id} was asked to stop.", markup=False),
    )


@verb(runs, "compare")
def compare(
    call: Call,
    first: Annotated[
        str, typer.Argument(metavar="RUN_A", help="The run to compare with.", show_default=False)
    ],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="The newer run.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Keys to list.")] = 20,
    store: StoreOption = ".manymodels",
) -> None:
    """Show which keys got better or worse between two runs, the largest changes first."""
    from manymodels.api import compare_runs
    from manymodels.registry import Registry

    registry = Registry.open(store)
    a, b = registry.run(first), registry.run(second)
    compared = compare_runs(registry, a, b)
    verdicts = compared["verdict"].value_counts(sort=False)
    counts = {str(verdict): int(count) for verdict, count in verdicts.items()}
    shown = compared.head(limit).astype(object)
    lines = shown.where(shown.notna(), None).to_dict("records")
    payload = {"run_a": a.id, "run_b": b.id, "counts": counts, "keys": lines}

    def text(console: Any) -> None:
        from manymodels.cli.tables import number, table

        console.print(
            ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) or "No key in either run."
        )
        headings = [("key", ""), ("verdict", ""), (a.id, "right"), (b.id, "right"), ("change", "right")]
        rows = [
            (
                line["key"],
                line["verdict"],
                *(number(line[name]) for name in ("metric_a", "metric_b", "change")),
            )
            for line in lines
        ]
        console.print(table("", headings, rows))

    call.emit(payload, text)
