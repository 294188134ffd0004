"""The page: a run's tables and charts as one HTML file that needs nothing else."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pandas as pd

import manymodels
from manymodels.report import sentences, wording
from manymodels.report.facts import RunFacts
from manymodels.report.figures import (
    coverage_figure,
    embedded,
    example_figure,
    histogram_figure,
    skill_figure,
)

__all__ = ["lines_of", "render", "run_page"]

_SECTIONS = {
    "states": "Keys",
    "skill": "Against naive",
    "candidates": "Candidates",
    "keys": "Worst and best",
    "coverage": "Intervals",
    "cost": "Time",
    "failures": "Failures",
    "changes": "Changes",
}


def render(template: str, figures: dict[str, Any], **values: Any) -> str:
    """A page from its template; every text of the data is escaped, charts hold none."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("manymodels.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(wording.FILTERS)
    css = (resources.files("manymodels.report") / "templates" / "page.css").read_text(encoding="utf-8")
    library, script, places = embedded(figures)
    return environment.get_template(template).render(
        css=css, library=library, script=script, places=_Places(places), version=manymodels.__version__, **values
    )  # fmt: skip


class _Places(dict[str, str]):
    """Each chart's place; empty for a chart that a page does not have."""

    def __missing__(self, name: str) -> str:
        return ""


def run_page(facts: RunFacts, tables: dict[str, pd.DataFrame]) -> str:
    """The report of a run.

    Args:
        facts: The run.
        tables: See ``run_tables``.
    """
    lines = {name: lines_of(table) for name, table in tables.items() if name not in ("keys", "examples")}
    summary = lines["summary"][0]
    spec, record = facts.settings.fit.spec, facts.record
    figures = _figures(facts, tables)
    shown = {
        "states": True,
        "skill": bool(figures.get("errors")),
        "candidates": bool(lines["candidates"]),
        "keys": bool(lines["best"]),
        "coverage": bool(lines["coverage"]),
    }
    return render(
        "run.html",
        figures,
        title=f"{summary['run_id']}: fleet report",
        eyebrow=f"Fleet report of {wording.times(record.ended or record.started)}: {sentences.what(facts)}",
        heading=f"Run {summary['run_id']}",
        s=summary,
        t=lines,
        lead=sentences.lead(summary),
        sections=[(anchor, name) for anchor, name in _SECTIONS.items() if shown.get(anchor, True)],
        states_note=sentences.STATES_NOTE,
        skill_text=sentences.skill_text(facts, summary),
        keys_note="By skill on the held-out rows."
        + (" Actual values before and in the held-out part, with what was predicted." if len(tables["examples"]) else ""),
        has_examples=len(tables["examples"]) > 0,
        key_rows=_key_rows,
        most=max((line["keys"] for line in lines["candidates"]), default=1) or 1,
        widest=max(spec.levels, default=None),
        reasons=[
            (line["state"], line["reason"], wording.count(line["keys"])) for line in lines["reasons"][:12]
        ],
        coverage_text=sentences.coverage_text(summary),
        coverage_rows=[
            (
                f"{wording.number(line['level'])} %",
                wording.percent(line["level"] / 100, 1),
                wording.percent(line["covered"], 1),
                wording.count(line["rows"]),
            )
            for line in lines["coverage"]
        ],
        cost_text=sentences.cost_text(facts.keys, summary),
        slowest_rows=[
            (
                line["key"],
                line["candidate"] or "",
                wording.count(line["rows"]),
                wording.duration(line["seconds"]),
                wording.duration(line["fit_seconds"]),
            )
            for line in lines["slowest"]
        ],
        changes_text=sentences.changes_text(summary, lines),
        changed_rows=[
            (line["key"], line["verdict"], wording.number(line["metric_a"]), wording.number(line["metric_b"]))
            for line in lines["changed_keys"]
        ],
        settings_rows=[
            tuple(wording.shortened(line[name]) for name in ("what", "name", "before", "after"))
            for line in lines["settings"]
        ],
        provenance={
            "dataset": record.dataset,
            "job_hash": record.job_hash,
            "code_hash": record.code_hash,
            "libraries": ", ".join(f"{name} {version}" for name, version in record.libraries.items()),
        },
    )  # fmt: skip


def _figures(facts: RunFacts, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    spec = facts.settings.fit.spec
    figures: dict[str, Any] = {}
    judged = int(tables["summary"]["judged"].iloc[0]) > 0
    if judged:
        figures["skill"] = skill_figure(tables["skill"])
    if len(tables["errors"]):
        naive = bool(tables["errors"]["naive_keys"].sum())
        figures["errors"] = histogram_figure(tables["errors"], naive=naive)
    costs = tables["costs"]
    if int((costs["keys"] > 0).sum()) > 2:
        figures["costs"] = histogram_figure(costs, log=True)
    if len(tables["coverage"]):
        figures["coverage"] = coverage_figure(tables["coverage_by_step"])
    if len(tables["examples"]):
        for key_id, rows in tables["examples"].groupby("key_id", sort=False):
            figures[str(key_id)] = example_figure(rows, spec.levels)
    return figures


def lines_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, missing values as None."""
    plain = table.astype(object)
    lines: list[dict[str, Any]] = plain.where(plain.notna(), None).to_dict("records")
    return lines


def _key_rows(lines: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            line["key"],
            line["candidate"],
            wording.percent(line["skill"]),
            wording.number(line["metric"]),
            wording.number(line["baseline"]),
            wording.count(line["rows"]),
        )
        for line in lines
    ]
