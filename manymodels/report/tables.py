"""The tables of a run's report; what the page shows, and what ``--tables`` writes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from manymodels.evaluation.metrics import perfect_value
from manymodels.models.contract import interval_columns
from manymodels.records import STATES
from manymodels.report.facts import RunFacts
from manymodels.report.points import earlier_rows, histogram, thinned
from manymodels.report.wording import unnumbered

__all__ = ["SHOWN", "run_tables"]

SHOWN = 6
"""Keys that are shown as the best, and as the worst."""

_SLOWEST = 10
_CHANGED = 10
_EXACT = 9
"""Digits of a skill: the naive model itself is not better than naive by a rounding error."""


def run_tables(facts: RunFacts) -> dict[str, pd.DataFrame]:
    """Every table of the report by its name; those that a run has nothing for are empty.

    ``summary``, ``states``, ``reasons``, ``candidates``, ``skill``, ``errors``, ``costs``, ``slowest``, ``best``, ``worst``,
    ``examples``, ``coverage``, ``coverage_by_step``, ``failures``, ``changes``, ``changed_keys``, ``settings`` and ``keys``.
    """
    keys = facts.keys
    judged = keys[keys["skill"].notna()]
    order = judged.sort_values("skill", kind="stable")
    best, worst = order.tail(SHOWN)[::-1], order.head(SHOWN)
    worst = worst[~worst["key_id"].isin(best["key_id"])]
    coverage, by_step = _coverage(facts)
    tables = {
        "summary": _summary(facts, coverage),
        "states": _states(keys),
        "reasons": _reasons(keys),
        "candidates": _candidates(facts),
        "skill": _skill(judged["skill"].to_numpy(dtype=np.float64)),
        "errors": _errors(keys),
        "costs": histogram(keys["seconds"].dropna().to_numpy(dtype=np.float64), log=True),
        "slowest": keys.nlargest(_SLOWEST, "seconds")[_OF_A_KEY],
        "best": best[_OF_A_KEY],
        "worst": worst[_OF_A_KEY],
        "examples": _examples(facts, [*worst["key_id"], *best["key_id"]]),
        "coverage": coverage,
        "coverage_by_step": by_step,
        "failures": _failures(facts),
        "changes": _changes(facts),
        "changed_keys": _changed_keys(facts),
        "settings": _changed_settings(facts),
        "keys": keys.drop(columns=["backtests"]),
    }
    return {name: table.reset_index(drop=True) for name, table in tables.items()}


_OF_A_KEY = ["key_id", "key", "candidate", "metric", "baseline", "skill", "rows", "seconds", "fit_seconds"]


def _summary(facts: RunFacts, coverage: pd.DataFrame) -> pd.DataFrame:
    record, keys = facts.record, facts.keys
    both = keys[keys["metric"].notna() & keys["baseline"].notna()]
    skill = keys["skill"].dropna().round(_EXACT)
    line: dict[str, Any] = {
        "run_id": record.id,
        "model_set": record.model_set,
        "task": record.task,
        "state": record.state,
        "started": record.started,
        "ended": record.ended,
        "keys": len(keys),
        **{state: int((keys["state"] == state).sum()) for state in STATES},
        "promoted": record.promoted,
        "seconds": record.seconds,
        "fit_seconds": float(keys.loc[keys["run"] == record.id, "fit_seconds"].sum()),
        "metric": facts.settings.fit.metric,
        "median_metric": keys["metric"].median(),
        "judged": len(skill),
        "fleet_skill": _fleet_skill(facts, both),
        "median_skill": skill.median(),
        "better_than_naive": float((skill > 0).mean()) if len(skill) else None,
        "coverage_level": coverage["level"].iloc[0] if len(coverage) else None,
        "coverage": coverage["covered"].iloc[0] if len(coverage) else None,
        "previous_run": None if facts.previous is None else facts.previous.id,
    }
    return pd.DataFrame([line])


def _fleet_skill(facts: RunFacts, both: pd.DataFrame) -> float | None:
    """The skill of the fleet's mean metric."""
    perfect = perfect_value(facts.settings.fit.metric or "", facts.settings.higher_is_better)
    if perfect is None or len(both) == 0:
        return None
    value, baseline = float(both["metric"].mean()), float(both["baseline"].mean())
    return None if baseline == perfect else (value - baseline) / (perfect - baseline)


