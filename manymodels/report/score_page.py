"""The page of a scoring."""

from __future__ import annotations

from typing import Any

import pandas as pd

from manymodels.report import wording
from manymodels.report.figures import example_figure, histogram_figure, total_figure
from manymodels.report.page import lines_of, render
from manymodels.report.scorings import ScoreFacts

__all__ = ["score_page"]


def score_page(facts: ScoreFacts, tables: dict[str, pd.DataFrame]) -> str:
    """The report of a scoring.

    Args:
        facts: The scoring.
        tables: See ``score_tables``.
    """
    lines = {
        name: lines_of(table) for name, table in tables.items() if name not in ("keys", "examples", "by_time")
    }
    summary = lines["summary"][0]
    data, spec = facts.settings.job.data, facts.settings.fit.spec
    figures: dict[str, Any] = {}
    if len(tables["predictions"]):
        figures["predictions"] = histogram_figure(tables["predictions"], counted="rows")
    if len(tables["by_time"]) > 1:
        figures["by_time"] = total_figure(tables["by_time"])
    examples = []
    if len(tables["examples"]):
        for number, (key, rows) in enumerate(tables["examples"].groupby("key", sort=False)):
            figures[f"example-{number}"] = example_figure(rows, spec.levels)
            examples.append((key, f"example-{number}"))
    target = f" of {data.target}" if data.target else ""
    return render(
        "score.html",
        figures,
        title=f"{summary['score_id']}: scoring report",
        eyebrow=f"Scoring report of {wording.times(facts.record.ended)}: {spec.task}{target} by {', '.join(data.partition_by)}",
        heading=f"Scoring {summary['score_id']}",
        s=summary,
        t=lines,
        lead=_lead(summary),
        examples=examples,
        widest=max(spec.levels, default=None),
        source_rows=[
            (_source(line["model_source"]), wording.count(line["keys"]), wording.count(line["rows"]))
            for line in lines["sources"]
        ],
        version_rows=[
            (f"version {wording.count(line['model_version'])}" if line["model_version"] is not None else "none",
             wording.count(line["keys"]), wording.count(line["rows"]))
            for line in lines["versions"]
        ],
        reason_rows=[(line["reason"], wording.count(line["keys"])) for line in lines["reasons"]],
        class_rows=[(line["class"], wording.count(line["rows"])) for line in lines["classes"][:20]],
        change_rows=[] if summary["previous"] is None else [
            (name, wording.count(summary[f"previous_{name}"]), wording.count(summary[name]))
            for name in ("keys", "scored", "fallback", "failed", "rows")
        ],
    )  # fmt: skip


def _source(source: str | None) -> str:
    return {"key": "its own", None: "nobody"}.get(source, str(source))


def _lead(summary: dict[str, Any]) -> str:
    keys, own = summary["keys"], summary["scored"]
    said = [
        f"All {keys:,} keys were served by their own models."
        if own == keys
        else f"{own:,} of {keys:,} keys were served by their own models"
        + (f", {summary['fallback']:,} by the fallback ladder" if summary["fallback"] else "")
        + (f", {summary['failed']:,} by nobody" if summary["failed"] else "")
        + "."
    ]
    if summary["state"] == "failed_gate":
        said.append("That is more failures than the job allows.")
    return " ".join(said)
