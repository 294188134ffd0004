"""A first job for data that nobody has described yet: keys, time, target and task, each with the reason for it.

The proposal is a guess for a person to read: it goes by the names, types and number of values of columns, and by whether
times step regularly within a key, in the first rows of the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath

import duckdb
import pyarrow.types as pt

from manymodels.dataset.columntypes import plain_name
from manymodels.dataset.roles import is_number, tells
from manymodels.dataset.sample import Pace, Sample
from manymodels.dataset.scans import explained
from manymodels.dataset.sources import Source
from manymodels.exceptions import DataError

__all__ = ["Proposal", "propose", "render_job"]

_FEW_CLASSES = 20
_PANEL = 0.999  # share of rows that must have a key and time of their own

# Words in column names, most telling first.
_TIME_WORDS = (
    "date", "datetime", "timestamp", "time", "day", "week", "month", "ds", "ts", "year", "cycle", "step",
    "period", "position", "epoch",
)  # fmt: skip
_KEY_WORDS = (
    "store", "shop", "outlet", "well", "wellbore", "unit", "engine", "machine", "asset", "device", "sensor", "user",
    "customer", "client", "member", "account", "sku", "item", "product", "series", "region", "state",
    "country", "site", "location", "branch", "station", "code", "key", "name", "id",
)  # fmt: skip
_TARGET_WORDS = (
    "target", "y", "label", "sales", "demand", "turnover", "revenue", "rul", "rating", "amount",
    "quantity", "qty", "units", "volume", "vol", "load", "consumption", "price", "value", "count", "failure",
    "fault", "churn", "class", "outcome", "score",
)  # fmt: skip
_CLASS_WORDS = {"label", "class", "failure", "fault", "churn", "outcome"}
_LIFE_WORDS = {"rul", "remaining", "ttf", "lifetime"}
_RATING_WORDS = {"rating", "ratings", "stars", "relevance"}
_PEOPLE_WORDS = {"user", "users", "userid", "customer", "customerid", "member", "client", "account"}
_PLANNED_WORDS = {
    "promo", "promotion", "holiday", "open", "event", "discount", "schoolholiday", "stateholiday", "campaign",
}  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """What a job for some data could say.

    Attributes:
        task: The task.
        partition_by: Key columns.
        time: Time column.
        target: Column to predict; None for anomaly detection.
        horizon: Forecasts: periods ahead.
        features: The columns that are left, with their types, for the comments.
        planned: Those of them that may be known ahead, by their names.
        ignore: Columns to leave out.
        level: A column that is constant within every key and has few values.
        reasons: Why, a line each.
    """

    task: str
    partition_by: tuple[str, ...]
    time: str | None
    target: str | None
    horizon: int | None
    features: tuple[tuple[str, str], ...]
    planned: tuple[str, ...]
    ignore: tuple[str, ...]
    level: str | None
    reasons: tuple[str, ...]


def propose(source: Source) -> Proposal:
    """Look at the first rows of data and propose a job.

    Args:
        source: The data, opened without key columns.

    Raises:
        DataError: No column could be a key, or the rows cannot be read.
    """
    with duckdb.connect() as connection, explained(source.csv, source.name):
        look = Sample(source, connection)
        time, reason = _time(look)
        reasons = [reason]
        keys, pace, reason = _keys(look, time)
        reasons.append(reason)
        target, reason = _target(look, [*keys, *([time] if time else [])])
        reasons.append(reason)
        task, reason = _task(look, keys, time, target, pace)
        reasons.append(reason)
        ignore = dict(_useless(look, keys, time, target))
        reasons += [f"ignored: {_scalar(name)}, {why}" for name, why in ignore.items()]
        used = {*keys, time, target, *ignore}
        features = tuple(
            (n, plain_name(t)) for n, t in source.columns.items() if n not in used and n not in source.index
        )
        level = next((n for n, _ in features if look.is_level(n, keys)), None)
        if level is not None:
            reasons.append(
                f"level: {_scalar(level)} is the same in all rows of a key, so keys without a model can share one"
            )
    return Proposal(
        task=task,
        partition_by=keys,
        time=time,
        target=target,
        horizon=pace.horizon if task == "forecast" and pace is not None else None,
        features=features,
        planned=tuple(n for n, _ in features if task == "forecast" and _words(n) & _PLANNED_WORDS),
        ignore=tuple(ignore),
        level=level,
        reasons=tuple(reasons),
    )


def _words(name: str) -> set[str]:
    """The words of a name, in lower case: ``StoreID`` is store and id (and storeid)."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)
    return {part.lower() for part in parts} | {name.lower()}