def _states(keys: pd.DataFrame) -> pd.DataFrame:
    counts = [int((keys["state"] == state).sum()) for state in STATES]
    return pd.DataFrame({"state": STATES, "keys": counts, "share": np.array(counts) / max(len(keys), 1)})


def _reasons(keys: pd.DataFrame) -> pd.DataFrame:
    rest = keys[
        keys["state"].isin(["fallback", "skipped"]) | (keys["state"].eq("trained") & keys["reason"].ne(""))
    ]
    named = rest.assign(reason=unnumbered(rest["reason"]))
    counted = named.groupby(["state", "reason"]).size().rename("keys").reset_index()
    return counted.sort_values("keys", ascending=False, kind="stable")  # fmt: skip


def _candidates(facts: RunFacts) -> pd.DataFrame:
    """The leaderboard, with what each candidate is worth where it won, and the keys whose live model it is."""
    keys = facts.keys[facts.keys["candidate"].notna() & facts.keys["state"].isin(["trained", "reused"])]
    grouped = keys.groupby("candidate")
    live = pd.DataFrame(
        {"keys": grouped.size(), "skill_where_chosen": grouped["skill"].median()}
    ).reset_index()
    board = facts.leaderboard.merge(live, on="candidate", how="outer")
    board["keys"] = board["keys"].fillna(0).astype(int)
    return board.sort_values(["keys", "candidate"], ascending=[False, True], kind="stable")


