"""``manymodels train``."""

from __future__ import annotations

import time
from typing import Any

from manymodels.cli.app import app
from manymodels.cli.plan import AsOfOption, KeyOption, LimitOption, OnlyOption, overridden, selected
from manymodels.cli.verb import Call, JobFile, Sets, verb

GATE = 3
"""Exit code of a run or scoring with more failures than ``max_failed``."""


@verb(app, "train")
def train(
    call: Call,
    job: JobFile,
    limit: LimitOption = None,
    keys: KeyOption = None,
    only: OnlyOption = None,
    as_of: AsOfOption = None,
    overrides: Sets = None,
) -> int:
    """Split, plan, train, register and promote: one model per key.

    Only keys with a cause train: new ones, those whose rows, job, code or libraries changed, those that failed last time.
    Of many keys, 20 drawn at random are tried first; when all of them fail, the run stops.
    """
    from manymodels.api import run_summary
    from manymodels.job.loading import load_job
    from manymodels.progress import progress_for
    from manymodels.training.early import EarlyWorkers
    from manymodels.training.engine import train as execute
    from manymodels.training.prepare import prepare

    loaded = load_job(job, overrides=overridden(overrides, as_of))
    began = time.perf_counter()
    with progress_for(quiet=call.quiet) as progress, EarlyWorkers() as early:
        prepared = prepare(loaded, selection=selected(only, keys, limit), early=early)
        for warning in prepared.resolved.warnings:
            progress.say(f"warning: {warning}")
        if len(prepared.plan.training) == 0:
            progress.say("Nothing to train: no key has a cause to.")
        result = execute(prepared, progress, began=began, early=early)
    registry = prepared.registry
    show_result(call, registry, run_summary(registry.run(result.run_id)), result.failed_rungs)
    return GATE if result.state == "failed_gate" else 0


def show_result(call: Call, registry: Any, summary: dict[str, Any], failed_rungs: dict[str, str]) -> None:
    """Print how a run ended: every key accounted for, who won, what failed."""

    def text(console: Any) -> None:
        from manymodels.api import leaderboard
        from manymodels.cli.tables import number, percent, span, table

        run_id = summary["run_id"]
        states = [state for state in ("trained", "reused", "fallback", "skipped", "failed") if summary[state]]
        parts = ", ".join(f"{summary[state]:,} {state}" for state in states)
        console.print(
            f"Run {run_id} {summary['state']}: {summary['keys']:,} keys = {parts or 'none'}; "
            f"{summary['promoted']:,} promoted; {span(summary['seconds'])} (+ {span(summary['startup_seconds'])} start-up)"
        )
        if summary["trained"]:
            board = leaderboard(registry, registry.run(run_id))
            rows = [
                (
                    line.candidate,
                    f"{line.won:,}",
                    f"{line.failed:,}",
                    number(line.median_metric),
                    percent(line.median_skill),
                    span(line.mean_seconds),
                )
                for line in board.itertuples()
            ]
            headings = [("candidate", ""), ("keys won", "right"), ("failed", "right"), ("median metric", "right"),
                        ("median skill", "right"), ("mean time", "right")]  # fmt: skip
            console.print(table("", headings, rows))
        for level, reason in failed_rungs.items():
            console.print(f"warning: the ladder's rung {level} could not be fitted: {reason}", markup=False)
        if summary["failed"]:
            console.print(f"{summary['failed']:,} keys failed; `manymodels runs failures {run_id}` says why.")
        if summary["state"] == "failed_gate":
            console.print(f"Nothing was promoted: {registry.run(run_id).reason}.", markup=False)

    call.emit(summary, text)