def _rank(name: str, words: Sequence[str]) -> int:
    """How telling a name is: 0 is the most; ``len(words)`` when it says nothing."""
    own = _words(name)
    return next((place for place, word in enumerate(words) if word in own), len(words))


def _time(look: Sample) -> tuple[str | None, str]:
    found = [n for n, type in look.types.items() if pt.is_date(type) or pt.is_timestamp(type)]
    found = [n for n in found if look.filled[n] == look.rows]
    hinted = [
        n for n in look.types if _rank(n, _TIME_WORDS) < len(_TIME_WORDS) and look.filled[n] == look.rows
    ]
    if not found:
        found = [n for n in hinted if pt.is_string(look.types[n]) and look.are_times(n)]
    if not found:
        found = [n for n in hinted if pt.is_integer(look.types[n]) and look.distinct[n] > 10]
    if not found:
        return None, "time: no column has times"
    name = min(found, key=lambda n: (_rank(n, _TIME_WORDS), -look.distinct[n]))
    return name, f"time: {_scalar(name)} is {plain_name(look.types[name])}"


def _keys(look: Sample, time: str | None) -> tuple[tuple[str, ...], Pace | None, str]:
    """Key columns, how often a key has a row where that is regular, and why these."""
    found = [
        name
        for name, type in look.types.items()
        if (pt.is_string(type) or pt.is_integer(type))
        and name != time
        and not _words(name) & _CLASS_WORDS
        and look.filled[name] == look.rows
        and 2 <= look.distinct[name] <= look.rows / 3
    ]
    if not found:
        raise DataError(
            f"{look.source.name} has no column that could be a key: expected one of strings or integers whose values "
            "repeat; write the job file by hand"
        )
    found.sort(key=lambda n: (_rank(n, _KEY_WORDS), not pt.is_string(look.types[n]), look.distinct[n]))
    if time is not None:
        singles: Iterator[tuple[str, ...]] = ((name,) for name in found[:12])
        for keys in (*singles, *combinations(found[:6], 2)):
            if look.uniqueness(keys) > 1 / 3 or look.uniqueness([*keys, time]) < _PANEL:
                continue
            pace = look.pace(keys, time)
            if pace is not None:
                return (
                    keys,
                    pace,
                    f"partition_by: {', '.join(map(_scalar, keys))} has one row for each {_scalar(time)}",
                )
    name = found[0]
    mean = look.rows / max(1, look.distinct[name])
    return (
        (name,),
        None,
        f"partition_by: {_scalar(name)} has about {look.distinct[name]:,} values, {mean:,.0f} rows each",
    )


def _target(look: Sample, used: Sequence[str]) -> tuple[str | None, str]:
    found = [n for n in look.types if n not in used and look.distinct[n] > 1 and n not in look.source.index]
    named = [n for n in found if _rank(n, _TARGET_WORDS) < len(_TARGET_WORDS)]
    named = [
        n
        for n in named
        if is_number(look.types[n]) or (_words(n) & _CLASS_WORDS and look.distinct[n] <= _FEW_CLASSES)
    ]
    if named:
        name = min(named, key=lambda n: _rank(n, _TARGET_WORDS))
        return name, f"target: {_scalar(name)}, by its name"
    numbers = [
        n
        for n in found
        if is_number(look.types[n]) and look.distinct[n] > 2 and not _words(n) & _PLANNED_WORDS
    ]
    numbers = [n for n in numbers if pt.is_floating(look.types[n])] or numbers
    if len(numbers) == 1:
        return numbers[0], f"target: {_scalar(numbers[0])} is the only number"
    return None, "target: no column's name says that it is to be predicted"


def _task(
    look: Sample, keys: Sequence[str], time: str | None, target: str | None, pace: Pace | None
) -> tuple[str, str]:
    if target is None:
        return "anomaly", "task: anomaly detection, which needs no target"
    words, values = _words(target), look.distinct[target]
    if words & _RATING_WORDS and any(_words(key) & _PEOPLE_WORDS for key in keys):
        return "ranking", f"task: ranking, since {_scalar(target)} says what a {keys[0]} thinks of each row"
    if values <= 2 or (
        values <= _FEW_CLASSES and (words & _CLASS_WORDS or not is_number(look.types[target]))
    ):
        return "classification", f"task: classification, since {_scalar(target)} has {values} values"
    if words & _LIFE_WORDS:
        return "regression", f"task: regression, since {_scalar(target)} is read off the other columns"
    if pace is not None:
        return "forecast", f"task: forecast, since the rows of a key come in regular {pace.name}"
    irregular = (
        "no column has times" if time is None else f"{_scalar(time)} does not step regularly within a key"
    )
    return "regression", f"task: regression, since {_scalar(target)} is a number and {irregular}"


