"""What a run's report says in words."""

from __future__ import annotations

from typing import Any

import pandas as pd

from manymodels.report.facts import RunFacts
from manymodels.report.wording import duration, number, percent

__all__ = ["STATES_NOTE", "changes_text", "cost_text", "coverage_text", "lead", "skill_text", "what"]

STATES_NOTE = (
    "Trained: at least one candidate succeeded. Reused: nothing that made its model changed. Fallback: not tried, by rule, and "
    "a rung of the ladder serves it. "
    "Skipped: not tried, and nothing serves it, or not asked for. Failed: no candidate succeeded."
)

_NAIVE = {
    "regression": "the mean of the key's earlier targets",
    "ranking": "the mean of the key's earlier targets",
    "classification": "the shares of the classes among the key's earlier rows",
    "anomaly": "the distance of each column from its median",
}


def what(facts: RunFacts) -> str:
    """What the job does, in a line."""
    data, spec = facts.settings.job.data, facts.settings.fit.spec
    target = f" of {data.target}" if data.target else ""
    ahead = f", {spec.horizon} periods ahead" if spec.task == "forecast" else ""
    return f"{spec.task}{target} by {', '.join(data.partition_by)}{ahead}"


def lead(summary: dict[str, Any]) -> str:
    """The two sentences for those who read no more."""
    own, keys = summary["trained"] + summary["reused"], summary["keys"]
    if summary["state"] == "failed_gate":
        said = [
            f"More keys failed than the job allows, so nothing was promoted: {summary['failed']:,} of {keys:,}."
        ]
    elif own == keys:
        said = [f"Each of the {keys:,} keys has a model of its own."]
    else:
        said = [f"{own:,} of {keys:,} keys have a model of their own."]
    if summary["judged"]:
        skill = summary["median_skill"]
        better = f"{percent(abs(skill))} {'better' if skill >= 0 else 'worse'} than a naive one"
        said.append(
            f"The typical model is {better}; {percent(summary['better_than_naive'])} of them beat it."
        )
    return " ".join(said)  # fmt: skip


def skill_text(facts: RunFacts, summary: dict[str, Any]) -> str:
    """What the naive baseline is, and the fleet's skill."""
    spec = facts.settings.fit.spec
    if spec.task == "forecast":
        season = f"the value one season ({spec.season_length} periods) ago"
        naive = season if spec.season_length > 1 else "the last value"
    else:
        naive = _NAIVE[spec.task]
    fleet = (
        ""
        if summary["fleet_skill"] is None
        else f" Taken over the fleet's mean {summary['metric']}, skill is {percent(summary['fleet_skill'])}."
    )
    return (
        f"Every model is held against the naive one of its task, {naive}, on the same held-out rows. Skill is how much of the "
        f"way from there to a perfect prediction a model goes: 0 is as good as naive.{fleet}"
    )


def coverage_text(summary: dict[str, Any]) -> str:
    """Whether the first level's intervals hold what they promise."""
    if summary["coverage"] is None:
        return ""
    gap = 100 * summary["coverage"] - summary["coverage_level"]
    verdict = (
        "as promised"
        if abs(gap) <= 3
        else f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'} than promised: they are {'wide' if gap > 0 else 'narrow'}"
    )
    held = f"The {number(summary['coverage_level'])} % intervals held {percent(summary['coverage'], 1)}"
    return f"{held} of what happened in the held-out rows, {verdict}."


def cost_text(keys: pd.DataFrame, summary: dict[str, Any]) -> str:
    """The run's time, and how unevenly the keys share it."""
    seconds = keys.loc[keys["run"].eq(summary["run_id"]) | keys["state"].eq("failed"), "seconds"].dropna()
    total = float(seconds.sum())
    if len(seconds) == 0 or total == 0:
        return f"The run took {duration(summary['seconds'])}; no key was fitted."
    most = seconds.nlargest(max(len(seconds) // 100, 1)).sum() / total
    which = "slowest key" if len(seconds) < 200 else "slowest 1 % of the keys"
    return (
        f"The run took {duration(summary['seconds'])} of wall time; {duration(total)} of work on {len(seconds):,} keys, "
        f"{duration(float(seconds.median()))} for the typical key. "
        f"The {which} took {percent(float(most))} of the work."
    )


def changes_text(summary: dict[str, Any], lines: dict[str, list[dict[str, Any]]]) -> str:
    """How many keys got better or worse."""
    counts = {line["verdict"]: line["keys"] for line in lines["changes"]}
    moved = counts.get("better", 0), counts.get("worse", 0)
    return (
        f"Compared with run {summary['previous_run']}, by the {summary['metric'] or 'metric'} of each key's newest model: "
        f"{moved[0]:,} keys are better, {moved[1]:,} worse."
    )