def _skill(skill: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Keys by skill, in steps of a tenth around -1, -0.9, … 1; the first bin has all below."""
    edges = np.round(np.linspace(-1.05, 1.05, 22), 2)
    counts, _ = np.histogram(np.clip(skill, -1.0, 1.0), edges)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "keys": counts})


def _errors(keys: pd.DataFrame) -> pd.DataFrame:
    """Keys by metric, of their models and of the naive baseline, in the same bins."""
    table = histogram(keys["metric"].dropna().to_numpy(dtype=np.float64))
    baseline = keys["baseline"].dropna().to_numpy(dtype=np.float64)
    if len(table) == 0 or len(baseline) == 0:
        return table.assign(naive_keys=0)
    both = keys[["metric", "baseline"]].to_numpy(dtype=np.float64, na_value=np.nan)
    table = histogram(both.ravel())
    edges = np.append(table["low"], table["high"].iloc[-1])
    counts = [
        np.histogram(np.clip(column[np.isfinite(column)], edges[0], edges[-1]), edges)[0] for column in both.T
    ]
    return table.assign(keys=counts[0], naive_keys=counts[1])


def _coverage(facts: RunFacts) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How often intervals held what happened: of all rows, and by periods ahead."""
    levels = facts.settings.fit.spec.levels
    empty = pd.DataFrame({"level": [], "covered": [], "rows": []})
    if not levels or facts.keys["backtests"].isna().all():
        return empty, empty.assign(step=[])
    bounds = [interval_columns(level) for level in levels]
    columns = ["step", "actual", *(name for pair in bounds for name in pair)]
    rows = facts.backtests(columns=columns).drop_columns(["key_id", "candidate"]).to_pandas()
    parts = []
    for level, (low, high) in zip(levels, bounds, strict=True):
        known = rows[rows[low].notna() & rows[high].notna()]
        inside = (known["actual"] >= known[low]) & (known["actual"] <= known[high])
        grouped = inside.groupby(known["step"])
        part = pd.DataFrame({"covered": grouped.mean(), "rows": grouped.size()}).reset_index()
        parts.append(part.assign(level=level))
    by_step = pd.concat(parts, ignore_index=True)[["level", "step", "covered", "rows"]]
    weighed = by_step.assign(covered=by_step["covered"] * by_step["rows"]).groupby("level", sort=False)
    whole = weighed[["covered", "rows"]].sum().reset_index()
    whole["covered"] = whole["covered"] / whole["rows"]
    return whole[whole["rows"] > 0], by_step


def _examples(facts: RunFacts, key_ids: list[str]) -> pd.DataFrame:
    """The rows of a few keys: what happened, before and while it was predicted, and what was predicted of it."""
    spec = facts.settings.fit.spec
    kept = facts.backtests(key_ids).to_pandas() if key_ids else pd.DataFrame()
    if len(kept) == 0 or spec.task in ("classification", "anomaly"):
        return pd.DataFrame()
    parts = []
    for key_id in dict.fromkeys(key_ids):
        theirs = kept[kept["key_id"] == key_id].sort_values(["row", "window"], kind="stable")
        # Windows may overlap; a period is shown as it was predicted last.
        theirs = theirs.drop_duplicates("row")
        parts += [
            earlier_rows(facts.settings, key_id, int(theirs["row"].min()), len(theirs)),
            thinned(theirs),
        ]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _failures(facts: RunFacts) -> pd.DataFrame:
    lines = [
        {
            "cause": entry.cause,
            "error": entry.error,
            "message": entry.message,
            "frame": entry.frame,
            "count": entry.count,
            "keys": list(entry.keys),
            "replay": f"manymodels replay {facts.record.id} --key-id {entry.key_ids[0]}",
            "traceback": entry.traceback,
        }
        for entry in facts.failures
    ]
    names = ["cause", "error", "message", "frame", "count", "keys", "replay", "traceback"]
    return pd.DataFrame(lines, columns=names)


def _changes(facts: RunFacts) -> pd.DataFrame:
    if facts.compared is None:
        return pd.DataFrame({"verdict": [], "keys": []})
    counts = facts.compared["verdict"].value_counts()
    order = ["better", "worse", "same", "unknown", "new", "gone"]
    return pd.DataFrame({"verdict": order, "keys": [int(counts.get(verdict, 0)) for verdict in order]})


def _changed_keys(facts: RunFacts) -> pd.DataFrame:
    """The keys that changed most, relative to what they were."""
    if facts.compared is None:
        return pd.DataFrame()
    moved = facts.compared[facts.compared["verdict"].isin(["better", "worse"])]
    size = moved["change"].abs() / moved["metric_a"].abs().where(moved["metric_a"] != 0)
    return moved.assign(relative=size).nlargest(_CHANGED, "relative")


def _changed_settings(facts: RunFacts) -> pd.DataFrame:
    """What of the job, the data, the code and the libraries is not as it was in the previous run."""
    lines: list[dict[str, Any]] = []
    if facts.previous is not None:
        was, now = facts.previous, facts.record
        jobs = _flat(json.loads(was.job)), _flat(json.loads(now.job))
        versions = dict(was.libraries), dict(now.libraries)
        lines = [
            *_differing("job", *jobs),
            *_differing("library", *versions),
            *_differing("rows", {"dataset": was.dataset}, {"dataset": now.dataset}),
            *_differing("code", {"fingerprint": was.code_hash}, {"fingerprint": now.code_hash}),
        ]
    return pd.DataFrame(lines, columns=["what", "name", "before", "after"])


def _differing(what: str, was: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    def shown(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return [
        {"what": what, "name": name, "before": shown(was.get(name)), "after": shown(now.get(name))}
        for name in sorted(was.keys() | now.keys())
        if was.get(name) != now.get(name)
    ]


def _flat(section: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Nested sections as dotted names."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return found