def _useless(
    look: Sample, keys: Sequence[str], time: str | None, target: str | None
) -> Iterator[tuple[str, str]]:
    frame = None if target is None else look.frame(list(look.types))
    for name, type in look.source.columns.items():
        if name in (*keys, time, target) or name in look.source.index:
            continue
        if name not in look.types or pt.is_binary(type):
            yield name, f"which is {plain_name(type)}"
        elif look.distinct[name] <= 1:
            yield name, "which has one value"
        elif pt.is_string(type) and look.distinct[name] > max(50, look.filled[name] / 2):
            yield name, "which has a text of its own in most rows"
        elif frame is not None and tells(frame[name], frame[target]):
            yield name, f"which gives {_scalar(str(target))} away"


_MODELS = {
    "forecast": (
        "seasonal_naive                # last season's value: the one to beat",
        "ets: {trend: add, seasonal: add}",
        "lag_regression: {estimator: sklearn.linear_model.Ridge}   # any scikit-learn regressor",
    ),
    "regression": (
        "sklearn.linear_model.Ridge: {alpha: 1.0}   # any scikit-learn regressor, by its import path",
        "sklearn.ensemble.RandomForestRegressor: {n_estimators: 50, min_samples_leaf: 3}",
    ),
    "classification": (
        "sklearn.linear_model.LogisticRegression: {C: 1.0}   # any scikit-learn classifier, by its import path",
        "sklearn.ensemble.RandomForestClassifier: {n_estimators: 50, min_samples_leaf: 3}",
    ),
    "ranking": (
        "sklearn.linear_model.Ridge: {alpha: 10.0}   # any scikit-learn regressor, by its import path",
        "sklearn.ensemble.RandomForestRegressor: {n_estimators: 30, min_samples_leaf: 3}",
    ),
    "anomaly": ("isolation_forest              # or robust_zscore, ewma",),
}


def render_job(proposal: Proposal, path: str) -> str:
    """A job file, with the reasons as comments, that loads as it is.

    Args:
        proposal: What it says.
        path: Its ``data.path``.
    """
    name = re.sub(r"[^A-Za-z0-9]+", "-", PurePosixPath(path.rstrip("/*")).name.partition(".")[0]).strip("-")[
        :60
    ]
    lines = [
        "# Proposed by `manymodels init` from the first rows of the data. Read it, correct it, then: manymodels plan",
        *(f"#   {reason}" for reason in proposal.reasons),
        "",
        f"name: {_scalar(name or 'models')}",
        f"task: {proposal.task}                # forecast | regression | classification | anomaly | ranking",
        "",
        "data:",
        f"  path: {_scalar(path)}",
        f"  partition_by: {_list(proposal.partition_by)}   # one model for every distinct value",
    ]
    if proposal.time is not None:
        lines.append(f"  time: {_scalar(proposal.time)}")
    if proposal.target is not None:
        lines.append(f"  target: {_scalar(proposal.target)}")
    if proposal.features:
        lines.append("  # features: every other column, which is")
        lines += [f"  #   {_scalar(column)} ({type})" for column, type in proposal.features]
    if proposal.ignore:
        lines.append(f"  ignore: {_list(proposal.ignore)}")
    if proposal.task == "forecast" and proposal.features:
        lines.append("  known_future: []     # features whose coming values are known when forecasting")
        if proposal.planned:
            lines.append(f"  #   perhaps {_list(proposal.planned)}")
    lines += ["", "models:               # each is tried for every key, the best one is kept"]
    lines += [f"  - {model}" for model in _MODELS[proposal.task]]
    if proposal.horizon is not None:
        lines += ["", "forecast:", f"  horizon: {proposal.horizon}        # periods ahead"]
    level = f"{{level: {_list([proposal.level])}}}, " if proposal.level is not None else ""
    lines += [
        "",
        f"fallback: [{level}pooled, naive]   # who serves keys without a model of their own, in this order",
    ]
    return "\n".join(lines) + "\n"


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_scalar, names))}]"


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS_OF_YAML = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def _scalar(text: str) -> str:
    """A text as YAML has it on one line, quoted where it could be taken for something else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
