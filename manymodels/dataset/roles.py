"""Which column is what: the job's words about columns, checked against the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.types as pt

from manymodels.dataset.columntypes import plain_name
from manymodels.dataset.files import nearest
from manymodels.dataset.sources import Source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError
from manymodels.spans import Span

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Roles",
    "is_number",
    "is_storable",
    "resolve_roles",
    "scoring_roles",
    "suspicious_features",
    "tells",
]

TimeKind = Literal["timestamp", "date", "int"]
TargetKind = Literal["number", "class"]

_LISTED = 30  # columns that a message names
_SAME = 1e-9
_GLANCE = 1000  # rows that are looked at for a warning


@dataclass(frozen=True)
class Roles:
    """What each column of a source is to a job.

    Attributes:
        task: The job's task.
        partition_by: Key columns.
        time: Time column.
        time_kind: ``timestamp``, ``date`` or ``int`` (a position); None without a time column.
        target: Column to predict.
        target_kind: ``number`` or ``class``; None without a target.
        features: Feature columns: as listed by the job, else sorted by name, so that the order in files does not matter.
        known_future: Forecasts: features that are known ahead.
        categorical: Features that are categories, in the order of ``features``.
        weight: Sample-weight column.
        label: Anomaly detection: column with the truth.
        levels: Columns of the fallback ladder's levels.
        columns: Every column to keep: keys, time, target, weight, label, groups, then the others sorted by name.
        warnings: What the user should know, a line each.
    """

    task: str
    partition_by: tuple[str, ...]
    time: str | None
    time_kind: TimeKind | None
    target: str | None
    target_kind: TargetKind | None
    features: tuple[str, ...]
    known_future: tuple[str, ...]
    categorical: tuple[str, ...]
    weight: str | None
    label: str | None
    levels: tuple[str, ...]
    columns: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def resolve_roles(
    source: Source,
    data: DataSpec,
    task: str,
    levels: Sequence[str] = (),
    label: str | None = None,
    *,
    groups: str | None = None,
    featureless: bool = False,
) -> Roles:
    """Check the job's columns against the data it trains on.

    Args:
        source: The data.
        data: The job file's ``data`` section.
        task: The job's task.
        levels: Columns of the fallback ladder's levels.
        label: ``evaluation.label``.
        groups: ``evaluation.groups``.
        featureless: Whether the job's models can do without features.

    Raises:
        DataError: A column that is not there (with the nearest name), has a type its role cannot have, or has two roles.
    """
    _present(source, data, levels, label, groups)
    used = [*data.partition_by, *_given(data.time, data.target, data.weight, label, groups)]
    for name in [*used, *levels]:
        if name in data.ignore:
            raise DataError(
                f"column {name!r} has a role in the job and is in `data.ignore`; take it out of one of them"
            )
    if label is not None and label in [*data.partition_by, *_given(data.time, data.target, data.weight)]:
        raise DataError(
            f"`evaluation.label` {label!r} has another role in the job; the truth needs a column of its own"
        )
    features = _features(source, data, used)
    known_future = tuple(data.known_future) if task == "forecast" else ()
    time_kind = _time_kind(source, data, task)
    _check_types(source, data, [*data.partition_by, *levels], features, label)
    target_kind = _target_kind(source, data.target, task)
    if not features and not featureless and task in ("regression", "classification", "ranking"):
        raise DataError(f"a {task} needs at least one feature column, found none beside {', '.join(used)}")
    if not features and data.target is None:
        raise DataError("anomaly detection needs feature columns or a target, found neither")
    return Roles(
        task=task,
        partition_by=tuple(data.partition_by),
        time=data.time,
        time_kind=time_kind,
        target=data.target,
        target_kind=target_kind,
        features=features,
        known_future=known_future,
        categorical=tuple(
            name for name in features if name in data.categorical or _is_category(source, name)
        ),
        weight=data.weight,
        label=label,
        levels=tuple(levels),
        columns=_ordered(used, [*levels, *features]),
        warnings=(*_warnings(source, data, used, features), *_dates_as_integers(source, data.time)),
    )


def scoring_roles(
    source: Source,
    data: DataSpec,
    task: str,
    *,
    features: Sequence[str],
    target: str | None = None,
    every_column: bool = False,
    levels: Sequence[str] = (),
) -> Roles:
    """Check new rows against what the models were trained on.

    Args:
        source: The new rows.
        data: The job file's ``data`` section.
        task: The job's task.
        features: The features that the models read.
        target: The target where its values are needed: a forecast's newer history.
        every_column: Whether to keep the input's other columns too; those whose type cannot be kept are warned about.
        levels: Columns of the fallback ladder's levels; those that are there are kept.

    Raises:
        DataError: A column that the models need is not there (with the nearest name), or has a type its role cannot have.
    """
    _require(source, data.partition_by, "`data.partition_by`")
    _require(source, features, "a feature of the models")
    if target is not None:
        _require(source, [target], "`data.target`")
    time = data.time if task == "forecast" or data.time in source.columns else None
    time_kind = None
    if time is not None:
        _require(source, [time], "`data.time`")
        time_kind = _time_kind(source, data, task)
    levels = [name for name in levels if name in source.columns]
    _check_types(
        source, data.model_copy(update={"weight": None}), [*data.partition_by, *levels], features, None
    )
    used = [*data.partition_by, *_given(time, target)]
    others: list[str] = []
    warnings: list[str] = []
    for name in source.columns if every_column else ():
        if name in used or name in features or name.startswith("__index_level_"):
            continue
        if is_storable(source.columns[name]):
            others.append(name)
        else:
            warnings.append(
                f"column {name!r} is {plain_name(source.columns[name])}, which the output cannot hold; it is left out"
            )
    return Roles(
        task=task,
        partition_by=tuple(data.partition_by),
        time=time,
        time_kind=time_kind,
        target=target,
        target_kind=None if target is None else _target_kind(source, target, task),
        features=tuple(features),
        known_future=tuple(name for name in data.known_future if name in features),
        categorical=tuple(
            name for name in features if name in data.categorical or _is_category(source, name)
        ),
        weight=None,
        label=None,
        levels=tuple(levels),
        columns=_ordered(used, [*levels, *features, *others]),
        warnings=tuple(warnings),
    )


def suspicious_features(sample: pd.DataFrame, roles: Roles) -> list[str]:
    """Features that tell the target: equal to it, or for numbers a straight line of it, in every row of a sample.

    A forecast reads only the lags of features that are not known ahead, so only the known ones can give it away.

    Args:
        sample: Rows of many keys.
        roles: What the columns are.
    """
    if roles.target is None or roles.target not in sample or sample[roles.target].nunique() < 2:
        return []
    read = roles.known_future if roles.task == "forecast" else roles.features
    return [name for name in read if name in sample and tells(sample[name], sample[roles.target])]


def tells(feature: pd.Series, target: pd.Series) -> bool:
    """Whether a feature has the target's value, or for numbers a straight line of it, wherever both have one."""
    import numpy as np

    both = feature.notna() & target.notna()
    feature, target = feature[both], target[both]
    if len(target) < 3 or target.nunique() < 2 or feature.nunique() < 2:
        return False
    if not _are_numbers(feature) or not _are_numbers(target):
        return bool((feature.astype(str) == target.astype(str)).all())
    x, y = feature.to_numpy(np.float64), target.to_numpy(np.float64)
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        return bool((x == y).all())
    return bool(1 - abs(np.corrcoef(x, y)[0, 1]) < _SAME)


