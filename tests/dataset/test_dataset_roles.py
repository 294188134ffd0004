"""Which column is what, and what is said when a column cannot be that."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from manymodels.dataset.roles import Roles, resolve_roles, scoring_roles, suspicious_features
from manymodels.dataset.sources import open_source
from manymodels.dataset.spec import DataSpec
from manymodels.exceptions import DataError

ROWS = pa.table(
    {
        "store": [1, 2],
        "date": pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)]),
        "step": [1, 2],
        "sales": [1.0, 2.0],
        "promo": [True, False],
        "price": [9.5, 9.0],
        "region": ["N", "S"],
        "grade": pa.array([5, 6]).dictionary_encode(),
        "kind": ["p", "q"],
        "cost": [1, 2],
        "blob": [b"a", b"b"],
        "tags": [["a"], ["b"]],
    }
)
IGNORED = ["blob", "tags"]


def resolved(
    task: str = "forecast",
    *,
    table: pa.Table = ROWS,
    levels: tuple[str, ...] = (),
    label: str | None = None,
    **fields: Any,
) -> Roles:
    data = DataSpec(
        **{"partition_by": ["store"], "time": "date", "target": "sales", "ignore": IGNORED, **fields}
    )
    return resolve_roles(open_source(data, table), data, task, levels, label)


def test_features_are_every_other_column_by_name() -> None:
    roles = resolved(weight="cost", label=None, known_future=["promo"])
    assert roles.features == ("grade", "kind", "price", "promo", "region", "step")
    assert roles.known_future == ("promo",)
    assert roles.categorical == ("grade", "kind", "promo", "region")
    assert roles.columns == (
        "store",
        "date",
        "sales",
        "cost",
        "grade",
        "kind",
        "price",
        "promo",
        "region",
        "step",
    )
    assert (roles.time_kind, roles.target_kind, roles.weight) == ("date", "number", "cost")


def test_the_order_of_columns_in_the_data_does_not_matter() -> None:
    turned = ROWS.select(ROWS.column_names[::-1])
    assert resolved(table=turned) == resolved()


def test_listed_features_keep_their_order_and_known_ones_belong_to_them() -> None:
    roles = resolved(features=["price", "grade"], known_future=["promo"], categorical=["price"], ignore=[])
    assert roles.features == ("price", "grade", "promo")
    assert roles.categorical == ("price", "grade", "promo")
    assert roles.columns == ("store", "date", "sales", "grade", "price", "promo")


def test_levels_are_kept_and_may_be_features() -> None:
    roles = resolved("regression", features=["price"], levels=("region",))
    assert roles.levels == ("region",)
    assert roles.columns == ("store", "date", "sales", "price", "region")


def test_pandas_index_columns_are_no_default_features(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"store": [1, 2], "sales": [1.0, 2.0], "x": [1, 2]}, index=pd.Index([7, 9], name="row")
    )
    data = DataSpec(partition_by=["store"], target="sales")
    roles = resolve_roles(open_source(data, frame), data, "regression")
    assert roles.features == ("x",)
    (warning,) = roles.warnings
    assert warning.startswith("column 'tags' is list<")
    assert warning.endswith("which the output cannot hold; it is left out")


def sample(rows: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    sales = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "sales": sales,
            "same": sales,
            "line": 3 - 2 * sales,
            "near": sales + rng.normal(scale=0.01, size=rows),
            "constant": 1.0,
            "gaps": np.where(np.arange(rows) % 2 == 0, sales, np.nan),
            "word": "w",
        }
    )


def roles_of(frame: pd.DataFrame, task: str, **fields: Any) -> Roles:
    data = DataSpec(**{"partition_by": ["k"], "target": "sales", **fields})
    return resolve_roles(open_source(data, frame.assign(k=1, t=range(len(frame)))), data, task)


def test_features_that_tell_the_target_are_found() -> None:
    frame = sample()
    assert suspicious_features(frame, roles_of(frame, "regression")) == ["gaps", "line", "same"]
    assert suspicious_features(frame.assign(sales=1.0), roles_of(frame, "regression")) == []


def test_only_features_known_ahead_give_a_forecast_away() -> None:
    frame = sample()
    assert suspicious_features(frame, roles_of(frame, "forecast", time="t")) == []
    assert suspicious_features(
        frame, roles_of(frame, "forecast", time="t", known_future=["same", "near"])
    ) == ["same"]


def test_a_copy_of_a_class_is_found() -> None:
    frame = pd.DataFrame(
        {"sales": ["a", "b", "a", "c"], "copy": ["a", "b", "a", "c"], "other": ["a", "b", "c", "c"]}
    )
    assert suspicious_features(frame, roles_of(frame, "classification")) == ["copy"]