def _are_numbers(column: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def _given(*names: str | None) -> list[str]:
    return [name for name in names if name is not None]


def _ordered(first: Sequence[str], others: Iterable[str]) -> tuple[str, ...]:
    return (*first, *sorted(set(others) - set(first)))


def _present(
    source: Source, data: DataSpec, levels: Sequence[str], label: str | None, groups: str | None
) -> None:
    for names, field in (
        (data.partition_by, "`data.partition_by`"),
        (_given(data.time), "`data.time`"),
        (_given(data.target), "`data.target`"),
        (data.features or [], "`data.features`"),
        (data.known_future, "`data.known_future`"),
        (data.categorical, "`data.categorical`"),
        (data.types, "`data.types`"),
        (_given(data.weight), "`data.weight`"),
        (levels, "a level of `fallback`"),
        (_given(label), "`evaluation.label`"),
        (_given(groups), "`evaluation.groups`"),
    ):
        _require(source, names, field)
    # A column that is ignored may be one that only some files have.
    _require(source, data.ignore, "`data.ignore`", beside=source.left_out)


def _require(source: Source, names: Iterable[str], field: str, beside: Iterable[str] = ()) -> None:
    known = [*source.columns, *beside]
    for name in names:
        if name not in known:
            more = f", … ({len(known)} in all)" if len(known) > _LISTED else ""
            raise DataError(
                f"{field} is {name!r}, a column that {source.name} does not have{nearest(name, known)}; "
                f"it has {', '.join(known[:_LISTED])}{more}"
            )


def _features(source: Source, data: DataSpec, used: Sequence[str]) -> tuple[str, ...]:
    if data.features is not None:
        features = tuple(dict.fromkeys([*data.features, *data.known_future]))
    else:
        left_out = {*used, *data.ignore, *(source.index - {*data.known_future, *data.categorical})}
        features = tuple(sorted(name for name in source.columns if name not in left_out))
    for field, names in (("known_future", data.known_future), ("categorical", data.categorical)):
        for name in names:
            if name not in features:
                role = "has another role in the job" if name in used else "is not among the features"
                raise DataError(f"`data.{field}` has {name!r}, which {role}; list only features there")
    for name in features:
        if name in used:
            raise DataError(f"`data.features` has {name!r}, which has another role in the job; take it out")
    return features


def _time_kind(source: Source, data: DataSpec, task: str) -> TimeKind | None:
    if data.time is None:
        return None
    type = source.columns[data.time]
    if pt.is_integer(type):
        if data.window is not None and Span.parse(data.window).unit != "periods":
            raise DataError(
                f"`data.window` is {data.window}, a length of time, and `data.time` {data.time!r} has positions; give a "
                "number of them"
            )
        if task == "forecast" and data.frequency not in (None, "step"):
            raise DataError(
                f"`data.time` {data.time!r} has integers, which are positions, and `data.frequency` is {data.frequency!r}; set "
                f"it to step, or leave it out"
            )
        return "int"
    if not (pt.is_date(type) or pt.is_timestamp(type)):
        raise DataError(
            f"`data.time` {data.time!r} is {plain_name(type)}; expected a date, a timestamp, text in ISO 8601 or an integer "
            f"position; set `data.types`: {{{data.time}: timestamp}} or int64 if its values are that"
        )
    if task == "forecast" and data.frequency == "step":
        raise DataError(
            f"`data.frequency` is step, which is for integer positions, and `data.time` {data.time!r} is {plain_name(type)}"
        )
    return "date" if pt.is_date(type) else "timestamp"


def _target_kind(source: Source, target: str | None, task: str) -> TargetKind | None:
    if target is None:
        return None
    type = source.columns[target]
    if task == "classification":
        if is_number(type) or pt.is_string(type):
            return "class"
        raise DataError(
            f"`data.target` {target!r} is {plain_name(type)}; classes are strings, integers or booleans"
        )
    if is_number(type):
        return "number"
    hint = (
        "; a text such as NA or 1.234,5 makes a CSV column text: see `data.csv`"
        if source.format == "csv"
        else ""
    )
    raise DataError(f"`data.target` {target!r} is {plain_name(type)}; a {task} needs numbers{hint}")


def _check_types(
    source: Source, data: DataSpec, keys: Sequence[str], features: Sequence[str], label: str | None
) -> None:
    for name in keys:
        if not is_storable(source.columns[name]):
            raise DataError(
                f"key column {name!r} is {plain_name(source.columns[name])}, which cannot be a key"
            )
    for name in features:
        type = source.columns[name]
        if not is_storable(type) or pt.is_binary(type):
            raise DataError(
                f"column {name!r} is {plain_name(type)}, which cannot be a feature; list it in `data.ignore`"
            )
    if data.weight is not None and not is_number(source.columns[data.weight]):
        raise DataError(
            f"`data.weight` {data.weight!r} is {plain_name(source.columns[data.weight])}; weights are numbers"
        )
    if label is not None and not is_number(source.columns[label]):
        raise DataError(
            f"`evaluation.label` {label!r} is {plain_name(source.columns[label])}; the truth is a boolean, or 0 and 1"
        )


def _warnings(source: Source, data: DataSpec, used: Sequence[str], features: Sequence[str]) -> list[str]:
    warnings = [
        f"key column {name!r} is a float: 7.0 and 7.5 are two keys, and one missing value makes integers floats; "
        f"`data.types`: {{{name}: int64}} if they are whole"
        for name in data.partition_by
        if pt.is_floating(source.columns[name])
    ]
    for name in sorted(source.index - {*used, *features, *data.ignore}):
        if not name.startswith("__index_level_"):
            warnings.append(
                f"column {name!r} is a pandas index, so it is no feature; list it in `data.features` to use it"
            )
    return warnings


def _dates_as_integers(source: Source, time: str | None) -> list[str]:
    if time is None or source.kind == "dask" or not pt.is_integer(source.columns[time]):
        return []
    values = source.read([time], limit=_GLANCE, threads=1).column(time).drop_null().to_pylist()
    if not values or not all(
        19000101 <= v <= 22001231 and 1 <= v // 100 % 100 <= 12 and 1 <= v % 100 <= 31 for v in values
    ):
        return []
    return [
        f"`data.time` {time!r} has integers such as {values[0]}, which are taken as positions; if they are dates, set "
        f"`data.types`: {{{time}: date}}"
    ]


def is_number(type: pa.DataType) -> bool:
    """Whether it is a type of numbers; booleans are 0 and 1."""
    return bool(pt.is_integer(type) or pt.is_floating(type) or pt.is_boolean(type))


def _is_category(source: Source, name: str) -> bool:
    type = source.columns[name]
    return bool(pt.is_string(type) or pt.is_boolean(type)) or name in source.categories


def is_storable(type: pa.DataType) -> bool:
    """Whether it is one of the kinds that keys and the partition store know."""
    known = (pt.is_string, pt.is_binary, pt.is_date, pt.is_timestamp, pt.is_decimal)
    return is_number(type) or any(is_known(type) for is_known in known)
